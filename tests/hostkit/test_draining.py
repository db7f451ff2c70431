"""A draining host waits for the calls it has, and for no others."""

import asyncio

import pytest

from governor.hostkit import HostBusy
from governor.hostkit.draining import CallsUnderWay
from tests.hostkit.support import TIMEOUT_SECONDS

FOR_EVER_SECONDS = 3600.0


async def test_draining_ends_with_the_last_call_under_way() -> None:
    calls = CallsUnderWay()
    with calls:
        with calls:
            draining = asyncio.create_task(calls.drain(FOR_EVER_SECONDS))
            await asyncio.sleep(0)
            with pytest.raises(HostBusy), calls:
                pass
        await asyncio.sleep(0)
        assert not draining.done()
    await asyncio.wait_for(draining, TIMEOUT_SECONDS)


async def test_draining_an_idle_host_ends_at_once() -> None:
    await asyncio.wait_for(CallsUnderWay().drain(FOR_EVER_SECONDS), TIMEOUT_SECONDS)


async def test_draining_gives_up_on_a_call_that_hangs() -> None:
    calls = CallsUnderWay()
    with calls:
        await calls.drain(0)
