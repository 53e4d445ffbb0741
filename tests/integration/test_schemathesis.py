"""The whole API against its own OpenAPI document: whatever is sent, the answer is one that is documented, and nothing breaks.

Requests are made from docs/openapi.json by schemathesis, valid ones and invalid ones, and sent with the debug token. Where an id of
something recorded fits, one is often put in, so that more than 404 is seen.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from aiinfra_core import database, jobs, registering, rolling_out, verifying
from aiinfra_core.cards import write_card
from aiinfra_core.domain.card import CardText
from aiinfra_core.domain.promotion import PromotionRequest
from aiinfra_core.domain.rollout_spec import RolloutSpec
from aiinfra_core.promoting import promote
from aiinfra_core.registry import rollouts
from aiinfra_core.settings import Settings
from scripts.openapi import WRITTEN
from tests.factories import make_training_repository, training_spec
from tests.simulators.approvers import registered
from tests.simulators.http_story import open_to_debug
from tests.simulators.postgres import made_database
from tests.simulators.served import environment, started
from tests.simulators.service import AS_DEBUG

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
SCHEMA = schemathesis.openapi.from_dict(json.loads(WRITTEN.read_text()))
SCHEMA.config.generation.with_security_parameters = False  # they come with the debug token alone: two proofs are none
OPERATIONS = {operation.label: operation for operation in (found.ok() for found in SCHEMA.get_all_operations() if isinstance(found, Ok))}
SEEN: dict[str, set[int]] = defaultdict(set)
Known = dict[str, str]
Case = schemathesis.Case[Any]


@pytest.fixture(scope="module")
def service(
    postgres_server: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Known, Settings]]:
    """Serve a registry that holds a model; give the address and the ids of what it holds by the name of the parameter."""
    folder = tmp_path_factory.mktemp("service")
    with made_database(postgres_server, migrated_template) as url:
        made = Settings(
            AI_INFRA_DATABASE_URL=url,
            home=folder / "home",
            artifact_root=(folder / "artifacts").as_uri(),
            signer_key_b64="wQ" + "A" * 41 + "=",
            signer_id="test",
        )
        settings = open_to_debug(made)
        known = _fill(settings, folder)
        with started(folder / "served", environment(settings, AI_INFRA_RATE_PER_SECOND="0"), "--workers", "1") as served:
            yield served.url, known, settings


def _fill(settings: Settings, folder: Path) -> Known:
    job = jobs.train(settings, training_spec(make_training_repository(folder / "rainfall")), requested_by="ada", on_output=lambda _: None)
    artifact = registering.register(settings, registering.registration_of(job))
    request = PromotionRequest(artifact=str(artifact.id), environment="staging", evaluation={"quality": 0.9}, requested_by="ada")
    promotion = promote(settings, request)
    for version in (None, artifact.version):
        write_card(settings, CardText(description="Rain, a day ahead"), model="rainfall", version=version, written_by="ada")
    return {
        "trainingJobId": str(job.id),
        "artifactId": str(artifact.id),
        "artifactUri": artifact.artifact_uri,
        "checksum": artifact.checksum,
        "environment": "staging",
        "env": "staging",
        "model": "rainfall",
        "name": "rainfall",
        "/ai-infra/jobs/{job_id}": str(job.id),
        "/ai-infra/models/{id}": str(artifact.id),
        "/ai-infra/promotions/{id}": str(promotion.id),
        "/ai-infra/rollouts/{id}": str(_rolled_out(settings)),
    }


def _rolled_out(settings: Settings) -> UUID:
    for content in ("first", "second"):
        artifact = registered(settings, content, model="sunshine")
        asked = {"artifact": str(artifact.id), "environment": "staging", "evaluation": {"quality": 0.9}, "requested_by": "ada"}
        promotion = promote(settings, PromotionRequest(**asked, rollout=RolloutSpec()))
    with database.autocommit(settings) as connection:
        found = rollouts.of_promotion(connection, promotion.id)
    assert found is not None
    rolling_out.look_at(settings, found.id)
    return found.id


def _checked(operation: Any, service: tuple[str, Known, Settings], examples: int, **more: Any) -> None:
    address, known, _ = service
    cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in schemathesis.GenerationMode])

    @hypothesis.settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck), **more)
    @given(case=cases, knowing=st.booleans())
    def answers_as_documented(case: Case, knowing: bool) -> None:
        if knowing and case.meta is not None and case.meta.generation.mode is schemathesis.GenerationMode.POSITIVE:
            _put_in(case, known)
        answer = case.call_and_validate(base_url=address, headers=AS_DEBUG, checks=CHECKS)
        SEEN[operation.label].add(answer.status_code)

    answers_as_documented()


def _put_in(case: Case, known: Known) -> None:
    for place in (case.path_parameters, case.query, case.body):
        if isinstance(place, dict):
            for name in list(place):
                value = known.get(name) or known.get(case.operation.path.partition("}")[0] + "}")
                if value is not None and (place is case.path_parameters or _fits(value, place[name])):
                    place[name] = value


def _fits(value: str, generated: Any) -> bool:
    return isinstance(generated, str) and (_is_id(value) == _is_id(generated))


def _is_id(text: str) -> bool:
    try:
        return bool(UUID(text))
    except ValueError:
        return False


def test_the_document_is_what_it_says_it_is() -> None:
    assert str(SCHEMA.raw_schema["openapi"]).startswith("3.1")
    SCHEMA.validate()
    assert len(OPERATIONS) > 20


@pytest.mark.parametrize("label", OPERATIONS)
def test_every_operation_answers_as_documented(label: str, service: tuple[str, Known, Settings]) -> None:
    _checked(OPERATIONS[label], service, 20, derandomize=True)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("label", OPERATIONS)
def test_every_operation_answers_as_documented_to_many_more(label: str, service: tuple[str, Known, Settings]) -> None:
    _checked(OPERATIONS[label], service, 100)


def test_after_all_that_most_operations_were_seen_to_work_and_the_history_verifies(service: tuple[str, Known, Settings]) -> None:
    worked = [label for label, statuses in SEEN.items() if min(statuses) < 400]
    assert len(worked) >= 0.7 * len(SEEN), sorted(SEEN.keys() - set(worked))
    assert verifying.verify_history(service[2]).findings == []
