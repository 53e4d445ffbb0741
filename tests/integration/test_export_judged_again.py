"""Policies in an export are judged again apart: one that hangs stops nobody, and rules for the end are judged as of the end."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from aiinfra_core import agreeing, deciding, promoting
from aiinfra_core.domain.promotion import PromotionRequest, PromotionStatus, Stage
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence.verification import policies
from aiinfra_core.registry.dossier import Dossier
from aiinfra_core.registry.policy_decisions import Judgement
from aiinfra_core.rules import sandbox
from aiinfra_core.settings import Settings
from tests.simulators.exports import checked, exported, installation, problems, trained
from tests.simulators.kept_rollouts import sent_back
from tests.simulators.policies import promote, under

MANY = f"[{','.join(['1'] * 60)}]"
HANGS = f"""\
name: hangs
version: "1"
answers: {{allow: fine, deny: not-fine}}
rules:
  - {{id: scored, expression: evaluation.metrics.quality > 0.5, reason: never}}
  - id: for-ever
    expression: "{"".join(f"{MANY}.all(v{depth}, " for depth in range(8))}true{")" * 8}"
    reason: never
"""
AT_THE_END = """\
name: at-the-end
version: "1"
answers: {allow: fine, deny: not-fine}
parameters: {least: 0.5}
rules:
  - {id: scored, expression: evaluation.metrics.quality > 0.5, reason: never}
  - {id: at-the-end, stage: apply, expression: evaluation.metrics.quality > 0.8, reason: "It scored {evaluation.metrics.quality}."}
"""


SEES_WHAT_IS_CURRENT = """\
name: sees-what-is-current
version: "1"
answers: {allow: fine, deny: not-fine}
rules:
  - {id: after, expression: current == null || current.version == 1, reason: "{current}"}
"""


@pytest.fixture(scope="module")
def place(postgres_server: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Give an installation with a trust root."""
    with installation(postgres_server, migrated_template, tmp_path_factory.mktemp("judged")) as settings:
        yield settings


def _bribed(patch: pytest.MonkeyPatch, stages: tuple[Stage, ...]) -> None:
    """Let a gate say yes at these stages whatever its rules say, as a service could that somebody took over."""
    decide = deciding.decide

    def bribed(settings: Settings, known: Dossier, stage: Stage) -> Judgement:
        judgement = decide(settings, known, stage)
        if stage not in stages:
            return judgement
        (answer,) = judgement.answers
        said = answer.decision.model_copy(update={"allowed": True, "decision": "allow", "policy_id": "fine", "unavailable": False})
        return Judgement(stage, said, [replace(answer, decision=said)])

    patch.setattr(deciding, "decide", bribed)


@pytest.fixture(scope="module")
def hanging(place: Settings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give an export of two promotions under a policy that is never done, by somebody who did not look at what they handed out."""
    settings = under(place, tmp_path_factory.mktemp("hangs"), HANGS).model_copy(update={"policy_seconds": 0.3})
    with pytest.MonkeyPatch.context() as patch:
        _bribed(patch, (Stage.REQUEST,))
        patch.setattr(policies, "check_policies", lambda *_: None)
        for seed in (1, 2):
            assert promote(settings, trained(settings, "hangs", seed)).status is PromotionStatus.APPLIED
        return exported(settings, "hangs@prod", tmp_path_factory.mktemp("hanging") / "out")


@pytest.mark.slow
def test_a_policy_that_hangs_is_named_and_the_verification_ends(place: Settings, hanging: Path) -> None:
    verify = [str(Path(sys.executable).with_name("aiinfra")), "verify", str(hanging), "--trust-root", str(place.trust_root)]
    begun = time.monotonic()
    done = subprocess.run(
        verify, capture_output=True, text=True, timeout=60, check=False, env={"PATH": os.environ["PATH"], "COLUMNS": "400"}
    )
    assert done.returncode == 5, done.stderr
    assert time.monotonic() - begun < 30
    assert "judged again its rule for-ever is not a yes" in done.stdout
    assert "it took longer than 5 s. (and 1 more)" in " ".join(done.stdout.split())


def test_all_policies_of_an_export_together_have_only_so_long(place: Settings, hanging: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "SECONDS_TOGETHER", 0.5)
    assert place.trust_root is not None
    report = checked(hanging, place.trust_root)
    assert not report.passed
    assert sorted(problem.detail.partition("policy: ")[2] for problem in report.steps[7].problems) == [
        "judged again its rule for-ever is not a yes: It cannot be told whether for-ever holds: it took longer than 0.5 s.",
        "judging the policies here again took over 0.5 s before it was this one's turn.",
    ]


def test_where_nothing_can_judge_the_rules_nothing_is_proven(
    place: Settings, hanging: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.stop()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    assert place.trust_root is not None
    report = checked(hanging, place.trust_root)
    assert not report.passed
    assert "The process that judges policies could not be started" in report.steps[7].detail


@pytest.fixture
def at_the_end(place: Settings, tmp_path: Path) -> Settings:
    """Give an installation whose policy has a rule for the end, and asks nobody to agree."""
    return under(place, tmp_path, AT_THE_END)


def test_rules_for_the_end_are_judged_again_also_where_nobody_had_to_agree(at_the_end: Settings, tmp_path: Path) -> None:
    assert promote(at_the_end, trained(at_the_end, "ended")).status is PromotionStatus.APPLIED
    assert at_the_end.trust_root is not None
    report = checked(exported(at_the_end, "ended@prod", tmp_path / "out"), at_the_end.trust_root)
    assert problems(report) == []
    assert report.story is not None
    (manifest,) = report.story.manifests()
    assert manifest.said.approvals_required is None
    assert report.story.taken_in[manifest.claim.digest].row("model_promotions")["approvals_required"] == "{}"


def test_a_policy_file_that_is_changed_meanwhile_does_not_spare_a_promotion_its_rules_for_the_end(
    at_the_end: Settings, place: Settings
) -> None:
    request = PromotionRequest(
        artifact=str(trained(at_the_end, "meanwhile").id), environment="prod", evaluation={"quality": 0.9}, requested_by="paul"
    )
    promotion_id = promoting.request_promotion(at_the_end, request)
    promoting.decide(at_the_end, promotion_id)
    signed = promoting.sign_manifest(place, promotion_id)
    assert (signed.status, signed.approvals_required) == (PromotionStatus.PENDING_APPROVAL, {})


def test_what_was_current_is_what_was_applied_also_after_a_challenger_was_sent_back(place: Settings, tmp_path: Path) -> None:
    settings = under(place, tmp_path, SEES_WHAT_IS_CURRENT)
    assert promote(settings, trained(settings, "back")).status is PromotionStatus.APPLIED
    trained(settings, "back", seed=2)
    sent_back(settings, "back:2", "prod")
    assert promote(settings, trained(settings, "back", seed=3)).status is PromotionStatus.APPLIED
    assert settings.trust_root is not None
    assert problems(checked(exported(settings, "back@prod", tmp_path / "out"), settings.trust_root)) == []


def _never_asked_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(agreeing, "waits_for", lambda *_: None)


def _bribed_at_the_end(patch: pytest.MonkeyPatch) -> None:
    _bribed(patch, (Stage.APPLY,))


@pytest.mark.parametrize(
    ("trick", "said"),
    [
        (_never_asked_again, r"no entry here holds what its rules saw when it was judged \(apply\)"),
        (_bribed_at_the_end, r"judged again its rule at-the-end is not a yes: It scored 0\.7\."),
    ],
)
def test_a_service_that_does_not_judge_at_the_end_is_found(
    at_the_end: Settings, tmp_path: Path, trick: Callable[[pytest.MonkeyPatch], None], said: str
) -> None:
    model = trick.__name__.strip("_").replace("_", "-")
    with pytest.MonkeyPatch.context() as patch:
        trick(patch)
        assert promote(at_the_end, trained(at_the_end, model), quality=0.7).status is PromotionStatus.APPLIED
    with pytest.raises(EvidenceBroken, match=f"step 7, policy: policy: {said}"):
        exported(at_the_end, f"{model}@prod", tmp_path / "out")
