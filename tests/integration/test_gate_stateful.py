"""No sequence of calls makes a model current without every yes that was asked for, or leaves two current models; against a real Postgres.

What has to hold is worked out here again, from the signed history alone and by trying every way to seat the owners.
"""

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import select

from aiinfra_core import approving, database, promoting
from aiinfra_core.approving import waiting
from aiinfra_core.domain.promotion import Promotion, PromotionStatus
from aiinfra_core.errors import AiInfraError
from aiinfra_core.evidence import dsse
from aiinfra_core.log_tables import audit_events
from aiinfra_core.registry import dossier, promotion_moves
from aiinfra_core.settings import Settings
from aiinfra_core.tables import environment_pointers, model_promotions
from tests.simulators import approvers
from tests.simulators.approvers import PEOPLE, TWO
from tests.simulators.trust_files import signer

PLACES = {"prod": TWO["prod"], "staging": dict[str, int]()}
NAMES = st.sampled_from(sorted(PEOPLE))


class Gate(RuleBasedStateMachine):
    """Anybody may ask, agree, forge, take back and let time pass, in any order."""

    place: Settings

    def __init__(self) -> None:
        super().__init__()
        self.model = f"m{uuid4().hex}"
        self.artifacts = [approvers.registered(self.place, f"{self.model}-{number}", model=self.model) for number in range(2)]
        self.asked: list[Promotion] = []

    @rule(number=st.integers(0, 1), environment=st.sampled_from(sorted(PLACES)), quality=st.sampled_from([0.9, 0.2]), by=NAMES)
    def ask(self, number: int, environment: str, quality: float, by: str) -> None:
        promotion = approvers.asked(self.place, self.artifacts[number], environment, quality, by)
        self.asked = [*(one for one in self.asked if one.id != promotion.id), promotion][-4:]

    @precondition(lambda self: self.asked)
    @rule(which=st.integers(0, 3), name=NAMES, key=st.none() | NAMES)
    def agree(self, which: int, name: str, key: str | None) -> None:
        with suppress(AiInfraError):
            approvers.agree(self.place, self._one(which), name, key)

    @precondition(lambda self: self.asked)
    @rule(which=st.integers(0, 3), name=NAMES, roles=st.sets(st.sampled_from(["security", "ml-lead", "approver"])))
    def agree_by_name(self, which: int, name: str, roles: set[str]) -> None:
        with suppress(AiInfraError):
            approvers.agree_by_name(self.place, self._one(which), name, *roles)

    @precondition(lambda self: len(self.asked) > 1)
    @rule(which=st.integers(0, 3), other=st.integers(0, 3), name=NAMES)
    def agree_with_what_was_signed_for_another(self, which: int, other: int, name: str) -> None:
        with suppress(AiInfraError):
            payload = approving.payload_to_sign(self.place, self._one(other).id, name, datetime.now(UTC))
            one = self._one(which)
            approving.approve(self.place, one.id, manifest=one.manifest or "", envelope=dsse.sign(payload, signer(name)))

    @precondition(lambda self: self.asked)
    @rule(which=st.integers(0, 3), number=st.integers(0, 3))
    def take_back(self, which: int, number: int) -> None:
        given = approvers.given(self.place, self._one(which))
        with suppress(AiInfraError):
            approvers.take_back(self.place, given[number % len(given)]) if given else None

    @precondition(lambda self: self.asked)
    @rule(which=st.integers(0, 3))
    def expire(self, which: int) -> None:
        with database.autocommit(self.place) as connection:
            row = dossier.of_promotion(connection, self._one(which).id).row
            promotion_moves.expire(connection, row, "in time nobody agreed", at=datetime.now(UTC))

    @precondition(lambda self: self.asked)
    @rule(which=st.integers(0, 3))
    def apply_at_once(self, which: int) -> None:
        promoting.apply_promotion(self.place, self._one(which).id)

    @rule()
    def go_on(self) -> None:
        waiting.go_on(self.place)

    @invariant()
    def nothing_is_current_without_every_yes(self) -> None:
        with database.transaction(self.place) as tx:
            rows = tx.execute(select(model_promotions).where(model_promotions.c.model == self.model)).mappings().all()
            pointers = tx.execute(select(environment_pointers).where(environment_pointers.c.model == self.model)).mappings().all()
            told = [json.loads(one) for one in tx.execute(select(audit_events.c.payload).order_by(audit_events.c.seq)).scalars()]
        applied = [row for row in rows if row["status"] in (PromotionStatus.APPLIED, PromotionStatus.ROLLED_BACK)]
        for row in applied:
            _check_every_yes(row, [one for one in told if one["subject"] == str(row["id"])])
        for pointer in pointers:
            here = [row for row in applied if row["environment"] == pointer["environment"]]
            newest = max(here, key=lambda row: row["sequence_seen"])
            assert (len(here), newest["id"], newest["artifact_id"]) == (
                pointer["sequence"],
                pointer["promotion_id"],
                pointer["artifact_id"],
            )
        assert {row["environment"] for row in applied} == {pointer["environment"] for pointer in pointers}

    def _one(self, which: int) -> Promotion:
        return self.asked[which % len(self.asked)]


def _check_every_yes(row: Any, told: list[dict[str, Any]]) -> None:
    order = [one["type"] for one in told]
    before = told[: order.index("promotion.applied")]
    decision = json.loads(row["decision"])
    assert decision["allowed"] is True
    assert json.loads(row["evaluation"])["quality"] == 0.9
    withdrawn = {one["rows"]["approval_withdrawals"]["approval_id"] for one in before if one["type"] == "approval.withdrawn"}
    given = [one["rows"]["approvals"] for one in before if one["type"] == "approval.given"]
    owners: dict[str, set[str]] = {}
    for one in given:
        if one["id"] not in withdrawn and one["manifest"] == row["manifest"] and one["approver"] != row["requested_by"]:
            owners.setdefault(one["approver"], set()).update(json.loads(one["roles"]))
    seats = [role for role, count in PLACES[row["environment"]].items() for _ in range(count)]
    seated = permutations(owners, len(seats))
    assert any(all(seat in owners[owner] for seat, owner in zip(seats, order, strict=True)) for order in seated)


@pytest.fixture
def machine(settings: Settings, tmp_path: Path) -> Iterator[type[Gate]]:
    place = approvers.settings_with_approvers(settings, tmp_path / "trust")
    yield type("GateHere", (Gate,), {"place": place})


def _run(machine: type[Gate], examples: int, steps: int) -> None:
    chosen = hypothesis_settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck), print_blob=True
    )
    run_state_machine_as_test(machine, settings=chosen)


def test_no_sequence_of_calls_makes_a_model_current_without_every_yes(machine: type[Gate]) -> None:
    _run(machine, examples=8, steps=14)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_long_sequence_of_calls_makes_a_model_current_without_every_yes(machine: type[Gate]) -> None:
    _run(machine, examples=120, steps=40)
