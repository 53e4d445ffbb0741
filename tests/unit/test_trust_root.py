"""From a pinned root to whose signatures count: the chain of roots, thresholds, versions, expiry, mixed-up files, hostile bytes."""

import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_core import canonical_json
from aiinfra_core.domain.trust import Purpose
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import tuf_metadata
from aiinfra_core.evidence.trust_root import TrustRoot, open_trust_root, targets_version
from tests.simulators.trust_files import LATER, NOW, changed, files, plan, root, rotated, signed_anew, signer, targets, trust_of, trusted

ONE = files()


def opened(of: Mapping[str, bytes], pinned: str = "1.root.json", **more: Any) -> TrustRoot:
    return open_trust_root(of[pinned], of, **{"now": NOW, **more})


def broken(of: Mapping[str, bytes], pinned: str = "1.root.json", **more: Any) -> tuple[str, str]:
    """Return where it broke, and the sentence; it must be a sentence."""
    with pytest.raises(EvidenceBroken) as found:
        opened(of, pinned, **more)
    assert found.value.detail.endswith(".")
    return found.value.place, found.value.detail


def test_a_pinned_root_leads_to_the_trust_and_tells_versions_and_expiry() -> None:
    found = opened(ONE)
    assert found.trust == trust_of(trusted("ci"))
    assert (found.root_version, found.targets_version, found.expires) == (1, 1, LATER)


def test_roots_are_followed_from_1_to_3_and_a_later_one_may_be_pinned() -> None:
    two = rotated(ONE, 2, plan("bob"), "alice", "bob")
    three = rotated(two, 3, plan("carol"), "bob", "carol")
    assert opened(three).root_version == 3
    assert opened(three, "2.root.json").root_version == 3
    assert opened({**three, "notes.txt": b"x", "03.root.json": b"x"}, "3.root.json").trust == opened(ONE).trust


@pytest.mark.parametrize("signed_by", [("alice",), ("bob",), (), ("carol",)])
def test_the_next_root_needs_the_old_and_the_new_keys(signed_by: tuple[str, ...]) -> None:
    unsigned = rotated(ONE, 2, plan("bob"))["2.root.json"]
    place, detail = broken({**ONE, "2.root.json": signed_anew(unsigned, *signed_by)})
    assert (place, "2.root.json is signed by 0 of the 1 root keys" in detail) == ("trust root", True)


def test_a_threshold_counts_the_old_root_s_keys_and_the_new_one_s_each() -> None:
    before = files(threshold=2, names=("alice", "bob", "carol"))
    new = plan("dave", "erin", "carol", threshold=2)
    assert opened(rotated(before, 2, new, "alice", "carol", "dave")).root_version == 2
    assert broken(rotated(before, 2, new, "alice", "dave", "erin"))[0] == "trust root"
    assert broken(rotated(before, 2, new, "alice", "bob", "dave"))[0] == "trust root"


def test_one_key_under_two_keyids_counts_once() -> None:
    value = canonical_json.loads(root(1, plan("alice", "bob", threshold=2)))["signed"]
    alice = signer("alice").public_key.keyid
    twice = {**value["keys"], "f" * 64: value["keys"][alice]}
    del twice[signer("bob").public_key.keyid]
    roles = {**value["roles"], "root": {"keyids": [alice, "f" * 64], "threshold": 2}}
    data = canonical_json.loads(signed_anew(ONE["1.root.json"], "alice", keys=twice, roles=roles))
    data["signatures"].append({"keyid": "f" * 64, "sig": data["signatures"][0]["sig"]})
    place, detail = broken({**ONE, "1.root.json": canonical_json.dumps(data)})
    assert (place, "signed by 1 of the 2 root keys" in detail) == ("trust root", True)


def test_any_scheme_of_keyids_will_do() -> None:
    value = canonical_json.loads(ONE["1.root.json"])["signed"]
    names = {signer(name).public_key.keyid: name for name in ("alice", "targets")}
    keys = {names[keyid]: key for keyid, key in value["keys"].items()}
    roles = {role: {**it, "keyids": [names[keyid] for keyid in it["keyids"]]} for role, it in value["roles"].items()}
    pinned = signed_anew(ONE["1.root.json"], "alice", keyids={"alice": "alice"}, keys=keys, roles=roles)
    named = signed_anew(ONE["targets.json"], "targets", keyids={"targets": "targets"})
    assert opened({**ONE, "1.root.json": pinned, "targets.json": named}).trust == opened(ONE).trust


@pytest.mark.parametrize(
    "key",
    [
        {"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": "x"}},
        {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "00" * 32}},
        {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": "ab"}},
        {"keytype": "ed25519", "scheme": "ed25519", "keyval": {"public": 7}},
        {"keytype": ["ed25519"], "scheme": "ed25519", "keyval": {}},
        None,
    ],
)
def test_a_root_that_lists_anything_but_sound_ed25519_keys_is_refused(key: Any) -> None:
    keys = {**canonical_json.loads(ONE["1.root.json"])["signed"]["keys"], "e" * 64: key}
    assert broken({**ONE, "1.root.json": signed_anew(ONE["1.root.json"], "alice", keys=keys)})[0] == "trust root"


def test_versions_have_no_gap_and_are_what_the_names_say() -> None:
    two = rotated(ONE, 2, plan("bob"), "alice", "bob")
    three = rotated(two, 3, plan("carol"), "bob", "carol")
    assert broken({name: data for name, data in three.items() if name != "2.root.json"})[0] == "trust version"
    assert broken({**two, "2.root.json": root(3, plan("alice"), "alice")})[0] == "trust version"
    assert broken({**ONE, "2.root.json": ONE["1.root.json"]})[0] == "trust version"


def test_nobody_is_led_back() -> None:
    seven = files(version=7)
    assert opened(seven, least_targets_version=7, least_root_version=1).targets_version == 7
    place, detail = broken(seven, least_targets_version=8)
    assert (place, "targets.json has version 7, but 8 was seen before" in detail) == ("trust version", True)
    assert broken(seven, least_root_version=2)[0] == "trust version"
    assert targets_version(seven["targets.json"]) == 7


def test_what_expired_counts_no_more_and_only_the_last_root_must_not_have() -> None:
    early = NOW + timedelta(days=1)
    short = {**ONE, "1.root.json": root(1, plan("alice"), "alice", expires=early), **targets(trust_of(), expires=early)}
    assert opened(short, now=early - timedelta(seconds=1)).expires == early
    place, detail = broken(short, now=early)
    assert (place, "1.root.json expired" in detail) == ("trust expiry", True)
    after = rotated(short, 2, plan("alice"), "alice")
    place, detail = broken(after, now=early)
    assert (place, "targets.json expired" in detail) == ("trust expiry", True)
    assert opened({**after, **targets(trust_of())}, now=early).root_version == 2


def test_the_targets_must_be_signed_by_the_last_root_s_targets_key() -> None:
    place, detail = broken({**ONE, **targets(trust_of(), signed_by="alice")})
    assert (place, "targets.json is signed by 0 of the 1 targets keys that root 1" in detail) == ("trust root", True)
    moved = rotated(ONE, 2, plan("alice", targets="new"), "alice")
    assert broken(moved)[0] == "trust root"
    assert opened({**moved, **targets(trust_of(), signed_by="new")}).root_version == 2


def test_mixed_up_directories_are_found() -> None:
    other = {"1.root.json": root(1, plan("mallory"), "mallory"), **targets(trust_of(trusted("mallory")), version=2)}
    place, detail = broken({**ONE, "1.root.json": other["1.root.json"]} | {"pinned": ONE["1.root.json"]}, "pinned")
    assert (place, "1.root.json is not the pinned root" in detail) == ("trust root", True)
    assert broken({**ONE, "trust.json": other["trust.json"]})[0] == "trust.json"
    assert opened({**ONE, "targets.json": other["targets.json"], "trust.json": other["trust.json"]}).trust.keys[0].signer_id == "mallory"
    assert broken({**ONE, "targets.json": other["targets.json"]})[0] == "trust.json"
    assert broken({**ONE, "1.root.json": ONE["targets.json"]})[0] == "trust root"
    assert broken({**ONE, "targets.json": ONE["1.root.json"]})[0] == "trust root"


@pytest.mark.parametrize("name", ["targets.json", "trust.json"])
def test_a_missing_file_is_named(name: str) -> None:
    place, detail = broken({other: data for other, data in ONE.items() if other != name})
    assert (place, name in detail) == ("trust root", True)


@pytest.mark.parametrize(
    "fields",
    [
        {"version": 2.0},
        {"version": True},
        {"version": 0},
        {"version": "1"},
        {"spec_version": "2.0.0"},
        {"expires": "tomorrow"},
        {"roles": {}},
        {"roles": None},
        {"keys": []},
        {"_type": "timestamp"},
    ],
)
def test_a_root_of_wrong_types_is_refused(fields: dict[str, Any]) -> None:
    assert broken({**ONE, "1.root.json": changed(ONE["1.root.json"], **fields)})[0] == "trust root"


def test_true_is_no_version_and_no_threshold_even_when_it_is_signed() -> None:
    root_file = ONE["1.root.json"]
    assert broken({**ONE, "1.root.json": signed_anew(root_file, "alice", version=True)})[0] == "trust root"
    roles = canonical_json.loads(root_file)["signed"]["roles"]
    of_true = {**roles, "root": {**roles["root"], "threshold": True}}
    assert opened({**ONE, "1.root.json": signed_anew(root_file, "alice", roles=roles)}).root_version == 1
    assert broken({**ONE, "1.root.json": signed_anew(root_file, "alice", roles=of_true)})[0] == "trust root"


@pytest.mark.parametrize("threshold", [0, 0.5, True, "1", None, 10**30])
def test_a_threshold_that_is_no_whole_number_is_refused(threshold: Any) -> None:
    roles = canonical_json.loads(ONE["1.root.json"])["signed"]["roles"]
    roles["root"]["threshold"] = threshold
    data = canonical_json.loads(ONE["1.root.json"])
    data["signed"]["roles"] = roles
    assert broken({**ONE, "1.root.json": json.dumps(data).encode()})[0] == "trust root"


@pytest.mark.parametrize(
    "target",
    [
        {},
        {"trust.json": {"length": 1, "hashes": {"md5": "00"}}},
        {"trust.json": {"length": 1, "hashes": {"sha256": "../../x"}}},
        {"trust.json": {"length": 1, "hashes": {"sha256": "0" * 64}}, "other.json": {"length": 1, "hashes": {"sha256": "0" * 64}}},
    ],
)
def test_the_targets_name_the_trust_alone_by_its_sha256(target: dict[str, Any]) -> None:
    named = signed_anew(ONE["targets.json"], "targets", targets=target)
    assert broken({**ONE, "targets.json": named})[0] == "trust root"


def _names(trust: bytes) -> dict[str, bytes]:
    target = {"trust.json": {"length": len(trust), "hashes": {"sha256": sha256(trust).hexdigest()}}}
    return {**ONE, "targets.json": signed_anew(ONE["targets.json"], "targets", targets=target), "trust.json": trust}


@pytest.mark.parametrize(
    "replaced",
    [
        (b'"keys":[', b'"keys":[],"keys":['),
        (b'"logs":["test.example/log"]', b'"logs":[]'),
        (b'"purposes":["promotion"]', b'"purposes":["everything"]'),
        (b'"purposes":["promotion"]', b'"purposes":["promotion"],"sudo":true'),
        (b'"publicKey":"', b'"publicKey":" '),
        (b'"publicKey":', b'"public_key":'),
        (b'"keyid":"', b'"keyid":"00'),
        (b'"thresholds":{}', b'"thresholds":{"prod":{"security":"1"}}'),
        (b'"thresholds":{}', b'"thresholds":{"prod":{"security":0}}'),
        (b'"thresholds":{}', b'"thresholds":{"prod":{"security":NaN}}'),
        (b'"owner":"ci"', b'"owner":"ci","validUntil":1900000000'),
        (b'"owner":"ci"', b'"owner":"ci","validUntil":"2030-01-01T00:00:00"'),
    ],
)
def test_a_signed_trust_is_read_strictly(replaced: tuple[bytes, bytes]) -> None:
    trust = ONE["trust.json"]
    assert replaced[0] in trust
    assert broken(_names(trust.replace(*replaced)))[0] == "trust.json"


def test_a_key_listed_twice_or_under_another_s_keyid_is_refused() -> None:
    value = canonical_json.loads(ONE["trust.json"])
    other = {**value["keys"][0], "keyid": trusted("other").keyid}
    assert broken(_names(canonical_json.dumps({**value, "keys": [value["keys"][0]] * 2})))[0] == "trust.json"
    assert broken(_names(canonical_json.dumps({**value, "keys": [other]})))[0] == "trust.json"


@pytest.mark.parametrize("name", ["1.root.json", "targets.json", "trust.json"])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'{"signed":{}}',
        b"[" * 200_000,
        b'{"signed":' * 5_000 + b"1" + b"}" * 5_000,
        b"\xff\xfe",
        b'"' + b"a" * 5_000_000 + b'"',
        b'{"signatures":[{"keyid":[],"sig":1}],"signed":{"_type":"root"}}',
        b"9" * 10_000,
        b'"\\ud800"',
    ],
)
def test_hostile_bytes_are_broken_evidence_and_nothing_else(name: str, data: bytes) -> None:
    assert broken({**ONE, name: data})[0].startswith("trust")


@given(name=st.sampled_from(sorted(ONE)), at=st.integers(min_value=0), bit=st.integers(min_value=0, max_value=7))
def test_a_flipped_bit_is_found_or_changes_nothing_that_is_signed(name: str, at: int, bit: int) -> None:
    data = bytearray(ONE[name])
    data[at % len(data)] ^= 1 << bit
    mutated = {**ONE, name: bytes(data)}
    try:
        found = open_trust_root(mutated["1.root.json"], mutated, now=NOW)
    except EvidenceBroken as error:
        assert error.place in ("trust root", "trust expiry", "trust version", "trust.json")
    else:
        assert found == opened(ONE)  # such as a letter's case in a hex signature
        assert name != "trust.json"


def test_a_purpose_no_one_has_heard_of_is_not_invented() -> None:
    assert [key.purposes for key in opened(ONE).trust.keys] == [(Purpose.PROMOTION,)]


def test_reading_needs_no_library_of_a_cloud_even_where_it_is_installed() -> None:
    program = (
        "import sys; import aiinfra_core.evidence.trust_root\n"
        "loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "assert not loaded & {'boto3', 'botocore', 'pkcs11', 'azure', 'google', 'sqlalchemy', 'httpx'}, loaded\n"
        "import boto3\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True)


def test_a_later_root_of_a_thousand_is_the_most() -> None:
    many = {**ONE, **{f"{version}.root.json": b"" for version in range(2, tuf_metadata.MAX_ROOTS + 3)}}
    place, detail = broken(many)
    assert (place, "more than 1000 roots" in detail) == ("trust root", True)
