"""What is registered is scanned: whether loading it would run code, signed and recorded with it; nothing is ever loaded."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text

from aiinfra_core import artifact_store, database, registering
from aiinfra_core.domain.artifact import Artifact, RegistrationRequest
from aiinfra_core.domain.scan import Scan, Verdict
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import DigestMismatch
from aiinfra_core.evidence import claims, dsse
from aiinfra_core.evidence.trust import keys_for
from aiinfra_core.keys import trust_of
from aiinfra_core.registry import attestations, scans
from aiinfra_core.scanning import process
from aiinfra_core.scanning import scan as scan_module
from aiinfra_core.scanning.scan import scan_again, scanner
from aiinfra_core.settings import Settings
from tests.simulators import serialised_models as models

Register = Callable[..., Artifact]


@pytest.fixture
def register(settings: Settings, tmp_path: Path) -> Register:
    """Give a function that stores bytes, or a folder of them, and registers them."""

    def registered(content: bytes | dict[str, bytes], configured: Settings = settings, **more: Any) -> Artifact:
        source = tmp_path / uuid4().hex
        if isinstance(content, bytes):
            source.write_bytes(content)
        else:
            source.mkdir()
            for name, data in content.items():
                (source / name).write_bytes(data)
        kept = artifact_store.put(artifact_store.location(configured), source, f"uploads/{uuid4()}")
        asked = {"model": "rain", "artifact_uri": kept.uri, "checksum": kept.checksum, "registered_by": "rita"}
        return registering.register(configured, RegistrationRequest(**asked | more))

    return registered


def _scan_of(settings: Settings, artifact: Artifact) -> Scan:
    with database.autocommit(settings) as connection:
        (scan,) = scans.of_artifact(connection, artifact.id)
    return scan


def test_what_cannot_hold_code_is_told_by_its_bytes_and_no_process_is_started(
    settings: Settings, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subprocess.Popen", None)
    for name, content in models.WITHOUT_CODE.items():
        scan = _scan_of(settings, register(content))
        (finding,) = scan.findings
        assert (finding.format, scan.verdict) == (name, Verdict.NO_CODE)


def test_a_scan_is_recorded_with_its_registration_and_signed(settings: Settings, register: Register) -> None:
    artifact = register(models.safetensors())
    scan = _scan_of(settings, artifact)
    assert (scan.scanned_by, scan.scanner, scan.artifact_id) == ("rita", scanner(), artifact.id)
    with database.transaction(settings) as tx:
        envelope = attestations.envelope(tx, scan.attestation or "")
        told = [row.event_type for row in tx.execute(text("SELECT event_type FROM audit_events ORDER BY seq"))]
    assert dsse.open_envelope(envelope, keys_for(trust_of(settings), Purpose.ARTIFACT, at=scan.created_at)) == claims.of_scan(
        scan, artifact
    )
    assert told == ["artifact.registered", "artifact.scanned"]


def test_files_that_can_hold_code_are_looked_into_and_none_runs(settings: Settings, register: Register) -> None:
    both = models.INSIDE | models.EVIL
    artifact = register({name.replace(" ", "-"): content for name, (content, _) in both.items()})
    scan = _scan_of(settings, artifact)
    found = {finding.file.replace("-", " "): finding for finding in scan.findings}
    assert {name: one.verdict.value for name, one in found.items()} == {name: verdict for name, (_, verdict) in both.items()}
    assert "system" in str(found["torch"].imports)
    assert scan.verdict is Verdict.UNSAFE
    assert scan.findings[0].verdict is Verdict.UNSAFE


@pytest.mark.slow
def test_a_bomb_a_loop_of_containers_and_what_cannot_be_opened_are_unknown(settings: Settings, register: Register) -> None:
    deep = models.plain()
    for _ in range(6):
        deep = models.zipped(inner=deep)
    artifact = register({"bomb": models.bomb(), "deep": deep, "seven": b"7z\xbc\xaf\x27\x1c" + bytes(40), "cut": models.torch(b"")[:60]})
    scan = _scan_of(settings, artifact)
    assert {finding.file: finding.verdict.value for finding in scan.findings} == dict.fromkeys(("bomb", "deep", "seven", "cut"), "unknown")
    said = {finding.file: finding.detail or "" for finding in scan.findings}
    assert "more than 1024 MiB" in said["bomb"]
    assert "safetensors" in said["seven"]


def test_a_scan_that_takes_too_long_is_ended_and_what_it_did_not_get_to_is_unknown(settings: Settings, register: Register) -> None:
    hurried = settings.model_copy(update={"scan_seconds": 0.001})
    (finding,) = _scan_of(settings, register(models.malicious(), hurried)).findings
    assert finding.verdict is Verdict.UNKNOWN
    assert "AI_INFRA_SCAN_SECONDS" in (finding.detail or "")


def test_what_ends_the_scanner_is_unknown(settings: Settings, register: Register, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_PROGRAM", "import os; os.abort()")
    (finding,) = _scan_of(settings, register(models.plain())).findings
    assert finding.verdict is Verdict.UNKNOWN
    assert "ended the scanner" in (finding.detail or "")


def test_the_scanner_knows_nothing_of_this_process_and_has_limits(
    settings: Settings, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AI_INFRA_SIGNER_KEY_B64", "secret-of-this-process")
    told = "import json, os; print(json.dumps({'file': '', 'format': 'f', 'verdict': 'safe', 'detail': str(sorted(os.environ))}))"
    with monkeypatch.context() as replaced:
        replaced.setattr(process, "_PROGRAM", told)
        (finding,) = _scan_of(settings, register(models.plain())).findings
    assert "AI_INFRA" not in (finding.detail or "AI_INFRA")
    narrow = process._PROGRAM.replace("import looking;", "import looking; looking.MOST_MEMORY = 2**27;")
    monkeypatch.setattr(process, "_PROGRAM", narrow)
    (finding,) = _scan_of(settings, register(pickle.dumps(bytes(120 * 2**20)))).findings
    assert (finding.verdict, "memory" in (finding.detail or "")) == (Verdict.UNKNOWN, True)


def test_without_the_scanner_pickles_are_unknown_and_the_sentence_says_what_to_install(
    settings: Settings, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = process._PROGRAM.replace("import looking", "import looking; sys.modules['picklescan'] = None")
    monkeypatch.setattr(process, "_PROGRAM", hidden)
    scan = _scan_of(settings, register({"model": models.malicious(), "rest": models.zipped(**{"a.json": b"{}"})}))
    assert {finding.file: finding.verdict.value for finding in scan.findings} == {"model": "unknown", "rest": "no_code"}
    assert "ai-infrastructure[scan]" in (scan.findings[0].detail or "")


def test_nothing_is_scanned_where_that_is_switched_off_and_a_scan_can_be_asked_for(settings: Settings, register: Register) -> None:
    artifact = register(models.malicious(), settings.model_copy(update={"scan": False}))
    with database.autocommit(settings) as connection:
        assert scans.newest(connection, artifact.id) is None
    _, scan = scan_again(settings, "rain:1", "sam")
    assert (scan.verdict, scan.scanned_by) == (Verdict.UNSAFE, "sam")
    with database.autocommit(settings) as connection:
        assert scans.newest(connection, artifact.id) == scan


def test_the_same_findings_of_the_same_scanner_are_one_scan(
    settings: Settings, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = register(models.plain())
    first = _scan_of(settings, artifact)
    assert scan_again(settings, str(artifact.id), "sam")[1] == first
    monkeypatch.setattr(scan_module, "scanner", lambda: "ai-infra/next")
    second = scan_again(settings, "rain", "sam")[1]
    with database.autocommit(settings) as connection:
        assert scans.of_artifact(connection, artifact.id) == [second, first]
        assert scans.newest(connection, artifact.id) == second


def test_many_files_give_a_bounded_scan_with_the_worst_first(settings: Settings, register: Register) -> None:
    files = {f"part-{number}": b"text" for number in range(510)} | {"last": models.malicious()}
    scan = _scan_of(settings, register(files))
    assert len(scan.findings) == scan_module.MOST_FINDINGS
    assert scan.findings[0].file == "last"
    assert scan.findings[-1].detail == "12 more files"


def test_bytes_that_changed_since_they_were_registered_are_not_scanned(settings: Settings, register: Register) -> None:
    artifact = register(models.safetensors())
    place = Path(artifact.artifact_uri.removeprefix("file://"))
    place.chmod(0o644)
    place.write_bytes(models.malicious())
    with pytest.raises(DigestMismatch):
        scan_again(settings, "rain", "sam")
