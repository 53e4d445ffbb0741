"""Policies in an export: their rules are judged again on what they saw, and what they saw has to be what else is proven there."""

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from aiinfra_core import canonical_json, database, deciding, promoting
from aiinfra_core.domain.artifact import Artifact
from aiinfra_core.domain.promotion import Decision, PromotionRequest, PromotionStatus, Stage
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import bundle
from aiinfra_core.evidence.predicates import Training
from aiinfra_core.evidence.verification import recorded_inputs, records
from aiinfra_core.evidence.verification.log import Entry
from aiinfra_core.evidence.verification.records import Registered
from aiinfra_core.evidence.verification.report import Step
from aiinfra_core.evidence.verification.story import Manifest, Story
from aiinfra_core.registry import dossier, promotion_moves
from aiinfra_core.registry.policy_decisions import Answer, Judgement
from aiinfra_core.settings import Settings
from tests.simulators import kept_records
from tests.simulators.exports import checked, copied, exported, installation, problems, signed_again, trained
from tests.simulators.policies import SEES_EVERYTHING

Edit = Callable[[dict[str, Any]], object]


@pytest.fixture(scope="module")
def place(postgres_server: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Give an installation whose policy looks at everything."""
    folder = tmp_path_factory.mktemp("policies")
    (policy := folder / "policy.yaml").write_text(SEES_EVERYTHING)
    with installation(postgres_server, migrated_template, folder) as settings:
        yield settings.model_copy(update={"policy": str(policy)})


def _asked(settings: Settings, artifact: Artifact, quality: float = 0.9) -> UUID:
    request = PromotionRequest(artifact=str(artifact.id), environment="prod", evaluation={"quality": quality}, requested_by="paul")
    return promoting.request_promotion(settings, request)


def _promoted(settings: Settings, artifact: Artifact, change: Callable[[Judgement], Judgement], quality: float = 0.9) -> None:
    """Promote an artifact with what the gates said changed before it is recorded, as a service could that somebody took over."""
    promotion_id = _asked(settings, artifact, quality)
    with database.autocommit(settings) as connection:
        known = dossier.of_promotion(connection, promotion_id)
    judgement = change(deciding.decide(settings, known, Stage.REQUEST))
    with database.transaction(settings) as tx:
        promotion_moves.record_decision(tx, known.row, judgement, at=datetime.now(UTC))
    promoting.sign_manifest(settings, promotion_id)
    promotion = promoting.apply_promotion(settings, promotion_id)
    assert promotion.status is PromotionStatus.APPLIED, promotion.reason


def _seen_otherwise(edit: Edit) -> Callable[[Judgement], Judgement]:
    def change(judgement: Judgement) -> Judgement:
        (answer,) = judgement.answers
        inputs = canonical_json.loads(answer.inputs or "{}")
        edit(inputs)
        return replace(judgement, answers=[replace(answer, inputs=canonical_json.dumps(inputs).decode())])

    return change


def _yes(judgement: Judgement) -> Judgement:
    (answer,) = judgement.answers
    said = answer.decision.model_copy(update={"allowed": True, "decision": "allow", "policy_id": "fine", "reason": "bribed"})
    return Judgement(judgement.stage, said, [replace(answer, decision=said)])


def _refused(settings: Settings, folder: Path, change: Callable[[Judgement], Judgement], quality: float = 0.9) -> str:
    model = f"m-{uuid4().hex}"
    artifact = trained(settings, model)
    _promoted(settings, artifact, change, quality)
    with pytest.raises(EvidenceBroken) as refused:
        exported(settings, f"{model}@prod", folder / model)
    assert "step 7, policy: policy: " in str(refused.value)
    return str(refused.value)


def test_every_rule_is_judged_again_and_every_input_compared(place: Settings, tmp_path: Path) -> None:
    first, second = trained(place, "twice"), trained(place, "twice", seed=2)
    for artifact in (first, second):
        _promoted(place, artifact, lambda judgement: judgement)
    assert place.trust_root is not None
    report = checked(exported(place, "twice@prod", tmp_path / "out"), place.trust_root)
    assert problems(report) == []
    assert report.steps[7].found == "each policy is here as named (1); its rules were judged again (promotions: 2)"


def test_a_yes_that_the_policy_does_not_give_is_found(place: Settings, tmp_path: Path) -> None:
    assert "judged again its rule scored is not a yes: It scored 0.1, and 0.5 is the least." in _refused(place, tmp_path, _yes, 0.1)


@dataclass(frozen=True)
class Seen:
    """The second promotion of a good export, the entry with what its rules saw, and what else is proven there."""

    story: Story
    manifest: Manifest
    registered: dict[str, Registered]
    entry: Entry
    inputs: dict[str, Any]

    def found(self, edit: Edit) -> str:
        """Return what is found when the rules had seen something else."""
        inputs = copy.deepcopy(self.inputs)
        edit(inputs)
        with pytest.raises(EvidenceBroken) as refused:
            recorded_inputs.check(self.story, self.manifest, self.registered, self.entry, inputs)
        return str(refused.value)


@pytest.fixture(scope="module")
def seen(place: Settings, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """Give what the rules saw of a model that was measured, compared, reproduced and scanned."""
    first, second = trained(place), trained(place, seed=2)
    kept_records.measure_and_reproduce(place)
    for artifact in (first, second):
        _promoted(place, artifact, lambda judgement: judgement)
    assert place.trust_root is not None
    story = checked(exported(place, "rainfall@prod", tmp_path_factory.mktemp("seen") / "out"), place.trust_root).story
    assert story is not None
    manifest = story.manifests()[-1]
    (entry,) = story.answers(manifest.said.promotion_id)
    inputs = canonical_json.loads(story.value(entry.row("policy_decisions")["inputs"]) or "")
    found = Seen(story, manifest, records.check_inputs(story, Step(8)), entry, inputs)
    recorded_inputs.check(story, manifest, found.registered, entry, inputs)
    return found


FORGED: list[tuple[str, Edit]] = [
    ("artifact", lambda it: it["artifact"].update(version=1)),
    ("artifact", lambda it: it["artifact"].update(sizeBytes=1)),
    ("artifact", lambda it: it["artifact"].update(metadata={"owner": "eve"})),
    ("artifact", lambda it: it["artifact"].update(registeredBy="eve")),
    ("environment", lambda it: it.update(environment="staging")),
    ("requester", lambda it: it.update(requester="eve")),
    ("now", lambda it: it.update(now="2099-01-01T00:00:00.000000Z")),
    ("now", lambda it: it.update(now="2020-01-01T00:00:00.000000Z")),
    ("evaluation", lambda it: it["evaluation"]["metrics"].update(quality=0.99)),
    ("evaluation", lambda it: it["evaluation"].update(recordedAt=it["now"])),
    ("evaluation", lambda it: it["evaluation"].update(kind="measured")),
    ("evaluation", lambda it: it["evaluation"].update(source="pipeline")),
    ("evaluation", lambda it: it["evaluation"].update(specDigest="ab" * 32)),
    ("evaluation", lambda it: it["evaluation"].update(recordedBy="eve")),
    ("evaluation", lambda it: it["evaluation"].update(datasets=[{"name": "held-out", "sha256": "ab" * 32}])),
    ("evaluation", lambda it: it.update(evaluation=it["evaluations"][0])),
    ("evaluation", lambda it: it.update(evaluation=None)),
    ("evaluations", lambda it: it["evaluations"][0]["metrics"].update(quality=0.99)),
    ("evaluations", lambda it: it["evaluations"][0].update(recordedAt=it["now"])),
    ("evaluations", lambda it: it["evaluations"][0].update(codeRef="/elsewhere@" + "b" * 40)),
    ("evaluations", lambda it: it["evaluations"].append(dict(it["evaluation"], metrics={"quality": 1}))),
    ("provenance", lambda it: it.update(provenance=None)),
    ("provenance", lambda it: it["provenance"].update(seed=8)),
    ("provenance", lambda it: it["provenance"].update(kind="declared")),
    ("provenance", lambda it: it["provenance"].update(trainedBy="eve")),
    ("provenance", lambda it: it["provenance"].update(hyperparams={"depth": 9})),
    ("provenance", lambda it: it["provenance"].update(datasets=[{"name": "days", "sha256": "ab" * 32}])),
    ("provenance", lambda it: it["provenance"]["metrics"].update(quality=1)),
    ("current", lambda it: it.update(current=None)),
    ("current", lambda it: it["current"].update(version=2)),
    ("current", lambda it: it["current"].update(sequence=2)),
    ("current", lambda it: it["current"].update(promotedAt=it["now"])),
    ("comparison", lambda it: it["comparison"]["champion"].update(quality=0.1)),
    ("comparison", lambda it: it["comparison"]["challenger"].update(quality=0.99)),
    ("comparison", lambda it: it["comparison"]["difference"].update(quality=0.5)),
    ("comparison", lambda it: it["comparison"].update(specDigest="ab" * 32)),
    ("comparison", lambda it: it["comparison"].update(datasets=[{"name": "easy", "sha256": "ab" * 32}])),
    ("reproduction", lambda it: it["reproduction"].update(outcome="identical")),
    ("reproduction", lambda it: it["reproduction"].update(reproducedBy="eve")),
    ("scan", lambda it: it["scan"].update(verdict="safe")),
    ("scan", lambda it: it["scan"].update(formats=["safetensors"])),
    ("approvals", lambda it: it["approvals"].append({"approver": "sam", "roles": ["security"], "means": "key"})),
    ("people", lambda it: it["people"].update(requester="eve")),
    ("people", lambda it: it["people"].update(asker="eve")),
    ("people", lambda it: it["people"].update(trainer="eve")),
    ("people", lambda it: it["people"].update(registrar="eve")),
    ("people", lambda it: it["people"].update(evaluators=["mallory"])),
    ("rollout", lambda it: it.update(rollout={"weights": [5, 100]})),
    ("overrides", lambda it: it.update(overrides={"rollout": str(uuid4()), "reason": "tried again", "endedAt": it["now"]})),
    ("tries", lambda it: it.update(tries=-1)),
    ("tries", lambda it: it.update(tries=None)),
    ("rollback", lambda it: it.update(rollback={"reason": "to be judged by other rules", "fromVersion": 1, "toVersion": 2})),
]


@pytest.mark.parametrize(("name", "edit"), FORGED, ids=[f"{number}-{name}" for number, (name, _) in enumerate(FORGED)])
def test_an_input_that_is_not_what_is_proven_is_named(seen: Seen, name: str, edit: Edit) -> None:
    assert seen.found(edit).startswith(f"policy: the {name} that the rules saw in events/")


def test_what_a_training_measured_cannot_be_left_unseen(seen: Seen) -> None:
    story = copy.deepcopy(seen.story)
    ((training, _),) = story.about(seen.manifest.claim.statement.subject, Training)
    story.taken_in[training.digest].event["rows"]["training_jobs"]["metrics"] = '{"quality":0.5}'
    later = replace(seen, story=story)
    assert later.found(lambda it: it["provenance"].update(metrics={})).startswith("policy: the provenance that the rules saw")
    measured = seen.inputs | {"provenance": seen.inputs["provenance"] | {"metrics": {"quality": 0.5}}}
    recorded_inputs.check(story, seen.manifest, seen.registered, seen.entry, measured)


def test_a_forged_input_is_found_by_whoever_checks_the_export(place: Settings, tmp_path: Path) -> None:
    forged = _seen_otherwise(lambda it: it["evaluation"]["metrics"].update(quality=0.99))
    assert "the evaluation that the rules saw in events/" in _refused(place, tmp_path, forged)


def test_what_was_there_long_before_cannot_be_left_unseen(seen: Seen) -> None:
    later = replace(seen, entry=replace(seen.entry, created_at=seen.entry.created_at + timedelta(minutes=2)))
    people = seen.inputs["people"] | {"evaluators": []}
    for name, nothing in (("comparison", None), ("reproduction", None), ("scan", None), ("evaluations", []), ("people", people)):
        assert later.found(partial(dict.update, **{name: nothing})).startswith(f"policy: the {name} that the rules saw")
        # It came in this very moment.
        recorded_inputs.check(seen.story, seen.manifest, seen.registered, seen.entry, seen.inputs | {name: nothing})


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda it: it.update(parameters={"least": 0}), "other parameters than the policy's"),
        (lambda it: it.update(stage="apply"), "holds inputs of another stage"),
        (lambda it: it.pop("requester"), "has no requester"),
    ],
)
def test_inputs_of_another_question_are_refused(place: Settings, tmp_path: Path, edit: Edit, said: str) -> None:
    assert said in _refused(place, tmp_path, _seen_otherwise(edit))


def test_an_answer_without_what_its_rules_saw_proves_nothing(place: Settings, tmp_path: Path) -> None:
    def blind(judgement: Judgement) -> Judgement:
        return replace(judgement, answers=[replace(judgement.answers[0], inputs=None)])

    assert "is missing" in _refused(place, tmp_path, blind)


def test_another_gates_no_is_found_whatever_was_made_of_it(place: Settings, tmp_path: Path) -> None:
    def overruled(judgement: Judgement) -> Judgement:
        no = Decision(allowed=False, decision="deny", policy_id="p", reason="no", source="sentinelnet")
        return replace(judgement, answers=[*judgement.answers, Answer(no)])

    assert "holds a no to it" in _refused(place, tmp_path, overruled)


@pytest.fixture(scope="module")
def long(place: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an export whose inputs are too long to stand in the log's rows."""
    artifact = trained(place, "long")
    asked = PromotionRequest(
        artifact=str(artifact.id), environment="prod", evaluation={"quality": 0.9, "notes": "It rained. " * 900}, requested_by="paul"
    )
    assert promoting.promote(place, asked).status is PromotionStatus.APPLIED
    return exported(place, "long@prod", tmp_path_factory.mktemp("long") / "out")


def test_long_values_are_exported_beside_the_rows_that_hold_them_by_digest(place: Settings, long: Path) -> None:
    assert place.trust_root is not None
    assert len(list((long / "values").iterdir())) >= 2
    assert problems(checked(long, place.trust_root)) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Path.unlink, "7 .*is missing"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b"paul", b"eve!")), "8 .*has another digest"),
        (lambda path: (path.parent / ("ab" * 32)).write_bytes(b"{}"), "8 .*no row of the log here holds it"),
    ],
)
def test_a_long_value_taken_away_changed_or_added_is_found(
    place: Settings, long: Path, tmp_path: Path, change: Callable[[Path], object], said: str
) -> None:
    export = copied(long, tmp_path / "export")
    (inputs,) = [path for path in (export / "values").iterdir() if b'"stage":"request"' in path.read_bytes()]
    change(inputs)
    assert place.trust_root is not None
    found = problems(checked(signed_again(export, place), place.trust_root))
    assert [one for one in found if re.match(said, one)], found


def test_a_policy_that_is_not_the_one_named_is_found(place: Settings, long: Path, tmp_path: Path) -> None:
    export = copied(long, tmp_path / "export")
    (policy,) = (export / "policies").iterdir()
    policy.write_bytes(policy.read_bytes().replace(b'"least":0.5', b'"least":0.1'))
    assert place.trust_root is not None
    found = problems(checked(signed_again(export, place), place.trust_root))
    assert any(bundle.policy_name(policy.name) in one and "has another digest" in one for one in found)
