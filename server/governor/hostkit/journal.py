"""What the kit asks of a database so that it can keep the promises: one small protocol.

A host on another database implements `Journal` with the functions of `law`; see `sqlite` for the
one that is ready to use.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from governor.hostkit.model import State, TransactionT

AnswerT = TypeVar("AnswerT")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """How an execution ended: never changed once it is kept."""

    # What the host was ordered to do; every later order has to be the same.
    request_digest: bytes
    # A serialised ApplyMutationResponse.
    outcome: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """All that is remembered of one execution."""

    execution_id: str
    # The highest one seen.
    fencing_token: int
    # Whether it was made impossible; it then never has a conclusion.
    fenced: bool = False
    conclusion: Conclusion | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A call's right to apply an execution."""

    execution_id: str
    fencing_token: int
    request_digest: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """A call's question what became of an execution."""

    execution_id: str
    fencing_token: int
    fence: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """What it takes to take an applied execution back. Times are microseconds since 1970."""

    tenant: str
    mutation_type: str
    state: State
    # The author's own bytes.
    before: bytes
    taken_at: int
    # From then on it is good for nothing, and may be forgotten. None: never.
    expires_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What is remembered of an execution that is to be taken back."""

    conclusion: Conclusion | None = None
    # None: there never was one, or it has been forgotten.
    image: Image | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What an execution came to, before it is durable."""

    outcome: bytes
    # False: whatever was done in the transaction has to be undone; the outcome is kept.
    keeps_effect: bool
    # To be kept with the outcome. None: it cannot be taken back.
    image: Image | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What an execution came to, durably."""

    outcome: bytes
    # True when an earlier call had settled it.
    replayed: bool


class Journal(Protocol[TransactionT]):
    """The host's database as the owner of outcomes.

    Each method is one transaction, durable before it returns. A method that raises a `HostKitError`
    has kept nothing, unless that error says that it is in doubt.
    """

    @property
    def lineage_id(self) -> str:
        """Names the history of the data: made with the database, new after a restore."""

    async def settle(self, claim: Claim, decide: Callable[[TransactionT], Decided]) -> Settled:
        """Decide an execution once: effect and outcome together, or replay what was decided.

        With the effect it keeps the decision's image, and may forget images that have expired by
        the time this one was taken.
        """

    async def inquire(self, inquiry: Inquiry) -> Record:
        """Say what is remembered of an execution, after remembering the inquiry's own token."""

    def recall(self, transaction: TransactionT, execution_id: str) -> Past:
        """Read an earlier execution within the transaction, on behalf of `decide` or `question`."""

    async def observe(self, question: Callable[[TransactionT], AnswerT]) -> AnswerT:
        """Answer a question from the data and undo whatever the question did to them."""
