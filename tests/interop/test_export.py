"""A real export and a pinned root alone: the verifiers of others and `verify.sh` agree that it holds, and find what was changed."""

import base64
import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from aiinfra_core.evidence import dsse, note
from aiinfra_core.signing import public_key
from aiinfra_core.signing.public_key import PublicKey
from tests.interop.verifiers import (
    go_accepts,
    go_dirhash,
    model_signing_accepts,
    openssl_accepts,
    securesystemslib_accepts,
    sigstore_refusals,
)
from tests.simulators import exports

KEY = ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True)
class Export:
    """An export directory and the pinned root."""

    folder: Path
    pinned: Path

    @property
    def key(self) -> PublicKey:
        """The one key that signs everything in it."""
        (listed,) = json.loads((self.folder / "trust/trust.json").read_bytes())["keys"]
        return public_key.parse(listed["publicKey"])

    @property
    def vkey(self) -> str:
        """The same as a verifier key of its log."""
        return note.verifier_key((self.folder / "checkpoint").read_text().partition("\n")[0], self.key)

    def each(self, folder: str) -> list[Path]:
        """Return the files of one of its folders."""
        return sorted((self.folder / folder).iterdir())


@pytest.fixture(scope="module")
def known(postgres_server: str, migrated_template: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Export]:
    """Give the export of a model that is a directory, promoted twice, in a log with several checkpoints."""
    folder = tmp_path_factory.mktemp("interop")
    (folder / "openssf.pem").write_bytes(KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with exports.installation(postgres_server, migrated_template, folder) as plain:
        settings = plain.model_copy(update={"openssf_key": folder / "openssf.pem"})
        first = exports.directory_model(settings, folder)
        second = exports.directory_model(settings, folder, content="better weights")
        for number, artifact in enumerate((first, second)):
            exports.promoted(settings, artifact)
            exports.exported(settings, "rainfall@prod", folder / f"earlier-{number}")
        exports.trained(settings, "another")
        assert settings.trust_root is not None
        yield Export(exports.exported(settings, "rainfall@prod", folder / "export"), settings.trust_root)


def envelopes(export: Export) -> list[Path]:
    return [*export.each("attestations"), export.folder / "export.dsse.json"]


def by_securesystemslib(export: Export) -> bool:
    return all(securesystemslib_accepts(it.read_bytes(), export.key) for it in envelopes(export))


def by_openssl(export: Export) -> bool:
    read = [json.loads(it.read_bytes()) for it in envelopes(export)]
    return all(openssl_accepts(base64.b64decode(it["payload"]), base64.b64decode(it["signatures"][0]["sig"]), export.key) for it in read)


def by_npm(export: Export) -> bool:
    return not any(sigstore_refusals([it.read_bytes() for it in export.each("bundles")], {export.key.keyid: export.key}))


def by_go_note(export: Export) -> bool:
    return go_accepts("note", export.vkey, export.folder / "checkpoint")


def by_go_inclusion(export: Export) -> bool:
    pairs = zip(export.each("proofs"), export.each("events"), strict=True)
    return all(go_accepts("inclusion", export.vkey, proof, event) for proof, event in pairs)


def by_go_consistency(export: Export) -> bool:
    return all(go_accepts("consistency", export.vkey, export.folder / "checkpoint", it) for it in export.each("consistency"))


def by_go_dirhash(export: Export) -> bool:
    said = json.loads(dsse.parse((export.folder / "export.dsse.json").read_bytes()).payload)
    digest: str = said["subject"][0]["digest"]["dirHash"]
    return go_dirhash(export.folder / "model") == digest


def by_sha256sum(export: Export) -> bool:
    done = subprocess.run(["sha256sum", "--strict", "-c", "../SHA256SUMS"], cwd=export.folder / "model", capture_output=True, check=False)
    return done.returncode == 0


def by_model_signing(export: Export) -> bool:
    signature = export.folder / "openssf/model.sig"
    return model_signing_accepts(export.folder / "model", signature, export.folder / "openssf/public-key.pem")


def by_script(export: Export) -> bool:
    command = ["bash", str(export.folder / "verify.sh"), str(export.folder), str(export.pinned)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    assert ("FAILED" in done.stdout) == (done.returncode == 1), done.stdout + done.stderr
    return done.returncode == 0


def by_us(export: Export) -> bool:
    return exports.checked(export.folder, export.pinned).passed


VERIFIERS: dict[str, Callable[[Export], bool]] = {
    "securesystemslib": by_securesystemslib,
    "openssl": by_openssl,
    "npm": by_npm,
    "go note": by_go_note,
    "go inclusion": by_go_inclusion,
    "go consistency": by_go_consistency,
    "go dirhash": by_go_dirhash,
    "sha256sum": by_sha256sum,
    "model_signing": by_model_signing,
    "verify.sh": by_script,
    "aiinfra verify": by_us,
}


@pytest.mark.parametrize("verifier", VERIFIERS)
def test_a_verifier_accepts_a_real_export(verifier: str, known: Export) -> None:
    assert VERIFIERS[verifier](known)


def test_there_is_something_for_each_verifier_to_look_at(known: Export) -> None:
    found = {folder: len(known.each(folder)) for folder in ("attestations", "bundles", "events", "proofs", "consistency")}
    assert found["attestations"] == found["bundles"] >= 6
    assert found["events"] == found["proofs"] >= 6
    assert found["consistency"] >= 2


def replace(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new, 1))


def another_letter(path: Path, place: int) -> None:
    """Put another letter of base64 at a place."""
    data = bytearray(path.read_bytes())
    data[place] = ord("A") if data[place] != ord("A") else ord("B")
    path.write_bytes(data)


def other_payload(path: Path) -> None:
    value = json.loads(path.read_bytes())
    held = value.get("dsseEnvelope", value)
    held["payload"] = base64.b64encode(base64.b64decode(held["payload"]).replace(b"rainfall", b"snowfall")).decode()
    path.write_text(json.dumps(value, separators=(",", ":"), sort_keys=True))


def swapped(first: Path, second: Path) -> None:
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)


ENVELOPE, PROOF, OURS = ("securesystemslib", "openssl"), ("go inclusion",), ("verify.sh", "aiinfra verify")
TAMPERED: dict[str, tuple[Callable[[Export], object], tuple[str, ...]]] = {
    "a weight changed": (
        lambda it: replace(it.folder / "model/layers/0.bin", b"weights", b"weightz"),
        ("go dirhash", "sha256sum", "model_signing"),
    ),
    "a file added to the model": (lambda it: (it.folder / "model/more").write_text(""), ("go dirhash", "model_signing")),
    "a file taken from the model": (lambda it: (it.folder / "model/config.json").unlink(), ("go dirhash", "sha256sum", "model_signing")),
    "the sums made to fit a changed weight": (
        lambda it: [
            (it.folder / "model/config.json").write_text("{}"),
            (it.folder / "SHA256SUMS").write_bytes(
                subprocess.run(
                    ["sha256sum", "config.json", "layers/0.bin", "layers/1.bin"], cwd=it.folder / "model", capture_output=True, check=True
                ).stdout
            ),
        ],
        ("go dirhash", "model_signing"),
    ),
    "the payload of an attestation": (lambda it: other_payload(it.each("attestations")[0]), ENVELOPE),
    "the payload of the export's statement": (lambda it: other_payload(it.folder / "export.dsse.json"), ENVELOPE),
    "two attestations swapped": (lambda it: swapped(*it.each("attestations")[:2]), ()),
    "the signature of an attestation": (lambda it: another_letter(it.each("attestations")[-1], -20), ENVELOPE),
    "the payload of a bundle": (lambda it: other_payload(it.each("bundles")[0]), ("npm",)),
    "an entry of the log": (lambda it: replace(it.each("events")[2], b'"ts":"2', b'"ts":"1'), PROOF),
    "two entries swapped": (lambda it: swapped(*it.each("events")[:2]), PROOF),
    "a hash of a proof": (lambda it: another_letter(it.each("proofs")[1], 60), PROOF),
    "the root of the checkpoint": (
        lambda it: another_letter(it.folder / "checkpoint", (it.folder / "checkpoint").read_bytes().index(b"\n\n") - 10),
        ("go note", "go consistency"),
    ),
    "the signature of the checkpoint": (lambda it: another_letter(it.folder / "checkpoint", -20), ("go note", "go consistency")),
    "the root of an earlier checkpoint": (lambda it: another_letter(it.each("consistency")[0], 10), ("go consistency",)),
    "the model signature": (lambda it: other_payload(it.folder / "openssf/model.sig"), ("model_signing",)),
    "the key in the trust": (
        lambda it: replace(it.folder / "trust/trust.json", it.key.base64.encode(), exports.ROOT_KEY.public_key.base64.encode()),
        (*ENVELOPE, "npm", "go note", "go inclusion", "go consistency"),
    ),
}


@pytest.mark.parametrize("change", TAMPERED)
def test_what_was_changed_in_an_export_is_found_by_each_verifier_that_looks_at_it(change: str, known: Export, tmp_path: Path) -> None:
    tamper, by = TAMPERED[change]
    copy = Export(exports.copied(known.folder, tmp_path / "export"), known.pinned)
    tamper(copy)
    assert [name for name in (*by, *OURS) if VERIFIERS[name](copy)] == []


def test_every_verifier_is_asked_about_something_it_must_refuse() -> None:
    assert {name for _, by in TAMPERED.values() for name in (*by, *OURS)} == set(VERIFIERS)
