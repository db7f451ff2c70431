"""The Merkle tree over the ledger, as RFC 6962 and RFC 9162 define it: hashes, proofs, checkpoints.

A verifier here returns None or raises ProofRefused: a forgotten answer cannot pass for a yes.
Leaves are counted from 0. Every hash is 32 bytes of SHA-256; anything else is refused by name.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import Final, Self

HASH_BYTES: Final = 32
SIZE_MAX: Final = 2**63 - 1  # revisions are signed 64-bit numbers in the store and on the wire

_SIZE_BYTES: Final = 8
_LEAF: Final = b"\x00"
_NODE: Final = b"\x01"


# ---------------------------------------------------------------- what can be wrong


class LedgerError(ValueError):
    """Something about the tree cannot be true."""


class BadHash(LedgerError):
    """A hash that is not 32 bytes long."""

    def __init__(self, role: str, length: int) -> None:
        super().__init__(f"{role} is {length} bytes long, not {HASH_BYTES}")
        self.role = role
        self.length = length


class OutOfRange(LedgerError):
    """A question about a leaf or a size that the tree does not have."""

    def __init__(self, role: str, value: int, low: int, high: int) -> None:
        super().__init__(f"{role} is {value}, outside {low}..{high}")
        self.role = role
        self.value = value
        self.low = low
        self.high = high


class MalformedFrontier(LedgerError):
    """Stored frontier bytes, or hashes, that no tree has."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"malformed frontier: {reason}")
        self.reason = reason


class MalformedCheckpoint(LedgerError):
    """A checkpoint, or its text, that no ledger wrote."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"malformed checkpoint: {reason}")
        self.reason = reason


class ProofFault(Enum):
    """Why a proof was refused."""

    BAD_HASH_LENGTH = "a hash is not 32 bytes long"
    SIZES_PROVE_NOTHING = "the sizes or the index describe no two trees or no leaf to compare"
    WRONG_LENGTH = "the proof has too few or too many hashes for these sizes"
    OTHER_ROOT = "the proof leads to another root"


class ProofRefused(LedgerError):
    """The proof does not show what it should show."""

    def __init__(self, fault: ProofFault) -> None:
        super().__init__(f"proof refused: {fault.value}")
        self.fault = fault


# ---------------------------------------------------------------- hashes


def leaf_hash(entry: bytes) -> bytes:
    """The hash of one ledger entry's stored bytes."""
    return sha256(_LEAF + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node over its two children."""
    return sha256(_NODE + left + right).digest()


EMPTY_ROOT: Final = sha256(b"").digest()


# ---------------------------------------------------------------- the frontier


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontier:
    """All of a tree that appending needs: one root per perfect subtree, the largest first.

    A tree of n leaves has as many perfect subtrees as n has one-bits, so a frontier is never larger
    than 63 hashes, and appending costs one node hash per leaf on average.
    """

    size: int = 0
    hashes: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.size <= SIZE_MAX:
            raise OutOfRange("size", self.size, 0, SIZE_MAX)
        if len(self.hashes) != self.size.bit_count():
            raise MalformedFrontier(
                f"{self.size} leaves make {self.size.bit_count()} subtrees, not {len(self.hashes)}"
            )
        for subtree in self.hashes:
            _require_hash("a subtree's root", subtree)

    def append(self, leaf: bytes) -> Self:
        """The frontier with one more leaf hash."""
        return self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes]) -> Self:
        """The frontier with all these leaf hashes appended in order, as one new value."""
        size = self.size
        hashes = list(self.hashes)
        for leaf in leaves:
            if len(leaf) != HASH_BYTES:
                raise BadHash("a leaf hash", len(leaf))
            node = leaf
            # Each trailing one-bit of the size is a perfect subtree that this leaf completes. The
            # hash is spelled out here: this loop is on the path of every commit.
            carry = size
            while carry & 1:
                node = sha256(_NODE + hashes.pop() + node).digest()
                carry >>= 1
            hashes.append(node)
            size += 1
        return type(self)(size=size, hashes=tuple(hashes))

    def root(self) -> bytes:
        """The root hash of the whole tree."""
        if not self.hashes:
            return EMPTY_ROOT
        node = self.hashes[-1]
        for left in self.hashes[-2::-1]:
            node = sha256(_NODE + left + node).digest()
        return node

    def to_bytes(self) -> bytes:
        """The frontier as one value for the store: the size in 8 bytes, then the hashes."""
        return self.size.to_bytes(_SIZE_BYTES, "big") + b"".join(self.hashes)

    @classmethod
    def from_bytes(cls, stored: bytes) -> Self:
        """The frontier that `to_bytes` wrote; raises MalformedFrontier on anything else."""
        subtrees, rest = divmod(len(stored) - _SIZE_BYTES, HASH_BYTES)
        if subtrees < 0 or rest:
            raise MalformedFrontier(f"{len(stored)} bytes are no size and whole hashes")
        size = int.from_bytes(stored[:_SIZE_BYTES], "big")
        if size > SIZE_MAX:
            raise MalformedFrontier(f"{size} leaves are more than a ledger holds")
        starts = range(_SIZE_BYTES, len(stored), HASH_BYTES)
        return cls(size=size, hashes=tuple(stored[at : at + HASH_BYTES] for at in starts))


EMPTY: Final = Frontier()


def root_over(leaves: Iterable[bytes]) -> bytes:
    """The root hash of the tree with exactly these leaf hashes."""
    return EMPTY.extend(leaves).root()


# ---------------------------------------------------------------- making proofs


def inclusion_proof(leaf_index: int, leaves: Sequence[bytes]) -> tuple[bytes, ...]:
    """The hashes that lead from the leaf at this index to the root over all these leaf hashes."""
    if not 0 <= leaf_index < len(leaves):
        raise OutOfRange("leaf_index", leaf_index, 0, len(leaves) - 1)
    low, high = 0, len(leaves)
    siblings: list[bytes] = []
    while high - low > 1:
        middle = low + _split(high - low)
        if leaf_index < middle:
            siblings.append(root_over(leaves[middle:high]))
            high = middle
        else:
            siblings.append(root_over(leaves[low:middle]))
            low = middle
    return tuple(reversed(siblings))


def consistency_proof(size1: int, leaves: Sequence[bytes]) -> tuple[bytes, ...]:
    """The hashes showing that the tree over the first `size1` leaf hashes became the one over all.

    A tree of no leaves is consistent with every other, so there is nothing to prove from size 0.
    """
    if not 1 <= size1 <= len(leaves):
        raise OutOfRange("size1", size1, 1, len(leaves))
    low, high = 0, len(leaves)
    siblings: list[bytes] = []
    while size1 != high:
        middle = low + _split(high - low)
        if size1 <= middle:
            siblings.append(root_over(leaves[middle:high]))
            high = middle
        else:
            siblings.append(root_over(leaves[low:middle]))
            low = middle
    # What remains is the old tree's last subtree. The verifier knows it only where it is the whole
    # old tree, that is where the walk never went right.
    if low > 0:
        siblings.append(root_over(leaves[low:high]))
    return tuple(reversed(siblings))


def _split(size: int) -> int:
    """The leaves left of the root: the largest power of two smaller than the size."""
    return 1 << ((size - 1).bit_length() - 1)


# ---------------------------------------------------------------- checking proofs


def verify_inclusion(
    *, leaf_index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes
) -> None:
    """Return if the leaf hash stands at this index of the tree; else raise ProofRefused."""
    _refuse_bad_lengths(leaf, root, *proof)
    if not 0 <= leaf_index < size <= SIZE_MAX:
        raise ProofRefused(ProofFault.SIZES_PROVE_NOTHING)
    # RFC 9162, 2.1.3.2. `place` is the node's position in its level, `last` the level's last one.
    place, last = leaf_index, size - 1
    node = leaf
    for sibling in proof:
        if last == 0:
            raise ProofRefused(ProofFault.WRONG_LENGTH)
        if place & 1 or place == last:
            node = node_hash(sibling, node)
            place, last = _climb_to_right_child(place, last)
        else:
            node = node_hash(node, sibling)
        place >>= 1
        last >>= 1
    if last != 0:
        raise ProofRefused(ProofFault.WRONG_LENGTH)
    if node != root:
        raise ProofRefused(ProofFault.OTHER_ROOT)


def verify_consistency(
    *, size1: int, size2: int, root1: bytes, root2: bytes, proof: Sequence[bytes]
) -> None:
    """Return if the second tree is the first with leaves appended; else raise ProofRefused.

    From size 0 nothing can be shown, and a proof that claims to is refused.
    """
    _refuse_bad_lengths(root1, root2, *proof)
    if not 1 <= size1 <= size2 <= SIZE_MAX:
        raise ProofRefused(ProofFault.SIZES_PROVE_NOTHING)
    if size1 == size2:
        if proof:
            raise ProofRefused(ProofFault.WRONG_LENGTH)
        if root1 != root2:
            raise ProofRefused(ProofFault.OTHER_ROOT)
        return
    # RFC 9162, 2.1.4.2. A perfect old tree is itself the first node: its proof does not repeat it.
    path = (root1, *proof) if size1.bit_count() == 1 else tuple(proof)
    if not path:
        raise ProofRefused(ProofFault.WRONG_LENGTH)
    place, last = size1 - 1, size2 - 1
    while place & 1:
        place >>= 1
        last >>= 1
    old = new = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofRefused(ProofFault.WRONG_LENGTH)
        if place & 1 or place == last:
            old = node_hash(sibling, old)
            new = node_hash(sibling, new)
            place, last = _climb_to_right_child(place, last)
        else:
            new = node_hash(new, sibling)
        place >>= 1
        last >>= 1
    if last != 0:
        raise ProofRefused(ProofFault.WRONG_LENGTH)
    if (old, new) != (root1, root2):
        raise ProofRefused(ProofFault.OTHER_ROOT)


def _climb_to_right_child(place: int, last: int) -> tuple[int, int]:
    """Skip the levels where the node, the last of its level, has no sibling to be hashed with."""
    while place and not place & 1:
        place >>= 1
        last >>= 1
    return place, last


def _require_hash(role: str, value: bytes) -> None:
    if len(value) != HASH_BYTES:
        raise BadHash(role, len(value))


def _refuse_bad_lengths(*hashes: bytes) -> None:
    if any(len(value) != HASH_BYTES for value in hashes):
        raise ProofRefused(ProofFault.BAD_HASH_LENGTH)


# ---------------------------------------------------------------- checkpoints

_SIZE_TEXT: Final = re.compile(r"0|[1-9][0-9]{0,18}")  # no sign, no leading zero, ASCII digits
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    r"""What a ledger was at one size: enough to hold it to its word later.

    Its text is the body of a C2SP tlog-checkpoint note, `origin\nsize\nbase64 root\n`, in UTF-8.
    Extension lines, which the format allows and this ledger never writes, are refused.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not self.origin or _CONTROL.search(self.origin):
            raise MalformedCheckpoint("the origin is empty or holds control characters")
        try:
            self.origin.encode()
        except UnicodeEncodeError as error:
            raise MalformedCheckpoint("the origin is no Unicode text") from error
        if not 0 <= self.size <= SIZE_MAX:
            raise OutOfRange("size", self.size, 0, SIZE_MAX)
        _require_hash("the root", self.root)
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise MalformedCheckpoint("an empty ledger has another root")

    def to_text(self) -> str:
        """The note body."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def from_text(cls, text: str) -> Self:
        """The checkpoint with exactly this note body; raises MalformedCheckpoint on any other text.

        Every checkpoint has one text and every text one checkpoint: a second spelling of the same
        size or root would be a second thing to sign.
        """
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise MalformedCheckpoint("the text is not three lines, each ended by a newline")
        origin, size, root = lines[:3]
        if not _SIZE_TEXT.fullmatch(size) or int(size) > SIZE_MAX:
            raise MalformedCheckpoint("the size is no plain decimal number of leaves")
        try:
            decoded = base64.b64decode(root, validate=True)
        except (binascii.Error, ValueError) as error:
            raise MalformedCheckpoint("the root is no base64") from error
        if len(decoded) != HASH_BYTES or base64.b64encode(decoded).decode() != root:
            raise MalformedCheckpoint("the root is not the one base64 spelling of 32 bytes")
        return cls(origin=origin, size=int(size), root=decoded)
