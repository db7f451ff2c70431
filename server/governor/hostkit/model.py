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
class MutationType(Generic[TransactionT]):
    """One kind of change a host makes."""

    # Makes the change through the transaction and nothing else, so that it can be undone whole.
    apply: Callable[[TransactionT, Order], Applied | Refused]
    # The only type of state it changes. None: `apply` looks for itself.
    state_type: str | None = None
    reversibility: Reversibility = Reversibility.UNSPECIFIED
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Host(Generic[TransactionT]):
    """What a service lets Governor change, and how."""

    name: str
    # The current version of a tenant's state: opaque, different after every change, and empty when
    # the state does not exist.
    version: Callable[[TransactionT, str, State], str]
    mutations: Mapping[str, MutationType[TransactionT]]
    payload_bytes_max: int = 1024 * 1024
