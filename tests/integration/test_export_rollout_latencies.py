"""What was frozen of the champion's latency in an export: what the looks measured, and above which they counted."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from aiinfra_core import verifying
from aiinfra_core.domain.rollout import Reading, Rollout, Verdict
from aiinfra_core.domain.rollout_spec import SignalKind, SignalSpec
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.registry import rollout_moves
from aiinfra_core.rolling_out import hearing
from aiinfra_core.rolling_out.hearing import Said
from aiinfra_core.settings import Settings
from tests.integration.test_export_rollouts import _rows
from tests.simulators.exports import checked, exported, installation, problems, promoted, trained
from tests.simulators.kept_rollouts import SPEC, begun, look, observe
from tests.simulators.open_rollouts import now, observe_latencies

LATENCY = SignalSpec(name="latency", kind=SignalKind.LATENCY, alpha=0.004, advances=False)
BY_LATENCY = SPEC.model_copy(update={"weights": (50.0, 100.0), "signals": (*SPEC.signals, LATENCY)})
Trick = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(scope="module")
def place(postgres_server: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Give an installation with a trust root."""
    with installation(postgres_server, migrated_template, tmp_path_factory.mktemp("latencies")) as settings:
        yield settings


def _frozen(place: Settings, model: str) -> Rollout:
    promoted(place, trained(place, model))
    trained(place, model, seed=2)
    rollout = begun(place, f"{model}:2", "prod", BY_LATENCY)
    _observe(place, rollout, 300)
    assert look(place, rollout).verdict is Verdict.HOLD
    return rollout


def _earned(place: Settings, model: str) -> None:
    rollout = _frozen(place, model)
    _observe(place, rollout, 10_000)
    observe(place, rollout, champion=0.02, challenger=0.02)
    assert look(place, rollout).verdict is Verdict.ADVANCE


def _observe(place: Settings, rollout: Rollout, units: int) -> None:
    arms = {arm: {20: units * 9 // 10, 30: units - units * 9 // 10} for arm in ("champion", "challenger")}
    assert observe_latencies(place, now(place, rollout), arms)


def test_what_was_frozen_at_a_look_is_what_the_next_ones_count_above(place: Settings, tmp_path: Path) -> None:
    _earned(place, "fog")
    export = exported(place, "fog@prod", tmp_path / "out")
    assert place.trust_root is not None
    assert problems(checked(export, place.trust_root)) == []
    frozen = [row["frozen"] for _, row in _rows(export, "rollouts")]
    assert frozen[0] is None
    assert frozen[1] == frozen[2] != "{}"
    assert _in_the_house(place, "fog:2") == [(True, "every verdict follows again from its counts (looks: 2)")]


def _in_the_house(place: Settings, reference: str) -> list[tuple[bool, str]]:
    steps = verifying.verify_model(place, reference)[1]
    return [(step.passed, step.detail) for step in steps if step.name.startswith("rollout of")]


def _frozen_elsewhere(patch: pytest.MonkeyPatch) -> None:
    """The service freezes ten times what it measured."""
    hold = rollout_moves.hold

    def bribed(*args: Any, frozen: dict[str, float] | None, **more: Any) -> Any:
        return hold(*args, frozen={name: 10 * seconds for name, seconds in (frozen or {}).items()} or None, **more)

    patch.setattr(rollout_moves, "hold", bribed)


def _counted_elsewhere(patch: pytest.MonkeyPatch) -> None:
    """The service counts above other seconds than were frozen."""
    hear = hearing.hear

    def bribed(*args: Any) -> Said:
        said = hear(*args)
        return Said(tuple(map(_later, said.readings)), said.frozen)

    def _later(one: Reading) -> Reading:
        return one.model_copy(update={"seconds": 10 * one.seconds}) if one.seconds and one.champion else one

    patch.setattr(hearing, "hear", bribed)


@pytest.mark.parametrize(
    ("trick", "said"),
    [
        (_frozen_elsewhere, "frozen in .* is not what the looks measured"),
        pytest.param(_counted_elsewhere, "look 2 has .* as the seconds of latency, where .* is bad", marks=pytest.mark.slow),
    ],
)
def test_a_service_that_makes_slowness_out_to_be_another_cannot_export_it(place: Settings, tmp_path: Path, trick: Trick, said: str) -> None:
    model = trick.__name__.strip("_").replace("_", "-")
    with pytest.MonkeyPatch.context() as patch:
        trick(patch)
        _earned(place, model)
    with pytest.raises(EvidenceBroken, match=f"step 14, rollouts: .*{said}"):
        exported(place, f"{model}@prod", tmp_path / "out")
    assert [passed for passed, _ in _in_the_house(place, f"{model}:2")] == [False]


def test_the_check_in_the_house_compares_what_an_open_rollout_froze(place: Settings) -> None:
    with pytest.MonkeyPatch.context() as patch:
        _frozen_elsewhere(patch)
        _frozen(place, "mist")
    assert _in_the_house(place, "mist:2") == [(False, "what is frozen of the champion's latency is not what the looks measured")]
