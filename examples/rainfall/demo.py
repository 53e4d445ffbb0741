"""The whole story on real data, told in plain lines: `make demo`. Run again, it works again and duplicates nothing.

It uses what is configured, or the embedded defaults, and the same flows a scheduled run would use.
"""

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "ERROR")
os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")

from aiinfra_core import checksums, database, verifying
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.evaluation import EvaluationSpec
from aiinfra_core.domain.promotion import PromotionRequest
from aiinfra_core.domain.training import DatasetRef, TrainingSpec
from aiinfra_core.embedded import prefect_server
from aiinfra_core.embedded.defaults import current_settings
from aiinfra_core.registry import artifacts, evaluations, promotions
from aiinfra_core.settings import Settings
from examples.rainfall.telling import HERE, aiinfra, committed_example, expect, heading, one_byte_changed, say

MODEL = "rainfall"
ASKED_BY = "demo"
APPROVER, ROLE = "grace", "release-manager"
# No container runs here: the digest of the locked dependencies stands in for one, and is recorded as declared.
LOCK = HERE.parents[1] / "requirements" / "dev.txt"


def main() -> None:
    began = time.monotonic()
    heading("AI & Infrastructure: from data to a model in production, every step checkable")
    os.environ.setdefault("AI_INFRA_POLICY", str(HERE / "policy.yaml"))
    prefect_server.start(Settings().home)
    key = trusted_approver(current_settings())
    settings = current_settings()
    say(f"State is in {settings.home}: PostgreSQL, artifacts, a development key, whose signatures count.")
    code_ref = committed_example(settings.home / "demo" / MODEL)
    api = wait_for_prefect(settings.home)

    heading("1. Train on fifty years of weather, register, measure on days held out, promote to staging")
    artifact = show_promoted(settings, run_pipeline(api, code_ref, {}, "staging"))

    heading("2. Somebody else trains it again, in another place: the same bytes?")
    show_reproduced(artifact)

    heading("3. It asks for prod, where a second person has to agree")
    show_approved(api, artifact, key)

    heading("4. A weak model asks for prod")
    show_refused(run_pipeline(api, code_ref, {"n_estimators": 1, "max_depth": 1}, "prod"))

    heading("5. Somebody changes one byte of the stored model")
    show_tampering(settings, artifact)

    heading("6. Everything recorded, checked again")
    show_verified(settings)

    heading("7. An auditor who trusts nobody takes one directory and goes offline")
    show_audited(settings)
    farewell(api, time.monotonic() - began)


def trusted_approver(settings: Settings) -> Path:
    """Make a trust root and an approver whom it lists, where they are not there yet, and return the approver's key."""
    if settings.trust_root is None:
        aiinfra("trust", "init")
    key = settings.home / "demo" / f"{APPROVER}.key"
    if not key.exists():
        key.parent.mkdir(parents=True, exist_ok=True)
        key.touch(mode=0o600)
        key.write_text(aiinfra("keys", "generate"))
    listed = json.loads(aiinfra("trust", "show", "--json"))
    if APPROVER not in {one["owner"] for one in listed["trust"]["keys"]}:
        named = ("--purpose", "approval", "--owner", APPROVER, "--role", ROLE, "--signer-id", APPROVER)
        aiinfra("trust", "add-key", f"file:{key}", *named)
    return key


def spec(code_ref: str, hyperparams: dict[str, Any]) -> TrainingSpec:
    """Return everything the training depends on."""
    data = HERE / "rainfall.parquet"
    return TrainingSpec(
        model=MODEL,
        code_ref=code_ref,
        container_digest=f"sha256:{checksums.sha256_hex(LOCK.read_bytes())}",
        entry_point="train.py",
        hyperparams=hyperparams,
        dataset_refs=(DatasetRef(name=MODEL, uri="rainfall.parquet", sha256=checksums.sha256_hex(data.read_bytes())),),
        seed=7,
    )


def wait_for_prefect(home: Path) -> str:
    """Wait for the local Prefect server, saying so while it takes its time."""
    api = prefect_server.ensure_running(home, on_wait=lambda seconds: say(f"Prefect is starting: {seconds:.0f} s"))
    os.environ["PREFECT_API_URL"] = api
    return api


def measured_by(code_ref: str) -> EvaluationSpec:
    """Return how each model is measured: on days that no training saw, named by their digest."""
    data = HERE / "held_out.parquet"
    held_out = DatasetRef(name="held_out", uri=data.name, sha256=checksums.sha256_hex(data.read_bytes()))
    return EvaluationSpec(code_ref=code_ref, entry_point="evaluate.py", dataset_refs=(held_out,))


def run_pipeline(api: str, code_ref: str, hyperparams: dict[str, Any], environment: str) -> Any:
    """Run the pipeline flow to one environment and return its outcome."""
    # Imported here and below, because Prefect reads its settings when it is imported.
    from flows.pipeline import pipeline
    from flows.requests import PipelineRequest

    wanted = PipelineRequest(
        spec=spec(code_ref, hyperparams), environments=(environment,), evaluation=measured_by(code_ref), requested_by=ASKED_BY
    )
    return run(api, pipeline, wanted)


def run(api: str, flow: Any, request: Any) -> Any:
    """Run a flow, say where to see it, and return its outcome."""
    before = time.monotonic()
    state = flow(request, return_state=True)
    outcome = state.result()
    say(f"flow {flow.name}: {state.name} in {time.monotonic() - before:.0f} s, {ui(api)}/runs/flow-run/{state.state_details.flow_run_id}")
    return outcome


def show_promoted(settings: Settings, outcome: Any) -> Artifact:
    """Tell what the good model is, how it scored, who signed and what is current."""
    with database.transaction(settings) as tx:
        artifact = artifacts.get(tx, outcome.registered.artifact_id)
        measured = evaluations.newest_measured(tx, artifact.id)
        promotion = promotions.get(tx, outcome.promotions[-1].promotion_id)
    say(f"digest      sha256:{artifact.checksum}")
    say(f"score       ROC AUC {measured.metrics['quality'] if measured else 0:.4f} on 3,000 days it had not seen")
    say(f"registered  {MODEL}:{artifact.version}, signed by {artifact.signer_id}")
    says = promotion.decision.reason if promotion.decision else promotion.reason
    say(f"{promotion.environment:<10}  {promotion.status}; the policy says: {says}")
    say(f"            manifest {str(promotion.manifest)[:12]} signed: {str(promotion.signature)[:24]}...")
    return artifact


def show_reproduced(artifact: Artifact) -> None:
    """Run the recorded training again and tell how what came out compares."""
    name = f"{MODEL}:{artifact.version}"
    made = json.loads(aiinfra("reproduce", name, "--reproduced-by", "rita", "--request-id", f"demo-{artifact.id}", "--json"))
    expect(made["outcome"] == "identical", f"the second training was {made['outcome']}")
    say(f"yes: sha256:{made['reproducedChecksum'][:16]}... from code and data fetched anew; signed by rita's word as a reproduction")


def show_approved(api: str, artifact: Artifact, key: Path) -> None:
    """Ask for prod, show what is awaited, let the approver agree to the very manifest, and tell how it ended."""
    from flows.promote import promote

    name = f"{MODEL}:{artifact.version}"
    waiting = run(api, promote, PromotionRequest(artifact=name, environment="prod", requested_by=ASKED_BY))
    if str(waiting.status) == "pending_approval":
        say(f"waits       {waiting.reason}")
        promotion = str(waiting.promotion_id)
        asked = json.loads(aiinfra("approvals", "list", promotion, "--json"))["promotion"]
        by_hand = ("--manifest", asked["manifest"], "--key", f"file:{key}")
        say(f"{APPROVER} types  aiinfra approve {promotion} --manifest {asked['manifest'][:12]}... --key file:{key.name}")
        given = json.loads(aiinfra("approve", promotion, *by_hand, "--comment", "Looked at scores and lineage.", "--json"))
        expect(given["promotion"]["status"] == "applied", f"the approved promotion was {given['promotion']['status']}")
    say(f"prod        applied: {name} is current, asked for by {ASKED_BY}, agreed to by {APPROVER}")


def show_refused(outcome: Any) -> None:
    """Tell why the weak model stayed out."""
    promotion = outcome.promotions[-1]
    expect(str(promotion.status) == "rejected", f"the weak model was {promotion.status}")
    say(f"{MODEL}:{promotion.version} to prod: rejected and recorded (promotion {promotion.promotion_id})")
    for line in aiinfra("policy", "explain", str(promotion.promotion_id)).splitlines():
        say(f"  {line}")


def show_tampering(settings: Settings, artifact: Artifact) -> None:
    """Change one byte of the stored model, let the check find it, and put it back."""
    if not artifact.artifact_uri.startswith("file://"):
        say("left out: the artifacts are not in a local directory")
        return
    with one_byte_changed(Path(artifact.artifact_uri.removeprefix("file://"))):
        _, steps = verifying.verify_model(settings, f"{MODEL}:{artifact.version}")
    found = [step for step in steps if not step.passed]
    expect([step.name for step in found] == ["bytes"], "the changed byte was not found")
    say(f"caught: {found[0].detail}")
    say("(put back as it was)")


def show_verified(settings: Settings) -> None:
    """Check the promoted model with all that is recorded about it."""
    artifact, steps = verifying.verify_model(settings, f"{MODEL}@prod")
    for step in steps:
        say(f"{'ok' if step.passed else 'BROKEN':<7} {step.name}: {step.detail}")
    expect(all(step.passed for step in steps), f"{MODEL}:{artifact.version} does not verify")


def show_audited(settings: Settings) -> None:
    """Export what is in prod, verify it with nothing but the directory and the pinned root, then change one byte of it."""
    root = settings.trust_root or settings.home / "trust" / "1.root.json"
    if not root.exists():
        aiinfra("trust", "init")
    with tempfile.TemporaryDirectory() as folder:
        export, offline = Path(folder) / "export", {"HOME": folder, "PATH": os.environ["PATH"]}
        aiinfra("export", f"{MODEL}@prod", "--out", str(export))
        verification = ("verify", str(export), "--trust-root", str(root), "--json")
        report = json.loads(aiinfra(*verification, env=offline))
        for step in report["steps"]:
            say(f"{step['outcome']:<15}{step['step']:>2} {step['name']}: {step['detail']}")
        with one_byte_changed(min((export / "attestations").iterdir())):
            report = json.loads(aiinfra(*verification, env=offline, code=5))
    failed = [step for step in report["steps"] if step["outcome"] == "fail"]
    say(f"one byte of a signed statement changed: {len(failed)} steps fail, first {failed[0]['step']} {failed[0]['name']}")


def farewell(api: str, seconds: float) -> None:
    """Say where to look and what to type next."""
    heading(f"Done in {seconds:.0f} s")
    say(f"Prefect UI:  {ui(api)}")
    say(f"Next:        .venv/bin/aiinfra verify {MODEL}@prod")
    say(f"             .venv/bin/aiinfra export {MODEL}@prod --out {MODEL}-export")
    say("Stop it all: make down")


def ui(api: str) -> str:
    """Return the address of the Prefect UI."""
    return api.removesuffix("/api")


if __name__ == "__main__":
    main()
