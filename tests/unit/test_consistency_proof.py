"""The file in which an export proves that its log continues an earlier checkpoint: read strictly, and never believed wrongly."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_core import merkle
from aiinfra_core.errors import EvidenceBroken
from aiinfra_core.evidence import consistency_proof
from aiinfra_core.evidence.checkpoint import Checkpoint
from tests.simulators.mutations import changes

LEAVES = [merkle.leaf_hash(bytes([number])) for number in range(40)]


def _node(level: int, index: int) -> bytes:
    return merkle.root(LEAVES[index << level : (index + 1) << level])


def _head(size: int) -> Checkpoint:
    return Checkpoint("log.example/one", size, merkle.root(LEAVES[:size]))


def _proof(old: int, new: int) -> bytes:
    return consistency_proof.write(_head(old), merkle.consistency_proof(old, new, _node))


@given(st.integers(1, 40), st.integers(1, 40))
def test_what_is_written_is_read_and_verifies(one: int, other: int) -> None:
    old, new = sorted((one, other))
    proof = consistency_proof.parse(_proof(old, new))
    assert (proof.size, proof.root) == (old, _head(old).root)
    consistency_proof.verify(proof, _head(new))
    with pytest.raises(EvidenceBroken):
        consistency_proof.verify(replace(proof, root=merkle.leaf_hash(b"another")), _head(new))


@given(changes(_proof(13, 40)))
def test_a_changed_proof_is_refused_or_says_the_same(data: bytes) -> None:
    try:
        proof = consistency_proof.parse(data)
        consistency_proof.verify(proof, _head(40))
    except EvidenceBroken:
        return
    assert proof.root == merkle.root(LEAVES[: proof.size])
    assert consistency_proof.write(_head(proof.size), proof.hashes) == data


@pytest.mark.parametrize("data", [b"", b"\n", b"13\n", b"0\nAA==\n", b"13\nAAAA\n", b"013\n" + _proof(13, 40)[3:], b"\xff\n\n\n"])
def test_what_is_no_proof_is_refused(data: bytes) -> None:
    with pytest.raises(EvidenceBroken):
        consistency_proof.parse(data)
