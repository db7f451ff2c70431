"""SQLite's file with a page that is not what was written: found, named, and not spread."""

import asyncio
import logging
from pathlib import Path
from shutil import copyfile

import pytest
from sqlalchemy import make_url

from governor.domain.errors import StoreUnavailable
from governor.domain.values import RequestId
from governor.storage import sqlite
from governor.storage.findings import Fault, Finding
from governor.storage.open import open_store
from governor.storage.verify import verify
from governor.usecases.questions import RequestQuery
from tests.support.backends import Backend
from tests.support.builders import (
    change,
    decode_entry,
    encode_entry,
    make_execution,
    make_request,
    submission,
)
from tests.support.pages import INTERIOR, Page, Pages

REQUESTS = 300  # as many as give every tree below a root above its leaves
TREES = ("ledger", "ledger_by_request", "requests", "requests_by_tenant", "executions")


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that a store has written and closed."""
    path = tmp_path_factory.mktemp("filled") / "store.db"
    asyncio.run(fill(f"sqlite:///{path}"))
    return path


@pytest.fixture
def backend(filled: Path, tmp_path: Path) -> Backend:
    """A copy of it."""
    copyfile(filled, tmp_path / "store.db")
    return Backend(name="sqlite", url=f"sqlite:///{tmp_path}/store.db")


async def fill(url: str) -> None:
    store = await open_store(url, encode=encode_entry, migrate=True)
    for number in range(REQUESTS):
        new = make_request(f"request-{number:03}", payload=b'{"on":"' + b"x" * 1_000 + b'"}')
        (stands,) = (await store.commit(submission(new))).requests
        await store.commit(change(stands, make_execution(stands)))
    await store.close()


def path_of(backend: Backend) -> Path:
    return sqlite.database_path(make_url(backend.url))


async def findings(backend: Backend) -> list[Finding]:
    said = [item async for item in verify(backend.url, decode=decode_entry)]
    return [item for item in said if isinstance(item, Finding)]


def chosen(backend: Backend, tree: str, which: str) -> tuple[Pages, Page]:
    """The root of a tree, or a leaf in its middle."""
    pages = Pages(path_of(backend))
    root, *below = pages.tree(tree)
    assert root.kind in INTERIOR
    leaves = [page for page in below if page.kind not in INTERIOR]
    assert len(leaves) >= 2
    return pages, root if which == "root" else leaves[len(leaves) // 2]


async def test_a_whole_file_has_no_findings(backend: Backend) -> None:
    """What the tests below find was not there before."""
    assert await findings(backend) == []


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("which", ["root", "leaf"])
@pytest.mark.parametrize("part", ["kind", "cell count", "cell pointer", "cell"])
async def test_a_damaged_page_is_found(backend: Backend, tree: str, which: str, part: str) -> None:
    """Of tables and indexes, above the leaves and among them, in a page's head and in its cells."""
    pages, page = chosen(backend, tree, which)
    middle = page.cells[len(page.cells) // 2]
    place = {
        "kind": page.header,
        "cell count": page.cell_count + 1,
        "cell pointer": page.first_pointer,
        # In a leaf behind the cell's own lengths, among the values; in an interior page the child.
        "cell": middle + (40 if which == "leaf" else 3),
    }[part]
    pages.flip(place)
    found = await findings(backend)
    assert found
    assert {finding.fault for finding in found} - {Fault.STORE_UNREADABLE}, "and it says what"


@pytest.mark.parametrize("place", [0, 16, 19, 59, 100])
async def test_a_damaged_header_is_found(backend: Backend, place: int) -> None:
    """The magic, the page's size, the format, the text's encoding, the schema's page. Nothing else
    can be read then.
    """
    Pages(path_of(backend)).flip(place)
    assert [finding.fault for finding in await findings(backend)] == [Fault.FILE_DAMAGED]


async def test_a_file_cut_short_is_found(backend: Backend) -> None:
    """A copy that was broken off."""
    path = path_of(backend)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 8_192 // 2 * 8_192])
    assert Fault.FILE_DAMAGED in {finding.fault for finding in await findings(backend)}


async def test_a_running_store_that_meets_a_damaged_page_says_so_and_spreads_nothing(
    backend: Backend, caplog: pytest.LogCaptureFixture
) -> None:
    """Who needs the page is told the cause, the operator what to do; nothing is written on top of
    it, and who does not need it is served.
    """
    pages, leaf = chosen(backend, "requests_by_tenant", "leaf")
    pages.flip(leaf.header)
    _, root = chosen(backend, "ledger_by_request", "root")
    Pages(path_of(backend)).flip(root.header)
    before = await findings(backend)
    caplog.set_level(logging.ERROR)
    store = await open_store(backend.url, encode=encode_entry)
    head = store.head
    for number in range(3):
        with pytest.raises(StoreUnavailable, match="is damaged") as refused:
            await store.commit(submission(make_request(f"new-{number}")))
        assert refused.value.facts == {"cause": "DAMAGED"}
    with pytest.raises(StoreUnavailable) as refused:
        await store.requests(RequestQuery(tenant="acme", limit=1_000))
    assert refused.value.facts == {"cause": "DAMAGED"}
    assert await store.request(RequestId("request-050")) is not None
    assert await store.request(RequestId("new-0")) is None
    assert store.head == head
    assert store.vitals.failures == {"DAMAGED": 4}
    await store.close()
    said = [record.getMessage() for record in caplog.records]
    assert any("governor verify, then governor restore" in line for line in said)
    assert await findings(backend) == before


async def test_a_damaged_request_is_not_served(backend: Backend) -> None:
    """Its page is sound for SQLite, its bytes are not: the same cause, and no fault of ours."""
    path = path_of(backend)
    Pages(path).flip(path.read_bytes().index(b'"environment":"test"') - 1)
    store = await open_store(backend.url, encode=encode_entry)
    refused = []
    for number in range(REQUESTS):
        try:
            await store.request(RequestId(f"request-{number:03}"))
        except StoreUnavailable as error:
            refused.append(error.facts["cause"])
    assert refused == ["DAMAGED"]
    await store.close()
