"""What a policy saw of rollouts, in an export: judged again, and compared with what the log here has of them."""

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from aiinfra_core import canonical_json
from aiinfra_core.domain.rollout import Action, Rollout
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence.verification import recorded_inputs, records
from aiinfra_core.evidence.verification.log import Entry
from aiinfra_core.evidence.verification.records import Registered
from aiinfra_core.evidence.verification.report import Step
from aiinfra_core.evidence.verification.story import Manifest, Story
from aiinfra_core.settings import Settings
from tests.simulators.exports import checked, exported, installation, problems, promoted, trained
from tests.simulators.kept_rollouts import begun, order, overriding, sent_back
from tests.simulators.policies import SEES_EVERYTHING, under

Edit = Callable[[dict[str, Any]], object]


@dataclass(frozen=True)
class Judged:
    """An export of an override, what its rules saw, and the rollout that had sent the bytes back."""

    export: Path
    settings: Settings
    story: Story
    manifest: Manifest
    registered: dict[str, Registered]
    entry: Entry
    inputs: dict[str, Any]
    bad: Rollout

    def check(self, inputs: dict[str, Any], manifest: Manifest | None = None) -> None:
        """Compare what rules saw with what is proven."""
        recorded_inputs.check(self.story, manifest or self.manifest, self.registered, self.entry, inputs)


@pytest.fixture(scope="module")
def judged(postgres_server: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judged]:
    """Give an export of bytes that somebody stopped once, evidence sent back, and that were tried again over that."""
    folder = tmp_path_factory.mktemp("judged-rollouts")
    with installation(postgres_server, migrated_template, folder) as settings:
        place = under(settings, folder, SEES_EVERYTHING)
        promoted(place, trained(place))
        trained(place, seed=2)
        order(place, begun(place, "rainfall:2", "prod"), Action.ABORT)
        bad = sent_back(place, "rainfall:2", "prod", request_id="once-more")
        overriding(place, "rainfall:2", "prod", bad.id)
        export = exported(place, "rainfall@prod", folder / "out")
        assert place.trust_root is not None
        story = checked(export, place.trust_root).story
        assert story is not None
        manifest = story.manifests()[-1]
        (entry,) = story.answers(manifest.said.promotion_id)
        inputs = canonical_json.loads(story.value(entry.row("policy_decisions")["inputs"]) or "")
        yield Judged(export, place, story, manifest, records.check_inputs(story, Step(8)), entry, inputs, bad)


def test_what_rules_saw_of_rollouts_is_judged_again_without_a_database(judged: Judged) -> None:
    assert judged.settings.trust_root is not None
    report = checked(judged.export, judged.settings.trust_root)
    assert (problems(report), report.passed) == ([], True)
    assert "judged again (promotions: 2)" in report.steps[7].found
    assert (judged.inputs["overrides"]["rollout"], judged.inputs["overrides"]["reason"]) == (str(judged.bad.id), judged.bad.reason)
    assert (judged.inputs["tries"], judged.inputs["rollout"]["weights"], judged.inputs["rollout"]["fromOperator"]) == (
        2,
        [20, 50, 100],
        False,
    )


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("overrides", lambda it: it.update(overrides=None)),
        ("overrides", lambda it: it["overrides"].update(reason="nothing bad")),
        ("overrides", lambda it: it["overrides"].update(rollout="00000000-0000-4000-8000-000000000000")),
        ("overrides", lambda it: it["overrides"].update(endedAt=it["now"])),
        ("tries", lambda it: it.update(tries=0)),
        ("tries", lambda it: it.update(tries=True)),
        ("tries", lambda it: it.update(tries=2.5)),
        ("rollout", lambda it: it.update(rollout=None)),
        ("rollout", lambda it: it["rollout"].pop("fromOperator")),
        ("rollout", lambda it: it["rollout"].update(fromOperator="yes")),
        ("rollout", lambda it: it["rollout"].update(saltGiven=True)),
        ("rollout", lambda it: it["rollout"].update(advanceAlpha=0.001)),
        ("rollout", lambda it: it["rollout"]["signals"][0].update(seconds=0.5)),
        ("rollout", lambda it: it["rollout"]["signals"][0].update(advances=False)),
    ],
)
def test_a_rollout_that_is_not_what_is_proven_is_named(judged: Judged, name: str, edit: Edit) -> None:
    inputs = copy.deepcopy(judged.inputs)
    edit(inputs)
    with pytest.raises(EvidenceBroken, match=re.escape(f"policy: the {name} that the rules saw in events/")):
        judged.check(inputs)


def test_more_tries_than_are_shown_are_believed_and_what_was_recorded_before_there_were_any_still_counts(judged: Judged) -> None:
    judged.check(judged.inputs | {"tries": 7})  # an export has only what became current, and what that overrides
    judged.check({name: value for name, value in judged.inputs.items() if name not in ("overrides", "tries")})
    first = judged.story.manifests()[0]
    (entry,) = judged.story.answers(first.said.promotion_id)
    old = canonical_json.loads(judged.story.value(entry.row("policy_decisions")["inputs"]) or "")
    for name in ("overrides", "tries", "rollout", "rollback"):
        del old[name]
    replace(judged, entry=entry).check(old, first)
