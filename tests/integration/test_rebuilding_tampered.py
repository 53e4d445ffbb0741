"""An archive somebody tampered with: a rebuild is refused, the place is named, and the database stays as empty as it was."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from aiinfra_core import database, rebuilding
from aiinfra_core.audit_log.archive import key_of_value
from aiinfra_core.errors import AiInfraError, Conflict, NotFound, Unavailable
from aiinfra_core.evidence import dsse, entry
from aiinfra_core.evidence.checkpoint import Checkpoint, sign
from aiinfra_core.keys import audit_signer
from aiinfra_core.signing import local
from aiinfra_core.signing.signer import Signer
from tests.simulators.archive_forger import Payload, edit, entries, overwrite, put_value, read, rewrite
from tests.simulators.lost_database import Lost, ask, is_empty, lost, publish

__all__ = ["lost"]

Tamper = Callable[[Path], str]
"""Does it to an archive, and returns the beginning of what the refusal must say."""


@pytest.fixture
def signer(lost: Lost) -> Signer:
    return audit_signer(lost.before)


@pytest.fixture
def stranger() -> Signer:
    return local.from_base64(local.generate(), "test")


def _refusal(lost: Lost, archive: Path, **options: Any) -> str:
    with pytest.raises(AiInfraError) as refused:
        rebuilding.rebuild(lost.empty, archive.as_uri(), **options)
    assert not isinstance(refused.value, Unavailable)
    assert is_empty(lost.empty)
    return str(refused.value)


def _check_each(lost: Lost, tmp_path: Path, cases: dict[str, Tamper]) -> None:
    for number, (name, tamper) in enumerate(cases.items()):
        archive = tmp_path / f"tampered-{number}"
        shutil.copytree(lost.archive, archive)
        expected = tamper(archive)
        said = _refusal(lost, archive)
        assert said.startswith(expected), f"{name}: {said!r} instead of {expected!r}"
    assert rebuilding.rebuild(lost.empty, lost.address).head.seq == len(lost.entries())


def _key(archive: Path, path: Path) -> str:
    return path.relative_to(archive).as_posix()


def _other(column: str, value: Any) -> Any:
    match value:
        case int():
            return value + 1
        case None:
            return "00" * 32
        case str() if column in ("created_at", "ts"):
            return value.replace("Z", "").rstrip("0123456789") + "000001Z"
    if column in ("payload", "metadata"):
        return value.replace("}", ',"zz":1}') if value != "{}" else '{"zz":1}'
    return value[:-2] + ("aa" if value[-2:] != "aa" else "bb")


def test_any_column_of_any_entry_edited_is_found_and_named(lost: Lost, tmp_path: Path) -> None:
    def edited(position: int, column: str) -> Tamper:
        def tamper(archive: Path) -> str:
            path = entries(archive)[position]
            edit(path, **{column: _other(column, read(path)[column])})
            return _key(archive, path)

        return tamper

    cases = {
        f"{column} of entry {position}": edited(position, column) for column in entry.COLUMNS for position in (0, 5, -1) if column != "seq"
    }
    _check_each(lost, tmp_path, cases)


def _seq_edited(archive: Path) -> str:
    path, claimed = entries(archive)[4], entries(archive)[5]
    edit(path, seq=6)
    return f"audit/{_key(archive, claimed)[6:16]}"


def _spelled_otherwise(archive: Path) -> str:
    path = entries(archive)[2]
    overwrite(path, path.read_bytes().replace(b'"seq":', b'"seq": '))
    return f"{_key(archive, path)}: it is not written the one way"


def _first_missing(archive: Path) -> str:
    first, second, *_ = entries(archive)
    first.unlink()
    return f"{_key(archive, second)}: seq 1 is missing"


def _middle_missing(archive: Path) -> str:
    third, fourth = entries(archive)[2:4]
    third.unlink()
    return f"{_key(archive, fourth)}: seq 3 is missing"


def _last_missing(archive: Path) -> str:
    *before, last = entries(archive)
    last.unlink()
    return f"checkpoint {len(before) + 1}: it covers {len(before) + 1} events, the archive has {len(before)}"


def _emptied(archive: Path) -> str:
    path = entries(archive)[1]
    overwrite(path, b"")
    return _key(archive, path)


def _everything_missing(archive: Path) -> str:
    shutil.rmtree(archive / "audit")
    return "There is no archive at"


def _copied(archive: Path) -> str:
    path = entries(archive)[3]
    name = "00000000-0000-5000-8000-000000000000.json"
    shutil.copy(path, path.with_name(name))
    return f"{_key(archive, path.with_name(name))}: it holds the entry that belongs to {_key(archive, path)}"


def _copied_with_an_id_of_its_own(archive: Path) -> str:
    path = entries(archive)[3]
    copy = path.with_name("ffffffff-ffff-5fff-bfff-ffffffffffff.json")
    shutil.copy(path, copy)
    edit(copy, id=copy.stem)
    return f"audit/{_key(archive, path)[6:16]}/"


def _swapped(archive: Path) -> str:
    one, other = entries(archive)[2:4]
    first, second = one.read_bytes(), other.read_bytes()
    overwrite(one, second)
    overwrite(other, first)
    return f"audit/{_key(archive, one)[6:16]}/"


def _moved_to_another_day(archive: Path) -> str:
    path = entries(archive)[2]
    elsewhere = archive / "audit/2020/01/01" / path.name
    elsewhere.parent.mkdir(parents=True)
    path.rename(elsewhere)
    return f"{_key(archive, elsewhere)}: it holds the entry that belongs to {_key(archive, path)}"


def _extra(name: str) -> Tamper:
    def tamper(archive: Path) -> str:
        place = entries(archive)[0].parent / name if "/" not in name else archive / name
        overwrite(place, b"{}")
        return "audit/"

    return tamper


def _linked(archive: Path) -> str:
    path = entries(archive)[2]
    target = archive.parent / f"{archive.name}-target"
    path.rename(target)
    path.symlink_to(target)
    return _key(archive, path)


def test_entries_missing_doubled_swapped_moved_or_added_are_found_and_named(lost: Lost, tmp_path: Path) -> None:
    cases: dict[str, Tamper] = {
        "another place claimed": _seq_edited,
        "another spelling": _spelled_otherwise,
        "the first missing": _first_missing,
        "one missing": _middle_missing,
        "the last missing": _last_missing,
        "an empty one": _emptied,
        "nothing there": _everything_missing,
        "a copy": _copied,
        "a copy with an id of its own": _copied_with_an_id_of_its_own,
        "two swapped": _swapped,
        "moved to another day": _moved_to_another_day,
        "a link": _linked,
    }
    for name in (
        "notes.txt",
        "audit/README",
        "audit/2026/notes",
        "audit/2026/13/01/x.json",
        "audit/2026/01/32/x.json",
        "audit/26/x",
        ".hidden",
    ):
        cases[f"the extra file {name}"] = _extra(name)
    _check_each(lost, tmp_path, cases)


def _values(archive: Path) -> list[Path]:
    return sorted((archive / "audit/values").iterdir())


def _value(harm: Callable[[Path, Path], None]) -> Tamper:
    def tamper(archive: Path) -> str:
        one, other = _values(archive)[:2]
        harm(one, other)
        return "audit/values/"

    return tamper


def test_values_missing_changed_or_swapped_are_found_and_named(lost: Lost, tmp_path: Path) -> None:
    def swap(one: Path, other: Path) -> None:
        first, second = one.read_bytes(), other.read_bytes()
        overwrite(one, second)
        overwrite(other, first)

    harms: dict[str, Callable[[Path, Path], None]] = {
        "missing": lambda one, _: one.unlink(),
        "changed": lambda one, _: overwrite(one, one.read_bytes()[:-1] + b"!"),
        "longer": lambda one, _: overwrite(one, one.read_bytes() + b"!"),
        "empty": lambda one, _: overwrite(one, b""),
        "swapped": swap,
    }
    _check_each(lost, tmp_path, {name: _value(harm) for name, harm in harms.items()})


def test_a_value_that_nothing_names_changes_nothing(lost: Lost) -> None:
    put_value(lost.archive, b"of an event that was not delivered any more")
    assert rebuilding.rebuild(lost.empty, lost.address).head.seq == len(lost.entries())


def _unchanged(_: list[Payload]) -> None:
    pass


def _actor_changed(payloads: list[Payload]) -> None:
    payloads[2]["actor"] = "mallory"


def test_a_log_rewritten_with_a_strangers_key_is_refused_at_its_first_entry(lost: Lost, stranger: Signer) -> None:
    rewrite(lost.archive, stranger, _unchanged)
    said = _refusal(lost, lost.archive)
    assert said.startswith(_key(lost.archive, entries(lost.archive)[0]))
    assert "verifies with no trusted key" in said


def test_a_log_rewritten_with_the_right_key_is_refused_by_what_was_published(lost: Lost, signer: Signer) -> None:
    rewrite(lost.archive, signer, _actor_changed)
    count = len(lost.entries())
    assert _refusal(lost, lost.archive).startswith(f"checkpoint {count}: its root is not that of the {count} events in the archive")


def test_a_signature_under_another_name_is_refused(lost: Lost, signer: Signer) -> None:
    rewrite(lost.archive, signer, _unchanged, {"signer_id": "somebody"})
    assert "it was signed by test and says somebody" in _refusal(lost, lost.archive)


def _index(payloads: list[Payload], event_type: str) -> int:
    return next(number for number, payload in enumerate(payloads) if payload["type"] == event_type)


Forgery = Callable[[Path, list[Payload], Signer], int]
"""Changes payloads of a log (and values in its archive) and returns the number of the event that must be named."""


def _signed_by_a_stranger(archive: Path, payloads: list[Payload], stranger: Signer) -> int:
    place = _index(payloads, "artifact.registered")
    row = payloads[place]["rows"]["attestations"]
    statement = dsse.parse((archive / key_of_value(row["envelope"]["sha256"])).read_bytes()).payload
    row["envelope"] = put_value(archive, dsse.sign(statement, stranger))
    return place


def _of_another_statement(_: Path, payloads: list[Payload], __: Signer) -> int:
    place = _index(payloads, "artifact.registered")
    payloads[place]["rows"]["attestations"]["digest"] = "ab" * 32
    return place


def _another_seed_later(_: Path, payloads: list[Payload], __: Signer) -> int:
    place = _index(payloads, "training.completed")
    payloads[place]["rows"]["training_jobs"]["seed"] += 1
    return place


def _a_job_nobody_asked_for(_: Path, payloads: list[Payload], __: Signer) -> int:
    place = _index(payloads, "artifact.registered")
    payloads[place]["rows"]["model_artifacts"]["training_job_id"] = "00000000-0000-4000-8000-000000000000"
    return place


def _a_manifest_nobody_signed(_: Path, payloads: list[Payload], __: Signer) -> int:
    place = _index(payloads, "promotion.approved")
    payloads[place]["rows"]["model_promotions"]["manifest"] = "ab" * 32
    return place


def _a_jump_of_the_pointer(_: Path, payloads: list[Payload], __: Signer) -> int:
    place = max(number for number, payload in enumerate(payloads) if payload["type"] == "promotion.applied")
    payloads[place]["rows"]["environment_pointers"]["sequence"] += 5
    return place


def _a_foreign_table(_: Path, payloads: list[Payload], __: Signer) -> int:
    payloads[3]["rows"]["pg_authid"] = {"rolname": "mallory"}
    return 3


def _in_the_first_job(**columns: Any) -> Forgery:
    def change(_: Path, payloads: list[Payload], __: Signer) -> int:
        payloads[0]["rows"]["training_jobs"] |= columns
        return 0

    return change


FORGERIES: list[tuple[Forgery, str]] = [
    (_signed_by_a_stranger, "which is not trusted here"),
    (_of_another_statement, "its row says something else than its envelope"),
    (_another_seed_later, "with something else in what never changes"),
    (_a_job_nobody_asked_for, "the database refuses the rows it tells of (ForeignKeyViolation)"),
    (_a_manifest_nobody_signed, "the database refuses the rows it tells of (ForeignKeyViolation)"),
    (_a_jump_of_the_pointer, "the database refuses the rows it tells of (CheckViolation)"),
    (_a_foreign_table, "not of tables that a registry has"),
    (_in_the_first_job(zz=1), "has other columns than the table"),
    (_in_the_first_job(created_at="yesterday"), "holds what no row can"),
    (_in_the_first_job(created_at="2026-01-01T00:00:00+00:00"), "not written the one way"),
    (_in_the_first_job(seed="many"), "the database refuses the rows it tells of"),
    (_in_the_first_job(status="finished"), "the database refuses the rows it tells of (CheckViolation)"),
    (_in_the_first_job(model=None), "the database refuses the rows it tells of (NotNullViolation)"),
    (_in_the_first_job(model={"sha256": "x"}), "holds what no row can"),
]


def test_even_with_the_logs_key_no_statement_of_a_stranger_and_no_impossible_row_gets_in(
    lost: Lost, tmp_path: Path, signer: Signer, stranger: Signer
) -> None:
    for number, (forgery, says) in enumerate(FORGERIES):
        archive, places = tmp_path / f"forged-{number}", list[int]()
        shutil.copytree(lost.archive, archive)
        rewrite(archive, signer, partial(_forge, forgery, archive, stranger, places))
        said = _refusal(lost, archive)
        assert said.startswith(_key(archive, entries(archive)[places[0]])), said
        assert says in said


def _forge(forgery: Forgery, archive: Path, stranger: Signer, places: list[int], payloads: list[Payload]) -> None:
    places.append(forgery(archive, payloads, stranger))


def test_a_checkpoint_somebody_kept_finds_what_the_published_ones_no_longer_show(lost: Lost, signer: Signer) -> None:
    ask(lost.before, "rainfall:2", "prod", 0.93)
    later = publish(lost.before)
    for path in _published(lost)[1:]:
        path.unlink()
    count = len(lost.entries())
    said = _refusal(lost, lost.archive, seen=later)
    assert said.startswith("the checkpoint given: it covers ")
    assert f"the archive has {count}" in said
    other = sign(Checkpoint(lost.before.log_origin, count, b"x" * 32), signer)
    assert _refusal(lost, lost.archive, seen=other).startswith("the checkpoint given: its root is not")
    assert _refusal(lost, lost.archive, seen=b"nonsense").startswith("the checkpoint given: ")


def _published(lost: Lost) -> list[Path]:
    root = Path(str(lost.before.artifact_root).removeprefix("file://"))
    return sorted((root / "checkpoints").rglob("0*"))


def test_checkpoints_that_were_tampered_with_are_found_and_without_any_nothing_is_rebuilt(
    lost: Lost, signer: Signer, stranger: Signer
) -> None:
    (path,) = _published(lost)
    note, count = path.read_bytes(), len(lost.entries())
    of_a_stranger = sign(Checkpoint(lost.before.log_origin, count, b"x" * 32), stranger)
    of_another_log = sign(Checkpoint("other.log/audit", count, b"x" * 32), signer)
    for harm in (note[:-3], b"", note.replace(b"audit\n", b"audit2\n", 1), of_a_stranger, of_another_log):
        overwrite(path, harm)
        assert _refusal(lost, lost.archive).startswith(f"checkpoint {count}: "), harm
    overwrite(path, note)
    path.rename(path.with_name(f"{count - 1:020d}"))
    assert _refusal(lost, lost.archive).startswith(f"checkpoint {count - 1}: the one published for {count - 1} entries says {count}")
    path.with_name(f"{count - 1:020d}").unlink()
    assert "No checkpoint of the log ai-infra.local/audit is published" in _refusal(lost, lost.archive)
    assert rebuilding.rebuild(lost.empty, lost.address, any_checkpoint=False).checkpoints == 0


def test_an_artifact_that_is_gone_or_changed_is_named_unless_it_is_to_be_skipped(lost: Lost) -> None:
    root = Path(str(lost.before.artifact_root).removeprefix("file://"))
    model = next(path for path in root.glob("artifacts/*.model"))
    overwrite(model, b"another model")
    assert _refusal(lost, lost.archive).startswith(f"artifact {lost.before.artifact_root}/")
    model.unlink()
    assert _refusal(lost, lost.archive).startswith(f"artifact {lost.before.artifact_root}/")
    skipped = rebuilding.rebuild(lost.empty, lost.address, read_artifacts=False)
    assert (skipped.artifacts, skipped.artifacts_not_read) == (0, 6)


def test_a_database_that_is_not_empty_is_left_as_it_is(lost: Lost) -> None:
    with pytest.raises(Conflict, match="there are rows in attestations, audit_checkpoints, "):
        rebuilding.rebuild(lost.before, lost.address)
    with database.transaction(lost.empty) as tx:
        tx.exec_driver_sql("INSERT INTO models VALUES ('x', 0, now())")
    with pytest.raises(Conflict, match="there are rows in models;"):
        rebuilding.rebuild(lost.empty, lost.address)


def test_a_place_that_is_no_archive_is_not_found(lost: Lost, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no archive"):
        rebuilding.rebuild(lost.empty, (tmp_path / "nowhere").as_uri())
