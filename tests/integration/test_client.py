"""The client against the service itself, on real sockets: the whole story, every read, TLS, and answers that were lost."""

import base64
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import func, select

from aiinfra_core import database, jobs
from aiinfra_core.client import Client
from aiinfra_core.errors import (
    ArtifactMissing,
    BadInput,
    DigestMismatch,
    Misconfigured,
    NotFound,
    Outdated,
    RequestIdReused,
    Unauthenticated,
    Unavailable,
)
from aiinfra_core.evidence import dsse
from aiinfra_core.http_api import tls
from aiinfra_core.settings import Settings
from aiinfra_core.tables import model_artifacts, model_promotions, training_jobs
from aiinfra_core.wire.records import SentArtifact
from tests import factories
from tests.simulators.certificates import Authority
from tests.simulators.cutting_proxy import cutting_proxy
from tests.simulators.http_story import open_to_debug, stored
from tests.simulators.scripted_server import unused_url
from tests.simulators.service import AS_DEBUG, serving

REGISTERED = "artifact.registered"
TOKEN = AS_DEBUG["X-Debug-Token"]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return open_to_debug(settings)


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    with serving(settings) as url, Client(url, debug_token=TOKEN) as client:
        yield client


def registered(client: Client, settings: Settings, folder: Path, content: str = "weights") -> SentArtifact:
    kept = stored(settings, folder, content)
    return client.register(model="rain", artifact_uri=kept["artifactUri"], checksum=kept["checksum"])


def eventually(true: Callable[[], bool]) -> bool:
    """Wait for what the service does in the background."""
    until = time.monotonic() + 10
    while not true() and time.monotonic() < until:
        time.sleep(0.05)
    return true()


def rows(settings: Settings) -> tuple[int, ...]:
    """Return how many jobs, artifacts and promotions there are."""
    with database.transaction(settings) as tx:
        tables = (training_jobs, model_artifacts, model_promotions)
        return tuple(tx.execute(select(func.count()).select_from(table)).scalar_one() for table in tables)


def test_the_whole_story(client: Client, settings: Settings, code_ref: str) -> None:
    queued = client.train(factories.training_spec(code_ref, model="rain"))
    assert (queued.status, queued.code_ref, [one.id for one in client.jobs(status="queued")]) == ("queued", code_ref, [queued.id])
    with pytest.raises(BadInput, match="nothing to register"):
        client.register_job(queued)
    jobs.train(settings, factories.training_spec(code_ref, model="rain"), requested_by="ada", on_output=lambda _line: None)
    job = client.wait_for_job(queued.id)
    assert (job.status, job.holder, client.train(factories.training_spec(code_ref, model="rain")).id) == ("completed", None, queued.id)

    artifact = client.register_job(job)
    assert (artifact.model, artifact.version, artifact.provenance, artifact.metadata["seed"]) == ("rain", 1, "trained", 7)
    assert client.register_job(job) == artifact

    applied = client.promote(artifact.id, "staging")
    assert (applied.status, applied.sequence, applied.evaluation_kind) == ("applied", 1, "measured")
    refused = client.promote(artifact.id, "prod", evaluation={"quality": 0.5})
    assert (refused.status, refused.sentinel_decision and refused.sentinel_decision.policy_id) == ("rejected", "sentinel-low-quality")
    assert client.promotion(refused.id) == refused
    assert [one.id for one in client.promotions(model="rain")] == [refused.id, applied.id]
    assert [one.id for one in client.promotions(status="applied", environment="staging")] == [applied.id]
    with pytest.raises(Outdated):
        client.promote(artifact.id, "staging", evaluation={"quality": 0.9}, expected_sequence=0)
    with pytest.raises(NotFound, match="rain:1 has no evaluation"):
        client.promote(artifact.id, "prod", judged_on="0" * 64)
    measured = next(node.about["digest"] for node in client.lineage("rain:1").nodes if node.kind == "evaluation")
    assert client.promote(artifact.id, "staging", judged_on=measured, expected_sequence=1) == applied
    assert rows(settings) == (1, 1, 2)

    now = client.current("staging", "rain")
    assert (now.sequence, now.artifact, now.promotion.id, [one.name for one in client.environments()]) == (
        1,
        artifact,
        applied.id,
        ["staging", "prod"],
    )
    shown = client.model("rain@staging")
    assert (shown.artifact, [one.id for one in shown.promotions]) == (artifact, [refused.id, applied.id])
    assert {node.kind for node in client.lineage("rain:1").nodes} >= {"artifact", "job", "code", "evaluation", "promotion"}
    report = client.verify(artifact.id)
    assert (report.verified, report.artifact.id) == (True, artifact.id)
    statements = list(client.attestations("rain", page_size=2))
    assert len({one.digest for one in statements}) == len(statements) >= 4
    assert dsse.parse(base64.b64decode(statements[0].envelope_base64)).signatures


def test_the_log_and_its_proofs_are_read(settings: Settings, tmp_path: Path) -> None:
    with serving(settings.model_copy(update={"checkpoint_seconds": 0.1})) as url, Client(url, debug_token=TOKEN) as client:
        artifact = registered(client, settings, tmp_path)
        assert eventually(lambda: len(list(client.audit_events())) == 2 and _size(client) == 2)
        registered(client, settings, tmp_path, "other")
        assert eventually(lambda: _size(client) == 4)
        told = [(one.seq, one.event_type) for one in client.audit_events(page_size=1)]
        assert told == list(enumerate([REGISTERED, "artifact.scanned"] * 2, start=1))
        assert [one.seq for one in client.audit_events(after=1)] == [2, 3, 4]
        assert [one.seq for one in client.audit_events(subject=str(artifact.id), event_type=REGISTERED)] == [1]
        assert client.proof(artifact.id).seq == client.event_proof(1).seq == 1
        assert (client.consistency(2).to_size, client.consistency(2, 4).from_size) == (4, 2)


def _size(client: Client) -> int:
    try:
        return client.checkpoint().size
    except NotFound:
        return 0


def test_lists_are_read_page_by_page_and_searched(client: Client, settings: Settings, tmp_path: Path) -> None:
    made = [registered(client, settings, tmp_path, f"weights-{number}") for number in range(5)]
    listed = list(client.models(model="rain", page_size=2))
    assert listed == made[::-1]
    first = next(client.models(page_size=1))
    assert first == made[-1]
    assert [one.version for one in client.models(created_before=made[2].created_at)] == [2, 1]
    assert [one.id for one in client.models(checksum=made[3].checksum)] == [made[3].id]
    assert list(client.models(model="rain", version=4, provenance="trained")) == []
    with pytest.raises(BadInput, match="version"):
        list(client.models(version=4))
    assert list(client.models(environment="staging")) == []


def test_what_is_not_there_or_not_as_named_is_its_error(client: Client, settings: Settings, tmp_path: Path) -> None:
    kept = stored(settings, tmp_path)
    with pytest.raises(NotFound, match="Nothing is registered"):
        client.model("rain")
    with pytest.raises(NotFound, match="no training job"):
        client.job(uuid4())
    with pytest.raises(NotFound, match="known are staging, prod"):
        client.current("moon", "rain")
    with pytest.raises(DigestMismatch):
        client.register(model="rain", artifact_uri=kept["artifactUri"], checksum="0" * 64)
    with pytest.raises(ArtifactMissing):
        client.register(model="rain", artifact_uri=f"{kept['artifactUri']}x", checksum=kept["checksum"])
    with pytest.raises(BadInput, match="checksum"):
        client.register(model="rain", artifact_uri=kept["artifactUri"], checksum="zz")
    with pytest.raises(BadInput, match="model"):
        client.register(artifact_uri=kept["artifactUri"], checksum=kept["checksum"])
    client.register(model="rain", artifact_uri=kept["artifactUri"], checksum=kept["checksum"], request_id="mine")
    with pytest.raises(RequestIdReused):
        client.register(model="snow", artifact_uri=kept["artifactUri"], checksum=kept["checksum"], request_id="mine")
    assert rows(settings) == (0, 1, 0)


def test_who_cannot_be_believed_is_unauthenticated(settings: Settings) -> None:
    with serving(settings) as url:
        for debug_token, token in (("another", None), (None, None), (None, "a.bearer.token")):
            with Client(url, debug_token=debug_token, token=token) as client, pytest.raises(Unauthenticated):
                client.train(factories.training_spec(f"https://code.example/rain@{'0' * 40}"))


def test_a_part_the_service_lacks_is_named_and_its_wish_to_wait_is_heeded(settings: Settings, tmp_path: Path) -> None:
    pinned = base64.b64encode(secrets.token_bytes(32)).decode()
    away = {"artifact_signer_uri": f"{unused_url()}/sign?public-key={pinned}", "kms_timeout_seconds": 0.2}
    kept = stored(settings, tmp_path)
    served = settings.model_copy(update=away)
    with serving(served) as url, Client(url, debug_token=TOKEN, deadline=4.0) as client, pytest.raises(Unavailable) as told:
        client.register(model="rain", artifact_uri=kept["artifactUri"], checksum=kept["checksum"])
    assert (told.value.part, rows(settings)) == ("signer", (0, 0, 0))


def test_cards_are_written_and_read(client: Client, settings: Settings, tmp_path: Path) -> None:
    registered(client, settings, tmp_path)
    first = client.write_card("rain", description="How much it rains.", tags={"team": "weather"})
    assert (first.revision, client.card("rain")) == (1, first)
    second = client.write_card("rain", 1, card="# Rain", expected_revision=0)
    assert (second.version, client.card("rain", 1).card) == (1, "# Rain")
    with pytest.raises(Outdated):
        client.write_card("rain", description="Less.", expected_revision=7)


def test_the_service_says_how_it_is(settings: Settings, tmp_path: Path) -> None:
    with serving(settings) as url, Client(url) as client:
        assert client.health().status == "ok"
        assert client.ready().parts["database"] == "ok"
    (tmp_path / "file").touch()
    with serving(settings.model_copy(update={"artifact_root": f"{tmp_path.as_uri()}/file/below"})) as url, Client(url) as other:
        begun = time.monotonic()
        assert other.ready().status == "unavailable"
        assert time.monotonic() - begun < 5


def test_an_answer_that_was_lost_is_asked_for_again_and_the_work_is_done_once(settings: Settings, code_ref: str, tmp_path: Path) -> None:
    kept = stored(settings, tmp_path)
    spec = factories.training_spec(code_ref, model="rain")
    with serving(settings) as url:
        for name in (None, "mine"):
            with cutting_proxy(url) as proxy, Client(proxy.url, debug_token=TOKEN) as client:
                job = client.train(spec, request_id=name)
                assert (len(proxy.swallowed), proxy.swallowed[0][:12]) == (1, b"HTTP/1.1 201")
                assert str(job.id).encode() in proxy.swallowed[0]
        with cutting_proxy(url) as proxy, Client(proxy.url, debug_token=TOKEN) as client:
            artifact = client.register(model="rain", artifact_uri=kept["artifactUri"], checksum=kept["checksum"])
        seen: tuple[dict[str, Any], ...] = ({"request_id": "mine"}, {}, {"expected_sequence": 2})
        for number, more in enumerate(seen, 1):
            with cutting_proxy(url) as proxy, Client(proxy.url, debug_token=TOKEN) as client:
                promotion = client.promote(artifact.id, "staging", evaluation={"quality": 0.9 + number / 100}, **more)
                assert (promotion.status, promotion.sequence, len(proxy.swallowed)) == ("applied", number, 1)
    assert rows(settings) == (2, 1, 3)


def test_tls_is_verified_and_a_client_certificate_says_who_asks(settings: Settings, tmp_path: Path) -> None:
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    ours, theirs = Authority(tmp_path / "ours"), Authority(tmp_path / "theirs")
    server, own = ours.server(), ours.client("ci")
    served = Settings(**settings.model_dump() | {"roles": '{"cert:CN=ci,O=Example%20Corp": ["viewer"]}'})
    with serving(served, tls.context(server.cert, server.key, ours.cert)) as url:
        with Client(url, ca=ours.cert, cert=(own.cert, own.key)) as client:
            assert list(client.promotions()) == []
        for wrong in (theirs.cert, None):
            begun = time.monotonic()
            with Client(url, ca=wrong) as client, pytest.raises(Unavailable, match="is not who it should be"):
                client.health()
            assert time.monotonic() - begun < 2
        with Client(url, ca=ours.cert) as client, pytest.raises(Unauthenticated):
            list(client.promotions())


def test_the_client_is_light_to_import() -> None:
    heavy = ("sqlalchemy", "psycopg", "s3fs", "fsspec", "prefect", "tuf", "fastapi", "cryptography", "pydantic_settings")
    told = subprocess.run(
        [sys.executable, "-c", f"import sys, aiinfra_core.client; print([one for one in {heavy} if one in sys.modules])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout == "[]\n"


def test_the_environment_says_which_service_and_who_asks(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Misconfigured, match="set AI_INFRA_SERVER"):
        Client.from_environment()
    for name, value in {"SERVER": "https://elsewhere.example", "DEBUG_TOKEN": TOKEN}.items():
        monkeypatch.setenv(f"AI_INFRA_{name}", value)
    assert repr(Client.from_environment()) == "Client('https://elsewhere.example')"
    with serving(settings) as url, Client.from_environment(url) as client:
        assert list(client.promotions()) == []
        monkeypatch.setenv("AI_INFRA_TOKEN", "no.such.token")
        with Client.from_environment(url) as other, pytest.raises(Unauthenticated):
            list(other.promotions())
    monkeypatch.setenv("AI_INFRA_CLIENT_CERT", "own.pem")
    with pytest.raises(Misconfigured, match="needs both"):
        Client.from_environment()
