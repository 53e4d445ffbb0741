"""The environment lock says what is installed, and says it the same way each time."""

import platform

import pytest

from aiinfra_core import canonical_json, checksums
from aiinfra_core.training.environment import capture


def test_the_lock_is_the_same_each_time_it_is_taken() -> None:
    assert canonical_json.dumps(capture()) == canonical_json.dumps(capture())


def test_the_digest_is_of_the_canonical_json_of_the_rest() -> None:
    lock = capture()
    rest = {name: value for name, value in lock.items() if name != "digest"}
    assert lock["digest"] == checksums.sha256_hex(canonical_json.dumps(rest))


def test_packages_are_sorted_and_named_once() -> None:
    packages = capture()["packages"]
    names = [package.split("==")[0] for package in packages]
    assert names == sorted(set(names))
    assert any(package.startswith("pydantic==") for package in packages)


def test_neither_variables_nor_the_machines_name_are_in_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    before = capture()
    monkeypatch.setenv("AI_INFRA_DEBUG_TOKEN", "hunter2")
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    assert capture() == before
    assert platform.node() not in str({name: before[name] for name in ("implementation", "interpreter", "platform")})
