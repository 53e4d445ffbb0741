"""One registration is one read and one write, whoever else registers at the same moment."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, event, func, select

from aiinfra_core import artifact_store, canonical_json, database, registering, verifying
from aiinfra_core.audit_log.sequence import sequence_pending
from aiinfra_core.columns import metadata
from aiinfra_core.domain.artifact import Artifact, RegistrationRequest
from aiinfra_core.errors import AiInfraError, BadInput, Conflict, Misconfigured
from aiinfra_core.keys import audit_signer
from aiinfra_core.log_tables import audit_events
from aiinfra_core.settings import Settings
from aiinfra_core.tables import model_artifacts, models

AT_ONCE = 64


@pytest.fixture
def request_for(settings: Settings, tmp_path: Path) -> Callable[..., RegistrationRequest]:
    """Give a function that stores some bytes and returns the request that registers them."""

    def stored(content: str = "weights", **more: Any) -> RegistrationRequest:
        source = tmp_path / "model.bin"
        source.write_text(content)
        kept = artifact_store.put(artifact_store.location(settings), source, f"uploads/{uuid4()}")
        return RegistrationRequest(
            **{"model": "rainfall", "artifact_uri": kept.uri, "checksum": kept.checksum, "registered_by": "rita"} | more
        )

    return stored


def _all_at_once(settings: Settings, asked: list[RegistrationRequest]) -> list[Artifact | AiInfraError]:
    answers: list[Artifact | AiInfraError] = []
    start = threading.Barrier(len(asked))

    def run(request: RegistrationRequest) -> None:
        start.wait()
        try:
            answers.append(registering.register(settings, request))
        except AiInfraError as error:
            answers.append(error)

    threads = [threading.Thread(target=run, args=[request]) for request in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == len(asked)
    return answers


def _counted(settings: Settings) -> dict[str, int]:
    with database.transaction(settings) as tx:
        return {
            name: tx.execute(select(func.count()).select_from(metadata.tables[name])).scalar_one()
            for name in ("request_ids", "attestations", "models", "model_artifacts", "audit_events", "audit_outbox")
        }


def _no_gaps(settings: Settings) -> bool:
    with database.transaction(settings) as tx:
        versions = list(tx.execute(select(model_artifacts.c.version).order_by(model_artifacts.c.version)).scalars())
        last = tx.execute(select(models.c.last_version)).scalar_one()
    return versions == list(range(1, last + 1))


def test_of_64_who_register_versions_of_one_model_each_gets_one_and_none_is_left_out(
    settings: Settings, request_for: Callable[..., RegistrationRequest]
) -> None:
    first = request_for()
    asked = [first.model_copy(update={"request_id": f"r{number}"}) for number in range(AT_ONCE)]
    answers = _all_at_once(settings, asked)
    assert sorted(answer.version if isinstance(answer, Artifact) else 0 for answer in answers) == list(range(1, AT_ONCE + 1))
    sequence_pending(settings, audit_signer(settings))
    assert _no_gaps(settings)
    assert _counted(settings) == {
        **dict.fromkeys(("request_ids", "model_artifacts"), AT_ONCE),
        **dict.fromkeys(("attestations", "audit_events"), 2 * AT_ONCE),  # of the registration and of the scan
        "models": 1,
        "audit_outbox": 0,
    }
    assert verifying.verify_history(settings).findings == []


def test_of_64_who_register_the_same_one_does_and_all_get_it(settings: Settings, request_for: Callable[..., RegistrationRequest]) -> None:
    answers = _all_at_once(settings, [request_for()] * AT_ONCE)
    assert {answer.version if isinstance(answer, Artifact) else answer for answer in answers} == {1}
    sequence_pending(settings, audit_signer(settings))
    assert _counted(settings) == {
        **dict.fromkeys(("request_ids", "models", "model_artifacts"), 1),
        **dict.fromkeys(("attestations", "audit_events"), 2),
        "audit_outbox": 0,
    }
    assert registering.register(settings, request_for(content="others")).version == 2
    assert _no_gaps(settings)


def test_of_two_registrations_under_one_request_id_one_is_refused_and_counts_no_version(
    settings: Settings, request_for: Callable[..., RegistrationRequest]
) -> None:
    asked = [request_for(content=f"weights {number}", request_id="mine") for number in range(8)]
    answers = _all_at_once(settings, asked)
    assert sorted(type(answer).__name__ for answer in answers) == ["Artifact", *["RequestIdReused"] * 7]
    assert _no_gaps(settings)
    winner = next(answer for answer in answers if isinstance(answer, Artifact))
    again = next(request for request in asked if request.checksum == winner.checksum)
    assert registering.register(settings, again) == winner
    with pytest.raises(Conflict, match="mine"):
        registering.register(settings, next(request for request in asked if request.checksum != winner.checksum))


@pytest.mark.parametrize(
    "said",
    [
        "version",
        '","version":"',
        "%(model)s %s %%",
        "\\ \" ' \u2028 ü 😀",
        "x" * 5000,
        {"version": 7, "last_version": 7, "nested": [1, 2.5, None, True]},
    ],
)
def test_whatever_the_metadata_says_the_event_is_canonical_and_tells_of_the_rows_as_they_are(
    settings: Settings, request_for: Callable[..., RegistrationRequest], said: object
) -> None:
    for _ in range(2):
        kept = registering.register(settings, request_for(metadata={"said": said}, request_id=f"r{uuid4()}"))
    assert (kept.version, kept.metadata) == (2, {"said": said})
    with database.transaction(settings) as tx:
        registered = select(audit_events.c.payload).where(audit_events.c.event_type == "artifact.registered")
        payloads = list(tx.execute(registered.order_by(audit_events.c.seq)).scalars())
        model = dict(tx.execute(select(models)).mappings().one())
    for version, payload in enumerate(payloads, start=1):
        told = json.loads(payload)
        assert canonical_json.dumps(told).decode() == payload
        assert (told["rows"]["model_artifacts"]["version"], told["rows"]["models"]["last_version"]) == (version, version)
        assert told["rows"]["models"]["created_at"] == model["created_at"].isoformat(timespec="microseconds").replace("+00:00", "Z")
    assert verifying.verify_history(settings).findings == []


def test_a_registration_is_one_read_and_one_write(settings: Settings, request_for: Callable[..., RegistrationRequest]) -> None:
    registering.register(settings, request_for("first"))
    asked, statements = request_for(), list[str]()

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        registering.register(settings, asked)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    about = [statement.split()[0] for statement in statements if "audit_events" not in statement and "advisory" not in statement]
    assert about == ["SELECT", "WITH"]


def test_where_the_audit_key_cannot_be_used_nothing_is_registered(
    settings: Settings, request_for: Callable[..., RegistrationRequest], tmp_path: Path
) -> None:
    broken = settings.model_copy(update={"audit_signer_uri": f"file:{tmp_path}/no-such-key"})
    with pytest.raises(Misconfigured):
        registering.register(broken, request_for())
    assert set(_counted(settings).values()) == {0}


def test_what_a_job_that_is_unknown_made_cannot_be_registered(settings: Settings, request_for: Callable[..., RegistrationRequest]) -> None:
    with pytest.raises(BadInput, match="training job"):
        registering.register(settings, request_for(training_job_id=UUID(int=5)))
