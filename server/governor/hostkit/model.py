"""What a host's author reads and writes: plain values, no protobuf."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, TypeVar

TransactionT = TypeVar("TransactionT")


class Severity(Enum):
    """How much a side effect matters."""

    INFO = auto()
    WARNING = auto()
    CRITICAL = auto()


class Reversibility(Enum):
    """Whether a change can be taken back."""

    UNSPECIFIED = auto()
    REVERSIBLE = auto()
    COMPENSABLE = auto()
    IRREVERSIBLE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Names one piece of state, in the host's own words."""

    type: str
    id: str


class CompensationKind(Enum):
    """How a change that was applied is made good."""

    ROLLBACK = auto()
    FORWARD = auto()


class CompensationTrigger(Enum):
    """What a compensation was asked for; a reason that this kit does not know is UNSPECIFIED."""

    UNSPECIFIED = auto()
    OPERATOR = auto()
    BATCH_FAILURE = auto()
    FAILED_EXECUTION = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Compensation:
    """Which earlier execution an order takes back (ROLLBACK) or puts right (FORWARD)."""

    kind: CompensationKind
    execution_id: str
    mutation_request_id: str
    trigger: CompensationTrigger = CompensationTrigger.UNSPECIFIED
    # The kit's own, and compared by it. Empty with FORWARD.
    undo_token: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One mutation that was approved, or that is being previewed.

    In a preview the fields that identify the execution are empty, and whatever is done is undone.
    """

    type: str
    state: State
    payload: bytes
    content_type: str
    # None: applies to whatever version is there. The kit has compared it before `apply` is called.
    expected_version: str | None
    tenant: str
    # Who asked for the change; `approvers` are those who approved it.
    actor: str
    environment: str
    service: str
    region: str
    correlation_id: str
    causation_id: str
    approvers: tuple[str, ...] = ()
    execution_id: str = ""
    mutation_request_id: str = ""
    request_audit_id: str = ""
    execution_audit_id: str = ""
    # None: the order compensates nothing. A ROLLBACK never reaches `apply`.
    compensation: Compensation | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One difference that was made. None before: it is new. None after: it is gone."""

    path: str
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SideEffect:
    """Something that happened beside the change itself."""

    type: str
    severity: Severity = Severity.INFO
    description: str = ""
    data: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The change was made in the transaction. The kit adds the versions before and after."""

    changes: Sequence[Change] = ()
    side_effects: Sequence[SideEffect] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The change will not be made; the kit undoes whatever the transaction holds of it.

    It is final for this execution: who wants to be asked again later raises `HostBusy` instead.
    """

    code: str
    message: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Undo(Generic[TransactionT]):
    """How the changes of a type are taken back: by an image of the state from before.

    The kit keeps the image beside the outcome, and takes a further one before it restores, so that
    a rollback can be rolled back as well. Types that change the same state may share one `Undo`.
    """

    # The state as it is, in bytes of the author's choosing, also while there is no such state; it
    # only reads. None: the change that is about to be made cannot be taken back.
    capture: Callable[[TransactionT, str, State], bytes | None]
    # Makes the state what the image says, under a new version, as `apply` would: through the
    # transaction alone, and with a Refused where the state must not be changed.
    restore: Callable[[TransactionT, Order, bytes], Applied | Refused]


@dataclass(frozen=True, slots=True, kw_only=True)
class MutationType(Generic[TransactionT]):
    """One kind of change a host makes."""

    # Makes the change through the transaction and nothing else, so that it can be undone whole.
    apply: Callable[[TransactionT, Order], Applied | Refused]
    # The only type of state it changes. None: `apply` looks for itself.
    state_type: str | None = None
    # Follows from `undo`; to be stated where there is none.
    reversibility: Reversibility = Reversibility.UNSPECIFIED
    description: str = ""
    # None: a ROLLBACK of this type is refused as NOT_REVERSIBLE.
    undo: Undo[TransactionT] | None = None

    def __post_init__(self) -> None:
        if self.undo is None and self.reversibility is Reversibility.REVERSIBLE:
            raise ValueError("a REVERSIBLE mutation type says how: it has an Undo")
        if self.undo is not None and self.reversibility not in (
            Reversibility.UNSPECIFIED,
            Reversibility.REVERSIBLE,
        ):
            raise ValueError(f"a mutation type with an Undo is not {self.reversibility.name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Host(Generic[TransactionT]):
    """What a service lets Governor change, and how."""

    name: str
    # The current version of a tenant's state: opaque, different after every change, and empty when
    # the state does not exist.
    version: Callable[[TransactionT, str, State], str]
    mutations: Mapping[str, MutationType[TransactionT]]
    payload_bytes_max: int = 1024 * 1024
    # How long after a change its image is kept. None: for ever.
    undo_retention_seconds: int | None = None

    @property
    def rollback(self) -> bool:
        """Whether any of its changes can be taken back."""
        return any(mutation_type.undo is not None for mutation_type in self.mutations.values())
