"""The whole story on real data, told in plain lines: `make demo`. Run again, it works again and duplicates nothing.

It uses what is configured, or the embedded defaults, and the same flows a scheduled run would use.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "ERROR")
os.environ.setdefault("PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW", "ignore")

from aiinfra_core import checksums, database, verifying
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.training import DatasetRef, TrainingSpec
from aiinfra_core.embedded import prefect_server
from aiinfra_core.embedded.defaults import current_settings
from aiinfra_core.registry import artifacts, jobs, promotions
from aiinfra_core.settings import Settings
from aiinfra_core.training.execute import execute

HERE = Path(__file__).parent
MODEL = "rainfall"
ASKED_BY = "demo"
AUTHOR = {"NAME": "AI & Infrastructure demo", "EMAIL": "demo@example.org", "DATE": "2026-01-01T00:00:00Z"}
# No container runs here: the digest of the locked dependencies stands in for one, and is recorded as declared.
LOCK = HERE.parents[1] / "requirements" / "dev.txt"


def main() -> None:
    began = time.monotonic()
    heading("AI & Infrastructure: from data to a model in production, every step checkable")
    prefect_server.start(Settings().home)
    settings = current_settings()
    say(f"State is in {settings.home}: PostgreSQL, artifacts, a development key.")
    code_ref = committed_example(settings.home / "demo" / MODEL)
    api = wait_for_prefect(settings.home)

    heading("1. Train on fifty years of weather, register, evaluate, promote to staging and prod")
    good = run_pipeline(api, spec(code_ref, {}))
    artifact = show_promoted(settings, good)

    heading("2. Train again in another place: the same bytes?")
    train_again(settings, artifact)

    heading("3. A weak model asks for prod")
    show_refused(run_pipeline(api, spec(code_ref, {"n_estimators": 1, "max_depth": 1}), environments=("prod",)))

    heading("4. Somebody changes one byte of the stored model")
    show_tampering(settings, artifact)

    heading("5. Everything recorded, checked again")
    show_verified(settings)

    heading("6. An auditor who trusts nobody takes one directory and goes offline")
    show_audited(settings)
    farewell(api, time.monotonic() - began)


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


def committed_example(folder: Path) -> str:
    """Copy the example into a repository with a fixed author and date, so that a dirty checkout does not matter."""
    if not (folder / ".git").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        git(folder, "init", "--quiet", "--initial-branch=main")
    for name in ("train.py", "rainfall.parquet", "README.md"):
        shutil.copyfile(HERE / name, folder / name)
    git(folder, "add", "--all")
    if git(folder, "status", "--porcelain"):
        git(folder, "commit", "--quiet", "--message=The rainfall example")
    return f"{folder}@{git(folder, 'rev-parse', 'HEAD')}"


def git(folder: Path, *arguments: str) -> str:
    """Run git with nobody's configuration and return what it printed."""
    identity = {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in AUTHOR.items()}
    environment = {**os.environ, **identity, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", "-C", str(folder), *arguments], env=environment, capture_output=True, text=True, check=True)  # noqa: S603, S607
    return done.stdout.strip()


def wait_for_prefect(home: Path) -> str:
    """Wait for the local Prefect server, saying so while it takes its time."""
    api = prefect_server.ensure_running(home, on_wait=lambda seconds: say(f"Prefect is starting: {seconds:.0f} s"))
    os.environ["PREFECT_API_URL"] = api
    return api


def run_pipeline(api: str, wanted: TrainingSpec, environments: tuple[str, ...] = ("staging", "prod")) -> Any:
    """Run the pipeline flow and return its outcome."""
    # Imported here, because Prefect reads its settings when it is imported.
    from flows.pipeline import pipeline
    from flows.requests import PipelineRequest

    before = time.monotonic()
    state = pipeline(PipelineRequest(spec=wanted, environments=environments, requested_by=ASKED_BY), return_state=True)
    outcome = state.result()
    run = state.state_details.flow_run_id
    say(f"flow pipeline: {state.name} in {time.monotonic() - before:.0f} s, {ui(api)}/runs/flow-run/{run}")
    return outcome


def show_promoted(settings: Settings, outcome: Any) -> Artifact:
    """Tell what the good model is, how it scored, who signed and what is current."""
    with database.transaction(settings) as tx:
        artifact = artifacts.get(tx, outcome.registered.artifact_id)
        job = jobs.get(tx, outcome.training_job_id)
        ended = [promotions.get(tx, promotion.promotion_id) for promotion in outcome.promotions]
    say(f"trained     code {job.spec.code_ref.rpartition('@')[2][:12]}, data {job.spec.dataset_refs[0].sha256[:12]}, seed {job.spec.seed}")
    say(f"digest      sha256:{artifact.checksum}")
    say(f"score       ROC AUC {(job.metrics or {})['quality']:.4f} on 3,000 days it had not seen")
    say(f"registered  {MODEL}:{artifact.version}, signed by {artifact.signer_id}")
    for promotion in ended:
        decision = promotion.decision
        says = "yes" if decision and decision.allowed else "no"
        say(f"{promotion.environment:<10}  {promotion.status}; the gate says {says}: {decision.reason if decision else promotion.reason}")
        say(f"            manifest {str(promotion.manifest)[:12]} signed: {str(promotion.signature)[:24]}...")
    return artifact


def train_again(settings: Settings, artifact: Artifact) -> None:
    """Train the same spec in a fresh place and compare digests."""
    assert artifact.training_job_id is not None  # noqa: S101
    with database.transaction(settings) as tx:
        wanted = jobs.get(tx, artifact.training_job_id).spec
    with tempfile.TemporaryDirectory() as folder:
        run = execute(wanted, scratch=Path(folder) / "scratch", cache=Path(folder) / "cache", timeout_seconds=300, on_output=lambda _: None)
        digest = hashlib.sha256(run.output.read_bytes()).hexdigest() if run.output else str(run.error)
    expect(digest == artifact.checksum, f"the second training gave other bytes: {digest}")
    say(f"yes: sha256:{digest[:16]}... from a second run in another directory, with its own copy of code and data")


def show_refused(outcome: Any) -> None:
    """Tell why the weak model stayed out."""
    promotion = outcome.promotions[-1]
    expect(str(promotion.status) == "rejected", f"the weak model was {promotion.status}")
    say(f"{MODEL}:{promotion.version} to prod: rejected and recorded (promotion {promotion.promotion_id})")
    say(f"reason      {promotion.reason}")


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


@contextmanager
def one_byte_changed(path: Path) -> Iterator[None]:
    """Flip one byte of a file for the length of a block, leaving the file as it was."""
    content, mode = path.read_bytes(), path.stat().st_mode
    try:
        path.chmod(0o600)
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
        yield
    finally:
        path.write_bytes(content)
        path.chmod(mode)


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


def aiinfra(*words: str, env: dict[str, str] | None = None, code: int = 0) -> str:
    """Run the command line as a person would and return what it printed; any other exit code ends the demo."""
    command = [str(Path(sys.executable).with_name("aiinfra")), *words]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)  # noqa: S603
    expect(done.returncode == code, f"aiinfra {' '.join(words)} ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


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


def expect(holds: bool, otherwise: str) -> None:
    """End the demo with exit code 1 when something it promises does not hold."""
    if not holds:
        print(f"\nThe demo found what must not be: {otherwise}", file=sys.stderr)
        sys.exit(1)


def heading(text: str) -> None:
    """Print the title of a chapter."""
    print(f"\n{text}", flush=True)


def say(text: str) -> None:
    """Print one line of the story."""
    print(f"   {text}", flush=True)


if __name__ == "__main__":
    main()
