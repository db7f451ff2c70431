"""Claims about the Merkle tree: it is the published one, its proofs convince, and no others do."""

import base64
import json
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governor.domain.ledger import (
    EMPTY,
    EMPTY_ROOT,
    HASH_BYTES,
    SIZE_MAX,
    BadHash,
    Checkpoint,
    Frontier,
    MalformedCheckpoint,
    MalformedFrontier,
    OutOfRange,
    ProofFault,
    ProofRefused,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_over,
    verify_consistency,
    verify_inclusion,
)

# The eight entries, their roots and proofs that the Certificate Transparency projects publish.
PUBLISHED_ENTRIES = tuple(
    bytes.fromhex(entry)
    for entry in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
)
PUBLISHED_ROOTS = tuple(
    bytes.fromhex(root)
    for root in (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    )
)
PUBLISHED_INCLUSIONS = {  # (leaf index, size): proof
    (0, 1): (),
    (0, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (5, 8): (
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 3): ("fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",),
    (1, 5): (
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}
PUBLISHED_CONSISTENCIES = {  # (older size, newer size): proof
    (1, 1): (),
    (1, 8): (
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ),
    (6, 8): (
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ),
    (2, 5): (
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ),
}

VECTORS = Path(__file__).resolve().parents[2].parent / "shared" / "vectors"
needs_vectors = pytest.mark.skipif(
    not VECTORS.is_dir(), reason="the folder of published proof vectors is not beside this clone"
)

leaves_of_a_tree = st.lists(st.binary(max_size=4).map(leaf_hash), min_size=1, max_size=40)


def leaves_numbered(count: int) -> list[bytes]:
    """So many distinct leaf hashes."""
    return [leaf_hash(number.to_bytes(4, "big")) for number in range(count)]


def hashes_from_hex(texts: Sequence[str]) -> tuple[bytes, ...]:
    return tuple(bytes.fromhex(text) for text in texts)


def root_by_definition(entries: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1, word for word, over entries and with nothing of the code under test."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    split = 1
    while split * 2 < len(entries):
        split *= 2
    left, right = root_by_definition(entries[:split]), root_by_definition(entries[split:])
    return sha256(b"\x01" + left + right).digest()


def flip(value: bytes, bit: int) -> bytes:
    """The same bytes with one bit turned."""
    number = int.from_bytes(value, "big") ^ (1 << bit)
    return number.to_bytes(len(value), "big")


class TestThePublishedTree:
    @pytest.mark.parametrize("size", range(9))
    def test_every_prefix_of_the_published_entries_has_the_published_root(self, size: int) -> None:
        leaves = [leaf_hash(entry) for entry in PUBLISHED_ENTRIES[:size]]
        assert root_over(leaves) == PUBLISHED_ROOTS[size]

    @pytest.mark.parametrize("place", PUBLISHED_INCLUSIONS)
    def test_inclusion_proofs_are_the_published_ones(self, place: tuple[int, int]) -> None:
        index, size = place
        leaves = [leaf_hash(entry) for entry in PUBLISHED_ENTRIES[:size]]
        proof = inclusion_proof(index, leaves)
        assert proof == hashes_from_hex(PUBLISHED_INCLUSIONS[place])
        verify_inclusion(
            leaf_index=index,
            size=size,
            leaf=leaves[index],
            proof=proof,
            root=PUBLISHED_ROOTS[size],
        )

    @pytest.mark.parametrize("sizes", PUBLISHED_CONSISTENCIES)
    def test_consistency_proofs_are_the_published_ones(self, sizes: tuple[int, int]) -> None:
        older, newer = sizes
        proof = consistency_proof(older, [leaf_hash(e) for e in PUBLISHED_ENTRIES[:newer]])
        assert proof == hashes_from_hex(PUBLISHED_CONSISTENCIES[sizes])
        verify_consistency(
            size1=older,
            size2=newer,
            root1=PUBLISHED_ROOTS[older],
            root2=PUBLISHED_ROOTS[newer],
            proof=proof,
        )


def vector_cases(kind: str) -> list[Any]:
    """The cases of one vector file, or none where the folder is absent."""
    path = VECTORS / f"rfc6962-{kind}.jsonl"
    if not path.is_file():
        return []
    cases = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [pytest.param(case, id=case["case"]) for case in cases]


def expected_fault(case: dict[str, Any], hashes: Sequence[bytes]) -> bool:
    """Whether a case must be refused: it says so, or it uses dummy hashes of another length."""
    return bool(case["wantErr"]) or any(len(value) != HASH_BYTES for value in hashes)


@needs_vectors
class TestThePublishedVectors:
    def test_both_files_hold_cases_of_either_kind(self) -> None:
        for kind in ("inclusion", "consistency"):
            verdicts = {case.values[0]["wantErr"] for case in vector_cases(kind)}
            assert verdicts == {True, False}

    @pytest.mark.parametrize("case", vector_cases("inclusion"))
    def test_an_inclusion_proof_is_judged_as_published(self, case: dict[str, Any]) -> None:
        leaf, root, *proof = map(
            base64.b64decode, (case["leafHash"], case["root"], *(case["proof"] or ()))
        )

        def verify() -> None:
            verify_inclusion(
                leaf_index=case["leafIdx"],
                size=case["treeSize"],
                leaf=leaf,
                proof=proof,
                root=root,
            )

        if expected_fault(case, (leaf, root, *proof)):
            with pytest.raises(ProofRefused):
                verify()
        else:
            verify()

    @pytest.mark.parametrize("case", vector_cases("consistency"))
    def test_a_consistency_proof_is_judged_as_published(self, case: dict[str, Any]) -> None:
        root1, root2, *proof = map(
            base64.b64decode, (case["root1"], case["root2"], *(case["proof"] or ()))
        )

        def verify() -> None:
            verify_consistency(
                size1=case["size1"], size2=case["size2"], root1=root1, root2=root2, proof=proof
            )

        if expected_fault(case, (root1, root2, *proof)):
            with pytest.raises(ProofRefused):
                verify()
        else:
            verify()


class TestTheFrontier:
    @given(entries=st.lists(st.binary(max_size=8), max_size=70))
    def test_its_root_is_the_recursive_definition(self, entries: list[bytes]) -> None:
        assert root_over(map(leaf_hash, entries)) == root_by_definition(entries)

    @given(leaves=leaves_of_a_tree, data=st.data())
    def test_appending_in_any_portions_makes_the_same_frontier(
        self, leaves: list[bytes], data: st.DataObject
    ) -> None:
        one_by_one = EMPTY
        for leaf in leaves:
            one_by_one = one_by_one.append(leaf)
        cut = data.draw(st.integers(0, len(leaves)))
        assert EMPTY.extend(leaves[:cut]).extend(leaves[cut:]) == one_by_one
        assert EMPTY.extend(leaves) == one_by_one

    @given(leaves=leaves_of_a_tree)
    def test_it_survives_the_store(self, leaves: list[bytes]) -> None:
        frontier = EMPTY.extend(leaves)
        assert Frontier.from_bytes(frontier.to_bytes()) == frontier

    def test_appending_leaves_the_old_frontier_as_it_was(self) -> None:
        frontier = EMPTY.extend(leaves_numbered(3))
        before = frontier.to_bytes()
        frontier.extend(leaves_numbered(5))
        assert frontier.to_bytes() == before

    def test_an_empty_one_is_the_size_alone(self) -> None:
        assert EMPTY.to_bytes() == bytes(8)
        assert Frontier.from_bytes(bytes(8)) == EMPTY
        assert EMPTY.root() == EMPTY_ROOT

    @pytest.mark.parametrize(
        "stored",
        [
            b"",
            bytes(7),
            bytes(9),
            (1).to_bytes(8, "big"),
            (3).to_bytes(8, "big") + bytes(HASH_BYTES),
            (1).to_bytes(8, "big") + bytes(HASH_BYTES - 1),
            (1).to_bytes(8, "big") + bytes(2 * HASH_BYTES),
            (SIZE_MAX + 1).to_bytes(8, "big") + bytes(HASH_BYTES),
        ],
    )
    def test_bytes_that_no_frontier_wrote_are_refused(self, stored: bytes) -> None:
        with pytest.raises(MalformedFrontier):
            Frontier.from_bytes(stored)

    @pytest.mark.parametrize("length", [0, 31, 33])
    def test_a_leaf_that_is_no_hash_is_refused(self, length: int) -> None:
        with pytest.raises(BadHash) as refusal:
            EMPTY.append(bytes(length))
        assert refusal.value.length == length

    def test_it_cannot_be_built_with_a_size_that_its_hashes_contradict(self) -> None:
        with pytest.raises(MalformedFrontier):
            Frontier(size=2, hashes=(bytes(HASH_BYTES), bytes(HASH_BYTES)))
        with pytest.raises(BadHash):
            Frontier(size=1, hashes=(b"short",))
        with pytest.raises(OutOfRange):
            Frontier(size=-1)

    def test_a_full_ledger_takes_no_further_leaf(self) -> None:
        full = Frontier(size=SIZE_MAX, hashes=(bytes(HASH_BYTES),) * SIZE_MAX.bit_count())
        with pytest.raises(OutOfRange):
            full.append(bytes(HASH_BYTES))


class TestInclusion:
    @pytest.mark.parametrize("size", range(1, 34))
    def test_every_leaf_of_every_small_tree_is_proven(self, size: int) -> None:
        leaves = leaves_numbered(size)
        root = root_over(leaves)
        for index, leaf in enumerate(leaves):
            proof = inclusion_proof(index, leaves)
            verify_inclusion(leaf_index=index, size=size, leaf=leaf, proof=proof, root=root)

    @pytest.mark.parametrize("size", range(1, 18))
    def test_no_leaf_is_proven_at_another_index(self, size: int) -> None:
        leaves = leaves_numbered(size)
        root = root_over(leaves)
        for index in range(size):
            proof = inclusion_proof(index, leaves)
            for claimed in set(range(-1, size + 2)) - {index}:
                with pytest.raises(ProofRefused):
                    verify_inclusion(
                        leaf_index=claimed, size=size, leaf=leaves[index], proof=proof, root=root
                    )

    @given(leaves=leaves_of_a_tree, data=st.data())
    def test_a_turned_bit_anywhere_is_found(self, leaves: list[bytes], data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(leaves) - 1))
        hashes = [leaves[index], root_over(leaves), *inclusion_proof(index, leaves)]
        victim = data.draw(st.integers(0, len(hashes) - 1))
        hashes[victim] = flip(hashes[victim], data.draw(st.integers(0, 8 * HASH_BYTES - 1)))
        leaf, root, *proof = hashes
        with pytest.raises(ProofRefused) as refusal:
            verify_inclusion(leaf_index=index, size=len(leaves), leaf=leaf, proof=proof, root=root)
        assert refusal.value.fault is ProofFault.OTHER_ROOT

    @given(leaves=leaves_of_a_tree, data=st.data())
    def test_a_hash_more_or_less_is_found(self, leaves: list[bytes], data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(leaves) - 1))
        proof = list(inclusion_proof(index, leaves))
        one_less = data.draw(st.booleans())
        if proof and one_less:
            del proof[data.draw(st.integers(0, len(proof) - 1))]
        else:
            proof.insert(data.draw(st.integers(0, len(proof))), data.draw(st.sampled_from(leaves)))
        with pytest.raises(ProofRefused) as refusal:
            verify_inclusion(
                leaf_index=index,
                size=len(leaves),
                leaf=leaves[index],
                proof=proof,
                root=root_over(leaves),
            )
        assert refusal.value.fault is ProofFault.WRONG_LENGTH

    def test_a_hash_of_another_length_is_named_as_the_fault(self) -> None:
        leaves = leaves_numbered(2)
        for proof in ([leaves[1][:-1]], [leaves[1] + b"\x00"], [b""]):
            with pytest.raises(ProofRefused) as refusal:
                verify_inclusion(
                    leaf_index=0, size=2, leaf=leaves[0], proof=proof, root=root_over(leaves)
                )
            assert refusal.value.fault is ProofFault.BAD_HASH_LENGTH

    def test_an_inner_node_cannot_pose_as_a_leaf(self) -> None:
        leaves = leaves_numbered(2)
        assert leaf_hash(leaves[0] + leaves[1]) != node_hash(leaves[0], leaves[1])

    @pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 1), (5, 4)])
    def test_no_proof_is_made_for_a_leaf_that_is_not_there(self, index: int, size: int) -> None:
        with pytest.raises(OutOfRange):
            inclusion_proof(index, leaves_numbered(size))


class TestConsistency:
    def test_every_prefix_of_every_small_tree_is_proven(self) -> None:
        leaves = leaves_numbered(33)
        roots = [root_over(leaves[:size]) for size in range(len(leaves) + 1)]
        for newer in range(1, len(leaves) + 1):
            for older in range(1, newer + 1):
                verify_consistency(
                    size1=older,
                    size2=newer,
                    root1=roots[older],
                    root2=roots[newer],
                    proof=consistency_proof(older, leaves[:newer]),
                )

    @given(leaves=leaves_of_a_tree, data=st.data())
    def test_a_turned_bit_anywhere_is_found(self, leaves: list[bytes], data: st.DataObject) -> None:
        older = data.draw(st.integers(1, len(leaves)))
        hashes = [root_over(leaves[:older]), root_over(leaves), *consistency_proof(older, leaves)]
        victim = data.draw(st.integers(0, len(hashes) - 1))
        hashes[victim] = flip(hashes[victim], data.draw(st.integers(0, 8 * HASH_BYTES - 1)))
        root1, root2, *proof = hashes
        with pytest.raises(ProofRefused) as refusal:
            verify_consistency(
                size1=older, size2=len(leaves), root1=root1, root2=root2, proof=proof
            )
        assert refusal.value.fault is ProofFault.OTHER_ROOT

    @given(leaves=leaves_of_a_tree, data=st.data())
    def test_a_hash_more_or_less_is_found(self, leaves: list[bytes], data: st.DataObject) -> None:
        older = data.draw(st.integers(1, len(leaves)))
        proof = list(consistency_proof(older, leaves))
        one_less = data.draw(st.booleans())
        if proof and one_less:
            del proof[data.draw(st.integers(0, len(proof) - 1))]
        else:
            proof.insert(data.draw(st.integers(0, len(proof))), data.draw(st.sampled_from(leaves)))
        with pytest.raises(ProofRefused) as refusal:
            verify_consistency(
                size1=older,
                size2=len(leaves),
                root1=root_over(leaves[:older]),
                root2=root_over(leaves),
                proof=proof,
            )
        assert refusal.value.fault is ProofFault.WRONG_LENGTH

    def test_a_hash_of_another_length_is_named_as_the_fault(self) -> None:
        leaves = leaves_numbered(3)
        honest = [root_over(leaves[:2]), root_over(leaves), *consistency_proof(2, leaves)]
        for victim in range(len(honest)):
            for wrong in (honest[victim][:-1], honest[victim] + b"\x00", b""):
                forged = [*honest[:victim], wrong, *honest[victim + 1 :]]
                root1, root2, *proof = forged
                with pytest.raises(ProofRefused) as refusal:
                    verify_consistency(size1=2, size2=3, root1=root1, root2=root2, proof=proof)
                assert refusal.value.fault is ProofFault.BAD_HASH_LENGTH

    @given(size=st.integers(2, 40), data=st.data())
    def test_a_rewritten_history_is_found(self, size: int, data: st.DataObject) -> None:
        """The later tree holds another entry where the earlier one had its own."""
        kept = leaves_numbered(size)
        older = data.draw(st.integers(1, size - 1))
        rewritten = list(kept)
        rewritten[data.draw(st.integers(0, older - 1))] = leaf_hash(b"another entry")
        with pytest.raises(ProofRefused):
            verify_consistency(
                size1=older,
                size2=size,
                root1=root_over(kept[:older]),
                root2=root_over(rewritten),
                proof=consistency_proof(older, rewritten),
            )

    @pytest.mark.parametrize(("older", "newer"), [(0, 0), (0, 4), (5, 4), (-1, 4)])
    def test_sizes_that_prove_nothing_are_refused(self, older: int, newer: int) -> None:
        leaves = leaves_numbered(newer)
        with pytest.raises(OutOfRange):
            consistency_proof(older, leaves)
        with pytest.raises(ProofRefused) as refusal:
            verify_consistency(
                size1=older, size2=newer, root1=EMPTY_ROOT, root2=root_over(leaves), proof=()
            )
        assert refusal.value.fault is ProofFault.SIZES_PROVE_NOTHING

    def test_a_tree_is_consistent_with_itself_only_without_hashes(self) -> None:
        leaves = leaves_numbered(6)
        root = root_over(leaves)
        verify_consistency(size1=6, size2=6, root1=root, root2=root, proof=())
        with pytest.raises(ProofRefused):
            verify_consistency(size1=6, size2=6, root1=root, root2=root, proof=leaves[:1])
        with pytest.raises(ProofRefused):
            verify_consistency(size1=6, size2=6, root1=root, root2=leaves[0], proof=())


class TestTheCheckpoint:
    def test_its_text_is_origin_size_and_root_a_line_each(self) -> None:
        checkpoint = Checkpoint(origin="governor.example/flags", size=8, root=PUBLISHED_ROOTS[8])
        assert checkpoint.to_text() == (
            "governor.example/flags\n8\nXcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg=\n"
        )

    @given(
        origin=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1),
        size=st.integers(1, SIZE_MAX),
        root=st.binary(min_size=HASH_BYTES, max_size=HASH_BYTES),
    )
    def test_it_survives_its_text(self, origin: str, size: int, root: bytes) -> None:
        checkpoint = Checkpoint(origin=origin, size=size, root=root)
        assert Checkpoint.from_text(checkpoint.to_text()) == checkpoint

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param("", id="nothing"),
            pytest.param("o\n8\n{root}", id="no last newline"),
            pytest.param("o\n8\n{root}\n\n", id="an empty line more"),
            pytest.param("o\n8\n{root}\nextension\n", id="an extension line"),
            pytest.param("\n8\n{root}\n", id="no origin"),
            pytest.param("o\r\n8\r\n{root}\r\n", id="carriage returns"),
            pytest.param("\ud800\n8\n{root}\n", id="a lone surrogate"),
            pytest.param("o\n08\n{root}\n", id="a leading zero"),
            pytest.param("o\n+8\n{root}\n", id="a sign"),
            pytest.param("o\n-8\n{root}\n", id="a negative size"),
            pytest.param("o\n 8\n{root}\n", id="a space"),
            pytest.param("o\n8_0\n{root}\n", id="an underscore"),
            pytest.param("o\n\u0668\n{root}\n", id="a digit of another script"),
            pytest.param("o\n9223372036854775808\n{root}\n", id="a size past the largest"),
            pytest.param("o\n0\n{root}\n", id="an empty ledger with a root"),
            pytest.param("o\n8\n\n", id="no root"),
            pytest.param("o\n8\nnot base64\n", id="a root that is no base64"),
            pytest.param("o\n8\n{root} \n", id="a space after the root"),
            pytest.param("o\n8\n{bare}\n", id="a root without padding"),
            pytest.param("o\n8\n{short}\n", id="a short root"),
            pytest.param("o\n8\n{respelt}\n", id="the same root spelt with stray bits"),
        ],
    )
    def test_any_other_text_is_refused(self, text: str) -> None:
        root = base64.b64encode(PUBLISHED_ROOTS[8]).decode()
        short = base64.b64encode(bytes(31)).decode()
        respelt = root[:-2] + "h="
        assert base64.b64decode(respelt) == PUBLISHED_ROOTS[8]
        with pytest.raises(MalformedCheckpoint):
            Checkpoint.from_text(
                text.format(root=root, bare=root.rstrip("="), short=short, respelt=respelt)
            )

    def test_an_empty_ledger_has_the_empty_root(self) -> None:
        empty = Checkpoint(origin="o", size=0, root=EMPTY_ROOT)
        assert Checkpoint.from_text(empty.to_text()) == empty

    def test_it_cannot_be_built_from_what_it_could_not_say(self) -> None:
        with pytest.raises(MalformedCheckpoint):
            Checkpoint(origin="two\nlines", size=1, root=PUBLISHED_ROOTS[1])
        with pytest.raises(OutOfRange):
            Checkpoint(origin="o", size=-1, root=EMPTY_ROOT)
        with pytest.raises(BadHash):
            Checkpoint(origin="o", size=1, root=b"short")
