"""An event loop in virtual time: it waits for nothing, opens nothing, and does the same every time.

Callbacks run in the order that asyncio promises. What happens when is decided elsewhere, by the
delays of those who use it; here time only jumps to the next timer once nothing is ready.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, Final, NoReturn, TypeVar, TypeVarTuple, Unpack

_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")

TURNS_MAX: Final = 1_000_000
_RESOLUTION_SECONDS: Final = 1e-9

_running: contextvars.ContextVar["Process | None"] = contextvars.ContextVar(
    "simulated_process", default=None
)


class Deadlock(Exception):
    """Nothing is ready, and no timer will ever make it so."""


class Restless(Exception):
    """The loop turned so often that something must be running in circles."""


class NotSimulated(Exception):
    """Something asked for a thread: what that does could not be repeated."""


class Process:
    """What lives and dies together on the loop: tasks, and all that follows from them.

    A frozen one does not move while time goes on, like a process that was stopped; thawed, it goes
    on with everything that came due meanwhile. One that dies does not move again: `bury` ends its
    tasks, in the order of their making, and none of them gets further than where it stood.
    `failed` is told of what its tasks raise.
    """

    def __init__(
        self,
        name: str,
        *,
        is_mortal: bool = False,
        failed: Callable[[BaseException], None] | None = None,
    ) -> None:
        self.name = name
        self.is_mortal = is_mortal
        self.is_frozen = False
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._failed = failed
        self._held: deque[_Turn] = deque()
        self._context = contextvars.copy_context()
        self._context.run(_running.set, self)
        self._tasks: dict[asyncio.Task[Any], None] = {}

    def spawn(self, work: Coroutine[Any, Any, _T]) -> "asyncio.Task[_T]":
        """Runs it as a part of this process."""
        return asyncio.get_running_loop().create_task(work, context=self._context.copy())

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs it as a part of this process, and waits for nothing."""
        task = self.spawn(work)
        del task

    def freeze(self) -> None:
        self.is_frozen = True

    def thaw(self) -> None:
        """Goes on, in the order in which things came due."""
        if not self.is_dead:
            asyncio.get_running_loop().call_soon(self._release, context=contextvars.Context())

    @property
    def is_dead(self) -> bool:
        return self.ended.done()

    def die(self) -> None:
        """Stands still from now on, whatever it is doing."""
        if not self.is_dead:
            self.ended.set_result(None)
            self.is_frozen = True

    async def never(self) -> None:
        """Where a task of it stands when it has died."""
        await asyncio.get_running_loop().create_future()

    async def bury(self) -> None:
        """Ends every task, also those that the end of others brings up."""
        self._release()
        while running := list(self._tasks):
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def own(self, task: asyncio.Task[Any]) -> None:
        self._tasks[task] = None
        task.add_done_callback(self._disown, context=contextvars.Context())

    def hold(self, turn: "_Turn") -> None:
        self._held.append(turn)

    def _disown(self, task: asyncio.Task[Any]) -> None:
        del self._tasks[task]
        if self._failed and not task.cancelled() and (failure := task.exception()):
            self._failed(failure)

    def _release(self) -> None:
        self.is_frozen = False
        while self._held:
            turn = self._held.popleft()
            asyncio.get_running_loop().call_soon(turn.run, context=turn.context)


class _Turn:
    """One callback of a process: runs when its turn comes, unless the process is frozen then."""

    __slots__ = ("_args", "_callback", "_process", "context", "handle")

    def __init__(
        self,
        process: Process,
        callback: Callable[..., object],
        args: tuple[Any, ...],
        context: contextvars.Context,
    ) -> None:
        self._process = process
        self._callback = callback
        self._args = args
        self.context = context
        self.handle: asyncio.Handle

    def run(self) -> None:
        if self._process.is_frozen:
            self._process.hold(self)
        elif not self.handle.cancelled():  # it may have been while it was held
            self._callback(*self._args)


class SimulatedLoop(asyncio.BaseEventLoop):
    """asyncio's own loop, with a clock and a selector that are made up."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._clock_resolution = _RESOLUTION_SECONDS
        self._selector = self
        self._waiting: dict[asyncio.Task[Any], Process | None] = {}
        self.turns = 0
        self.set_task_factory(self._make_task)  # type: ignore[arg-type]  # knows no contexts

    def time(self) -> float:
        return self._now

    def told(self) -> str:
        """Who waits, oldest first, and where."""
        lines = (_place(task, process) for task, process in self._waiting.items())
        return "\n".join((f"at {self._now:.6f} these wait:", *lines))

    # --- What the base class asks of an implementation ------------------------------------------

    def select(self, timeout: float | None) -> list[Any]:
        """Called once per turn, with the time until the next timer: nothing ever comes in."""
        self.turns += 1
        if self.turns > TURNS_MAX:
            self.turns = 0  # there are some more to take, to tidy everything away
            raise Restless(self.told())
        if timeout is None:
            raise Deadlock(self.told())
        self._now += timeout
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""

    def _write_to_self(self) -> NoReturn:
        raise NotSimulated("another thread has called in")

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[_Ts]], _T], *args: *_Ts
    ) -> NoReturn:
        raise NotSimulated("a thread was asked for")

    # --- Processes ------------------------------------------------------------------------------

    def call_soon(
        self,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        context = context or contextvars.copy_context()
        process = context.get(_running)
        if process is None:
            return super().call_soon(callback, *args, context=context)
        turn = _Turn(process, callback, args, context)
        turn.handle = super().call_soon(turn.run, context=context)
        return turn.handle

    def call_at(
        self,
        when: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        context = context or contextvars.copy_context()
        process = context.get(_running)
        if process is None:
            return super().call_at(when, callback, *args, context=context)
        turn = _Turn(process, callback, args, context)
        turn.handle = handle = super().call_at(when, turn.run, context=context)
        return handle

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Coroutine[Any, Any, _T],
        context: contextvars.Context | None = None,
    ) -> "asyncio.Task[_T]":
        context = context or contextvars.copy_context()
        task = asyncio.Task(work, loop=loop, context=context)
        process = context.get(_running)
        self._waiting[task] = process
        task.add_done_callback(self._waiting.pop, context=contextvars.Context())
        if process is not None:
            process.own(task)
        return task


def simulated_loop() -> SimulatedLoop:
    """The one that runs."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulatedLoop)
    return loop


def running_process() -> Process | None:
    """The process that the caller is a part of."""
    return _running.get()


def _place(task: asyncio.Task[Any], process: Process | None) -> str:
    frames = task.get_stack(limit=1)
    where = f"{frames[0].f_code.co_filename}:{frames[0].f_lineno}" if frames else "not begun"
    name = getattr(task.get_coro(), "__qualname__", "?")
    return f"  {process.name if process else 'the world'}: {name} ({where})"
