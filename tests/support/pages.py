"""SQLite's file as pages, to damage the one that a test means.

The layout is that of https://www.sqlite.org/fileformat2.html.
"""

import sqlite3
import struct
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

HEADER_BYTES = 100  # of the file, before the first page's own
INTERIOR_INDEX, INTERIOR_TABLE, LEAF_INDEX, LEAF_TABLE = 2, 5, 10, 13
INTERIOR = (INTERIOR_INDEX, INTERIOR_TABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a b-tree: where it begins in the file, and where its cells do."""

    start: int
    kind: int
    header: int
    cells: tuple[int, ...]

    @property
    def cell_count(self) -> int:
        """Where the number of its cells stands."""
        return self.header + 3

    @property
    def first_pointer(self) -> int:
        """Where it stands where the first cell is."""
        return self.header + (12 if self.kind in INTERIOR else 8)


class Pages:
    """A database file that nobody has open."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._bytes = path.read_bytes()
        (size,) = struct.unpack_from(">H", self._bytes, 16)
        self.page_bytes: int = size

    def tree(self, name: str) -> Iterator[Page]:
        """Every page of a table or index, the root first."""
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro&immutable=1", uri=True)) as reader:
            (root,) = reader.execute(
                "SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)
            ).fetchone()
        yield from self._below(root)

    def _below(self, number: int) -> Iterator[Page]:
        page = self._page(number)
        yield page
        if page.kind in INTERIOR:
            for place in (page.header + 8, *page.cells):
                (child,) = struct.unpack_from(">I", self._bytes, place)
                yield from self._below(child)

    def _page(self, number: int) -> Page:
        start = (number - 1) * self.page_bytes
        header = start + (HEADER_BYTES if number == 1 else 0)
        kind, _, count = struct.unpack_from(">BHH", self._bytes, header)
        assert kind in (*INTERIOR, LEAF_INDEX, LEAF_TABLE)
        pointers = header + (12 if kind in INTERIOR else 8)
        cells = struct.unpack_from(f">{count}H", self._bytes, pointers)
        return Page(start=start, kind=kind, header=header, cells=tuple(start + c for c in cells))

    def flip(self, place: int, bits: int = 0xFF) -> None:
        """Turns bits of one byte in the file."""
        changed = bytearray(self._bytes)
        changed[place] ^= bits
        self._path.write_bytes(changed)
