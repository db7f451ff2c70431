"""Page tokens fit the list they were made for, and nothing else passes for one."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governance.v1 import governance_service_pb2 as wire
from governor.domain.errors import BadPageToken
from governor.usecases.questions import Cursor
from governor.wire.pages import cursor_in, listing_of, token_after
from governor.wire.texts import PAGE_TOKEN

STORE = "store-1"
LISTING = listing_of(wire.ListRequestsRequest(tenant="acme"), STORE)


@given(st.integers(0, 2**63 - 1), st.from_regex(r"[ -~]{0,128}", fullmatch=True))
def test_a_token_leads_back_to_where_the_page_ended(revision: int, id: str) -> None:
    cursor = Cursor(revision=revision, id=id)
    token = token_after(cursor, LISTING)
    assert cursor_in(token, LISTING) == cursor
    assert PAGE_TOKEN.passes(token)


def test_without_a_token_a_list_begins_at_its_beginning() -> None:
    assert cursor_in("", LISTING) is None


def test_paging_differently_is_the_same_list() -> None:
    paged = wire.ListRequestsRequest(tenant="acme", page_size=7, page_token="abc", min_revision=9)
    assert listing_of(paged, STORE) == LISTING


@pytest.mark.parametrize(
    "other",
    [
        wire.ListRequestsRequest(tenant="umbrella"),
        wire.ListRequestsRequest(tenant="acme", tag="a"),
        wire.ListExecutionsRequest(tenant="acme"),
    ],
    ids=["tenant", "filter", "list"],
)
def test_a_token_for_other_filters_is_refused(
    other: wire.ListRequestsRequest | wire.ListExecutionsRequest,
) -> None:
    token = token_after(Cursor(revision=1, id="mr-1"), listing_of(other, STORE))
    with pytest.raises(BadPageToken):
        cursor_in(token, LISTING)


def test_a_token_of_another_store_is_refused() -> None:
    """Of the one it was before it was restored, for example: its revisions mean something else."""
    same = wire.ListRequestsRequest(tenant="acme")
    token = token_after(Cursor(revision=1, id="mr-1"), listing_of(same, "store-0"))
    with pytest.raises(BadPageToken, match="another store"):
        cursor_in(token, LISTING)


@given(st.from_regex(r"[A-Za-z0-9_=-]{1,60}", fullmatch=True))
def test_made_up_tokens_are_refused(token: str) -> None:
    with pytest.raises(BadPageToken):
        cursor_in(token, LISTING)


@pytest.mark.parametrize(
    "json", [b"{}", b"[]", b'["1","mr-1",""]', b"[1]", b"null", b"\xff", b'[1,"x","y"]']
)
def test_tokens_of_another_form_are_refused(json: bytes) -> None:
    with pytest.raises(BadPageToken):
        cursor_in(base64.urlsafe_b64encode(json).decode(), LISTING)
