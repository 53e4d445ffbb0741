"""Rollouts in an export: what earned its traffic is shown to have, look by look; whoever cheated on the way is found."""

import json
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aiinfra_core import canary, verifying
from aiinfra_core.asking import Asked
from aiinfra_core.domain.rollout import Action, Look, Rollout, Verdict
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import bundle
from aiinfra_core.registry import previous, rollout_moves
from aiinfra_core.registry.previous import Target
from aiinfra_core.registry.rollout_moves import Ordered
from aiinfra_core.rolling_out import ordering
from aiinfra_core.settings import Settings
from tests.simulators import kept_rollouts
from tests.simulators.exports import Known, checked, copied, exported, installation, problems, promoted, signed_again, trained
from tests.simulators.kept_rollouts import SPEC, begun, go_back, look, observe, order, sent_back

Trick = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(scope="module")
def place(postgres_server: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Give an installation with a trust root."""
    with installation(postgres_server, migrated_template, tmp_path_factory.mktemp("rollouts")) as settings:
        yield settings


@pytest.fixture(scope="module")
def known(place: Settings, tmp_path_factory: pytest.TempPathFactory) -> Known:
    """Give an export of rollouts that were completed by evidence and by orders, of an override, and of a rollback by hand."""
    first, second = trained(place), trained(place, seed=2)
    promoted(place, first, "staging")
    promoted(place, second)
    kept_rollouts.roll_out(place)
    export = exported(place, "rainfall@staging", tmp_path_factory.mktemp("known") / "out")
    assert place.trust_root is not None
    return Known(export, export, export, place.trust_root, place)


@pytest.fixture(scope="module")
def by_long_queries(place: Settings, tmp_path_factory: pytest.TempPathFactory) -> Known:
    """Give an export of a rollout whose spec and readings are so long that the log holds them by digest: with an operator's SQL."""
    folder = tmp_path_factory.mktemp("long")
    counts = "VALUES ('champion', 5000, 100), ('challenger', 5000, 100)"
    statement = f"SELECT * FROM ({counts}) AS seen (arm, units, bad) -- {'as the operator counts them ' * 200}"
    (folder / "rollouts.yaml").write_text(json.dumps({"queries": {"counts": {"kind": "sql", "statement": statement}}}))
    asking = place.model_copy(update={"rollouts": folder / "rollouts.yaml", "signals_database_url": place.database_url})
    promoted(place, trained(place, "hail"))
    trained(place, "hail", seed=2)
    signal = SPEC.signals[0].model_copy(update={"source": "counts"})
    rollout = begun(asking, "hail:2", "prod", SPEC.model_copy(update={"weights": (50.0, 100.0), "signals": (signal,)}))
    assert look(asking, rollout, rollout.created_at + timedelta(minutes=1)).verdict is Verdict.ADVANCE
    export = exported(place, "hail@prod", folder / "out")
    assert place.trust_root is not None
    return Known(export, export, export, place.trust_root, place)


def _rows(folder: Path, table: str) -> list[tuple[Path, dict[str, Any]]]:
    told = [(path, json.loads(json.loads(path.read_bytes())["payload"])["rows"]) for path in sorted((folder / "events").iterdir())]
    return [(path, rows[table]) for path, rows in told if table in rows]


def test_a_whole_story_of_rollouts_verifies_without_a_database(known: Known) -> None:
    report = checked(known.export, known.pinned)
    assert problems(report) == []
    assert report.passed
    assert report.steps[14].detail == (
        "promotions earned their traffic (1); promotions got their traffic by order alone (1); "
        "each verdict follows once more from its counts (looks: 6); steps: 4, of which 2 by a person: olga"
    )
    actions = [row["action"] for _, row in _rows(known.export, "rollout_orders")]
    assert actions[:4] == ["pause", "resume", "advance", "advance"]


def test_long_specs_and_readings_are_in_the_export_and_judged_again(by_long_queries: Known) -> None:
    report = checked(by_long_queries.export, by_long_queries.pinned)
    assert (problems(report), report.passed) == ([], True)
    (look_row,) = (row for _, row in _rows(by_long_queries.export, "canary_looks"))
    assert {type(look_row["readings"]), *(type(row["spec"]) for _, row in _rows(by_long_queries.export, "rollouts"))} == {dict}


def test_an_export_without_rollouts_has_nothing_to_say_about_them(place: Settings, tmp_path: Path) -> None:
    promoted(place, trained(place, "snow"))
    report = checked(exported(place, "snow@prod", tmp_path / "out"), place.trust_root or Path())
    assert (report.steps[14].outcome, report.passed) == ("not-applicable", True)


def test_the_check_in_the_house_judges_every_rollout_again_and_knows_every_order(known: Known) -> None:
    steps = [step for version in (1, 2) for step in verifying.verify_model(known.settings, f"rainfall:{version}")[1]]
    assert [step for step in steps if not step.passed] == []
    names = [step.name for step in steps if "rollout" in step.name]
    assert names.count("rollout of sequence 2 in staging (completed)") == 1
    assert names.count("rollout of sequence 3 in staging (rolled_back)") == 1
    assert names.count("rollout of sequence 2 in prod (paused)") == 1
    assert names.count("order to resume the rollout of sequence 2 in staging") == 1


def _gone(folder: Path, *paths: Path) -> None:
    for path in paths:
        path.unlink()
        (folder / bundle.proof_name(int(path.stem))).unlink()


def _without_a_look(folder: Path) -> None:
    _gone(folder, _rows(folder, "canary_looks")[0][0])


def _without_its_end(folder: Path) -> None:
    _gone(
        folder,
        next(
            path
            for path, row in _rows(folder, "rollouts")
            if row["status"] == "completed" and '"canary_looks' in path.read_text().replace("\\", "")
        ),
    )


def _without_the_rollout(folder: Path) -> None:
    first = _rows(folder, "rollouts")[0][1]["id"]
    _gone(folder, *(path for path, row in _rows(folder, "rollouts") if row["id"] == first and "rollout_orders" not in path.read_text()))


def _without_what_a_look_saw(folder: Path) -> None:
    (told,) = (row["readings"]["sha256"] for _, row in _rows(folder, "canary_looks"))
    (folder / bundle.value_name(told)).unlink()


def _without_its_spec(folder: Path) -> None:
    told = {row["spec"]["sha256"] for _, row in _rows(folder, "rollouts")}
    (folder / bundle.value_name(told.pop())).unlink()


def _without_what_was_overridden(folder: Path) -> None:
    _gone(folder, next(path for path, row in _rows(folder, "rollouts") if row["status"] == "rolled_back"))


def _without_what_was_replaced(folder: Path) -> None:
    _gone(folder, next(path for path, row in _rows(folder, "model_promotions") if row["status"] == "rolled_back" and row["applied_at"]))


@pytest.mark.parametrize(
    ("leave_out", "said"),
    [
        (_without_a_look, "looks in .* is not what was signed"),
        (_without_its_end, "no entry before that completed its rollout"),
        (_without_the_rollout, "starts no rollout by the spec|is not what was signed|its rollout is missing"),
        (_without_what_was_overridden, "was not sent back before it, as far as is shown here"),
        (_without_what_was_replaced, "no entry here says that what it replaces was rolled back"),
    ],
)
def test_what_is_left_out_of_a_rollout_is_missed(known: Known, tmp_path: Path, leave_out: Callable[[Path], None], said: str) -> None:
    _check_is_missed(known, tmp_path, leave_out, said)


@pytest.mark.parametrize(
    ("leave_out", "said"),
    [(_without_what_a_look_saw, "what the look in .* saw is missing"), (_without_its_spec, "the spec of its rollout is missing")],
)
def test_a_long_text_that_is_left_out_is_missed(
    by_long_queries: Known, tmp_path: Path, leave_out: Callable[[Path], None], said: str
) -> None:
    _check_is_missed(by_long_queries, tmp_path, leave_out, said)


def _check_is_missed(known: Known, tmp_path: Path, leave_out: Callable[[Path], None], said: str) -> None:
    folder = copied(known.export, tmp_path / "forged")
    leave_out(folder)
    report = checked(signed_again(folder, known.settings), known.pinned)
    assert any(re.search(said, problem.detail) for problem in report.steps[14].problems), problems(report)
    assert not report.passed


def _biased(patch: pytest.MonkeyPatch) -> None:
    """The judge says that a challenger with ten times the errors is fine."""
    judge = canary.judge

    def bribed(*args: Any) -> Look:
        return judge(*args).model_copy(update={"verdict": Verdict.ADVANCE, "reason": "fine"})

    patch.setattr(canary, "judge", bribed)


def _forged_numbers(patch: pytest.MonkeyPatch) -> None:
    """And what it made of the counts is made up too."""
    judge = canary.judge

    def bribed(*args: Any) -> Look:
        found = judge(*args)
        signals = tuple(one.model_copy(update={"rollback": 0.0, "advance": 9.0}) for one in found.judged.signals)
        judged = found.judged.model_copy(update={"signals": signals})
        return found.model_copy(update={"verdict": Verdict.ADVANCE, "reason": "fine", "judged": judged})

    patch.setattr(canary, "judge", bribed)


def _weaker_spec(patch: pytest.MonkeyPatch) -> None:
    """The rollout runs by another spec than the manifest names, by which the challenger is fine."""
    first_row = rollout_moves._first_row
    weaker = SPEC.model_copy(update={"margin": 5.0, "kill_share": 1.0, "advance_alpha": 0.1})

    def other(*args: Any) -> dict[str, Any]:
        return {**first_row(*args), "spec": weaker.document(), "spec_digest": weaker.digest()}

    patch.setattr(rollout_moves, "_first_row", other)


def _forged(patch: pytest.MonkeyPatch, place: Settings, trick: Trick, model: str, failing: float) -> None:
    promoted(place, trained(place, model))
    trained(place, model, seed=2)
    trick(patch)
    rollout = begun(place, f"{model}:2", "prod")
    for _ in SPEC.steps[:-1]:
        observe(place, rollout, champion=0.01, challenger=failing)
        look(place, rollout)


@pytest.mark.parametrize(
    ("trick", "failing", "said"),
    [
        (_biased, 0.03, "judged again look 1: it says advance, its numbers say rollback"),
        pytest.param(_forged_numbers, 0.03, "judged again look 1: it says advance, its numbers say rollback", marks=pytest.mark.slow),
        (_weaker_spec, 0.02, "spec_digest in .* is not what was signed"),
    ],
)
def test_a_service_that_cheats_for_a_challenger_cannot_export_it(
    place: Settings, tmp_path: Path, trick: Trick, failing: float, said: str
) -> None:
    model = trick.__name__.strip("_").replace("_", "-")
    with pytest.MonkeyPatch.context() as patch:
        _forged(patch, place, trick, model, failing)
    with pytest.raises(EvidenceBroken, match=f"step 14, rollouts: .*{said}"):
        exported(place, f"{model}@prod", tmp_path / "out")


def _ordered_in_another_name(patch: pytest.MonkeyPatch, place: Settings, model: str) -> None:
    signed = ordering.signed

    def other(*args: Any) -> Ordered:
        given = signed(*args)
        return Ordered(given.order.model_copy(update={"ordered_by": "somebody-else"}), given.attestation)

    patch.setattr(ordering, "signed", other)
    _ordered_to_the_end(place, begun(place, f"{model}:2", "prod"))


def _overrides_what_was_not_sent_back(patch: pytest.MonkeyPatch, place: Settings, model: str) -> None:
    fine = begun(place, f"{model}:2", "prod")
    _ordered_to_the_end(place, fine)
    patch.setattr(Asked, "overrides_nothing", False)
    _ordered_to_the_end(place, begun(place, f"{model}:1", "prod", overrides=fine.id))


def _overrides_other_bytes(patch: pytest.MonkeyPatch, place: Settings, model: str) -> None:
    bad = sent_back(place, f"{model}:2", "prod")
    patch.setattr(Asked, "overrides_nothing", False)
    other = trained(place, model, seed=3)
    _ordered_to_the_end(place, begun(place, f"{model}:{other.version}", "prod", overrides=bad.id))


def _goes_back_to_what_never_was_there(patch: pytest.MonkeyPatch, place: Settings, model: str) -> None:
    other = trained(place, model, seed=3)
    patch.setattr(previous, "good", lambda *_: Target(other.id, other.version, None))
    go_back(place, "prod", model)


def _ordered_to_the_end(place: Settings, rollout: Rollout) -> None:
    for _ in SPEC.steps[:-1]:
        order(place, rollout, Action.ADVANCE)


@pytest.mark.parametrize(
    ("cheat", "said"),
    [
        (_ordered_in_another_name, "ordered_by in .* is not what was signed"),
        (_overrides_what_was_not_sent_back, "the rollout that it overrides was not sent back before it"),
        pytest.param(_overrides_other_bytes, "the rollout that it overrides was of other bytes", marks=pytest.mark.slow),
        (_goes_back_to_what_never_was_there, "it goes back to what had not been applied there before"),
    ],
)
def test_a_service_that_orders_overrides_or_goes_back_as_nobody_may_cannot_export_it(
    place: Settings, tmp_path: Path, cheat: Callable[[pytest.MonkeyPatch, Settings, str], None], said: str
) -> None:
    model = cheat.__name__.strip("_").replace("_", "-")
    promoted(place, trained(place, model))
    trained(place, model, seed=2)
    with pytest.MonkeyPatch.context() as patch:
        cheat(patch, place, model)
    with pytest.raises(EvidenceBroken, match=f"step 14, rollouts: .*{said}"):
        exported(place, f"{model}@prod", tmp_path / "out")
