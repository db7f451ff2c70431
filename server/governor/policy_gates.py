"""What the policy file puts in the way beside approval: checks, quotas, reviews and windows.

They are named in tables of their own, but for a review, and demanded by the rules.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from governor.config.listener import parse_listener
from governor.domain.approval import Target
from governor.domain.gates import DEPENDENCY_REVIEW, Gate, Window
from governor.domain.request import PendingReason
from governor.domain.values import Value
from governor.domain.windows import check_window
from governor.policy_texts import TARGETS_MAX, Id, TargetText, refuse_duplicates, target
from governor.strict_toml import StrictModel, did_you_mean

GATES_MAX: Final = 200
GATES_PER_RULE_MAX: Final = 8
WINDOW_MINUTES_MAX: Final = 31 * 24 * 60
DAYS_90_SECONDS: Final = 90 * 86_400

Names = Annotated[list[Id], Field(min_length=1, max_length=GATES_PER_RULE_MAX)]
Resolvers = Annotated[list[TargetText], Field(min_length=1, max_length=TARGETS_MAX)]
WholeSeconds = Annotated[int, Field(ge=1, le=DAYS_90_SECONDS)]


def _address(text: str) -> str:
    parse_listener(text)
    return text


Address = Annotated[str, AfterValidator(_address)]


class CheckTable(StrictModel):
    """A check: who answers it, and how long they may take. No answer by then is a no.

    Without an `address`, it is answered by ResolvePending.
    """

    name: Id
    timeout_seconds: WholeSeconds
    address: Address | None = None
    call_seconds_max: float = Field(default=5.0, gt=0, le=300, allow_inf_nan=False)
    tls_ca_file: str | None = Field(default=None, min_length=1)
    resolvers: Resolvers | None = None

    @model_validator(mode="after")
    def _is_called_or_not(self) -> Self:
        if self.address is None and self.tls_ca_file is not None:
            raise ValueError("tls_ca_file is for the connection to an address, and none is set")
        if (
            self.address is not None
            and self.tls_ca_file is None
            and not parse_listener(self.address).is_local
        ):
            raise ValueError(f"{self.address} is on another machine and needs tls_ca_file")
        return self


class QuotaTable(StrictModel):
    """A quota: who may release from it, and after which time it has room again by itself."""

    name: Id
    refresh_seconds: WholeSeconds | None = None
    resolvers: Resolvers | None = None


class WindowTable(StrictModel):
    """A maintenance window: when it opens, by cron's five fields, and how long it stays so."""

    name: Id
    opens: str = Field(max_length=200)
    lasts_minutes: int = Field(ge=1, le=WINDOW_MINUTES_MAX)
    timezone: str = Field(default="UTC", min_length=1, max_length=64)

    @model_validator(mode="after")
    def _opens_at_some_time(self) -> Self:
        check_window(window_of(self))
        return self


class ReviewTable(StrictModel):
    """A person's look at what is asked for, in a rule."""

    name: Id
    resolvers: Resolvers | None = None
    timeout_seconds: WholeSeconds | None = None
    detail: str = Field(default="", max_length=500)

    @model_validator(mode="after")
    def _is_not_ours(self) -> Self:
        if self.name == DEPENDENCY_REVIEW:
            raise ValueError(f"the name {self.name!r} is that of the review of a dependency")
        return self


class DemandsTable(StrictModel):
    """What a rule demands beside its steps."""

    checks: Names | None = None
    quotas: Names | None = None
    windows: Names | None = None
    manual_review: ReviewTable | None = None
    execution_window_seconds: WholeSeconds | None = None

    @property
    def makes_wait(self) -> bool:
        """Whether any of it keeps a request from going on at once."""
        return any((self.checks, self.quotas, self.windows, self.manual_review))

    @property
    def demands_anything(self) -> bool:
        """Whether it holds any of these keys."""
        return self.makes_wait or self.execution_window_seconds is not None


class GatesTables(StrictModel):
    """The part of the file where gates and windows are named."""

    check: list[CheckTable] = Field(default=[], max_length=GATES_MAX)
    quota: list[QuotaTable] = Field(default=[], max_length=GATES_MAX)
    window: list[WindowTable] = Field(default=[], max_length=GATES_MAX)

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        refuse_duplicates("check name", (table.name for table in self.check))
        refuse_duplicates("quota name", (table.name for table in self.quota))
        refuse_duplicates("window name", (table.name for table in self.window))
        return self

    def check_demands(self, rules: Iterable[tuple[str, DemandsTable]]) -> None:
        """Raises ValueError when a rule names what the file does not, or two reviews differ under
        one name. `rules` are their ids and what they demand.
        """
        reviews: dict[str, ReviewTable] = {}
        for id, rule in rules:
            for key, wanted, known in (
                ("checks", rule.checks, self.check),
                ("quotas", rule.quotas, self.quota),
                ("windows", rule.windows, self.window),
            ):
                _check_known(id, key, wanted or (), [table.name for table in known])
            review = rule.manual_review
            if review is not None and reviews.setdefault(review.name, review) != review:
                raise ValueError(
                    f"rule {id!r}: manual_review {review.name!r} is another one in another rule"
                )


class CheckService(Value, frozen=True, kw_only=True):
    """Where a check is answered: a GovernanceCheck server, and how it is called.

    `tls_ca` is who signs its certificate, PEM; None is a plain connection.
    """

    target: str
    call_seconds_max: float
    tls_ca: bytes | None = None


class Demands(Value, frozen=True, kw_only=True):
    """The gates and windows of one rule."""

    gates: tuple[Gate, ...] = ()
    windows: tuple[Window, ...] = ()


def demands_of(rule: DemandsTable, tables: GatesTables) -> Demands:
    """What a rule demands, by value."""
    checks = {table.name: table for table in tables.check}
    quotas = {table.name: table for table in tables.quota}
    windows = {table.name: table for table in tables.window}
    gates = [
        *(_check(checks[name]) for name in _once(rule.checks)),
        *(_quota(quotas[name]) for name in _once(rule.quotas)),
    ]
    if rule.manual_review is not None:
        gates.append(_review(rule.manual_review))
    return Demands(
        gates=tuple(gates),
        windows=tuple(window_of(windows[name]) for name in _once(rule.windows)),
    )


def services_of(tables: GatesTables) -> Mapping[str, CheckService]:
    """Where checks are answered, by name. Raises OSError when a CA file cannot be read."""
    return {
        table.name: CheckService(
            target=parse_listener(table.address).target,
            call_seconds_max=table.call_seconds_max,
            tls_ca=Path(table.tls_ca_file).read_bytes() if table.tls_ca_file else None,
        )
        for table in tables.check
        if table.address is not None
    }


def window_of(table: WindowTable) -> Window:
    """The window as the domain has it."""
    return Window(
        name=table.name,
        opens=table.opens,
        lasts_seconds=table.lasts_minutes * 60,
        timezone=table.timezone,
    )


def _check(table: CheckTable) -> Gate:
    return Gate(
        reason=PendingReason.EXTERNAL_CHECK.value,
        name=table.name,
        resolvers=_targets(table.resolvers),
        timeout_seconds=table.timeout_seconds,
        called=table.address is not None,
    )


def _quota(table: QuotaTable) -> Gate:
    return Gate(
        reason=PendingReason.QUOTA.value,
        name=table.name,
        resolvers=_targets(table.resolvers),
        timeout_seconds=table.refresh_seconds,
    )


def _review(table: ReviewTable) -> Gate:
    return Gate(
        reason=PendingReason.MANUAL_REVIEW.value,
        name=table.name,
        resolvers=_targets(table.resolvers),
        timeout_seconds=table.timeout_seconds,
        detail=table.detail,
    )


def _targets(texts: Sequence[str] | None) -> tuple[Target, ...]:
    return tuple(target(text) for text in texts or ())


def _once(names: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names or ()))


def _check_known(rule: str, key: str, wanted: Iterable[str], known: Sequence[str]) -> None:
    for name in wanted:
        if name not in known:
            hint = did_you_mean(name, known)
            raise ValueError(f"rule {rule!r}: {key} names {name!r}, which is not there{hint}")
