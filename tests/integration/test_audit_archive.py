"""The log on its way into an archive: a directory, a server that creates only, and one that would overwrite silently."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from aiinfra_core import checksums, database
from aiinfra_core.audit_log.append import append, event
from aiinfra_core.audit_log.delivering import archive_reading, sinks
from aiinfra_core.audit_log.delivering.delivery import MOST_ATTEMPTS, deliver
from aiinfra_core.audit_log.delivering.replay import replay
from aiinfra_core.audit_log.sequence import sequence_pending
from aiinfra_core.errors import EvidenceBroken, Unavailable
from aiinfra_core.evidence import entry
from aiinfra_core.keys import audit_signer
from aiinfra_core.settings import Settings
from tests.simulators.artifact_places import Place, bucket, directory_place, place
from tests.simulators.audit_events import dead_letters, deliveries, rows, tell
from tests.simulators.s3_servers import BUCKET, aws_credentials, dying_after, location_at, moto_endpoint, rclone_endpoint
from tests.simulators.scripted_server import answers, scripted_server

__all__ = ["aws_credentials", "directory_place", "moto_endpoint", "place", "rclone_endpoint"]


def _with(settings: Settings, *addresses: str, endpoint: str | None = None) -> Settings:
    return settings.model_copy(update={"audit_sinks": addresses, "s3_endpoint_url": endpoint})


def _archived_in(settings: Settings, where: Place) -> Settings:
    return _with(settings, where.location.root, endpoint=where.location.endpoint_url)


def _key(row: dict[str, object]) -> str:
    return f"audit/{row['created_at']:%Y/%m/%d}/{row['id']}.json"


def _as_owner(settings: Settings, statement: str) -> None:
    with database.transaction(settings) as tx:
        tx.execute(text("RESET ROLE"))
        tx.execute(text("SET LOCAL session_replication_role = replica"))
        tx.execute(text(statement))


def test_every_event_is_a_file_of_its_exact_entry_by_its_day_and_every_value_is_beside_them(settings: Settings, place: Place) -> None:
    tell(settings, 20)
    (done,) = deliver(_archived_in(settings, place))
    assert (done.delivered, done.set_aside, done.problem) == (20, 0, None)
    events = rows(settings)
    with database.transaction(settings) as tx:
        envelopes = [bytes(envelope) for envelope in tx.execute(text("SELECT envelope FROM attestations")).scalars()]
    expected = [_key(row) for row in events] + [f"audit/values/{checksums.sha256_hex(envelope)}" for envelope in envelopes]
    assert sorted(place.keys()) == sorted(expected)
    found = list(archive_reading.entries(place.location))
    assert found == [(_key(row), entry.leaf(row)) for row in events]
    for envelope in envelopes:
        assert archive_reading.value(place.location, checksums.sha256_hex(envelope)) == envelope


def test_delivered_again_an_archive_stays_as_it_is_and_what_was_lost_comes_back(settings: Settings, place: Place) -> None:
    tell(settings, 5)
    archived = _archived_in(settings, place)
    deliver(archived)
    before, (sink,) = sorted(place.keys()), sinks.configured(archived)
    place.remove(before[0])
    place.remove(before[-1])
    assert replay(archived, sink).delivered == 5
    assert sorted(place.keys()) == before
    assert len(list(archive_reading.entries(place.location))) == 5


@pytest.mark.parametrize("kind", ["directory", "moto"])
def test_a_changed_file_is_never_replaced_and_its_event_is_set_aside(settings: Settings, request: pytest.FixtureRequest, kind: str) -> None:
    place: Place
    if kind == "directory":
        place = request.getfixturevalue("directory_place")
    else:
        request.getfixturevalue("aws_credentials")
        endpoint = request.getfixturevalue("moto_endpoint")
        place = bucket(endpoint, "changed")
    tell(settings, 3)
    archived = _archived_in(settings, place)
    deliver(archived)
    key = _key(rows(settings)[1])
    place.overwrite(key, b"{}")
    done = replay(archived, sinks.configured(archived)[0])
    assert (done.delivered, done.refused) == (2, 1)
    assert "already holds other bytes" in dead_letters(settings)[2].reason
    with pytest.raises(EvidenceBroken) as found:
        list(archive_reading.entries(place.location))
    assert found.value.place == key


@pytest.mark.parametrize(
    "harm",
    [
        "DELETE FROM attestations WHERE digest = (SELECT digest FROM attestations ORDER BY created_at LIMIT 1 OFFSET 1)",
        "UPDATE attestations SET envelope = 'forged' WHERE digest = (SELECT digest FROM attestations ORDER BY created_at LIMIT 1 OFFSET 1)",
    ],
)
def test_an_event_whose_value_is_gone_or_changed_is_set_aside_with_the_reason_and_blocks_nothing(
    settings: Settings, directory_place: Place, harm: str
) -> None:
    tell(settings, 3)
    _as_owner(settings, harm)
    (done,) = deliver(_archived_in(settings, directory_place))
    assert (done.delivered, done.set_aside, done.problem) == (2, 1, None)
    digest = rows(settings)[1]["payload"].partition('"subject":"')[2][:64]
    assert dead_letters(settings)[2].reason == (
        f"The database has not the value that the event names by digest: attestations {digest} envelope"
    )
    assert _key(rows(settings)[1]) not in set(directory_place.keys())


@pytest.mark.usefixtures("aws_credentials")
def test_an_archive_that_goes_away_half_way_waits_and_is_complete_afterwards(
    settings: Settings, rclone_endpoint: str, tmp_path: Path
) -> None:
    tell(settings, 40)
    root = f"s3://{BUCKET}/{tmp_path.name}"
    with dying_after(rclone_endpoint, 40_000) as dying, scripted_server(answers(202, b"")) as server:
        held, free = deliver(_with(settings, root, server.url, endpoint=dying))
    assert held.problem
    assert held.delivered < 40
    assert (free.delivered, free.problem) == (40, None)
    assert deliveries(settings)[held.sink.id].delivered_seq == held.delivered
    (done, _) = deliver(_with(settings, root, server.url, endpoint=rclone_endpoint), at_once=True)
    assert (done.delivered, done.problem) == (40 - held.delivered, None)
    found = archive_reading.entries(location_at(rclone_endpoint, tmp_path.name))
    assert [leaf for _, leaf in found] == [entry.leaf(row) for row in rows(settings)]
    assert dead_letters(settings) == {}


@pytest.mark.usefixtures("aws_credentials")
def test_a_bucket_that_does_not_exist_holds_its_events_however_often_it_is_tried(settings: Settings, moto_endpoint: str) -> None:
    tell(settings, 2)
    missing = _with(settings, "s3://no-such-bucket/x", endpoint=moto_endpoint)
    for _ in range(MOST_ATTEMPTS + 1):
        (done,) = deliver(missing, at_once=True)
        assert "no-such-bucket does not exist" in (done.problem or "")
    assert dead_letters(settings) == {}


def test_a_directory_that_cannot_be_written_holds_its_events(settings: Settings, tmp_path: Path) -> None:
    tell(settings, 2)
    (tmp_path / "file").write_bytes(b"")
    for root in ("file:///proc/archive", (tmp_path / "file").as_uri(), "file:///dev/full/x"):
        (done,) = deliver(_with(settings, root))
        assert done.problem
    assert dead_letters(settings) == {}


def test_days_are_read_in_order_and_within_a_day_the_log_decides(settings: Settings, directory_place: Place) -> None:
    with database.transaction(settings) as tx:
        for days in (0, 0, 0, 1, 1, 40, 400):
            at = datetime(2024, 1, 31, 23, 59, tzinfo=UTC) + timedelta(days=days)
            append(tx, event("x.y", at=at, actor="a", request_id="r", subject=str(days), rows={}))
    sequence_pending(settings, audit_signer(settings))
    deliver(_archived_in(settings, directory_place))
    assert [entry.read_leaf(leaf)["seq"] for _, leaf in archive_reading.entries(directory_place.location)] == [1, 2, 3, 4, 5, 6, 7]
    assert {key.rpartition("/")[0] for key in sorted(directory_place.keys())} == {
        "audit/2024/01/31",
        "audit/2024/02/01",
        "audit/2024/03/11",
        "audit/2025/03/06",
    }


def test_an_unreachable_archive_is_no_broken_one(settings: Settings) -> None:
    with pytest.raises(Unavailable):
        list(archive_reading.entries(location_at("http://127.0.0.1:9", "x")))
