"""Make a lost database again from the archive of its log: every event, the rows they tell of, the tree and its checkpoints.

Nothing in the archive is believed: each step below verifies, and names the file where it finds something else. All of it is one
transaction: a rebuild that is refused or killed leaves the database as empty as it was, and is started again.

1. entry: each file is the one entry that belongs there, in its one spelling; none is missing, none is there twice.
2. chain: every column follows from the payload and the entry before.
3. signature: by a key that could sign audit events at that time and place in the log, under its own name.
4. values: what an entry names by digest has that digest; an envelope among them is a statement signed by a key that could sign it then.
5. rows: what the entry tells of can be written, and changes nothing that never changes.
6. tree: every checkpoint published outside (and every one given) is signed and has the root of the entries it covers.
7. artifacts: what the rows name in the store is there, with its digest, unless a tombstone says that it was removed.

What is not in the log cannot be made again: request ids (a repeated request may be done once more), events that were still waiting to be
chained, and what each sink was delivered.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any, NoReturn

from sqlalchemy import Connection, exists, insert, select, text, union
from sqlalchemy.exc import DataError, IntegrityError, ProgrammingError

from aiinfra_core import artifact_store, canonical_json, database, merkle
from aiinfra_core.artifact_store import Location, recorded
from aiinfra_core.audit_log import checkpoints, tiles
from aiinfra_core.audit_log.delivering import archive_reading, progress, sinks
from aiinfra_core.audit_log.delivering.archive import PARALLEL
from aiinfra_core.audit_log.delivering.values import named_in
from aiinfra_core.columns import metadata
from aiinfra_core.domain.trust import Purpose, Trust
from aiinfra_core.errors import BadInput, Conflict, EvidenceBroken, NotFound
from aiinfra_core.evidence import checkpoint, dsse, entry, statement
from aiinfra_core.evidence import trust as rules
from aiinfra_core.evidence.chain import Head, follow, head_after
from aiinfra_core.evidence.predicates import PURPOSES
from aiinfra_core.keys import trust_of
from aiinfra_core.log_tables import audit_checkpoints, audit_events
from aiinfra_core.registry import restoring, tombstones
from aiinfra_core.settings import Settings
from aiinfra_core.signing.public_key import PublicKey
from aiinfra_core.tables import model_artifacts, training_jobs

BATCH = 256

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Rebuilt:
    """What was made again: the head of the log, how many checkpoints it was compared with, how many artifacts were read."""

    head: Head
    checkpoints: int
    artifacts: int
    artifacts_not_read: int


def rebuild(
    settings: Settings,
    source: str,
    *,
    seen: bytes | None = None,
    any_checkpoint: bool = True,
    read_artifacts: bool = True,
    compromised_keys: bool = False,
    on_progress: Callable[[int], None] = lambda _: None,
) -> Rebuilt:
    """Make an empty, migrated database again from an archive.

    Args:
        settings: name the database, the log, whose signatures count and where artifacts are.
        source: the archive's address, `s3://bucket/prefix` or `file:///directory`.
        seen: a checkpoint (a signed note) that somebody kept; like those published outside, the rebuilt log has to agree with it.
        any_checkpoint: whether there must be one; without any, nothing shows that the archive ends too early.
        read_artifacts: whether to read every artifact the rows name; they are only counted otherwise.
        compromised_keys: whether to bring back, too, what a key signed after it was compromised; a verification names it as before.
        on_progress: is told how many events are done.

    Raises:
        Conflict: the database is not empty, and the message names what is there; or something else writes to it.
        NotFound: there is no archive, or no checkpoint to compare it with.
        EvidenceBroken: something does not verify; `place` names it, and the database stays empty.
        Unavailable: the database, the archive or the artifact store cannot be reached; the database stays empty.
    """
    place = artifact_store.location_at(settings, source, "--from")
    trust = rules.as_if_never_compromised(trust_of(settings)) if compromised_keys else trust_of(settings)
    if any_checkpoint and seen is None and next(checkpoints.outside(settings), None) is None:
        raise NotFound(
            f"No checkpoint of the log {settings.log_origin} is published, so nothing shows that the archive is whole; "
            "give the last one you saw with --checkpoint FILE, or say --without-checkpoints."
        )
    with _alone(), database.transaction(settings) as tx:
        tx.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
        tx.execute(text("SET CONSTRAINTS ALL IMMEDIATE"))
        _refuse_rows(tx)
        head = _restore_events(tx, place, trust, on_progress)
        tiles.grow(tx)
        compared = _restore_checkpoints(tx, settings, trust, head, seen)
        read, not_read = _check_artifacts(tx, settings, read_artifacts)
        progress.moved(tx, sinks.of_archive(place), head.seq)
    return Rebuilt(head, compared, read, not_read)


@contextmanager
def _alone() -> Iterator[None]:
    try:
        yield
    except IntegrityError as error:
        raise Conflict("Something else writes to this database; stop it, empty the database and rebuild again.") from error


def _refuse_rows(tx: Connection) -> None:
    full = [name for name, table in metadata.tables.items() if tx.execute(select(exists(select(table)))).scalar_one()]
    if full:
        raise Conflict(f"The database is not empty: there are rows in {', '.join(sorted(full))}; rebuild into one that was only migrated.")


def _restore_events(tx: Connection, archive: Location, trust: Trust, on_progress: Callable[[int], None]) -> Head:
    head, entries = Head(), archive_reading.entries(archive)
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="values") as pool:
        while batch := list(islice(entries, BATCH)):
            rows = list(_followed(head, batch, trust))
            wanted = {value.sha256 for row in rows for value in named_in(canonical_json.loads(row["payload"]))}
            found = dict(zip(wanted, pool.map(partial(archive_reading.value, archive), wanted), strict=True))
            for (key, _), row in zip(batch, rows, strict=True):
                _restore(tx, key, row, found, trust)
            tx.execute(insert(audit_events), rows)
            head = head_after(rows[-1])
            on_progress(head.seq)
    if head.seq == 0:
        raise NotFound(f"There is no archive at {archive.root}; nothing was rebuilt.")
    return head


def _followed(head: Head, batch: Sequence[tuple[str, bytes]], trust: Trust) -> Iterator[Row]:
    """Steps 1 to 3: yield the rows of entries that follow one another, each signed."""
    keys = rules.listed_keys(trust, Purpose.AUDIT)
    for key, leaf in batch:
        row = entry.read_leaf(leaf)
        try:
            _check_follows(head, row)
            _check_signed(row, keys, trust)
        except EvidenceBroken as error:
            raise EvidenceBroken(key, error.detail) from None
        yield row
        head = head_after(row)


def _check_follows(head: Head, row: Row) -> None:
    if row["seq"] != head.seq + 1:
        raise EvidenceBroken("entry", f"seq {head.seq + 1} is missing from the archive; the next entry there has seq {row['seq']}.")
    try:
        changed = [name for name, value in follow(head, row["payload"]).items() if row[name] != value]
    except (AttributeError, BadInput, KeyError, TypeError, ValueError):
        raise EvidenceBroken("entry", "its payload is not an event.") from None
    if changed:
        raise EvidenceBroken("entry", f"{', '.join(changed)} of seq {row['seq']} does not follow from the entry before it and its payload.")


def _check_signed(row: Row, keys: Mapping[str, PublicKey], trust: Trust) -> None:
    signer = rules.listed(trust, entry.check_signature(row, keys))
    rules.may_sign(signer, Purpose.AUDIT, at=row["created_at"], index=row["seq"] - 1)
    if signer.signer_id != row["signer_id"]:
        raise EvidenceBroken("entry", f"it was signed by {signer.signer_id} and says {row['signer_id']}.")


def _restore(tx: Connection, key: str, event: Row, found: Mapping[str, bytes], trust: Trust) -> None:
    """Steps 4 and 5 for one entry."""
    try:
        rows = restoring.rows_of(canonical_json.loads(event["payload"]).get("rows"), found)
        if "attestations" in rows:
            _check_statement(rows["attestations"], event, trust)
        restoring.restore(tx, rows)
    except EvidenceBroken as error:
        raise EvidenceBroken(key, str(error)) from None
    except (DataError, IntegrityError, ProgrammingError) as error:
        raise EvidenceBroken(key, f"the database refuses the rows it tells of ({type(error.orig).__name__}).") from error


def _check_statement(row: Row, event: Row, trust: Trust) -> None:
    purpose = PURPOSES.get(row["predicate_type"])
    if purpose is None:
        raise EvidenceBroken("predicate type", f"{row['predicate_type'][:100]!r} is not one this product signs.")
    keys = rules.keys_for(trust, purpose, at=event["created_at"], index=event["seq"] - 1)
    claim = statement.parse(dsse.open_envelope(row["envelope"], keys))
    if (claim.digest, claim.predicate_type, claim.subject.checksum) != (row["digest"], row["predicate_type"], row["subject_checksum"]):
        raise EvidenceBroken(f"attestations {row['digest']}", "its row says something else than its envelope.")


def _restore_checkpoints(tx: Connection, settings: Settings, trust: Trust, head: Head, seen: bytes | None) -> int:
    """Step 6: compare with what was published and what somebody kept, and keep the published; return how many there are."""
    compared = 0
    if seen is not None:
        compared = 1
        _checked(tx, settings.log_origin, "the checkpoint given", seen, trust, head)
    for size, note in checkpoints.outside(settings):
        compared += 1
        row = _checked(tx, settings.log_origin, f"checkpoint {size}", note, trust, head)
        if row["size"] != size:
            raise EvidenceBroken(f"checkpoint {size}", f"the one published for {size} entries says {row['size']}.")
        tx.execute(insert(audit_checkpoints), row)
    return compared


def _checked(tx: Connection, origin: str, place: str, note: bytes, trust: Trust, head: Head) -> dict[str, Any]:
    try:
        row = _opened(tx, origin, note, trust, head)
        if row["root"] != merkle.root_at(row["size"], tiles.reader(tx)).hex():
            _refuse(f"its root is not that of the {row['size']} events in the archive: one of them is another one than it covers.")
    except EvidenceBroken as error:
        raise EvidenceBroken(place, error.detail) from None
    return row


def _opened(tx: Connection, origin: str, note: bytes, trust: Trust, head: Head) -> dict[str, Any]:
    size = checkpoint.parse(note).size
    if not 0 < size <= head.seq:
        _refuse(f"it covers {size} events, the archive has {head.seq}: the last ones are missing from it.")
    at = tx.execute(select(audit_events.c.created_at).where(audit_events.c.seq == size)).scalar_one()
    keys = rules.keys_for(trust, Purpose.AUDIT, at=at, index=size - 1)
    found, _ = checkpoint.open_checkpoint(note, origin, keys.values())
    return {"size": size, "origin": origin, "root": found.root.hex(), "note": note, "created_at": at}


def _refuse(why: str) -> NoReturn:
    raise EvidenceBroken("checkpoint", why)


def _check_artifacts(tx: Connection, settings: Settings, read: bool) -> tuple[int, int]:
    """Step 7: return how many artifacts were read, and how many were not; those whose bytes were removed are not looked for."""
    named = union(
        select(model_artifacts.c.artifact_uri, model_artifacts.c.checksum),
        select(training_jobs.c.artifact_uri, training_jobs.c.checksum),
        select(training_jobs.c.training_record_uri, training_jobs.c.training_record_sha256),
    ).subquery()
    uri, checksum = named.c
    removed = select(model_artifacts.c.artifact_uri).where(model_artifacts.c.id.in_(tombstones.unused(tx)))
    query = select(uri, checksum).where(uri.is_not(None), checksum.is_not(None), uri.not_in(removed)).order_by(uri)
    count = 0
    with tx.execute(query.execution_options(yield_per=BATCH)) as found:
        for place, digest in found:
            count += 1
            if read:
                _check_artifact(settings, place, digest)
    return (count, 0) if read else (0, count)


def _check_artifact(settings: Settings, uri: str, checksum: str) -> None:
    try:
        recorded.verify(settings, uri, checksum)
    except BadInput as error:
        raise EvidenceBroken(f"artifact {uri}", f"{error} Bring it back, or say --skip-artifacts to look at it later.") from None
