"""What Prefect shows for a flow before and while it runs: its form, and how far a training is."""

from typing import Any

import pytest
from prefect import Flow
from prefect.utilities.callables import parameter_schema

from flows.deliver import deliver
from flows.evaluate import evaluate
from flows.pipeline import pipeline
from flows.promote import promote
from flows.register import register
from flows.reproduce import reproduce
from flows.rollback import rollback
from flows.rollout import rollout
from flows.settle import settle
from flows.train import train
from flows.verify import verify
from tasks.progress import percent_done

FLOWS = (train, register, evaluate, reproduce, promote, rollback, pipeline, verify, settle, rollout, deliver)


def _fields(flow: Flow[..., Any]) -> dict[str, Any]:
    schema = parameter_schema(flow).model_dump()
    definitions = schema["definitions"].items()
    records = {f"{name}.{field}": about for name, record in definitions for field, about in record.get("properties", {}).items()}
    own = {name: about for name, about in schema["properties"].items() if "$ref" not in str(about)}
    return records | own


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_every_field_of_a_form_says_what_it_is_for(flow: Flow[..., Any]) -> None:
    fields = _fields(flow)
    assert fields or flow in (settle, rollout)
    assert [name for name, about in fields.items() if not about.get("description")] == []


@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.name)
def test_no_form_asks_for_a_secret(flow: Flow[..., Any]) -> None:
    asked = " ".join(_fields(flow)).lower()
    assert [word for word in ("password", "secret", "token", "key", "credential", "database") if word in asked] == []


@pytest.mark.parametrize(
    ("line", "percent"),
    [
        ("tree 50 of 200, loss 0.4", 25.0),
        ("epoch 3/10", 30.0),
        ("done: 12.5 %", 12.5),
        ("7/7", 100.0),
        ("read 15000 days with 24 measurements each", None),
        ("8 of 7", None),
        ("0 of 0", None),
        ("gained 250 %", None),
        ("", None),
    ],
)
def test_a_line_of_output_tells_how_far_the_training_is(line: str, percent: float | None) -> None:
    assert percent_done(line) == percent
