"""The directory as a TOML file: which actors there are, who stands behind them, what they hold, and
who may vote in whose place.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Self

from pydantic import AwareDatetime, Field, model_validator

from governor.domain.approval import Target
from governor.domain.values import GOVERNOR, Identity, Micros, TargetKind, Value
from governor.strict_toml import ReloadedFile, StrictModel, did_you_mean, read_model
from governor.usecases.access import (
    ADMIN,
    APPROVER,
    AUDITOR,
    BREAK_GLASS,
    CHECKER,
    OPERATOR,
    ROLES,
    SUBMITTER,
)

ACTORS_MAX = 10_000
MEMBERSHIPS_MAX = 200
DELEGATIONS_MAX = 10_000

BUILT_IN_ROLES = (SUBMITTER, APPROVER, OPERATOR, AUDITOR, ADMIN, CHECKER, BREAK_GLASS)
EVERY_TENANT = "*"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# As the wire takes them: an actor or tenant that no call can carry would be a slip of the pen.
Name = Annotated[str, Field(pattern=r"^[!-~]{1,256}$")]
TenantName = Annotated[str, Field(pattern=r"^(\*|[A-Za-z0-9][A-Za-z0-9._-]{0,63})$")]


class ActorTable(StrictModel):
    """What one actor holds in some tenants. The same id may return for other tenants."""

    id: Name
    person: Name | None = None
    tenants: list[TenantName] = Field(min_length=1, max_length=MEMBERSHIPS_MAX)
    roles: list[Name] = Field(min_length=1, max_length=MEMBERSHIPS_MAX)
    groups: list[Name] = Field(default=[], max_length=MEMBERSHIPS_MAX)


class DelegationTable(StrictModel):
    """`to` may vote in the place of `from` until `ends`, in some tenants; never any further."""

    giver: Name = Field(alias="from")
    to: Name
    tenants: list[TenantName] = Field(min_length=1, max_length=MEMBERSHIPS_MAX)
    starts: AwareDatetime
    ends: AwareDatetime

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if self.starts >= self.ends:
            raise ValueError("ends does not lie after starts")
        return self


class DirectoryTables(StrictModel):
    """The whole file. `custom_roles` are roles that only policy speaks of."""

    custom_roles: list[Name] = Field(default=[], max_length=MEMBERSHIPS_MAX)
    actor: list[ActorTable] = Field(default=[], max_length=ACTORS_MAX)
    delegation: list[DelegationTable] = Field(default=[], max_length=DELEGATIONS_MAX)

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        _check_names(self)
        _check_roles(self)
        _check_persons(self)
        _check_tenants(self)
        _check_delegations(self)
        return self


class Delegation(Value, frozen=True, kw_only=True):
    """`giver` lets somebody vote in their place, from `starts` on and before `ends`."""

    giver: str
    tenants: frozenset[str]
    starts: Micros
    ends: Micros

    def holds(self, tenant: str, at: Micros) -> bool:
        """Whether it is in force there and then."""
        return self.starts <= at < self.ends and not self.tenants.isdisjoint((tenant, EVERY_TENANT))


class LoadedDirectory:
    """Identities by actor and tenant, persons by what they hold, and delegations by who has them
    (a person).
    """

    def __init__(
        self,
        identities: Mapping[tuple[str, str], Identity],
        sha256: bytes,
        delegations: Mapping[str, Sequence[Delegation]] = MappingProxyType({}),
    ) -> None:
        self._identities = identities
        self._voters = _voters(identities)
        self._delegations = delegations
        self.sha256 = sha256

    @property
    def actors(self) -> frozenset[str]:
        """Everybody listed."""
        return frozenset(actor for actor, _ in self._identities)

    def knows(self, target: Target) -> bool:
        """Whether the target names anybody who may vote, in any tenant."""
        return any(named == target for named, _ in self._voters)

    def may_resolve(self, target: Target) -> bool:
        """Whether the target names anybody who may answer a gate, in any tenant."""
        return any(
            target in _targets_of(identity)
            for identity in self._identities.values()
            if not identity.roles.isdisjoint(ROLES["ResolvePending"])
        )

    def identity(self, actor: str, tenant: str) -> Identity | None:
        """What the actor holds in the tenant; None when it has no place there."""
        here = self._identities.get((actor, tenant))
        return here or self._identities.get((actor, EVERY_TENANT))

    def members(self, target: Target, tenant: str) -> frozenset[str]:
        """The persons that the target names in the tenant and who may vote at all."""
        here = self._voters.get((target, tenant), frozenset())
        return here | self._voters.get((target, EVERY_TENANT), frozenset())

    def delegators(self, actor: str, tenant: str, at: Micros) -> tuple[Identity, ...]:
        """In whose place the actor may vote, with what those hold themselves."""
        delegate = self.identity(actor, tenant)
        if delegate is None:
            return ()
        given = (one for one in self._delegations.get(delegate.person, ()) if one.holds(tenant, at))
        givers = (self.identity(one.giver, tenant) for one in given)
        return tuple({one.id: one for one in givers if one is not None}.values())


def load_directory(path: Path) -> LoadedDirectory:
    """Reads the file. Raises FileRefused."""
    tables, digest = read_model(path, DirectoryTables)
    identities = {
        (table.id, tenant): Identity(
            id=table.id,
            person=table.person or table.id,
            roles=frozenset(table.roles),
            groups=frozenset(table.groups),
        )
        for table in tables.actor
        for tenant in table.tenants
    }
    return LoadedDirectory(identities, digest, _delegations(tables))


class FileDirectory:
    """Answers by the file as it was last read well. Without a file nobody holds anything."""

    def __init__(self, path: Path | None) -> None:
        self._file = ReloadedFile(path, load_directory, absent=LoadedDirectory({}, b""))

    @property
    def loaded(self) -> LoadedDirectory:
        """What is in force."""
        return self._file.current

    def reload(self) -> bool:
        """Takes the file as it is now, and says whether; one with a fault changes nothing."""
        return self._file.reload()

    def identity(self, actor: str, tenant: str) -> Identity | None:
        return self.loaded.identity(actor, tenant)

    def members(self, target: Target, tenant: str) -> frozenset[str]:
        return self.loaded.members(target, tenant)

    def delegators(self, actor: str, tenant: str, at: Micros) -> tuple[Identity, ...]:
        return self.loaded.delegators(actor, tenant, at)


def _voters(
    identities: Mapping[tuple[str, str], Identity],
) -> Mapping[tuple[Target, str], frozenset[str]]:
    """Persons by target and tenant, so that a submission does not walk the whole directory.

    Who lacks the role that the call itself needs is left out: a quorum that counted on them could
    never be met.
    """
    persons: dict[tuple[Target, str], set[str]] = defaultdict(set)
    for (_, tenant), identity in identities.items():
        if not identity.roles.isdisjoint(ROLES["Approve"]):
            for target in _targets_of(identity):
                persons[target, tenant].add(identity.person)
    return {key: frozenset(found) for key, found in persons.items()}


def _targets_of(identity: Identity) -> Iterator[Target]:
    """Every target that names this identity, by the law in domain/approval.py."""
    for name in {identity.id, identity.person}:
        yield Target(kind=TargetKind.ACTOR, name=name)
    for role in identity.roles:
        yield Target(kind=TargetKind.ROLE, name=role)
    for group in identity.groups:
        yield Target(kind=TargetKind.GROUP, name=group)


def _delegations(tables: DirectoryTables) -> Mapping[str, Sequence[Delegation]]:
    persons = _persons(tables)
    held: dict[str, list[Delegation]] = defaultdict(list)
    for table in tables.delegation:
        held[persons[table.to]].append(
            Delegation(
                giver=table.giver,
                tenants=frozenset(table.tenants),
                starts=_micros(table.starts),
                ends=_micros(table.ends),
            )
        )
    return held


def _persons(tables: DirectoryTables) -> dict[str, str]:
    return {table.id: table.person or table.id for table in tables.actor}


def _micros(moment: datetime) -> Micros:
    return Micros((moment - _EPOCH) // timedelta(microseconds=1))


def _check_names(tables: DirectoryTables) -> None:
    for table in tables.actor:
        if GOVERNOR.id in (table.id, table.person):
            raise ValueError(f"actor {table.id!r}: {GOVERNOR.id!r} is the sidecar itself")


def _check_roles(tables: DirectoryTables) -> None:
    known = (*BUILT_IN_ROLES, *tables.custom_roles)
    for table in tables.actor:
        for role in table.roles:
            if role not in known:
                hint = did_you_mean(role, known) or "; list it in custom_roles if policy names it"
                raise ValueError(f"actor {table.id!r}: there is no role {role!r}{hint}")


def _check_persons(tables: DirectoryTables) -> None:
    """An actor stands for one person, and nobody is an alias of an alias."""
    persons: dict[str, str] = {}
    for table in tables.actor:
        person = table.person or table.id
        if persons.setdefault(table.id, person) != person:
            raise ValueError(f"actor {table.id!r}: stands for two persons")
    for actor, person in persons.items():
        if persons.get(person, person) != person:
            raise ValueError(f"actor {actor!r}: its person {person!r} is itself an alias")


def _check_tenants(tables: DirectoryTables) -> None:
    """What an actor holds in a tenant stands in one place."""
    held: dict[str, set[str]] = defaultdict(set)
    for table in tables.actor:
        for tenant in table.tenants:
            others = held[table.id]
            if tenant in others or (others and EVERY_TENANT in (tenant, *others)):
                raise ValueError(f"actor {table.id!r}: is listed twice for tenant {tenant!r}")
            others.add(tenant)


def _check_delegations(tables: DirectoryTables) -> None:
    """From one known person to another, in tenants where both have a place."""
    persons = _persons(tables)
    places: dict[str, set[str]] = defaultdict(set)
    for actor in tables.actor:
        places[actor.id].update(actor.tenants)
    for number, table in enumerate(tables.delegation):
        where = f"delegation[{number}]"
        for name in (table.giver, table.to):
            if name not in persons:
                raise ValueError(
                    f"{where}: there is no actor {name!r}{did_you_mean(name, persons)}"
                )
        if persons[table.giver] == persons[table.to]:
            raise ValueError(f"{where}: {table.giver!r} and {table.to!r} are one person")
        for name in (table.giver, table.to):
            for tenant in table.tenants:
                if tenant != EVERY_TENANT and places[name].isdisjoint((tenant, EVERY_TENANT)):
                    raise ValueError(f"{where}: {name!r} has no place in tenant {tenant!r}")
