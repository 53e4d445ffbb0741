from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_core.errors import Misconfigured
from aiinfra_core.signing import uri
from aiinfra_core.signing.load import load

BASE64 = "q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNF+/8="


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60))
def test_a_quoted_value_comes_back_as_it_was(value: str) -> None:
    parsed = uri.parse(f"vault:release?signer-id={quote(value)}&mount={quote(value, safe='')}")
    assert parsed == uri.SignerUri("vault", "release", {"signer-id": value, "mount": value})


def test_base64_may_stand_in_a_uri_as_it_is() -> None:
    assert uri.parse(f"file:/signer.key?public-key={BASE64}").parameters["public-key"] == BASE64


@given(st.text(max_size=80))
def test_any_text_is_a_signer_uri_or_refused(text: str) -> None:
    try:
        parsed = uri.parse(text)
    except Misconfigured:
        return
    assert text.startswith(f"{parsed.scheme}:{parsed.place}")
    assert uri.is_remote(text) == (parsed.scheme not in ("env", "file"))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("file:/a/signer.key", "/a/signer.key"),
        ("file:///a/signer.key?signer-id=x", "/a/signer.key"),
        ("file:signer.key", "signer.key"),
        ("file:100%25.key", "100%25.key"),
        ("file:", None),
        ("file://", None),
        ("files:/a", None),
        ("vault:/a", None),
        ("env:", None),
    ],
)
def test_only_a_file_uri_names_a_key_file(text: str, path: str | None) -> None:
    assert uri.key_file(text) == (Path(path) if path else None)


PARAMETERS = {
    "env:?region=x": "known are public-key, signer-id",
    "file:/k?pin=x": "'pin'",
    "https://kms.example?token=x": "'token'",
    "awskms:k?address=x": "'address'",
    "vault:k?region=x": "'region'",
    "pkcs11:token=a;object=b?mount=x": "'mount'",
    "vault:k?mount": "'mount' of the signer's URI is unknown, empty",
}


@pytest.mark.parametrize(("text", "why"), PARAMETERS.items())
def test_a_parameter_of_another_scheme_is_refused(text: str, why: str) -> None:
    with pytest.raises(Misconfigured, match=why):
        uri.parse(text)


@pytest.mark.parametrize("name", ["a b", "é", "a\n", "x" * 257])
def test_a_signer_needs_a_printable_name(name: str) -> None:
    with pytest.raises(Misconfigured, match="signer-id="):
        load("env:", signer_id=name, key_b64="AAAA")
