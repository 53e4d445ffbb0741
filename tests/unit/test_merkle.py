"""Merkle trees agree with the published vectors and with a second implementation, and no changed proof passes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiinfra_core import merkle
from aiinfra_core.errors import BadInput, EvidenceBroken
from tests.simulators.small_log import reader, tree_hash

VECTORS = json.loads(Path("tests/vectors/rfc9162_merkle.json").read_text())
LEAVES = [bytes.fromhex(it) for it in VECTORS["leaves"]]
ROOTS = [bytes.fromhex(it) for it in VECTORS["roots"]]
MOST = 70
ENTRIES = [b"entry %d" % n for n in range(MOST)]
NODE = reader(ENTRIES)
ROOT = [tree_hash(ENTRIES[:size]) for size in range(MOST + 1)]
HASH = [merkle.leaf_hash(it) for it in ENTRIES]


def hashes(vector: Any) -> list[bytes]:
    return [bytes.fromhex(it) for it in vector["proof"]]


def test_the_roots_are_those_of_the_published_vectors() -> None:
    assert bytes.fromhex(VECTORS["empty_root"]) == merkle.EMPTY_ROOT == merkle.root([])
    for size, root in enumerate(ROOTS, start=1):
        assert merkle.root(map(merkle.leaf_hash, LEAVES[:size])) == merkle.root_at(size, reader(LEAVES)) == root


@pytest.mark.parametrize("vector", VECTORS["inclusion"], ids=lambda it: f"{it['index']} of {it['size']}")
def test_inclusion_proofs_are_those_of_the_published_vectors(vector: Any) -> None:
    index, size = vector["index"], vector["size"]
    assert merkle.inclusion_proof(index, size, reader(LEAVES)) == hashes(vector)
    merkle.verify_inclusion(merkle.leaf_hash(LEAVES[index]), index, size, hashes(vector), ROOTS[size - 1])


@pytest.mark.parametrize("vector", VECTORS["consistency"], ids=lambda it: f"{it['old']} to {it['new']}")
def test_consistency_proofs_are_those_of_the_published_vectors(vector: Any) -> None:
    old, new = vector["old"], vector["new"]
    assert merkle.consistency_proof(old, new, reader(LEAVES)) == hashes(vector)
    merkle.verify_consistency(old, ROOTS[old - 1], new, ROOTS[new - 1], hashes(vector))


def test_the_seven_leaf_tree_of_the_rfc_has_the_proofs_it_names() -> None:
    name = {tree_hash(ENTRIES[start:end]): letter for letter, (start, end) in VECTORS["named"]["nodes"].items()}
    for index, expected in VECTORS["named"]["inclusion"].items():
        assert "".join(name[it] for it in merkle.inclusion_proof(int(index), 7, NODE)) == expected
    for old, expected in VECTORS["named"]["consistency"].items():
        assert "".join(name[it] for it in merkle.consistency_proof(int(old), 7, NODE)) == expected


@given(st.lists(st.lists(st.binary(max_size=8), max_size=40), max_size=6))
def test_a_tree_that_grows_in_batches_has_the_root_of_its_definition(batches: list[list[bytes]]) -> None:
    tree, entries = merkle.Frontier(), list[bytes]()
    for batch in batches:
        tree, entries = tree.extended(map(merkle.leaf_hash, batch)), entries + batch
        assert (tree.size, tree.root) == (len(entries), tree_hash(entries))
        assert merkle.root_at(len(entries), reader(entries)) == tree.root


def test_a_frontier_keeps_the_roots_of_its_complete_subtrees_and_no_more() -> None:
    for size in range(MOST + 1):
        peaks = merkle.Frontier().extended(HASH[:size]).peaks
        levels = [level for level in range(size.bit_length()) if size >> level & 1][::-1]
        assert peaks == tuple(NODE(level, (size >> level + 1) * 2) for level in levels)


def test_every_inclusion_proof_verifies_up_to_seventy_entries() -> None:
    for size in range(1, MOST + 1):
        for index in range(size):
            merkle.verify_inclusion(HASH[index], index, size, merkle.inclusion_proof(index, size, NODE), ROOT[size])


def test_every_consistency_proof_verifies_up_to_seventy_entries() -> None:
    for new in range(1, MOST + 1):
        merkle.verify_consistency(0, ROOT[0], new, ROOT[new], [])
        for old in range(1, new + 1):
            merkle.verify_consistency(old, ROOT[old], new, ROOT[new], merkle.consistency_proof(old, new, NODE))


def changed(data: bytes, bit: int) -> bytes:
    return (int.from_bytes(data) ^ 1 << bit % 256).to_bytes(32)


def wrong_lists(proof: list[bytes], bit: int) -> Iterator[list[bytes]]:
    """Every list one step away: a hash changed, left out, doubled, swapped with its neighbour; one more at either end."""
    for place, it in enumerate(proof):
        yield [*proof[:place], changed(it, bit), *proof[place + 1 :]]
        yield [*proof[:place], *proof[place + 1 :]]
        yield [*proof[:place], it, it, *proof[place + 1 :]]
        if place and proof[place - 1] != it:
            yield [*proof[: place - 1], it, proof[place - 1], *proof[place + 1 :]]
    yield [*proof, bytes(32)]
    yield [bytes(32), *proof]


@given(st.integers(1, MOST), st.data(), st.integers(0, 255))
def test_no_changed_inclusion_proof_verifies(size: int, data: st.DataObject, bit: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(index, size, NODE)
    wrong = [
        (changed(HASH[index], bit), index, size, proof, ROOT[size]),
        (HASH[index], index, size, proof, changed(ROOT[size], bit)),
        *((HASH[index], other, size, proof, ROOT[size]) for other in range(-1, size + 1) if other != index),
        *((HASH[other], index, size, proof, ROOT[size]) for other in range(size) if other != index),
        *((HASH[index], index, other, proof, ROOT[other]) for other in range(MOST + 1) if other != size),
        *((HASH[index], index, size, other, ROOT[size]) for other in wrong_lists(proof, bit)),
    ]
    for leaf, at, of, path, root in wrong:
        with pytest.raises(EvidenceBroken, match=r"^inclusion proof: "):
            merkle.verify_inclusion(leaf, at, of, path, root)


def sides(index: int, size: int) -> str:
    """On which side the siblings stand on the way from a leaf to the root."""
    if size == 1:
        return ""
    split = 1
    while split * 2 < size:
        split *= 2
    return sides(index, split) + "r" if index < split else sides(index - split, size - split) + "l"


def test_a_size_alone_is_not_proven_by_a_path_so_it_is_believed_from_the_checkpoint_only() -> None:
    for size in range(1, 20):
        for index in range(size):
            proof = merkle.inclusion_proof(index, size, NODE)
            for claimed in range(index + 1, 24):
                try:
                    merkle.verify_inclusion(HASH[index], index, claimed, proof, ROOT[size])
                    accepted = True
                except EvidenceBroken:
                    accepted = False
                assert accepted == (sides(index, claimed) == sides(index, size))


@given(st.integers(1, MOST), st.data(), st.integers(0, 255))
def test_no_changed_consistency_proof_verifies(new: int, data: st.DataObject, bit: int) -> None:
    old = data.draw(st.integers(1, new))
    proof = merkle.consistency_proof(old, new, NODE)
    wrong = [
        (old, changed(ROOT[old], bit), new, ROOT[new], proof),
        (old, ROOT[old], new, changed(ROOT[new], bit), proof),
        (new + 1, ROOT[old], new, ROOT[new], proof),
        (-1, ROOT[old], new, ROOT[new], proof),
        (0, ROOT[old], new, ROOT[new], []),
        *((other, ROOT[other], new, ROOT[new], proof) for other in range(1, new) if other != old),
        *((old, ROOT[old], new, ROOT[new], other) for other in wrong_lists(proof, bit)),
    ]
    for first, first_root, second, second_root, path in wrong:
        with pytest.raises(EvidenceBroken, match=r"^consistency: "):
            merkle.verify_consistency(first, first_root, second, second_root, path)


def test_a_newer_size_alone_is_not_proven_either_but_a_proof_of_another_length_is_refused() -> None:
    for new in range(2, 20):
        for old in range(1, new):
            proof = merkle.consistency_proof(old, new, NODE)
            for claimed in range(old + 1, 40):
                if len(merkle.consistency_proof(old, claimed, NODE)) != len(proof):
                    with pytest.raises(EvidenceBroken, match=r"^consistency: "):
                        merkle.verify_consistency(old, ROOT[old], claimed, ROOT[new], proof)


@given(st.integers(2, MOST), st.data())
def test_a_log_whose_past_was_rewritten_is_not_a_continuation(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new - 1))
    edited = data.draw(st.integers(0, old - 1))
    rewritten = [*ENTRIES[:edited], b"rewritten", *ENTRIES[edited + 1 : new]]
    proof = merkle.consistency_proof(old, new, reader(rewritten))
    with pytest.raises(EvidenceBroken, match=r"^consistency: "):
        merkle.verify_consistency(old, ROOT[old], new, tree_hash(rewritten), proof)


def test_two_roots_for_one_size_are_a_split_log() -> None:
    with pytest.raises(EvidenceBroken, match="two roots"):
        merkle.verify_consistency(5, ROOT[5], 5, ROOT[6], [])


def test_a_proof_of_what_a_tree_does_not_have_cannot_be_asked_for() -> None:
    for index, size in ((0, 0), (5, 5), (-1, 5)):
        with pytest.raises(BadInput):
            merkle.inclusion_proof(index, size, NODE)
    for old, new in ((0, 5), (6, 5), (-1, 5)):
        with pytest.raises(BadInput):
            merkle.consistency_proof(old, new, NODE)


def test_an_empty_log_is_the_beginning_of_every_log() -> None:
    merkle.verify_consistency(0, merkle.EMPTY_ROOT, 5, ROOT[5], [])
    merkle.verify_consistency(0, merkle.EMPTY_ROOT, 0, merkle.EMPTY_ROOT, [])
    with pytest.raises(EvidenceBroken):
        merkle.verify_consistency(0, merkle.EMPTY_ROOT, 5, ROOT[5], [ROOT[5]])


def test_a_proof_in_a_large_stored_tree_reads_few_nodes() -> None:
    read: list[tuple[int, int]] = []

    def node(level: int, index: int) -> bytes:
        read.append((level, index))
        return bytes(32)

    merkle.inclusion_proof(123_456, 1_000_000, node)
    assert len(read) <= 2 * 20
    read.clear()
    merkle.consistency_proof(123_456, 1_000_000, node)
    assert len(read) <= 2 * 20
