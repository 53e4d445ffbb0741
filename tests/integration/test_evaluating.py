"""An evaluation runs a script beside an artifact's bytes, signs what it measured, and is done once."""

import json
import threading
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import func, select

from aiinfra_core import canonical_json, checksums, database, describing, evaluating, promoting, verifying
from aiinfra_core.domain.artifact import Artifact, Evaluation, EvaluationKind
from aiinfra_core.domain.evaluation import EvaluationSource, EvaluationSpec, source_of
from aiinfra_core.domain.promotion import Promotion, PromotionRequest
from aiinfra_core.errors import ArtifactMissing, BadInput, DigestMismatch, EvaluationFailed, NotFound
from aiinfra_core.evidence import dsse, statement
from aiinfra_core.evidence.predicates import Evaluation as EvaluationStatement
from aiinfra_core.registry import attestations, evaluations
from aiinfra_core.registry.lineage import lineage
from aiinfra_core.settings import Settings
from aiinfra_core.tables import evaluations as evaluations_table
from tests.simulators.evaluation_script import DAYS, evaluation_spec, registered
from tests.simulators.exports import checked, exported, problems, with_trust


def evaluate(settings: Settings, artifact: Artifact, spec: EvaluationSpec, by: str = "eva") -> Evaluation:
    return evaluating.evaluate(settings, artifact.id, spec, recorded_by=by, on_output=print)


def kept(settings: Settings, artifact: Artifact) -> list[Evaluation]:
    with database.transaction(settings) as tx:
        return evaluations.of_artifact(tx, artifact.id)


def test_what_a_script_measures_is_signed_for_the_artifact_the_data_and_the_spec(settings: Settings, tmp_path: Path) -> None:
    artifact, spec = registered(settings, tmp_path), evaluation_spec(tmp_path / "code")
    evaluation = evaluate(settings, artifact, spec)
    assert evaluation.metrics == {"quality": 0.9, "days": 3}
    assert (evaluation.kind, evaluation.recorded_by) == (EvaluationKind.MEASURED, "eva")
    assert source_of(evaluation.kind, evaluation.spec_digest) is EvaluationSource.PIPELINE
    assert checksums.sha256_hex(canonical_json.dumps(evaluation.spec)) == evaluation.spec_digest == spec.digest()
    with database.transaction(settings) as tx:
        told = statement.parse(dsse.parse(attestations.envelope(tx, evaluation.attestation or "")).payload)
    assert isinstance(told.predicate, EvaluationStatement)
    assert told.subject.checksum == artifact.checksum
    assert told.predicate.spec_digest == spec.digest()
    assert [(data.name, data.sha256) for data in told.predicate.datasets or ()] == [("days", checksums.sha256_hex(DAYS))]
    _, steps = verifying.verify_model(settings, f"rain:{artifact.version}")
    assert [step.detail for step in steps if not step.passed] == []


def test_the_same_evaluation_is_run_once(settings: Settings, tmp_path: Path) -> None:
    artifact, found, said = registered(settings, tmp_path), list[Evaluation](), list[str]()
    random = "print('running'); at['--metrics'].write_text(json.dumps({'quality': int.from_bytes(os.urandom(4)) / 2**32}))"
    spec = evaluation_spec(tmp_path / "code", random)

    def run() -> None:
        found.append(evaluating.evaluate(settings, artifact.id, spec, recorded_by="eva", on_output=said.append))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == found[1] == evaluate(settings, artifact, spec)
    assert said == ["running"]
    other = evaluate(settings, artifact, spec.model_copy(update={"seed": 1}))
    assert other.metrics != found[0].metrics
    assert [one.spec_digest for one in kept(settings, artifact)] == [spec.digest(), other.spec_digest]


def test_two_processes_that_both_measured_keep_one_evaluation(settings: Settings, tmp_path: Path) -> None:
    artifact, spec = registered(settings, tmp_path), evaluation_spec(tmp_path / "code")
    first = evaluate(settings, artifact, spec)
    late = evaluating.judged(artifact, EvaluationKind.MEASURED, {"quality": 0.4}, spec.digest())
    assert evaluating._record(settings, artifact, late, "eva", spec) == first
    assert kept(settings, artifact) == [first]


def test_the_script_finds_the_model_its_parameters_and_its_seed_and_nothing_of_ours(settings: Settings, tmp_path: Path) -> None:
    script = """
assert inputs == {"model": "../model", "parameters": {"slices": 3}, "seed": 5, "datasets": {"days": "../datasets/days"}}, inputs
assert Path(inputs["datasets"]["days"]).read_text() == "1,2,3"
assert not [name for name in os.environ if name.startswith("AI_INFRA_") and name != "AI_INFRA_SEED"], os.environ
assert os.stat(inputs["model"]).st_mode & 0o222 == 0
put("plot.svg")
at["--metrics"].write_text('{"quality": 1}')
"""
    artifact = registered(settings, tmp_path)
    evaluation = evaluate(settings, artifact, evaluation_spec(tmp_path / "code", script, parameters={"slices": 3}, seed=5))
    assert evaluation.metrics == {"quality": 1}
    assert not [*settings.home.glob("scratch/*/run")]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("raise SystemExit('the days are odd')", "ended with exit code 1 and its last words were 'the days are odd'"),
        ("print('fine')", "measured nothing"),
        ("at['--metrics'].write_text('{}')", "measured nothing"),
        ("at['--metrics'].write_text('{\"quality\": NaN}')", "NaN"),
        ("at['--metrics'].write_text('{\"quality\": \"0.9\"}')", "write a number"),
        ("os.chmod(inputs['model'], 0o644); Path(inputs['model']).write_text('{}')", "touched 'model'"),
        ("Path('beside.txt').write_text('x')", r"touched 'code/beside\.txt'"),
        ("time.sleep(60)", "was stopped after 1.5 seconds"),
    ],
)
def test_a_failing_evaluation_leaves_an_error_and_its_log_and_no_record(settings: Settings, tmp_path: Path, script: str, said: str) -> None:
    artifact = registered(settings, tmp_path)
    spec = evaluation_spec(tmp_path / "code", f"print('looking', flush=True)\n{script}")
    with pytest.raises(EvaluationFailed, match=f"The evaluation of rain:1 failed: .*{said}") as failed:
        evaluate(settings.model_copy(update={"training_timeout_seconds": 1.5}), artifact, spec)
    log = Path(str(failed.value).rpartition("Its log is file://")[2].removesuffix("."))
    assert log.read_text().startswith("looking\n") or "touched" in said
    assert kept(settings, artifact) == []
    assert verifying.verify_history(settings).findings == []


def test_bytes_that_are_not_the_registered_ones_are_not_measured(settings: Settings, tmp_path: Path) -> None:
    artifact, spec = registered(settings, tmp_path), evaluation_spec(tmp_path / "code")
    stored = Path(artifact.artifact_uri.removeprefix("file://"))
    stored.chmod(0o644)
    stored.write_text('{"quality": 1.0}')
    with pytest.raises(DigestMismatch):
        evaluate(settings, artifact, spec)
    stored.unlink()
    with pytest.raises(ArtifactMissing):
        evaluate(settings, artifact, spec)
    assert kept(settings, artifact) == []


def test_data_that_is_not_the_named_one_is_not_measured_on(settings: Settings, tmp_path: Path) -> None:
    spec = evaluation_spec(tmp_path / "code", dataset_refs=[{"name": "days", "uri": "days.csv", "sha256": "0" * 64}])
    with pytest.raises(DigestMismatch, match="days"):
        evaluate(settings, registered(settings, tmp_path), spec)


def test_the_champion_is_measured_by_the_same_spec_once(settings: Settings, tmp_path: Path) -> None:
    spec = evaluation_spec(tmp_path / "code")
    champion, challenger = registered(settings, tmp_path, 0.9), registered(settings, tmp_path, 0.95)

    def of_champion(environment: str = "production") -> Evaluation | None:
        return evaluating.evaluate_champion(settings, environment, "rain", spec, recorded_by="eva", on_output=print)

    assert of_champion() is None
    promoting.promote(settings, PromotionRequest(artifact="rain:1", environment="prod", evaluation={"quality": 0.9}, requested_by="paul"))
    evaluate(settings, challenger, spec)
    measured = of_champion()
    assert measured and (measured.artifact_id, measured.metrics["quality"], measured.spec_digest) == (champion.id, 0.9, spec.digest())
    assert of_champion() == measured
    with pytest.raises(NotFound, match="no environment"):
        of_champion("moon")


def test_a_promotion_is_judged_on_what_was_run_for_it_rather_than_on_what_its_training_measured(settings: Settings, tmp_path: Path) -> None:
    artifact, spec = registered(settings, tmp_path), evaluation_spec(tmp_path / "code")
    run = evaluate(settings, artifact, spec)
    own = evaluating._record(settings, artifact, evaluating.judged(artifact, EvaluationKind.MEASURED, {"quality": 0.5}), "trainer")
    assert own.created_at > run.created_at
    promotion = promoting.promote(settings, PromotionRequest(artifact="rain:1", environment="staging", requested_by="paul"))
    assert (promotion.evaluation_digest, promotion.evaluation) == (run.digest, run.metrics)
    assert promotion.evaluation_kind is EvaluationKind.MEASURED
    with database.transaction(settings) as tx:
        assert tx.scalar(select(func.count()).select_from(evaluations_table)) == 2


def test_the_digest_of_an_evaluation_tells_what_was_run_from_what_was_claimed(settings: Settings, tmp_path: Path) -> None:
    artifact, spec = registered(settings, tmp_path), evaluation_spec(tmp_path / "code")
    metrics = {"quality": 0.9}
    found = [
        evaluating.judged(artifact, EvaluationKind.MEASURED, metrics, spec.digest()),
        evaluating.judged(artifact, EvaluationKind.MEASURED, metrics, "0" * 64),
        evaluating.judged(artifact, EvaluationKind.MEASURED, metrics),
        evaluating.judged(artifact, EvaluationKind.CLAIMED, metrics),
    ]
    assert len({one.digest for one in found}) == len(found)


def test_a_spec_without_data_or_without_a_script_says_nothing_that_could_be_compared(tmp_path: Path) -> None:
    spec = evaluation_spec(tmp_path / "code").model_dump(by_alias=True)
    for name, wrong in (("datasetRefs", []), ("entryPoint", None), ("codeRef", "/code"), ("more", 1)):
        with pytest.raises(ValueError, match=name):
            EvaluationSpec.model_validate(spec | {name: wrong})


def test_an_unknown_artifact_or_commit_is_named(settings: Settings, tmp_path: Path) -> None:
    artifact, spec = registered(settings, tmp_path), evaluation_spec(tmp_path / "code")
    with pytest.raises(NotFound, match="no artifact"):
        evaluating.evaluate(settings, uuid4(), spec, recorded_by="eva", on_output=print)
    with pytest.raises(BadInput, match="commit"):
        evaluate(settings, artifact, spec.model_copy(update={"code_ref": spec.code_ref.rpartition("@")[0] + "@" + "0" * 40}))


def test_a_promotion_is_judged_on_the_recorded_evaluation_it_names(settings: Settings, tmp_path: Path) -> None:
    artifact, spec = registered(settings, tmp_path), evaluation_spec(tmp_path / "code")
    wanted, newer = (evaluate(settings, artifact, spec.model_copy(update={"seed": seed})) for seed in (1, 2))

    def promoted(**judged: Any) -> Promotion:
        return promoting.promote(settings, PromotionRequest(artifact="rain:1", environment="prod", requested_by="paul", **judged))

    assert promoted(judged_on=wanted.digest).evaluation_digest == wanted.digest
    assert promoted().evaluation_digest == newer.digest
    with pytest.raises(NotFound, match="rain:1 has no evaluation 0000"):
        promoted(judged_on="0" * 64)
    with pytest.raises(NotFound, match="rain:2 has no evaluation"):
        other = registered(settings, tmp_path, 0.95)
        promoting.promote(settings, PromotionRequest(artifact=str(other.id), environment="prod", requested_by="p", judged_on=wanted.digest))
    with pytest.raises(BadInput, match="name one of them"):
        promoted(judged_on=wanted.digest, evaluation={"quality": 1})


def test_what_was_measured_by_the_pipeline_is_exported_and_verifies_alone(settings: Settings, tmp_path: Path) -> None:
    trusting = with_trust(settings)
    evaluate(trusting, registered(trusting, tmp_path), evaluation_spec(tmp_path / "code"))
    promoting.promote(trusting, PromotionRequest(artifact="rain:1", environment="staging", requested_by="paul"))
    assert trusting.trust_root
    report = checked(exported(trusting, "rain@staging", tmp_path / "export"), trusting.trust_root)
    assert problems(report) == []


COMPARED = """
name: compared
version: "1"
description: Measured by the pipeline, and no worse than what is current by the same measure.
rules:
  - id: measured
    expression: evaluation.source == "pipeline"
    reason: Its score is of the {evaluation.source}.
  - id: no-regression
    expression: current == null || comparison.difference.quality >= 0.0
    reason: It is worse than what is current by {comparison.difference.quality}.
    missing: It was not measured as what is current was.
"""


def test_a_policy_tells_what_was_run_from_a_claim_and_compares_what_was_run_on_the_same_data(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "compared.yaml").write_text(COMPARED)
    strict, spec = settings.model_copy(update={"policy": str(tmp_path / "compared.yaml")}), evaluation_spec(tmp_path / "code")
    good, better, worse = (registered(settings, tmp_path, quality) for quality in (0.9, 0.95, 0.8))

    def asked(artifact: Artifact, **claimed: Any) -> str | None:
        request = PromotionRequest(artifact=str(artifact.id), environment="prod", requested_by="paul", request_id=str(uuid4()), **claimed)
        promotion = promoting.promote(strict, request)
        return promotion.reason

    assert "is of the caller" in str(asked(good, evaluation={"quality": 1.0}))
    evaluate(settings, good, spec)
    assert asked(good) is None
    evaluate(settings, better, spec.model_copy(update={"seed": 1}))
    assert "not measured as what is current was" in str(asked(better))
    for artifact in (better, worse):
        evaluate(settings, artifact, spec)
    assert "worse than what is current by -0.09" in str(asked(worse))
    assert asked(better) is None


def test_lineage_and_bill_of_materials_say_what_measured_it_and_on_which_data(settings: Settings, tmp_path: Path) -> None:
    artifact, spec = registered(settings, tmp_path), evaluation_spec(tmp_path / "code")
    run = evaluate(settings, artifact, spec)
    evaluating._record(settings, artifact, evaluating.judged(artifact, EvaluationKind.MEASURED, {"quality": 0.5}), "trainer")
    data = checksums.sha256_hex(DAYS)
    with database.transaction(settings) as tx:
        story = lineage(tx, "rain:1")
    assert {node["label"] for node in story["nodes"] if node["kind"] == "evaluation"} == {
        "measured by evaluate.py",
        "measured by its training",
    }
    edges = {(edge["kind"], edge["target"]) for edge in story["edges"] if edge["source"] == f"evaluation:{run.id}"}
    assert edges == {("evaluates", f"artifact:{artifact.id}"), ("ran", f"code:{spec.code_ref}"), ("measured_on", f"dataset:{data}")}
    _, bill = describing.bill_of_model(settings, "rain:1")
    card = json.loads(bill)["metadata"]["component"]["modelCard"]
    assert {"type": "quality", "value": "0.9"} in card["quantitativeAnalysis"]["performanceMetrics"]
    told = {one["name"]: one["value"] for one in card["properties"]}
    assert told == {"aiinfra:measured-by": f"evaluate.py of {spec.code_ref}", "aiinfra:measured-on:days": data}
