"""OpenSSF's tool accepts the `model.sig` made here, with the key it was made with, over the files it was made over and no others."""

import base64
import json
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from aiinfra_core.checksums import sha256_hex
from aiinfra_core.evidence import openssf
from tests.interop.verifiers import model_signing_accepts

pytestmark = pytest.mark.timeout(300)  # the tool takes a second or two to start
KEY = ec.generate_private_key(ec.SECP256R1())
OTHER = ec.generate_private_key(ec.SECP256R1())
FILES = {
    "weights.bin": b"\0" * 1000,
    "sub/config.json": b"{}",
    "sub.txt": b"",
    "ü x": b"1",
    ".hidden": b"2",
    ".gitattributes": b"*.bin lfs",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model, its signature and the public key."""
    for path, data in FILES.items():
        (tmp_path / "model" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / path).write_bytes(data)
    signature = openssf.sign("rainfall", {path: sha256_hex(data) for path, data in FILES.items()}, KEY)
    (tmp_path / "model.sig").write_bytes(signature)
    (tmp_path / "public-key.pem").write_bytes(openssf.public_pem(KEY))
    return tmp_path


def accepts(folder: Path) -> bool:
    return model_signing_accepts(folder / "model", folder / "model.sig", folder / "public-key.pem")


def test_the_openssf_tool_accepts_the_signature_of_a_model(folder: Path) -> None:
    assert accepts(folder)
    assert accepts(Path(shutil.move(folder, folder.parent / "elsewhere")))


def test_the_openssf_tool_accepts_the_signature_of_a_model_of_one_file(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/weights.bin").write_bytes(b"weights")
    (tmp_path / "model.sig").write_bytes(openssf.sign("rainfall", {"weights.bin": sha256_hex(b"weights")}, KEY))
    (tmp_path / "public-key.pem").write_bytes(openssf.public_pem(KEY))
    assert accepts(tmp_path)
    (tmp_path / "model/weights.bin").write_bytes(b"weightz")
    assert not accepts(tmp_path)


@pytest.mark.parametrize("change", ["changed", "added", "removed", "renamed"])
def test_the_openssf_tool_refuses_a_model_whose_files_are_others(folder: Path, change: str) -> None:
    config = folder / "model/sub/config.json"
    match change:
        case "changed":
            config.write_bytes(b"[]")
        case "added":
            (folder / "model/more").write_bytes(b"")
        case "removed":
            config.unlink()
        case "renamed":
            config.rename(config.with_name("other.json"))
    assert not accepts(folder)


def test_the_openssf_tool_refuses_another_key_and_a_tampered_signature(folder: Path) -> None:
    good = json.loads((folder / "model.sig").read_bytes())
    payload = base64.b64decode(good["dsseEnvelope"]["payload"])
    (folder / "model/sub.txt").write_bytes(b"!")
    listed = payload.replace(sha256_hex(b"").encode(), sha256_hex(b"!").encode())
    good["dsseEnvelope"]["payload"] = base64.b64encode(listed).decode()
    (folder / "model.sig").write_bytes(json.dumps(good).encode())
    assert not accepts(folder)
    (folder / "model.sig").write_bytes(openssf.sign("rainfall", {path: sha256_hex(data) for path, data in FILES.items()}, OTHER))
    (folder / "model/sub.txt").write_bytes(b"")
    assert not accepts(folder)
    (folder / "public-key.pem").write_bytes(openssf.public_pem(OTHER))
    assert accepts(folder)
