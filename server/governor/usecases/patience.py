"""Trying again while host, store or directory are away, until what must be done is done."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import ParamSpec, TypeVar

from tenacity import AsyncRetrying, retry_if_exception_type, wait_random_exponential

from governor.domain.errors import (
    DirectoryUnavailable,
    HostUnavailable,
    Overloaded,
    StoreUnavailable,
)
from governor.usecases.app import App

_P = ParamSpec("_P")
_T = TypeVar("_T")
_PASSING = (HostUnavailable, StoreUnavailable, DirectoryUnavailable, Overloaded)


async def persistently(
    app: App, work: Callable[_P, Awaitable[_T]], *args: _P.args, **kwargs: _P.kwargs
) -> _T:
    """The result of `work(*args)`, however long one of them is away; other errors pass through.

    The pauses grow at random up to Limits.backoff_seconds_max. Only a cancellation ends it: work
    like this belongs to the execution manager, which cancels it when the server goes down.
    """
    with suppress(*_PASSING):  # nearly always the first try is enough, and costs nothing more
        return await work(*args, **kwargs)
    limits = app.limits
    retrying = AsyncRetrying(
        sleep=app.clock.sleep,
        wait=wait_random_exponential(
            multiplier=limits.backoff_seconds_initial, max=limits.backoff_seconds_max
        ),
        retry=retry_if_exception_type(_PASSING),
    )
    return await retrying(work, *args, **kwargs)
