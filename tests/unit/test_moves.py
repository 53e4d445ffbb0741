"""The moves a status may make: the records and the database must agree."""

import re

import pytest

from aiinfra_core import migrate
from aiinfra_core.domain import promotion, rollout, training

_ENDS = frozenset(rollout.RolloutStatus) - rollout.OPEN
_OF_ROLLOUTS = {status: frozenset() if status in _ENDS else (rollout.OPEN - {status}) | _ENDS for status in rollout.RolloutStatus}


@pytest.mark.parametrize(
    ("table", "moves"),
    [("training_jobs", training.ALLOWED_MOVES), ("model_promotions", promotion.ALLOWED_MOVES), ("rollouts", _OF_ROLLOUTS)],
)
def test_the_database_allows_exactly_the_moves_of_the_records(table: str, moves: dict[str, frozenset[str]]) -> None:
    schema = (migrate.sql_folder() / "schema.sql").read_text()
    trigger = re.search(rf"TRIGGER moves BEFORE UPDATE ON {table} .*?;", schema, re.DOTALL)
    assert trigger is not None
    allowed = set(re.findall(r"'(\w+)>(\w+)'", trigger.group()))
    assert allowed == {(str(before), str(after)) for before, afters in moves.items() for after in afters}


def test_every_status_of_the_database_is_one_of_the_records() -> None:
    schema = (migrate.sql_folder() / "schema.sql").read_text()
    listed = [
        set(re.findall(r"'(\w+)'", check))
        for check in re.findall(r"status +text NOT NULL CHECK \(status IN \((.*?)\)\)", schema, re.DOTALL)
    ]
    assert listed == [set(training.JobStatus), set(promotion.PromotionStatus), set(rollout.RolloutStatus)]
