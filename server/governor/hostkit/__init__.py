"""The host kit: what a service needs to let Governor change its state exactly once.

An author writes plain functions, one per mutation type, and hands them over with a journal::

    from governor.hostkit import Applied, Host, MutationType, serve, sqlite_journal

    def set_limit(transaction, order):
        transaction.execute("UPDATE ...", (order.state.id, order.payload))
        return Applied(changes=[...])

    LIMITS = Host(name="limits", version=version, mutations={
        "limit.set": MutationType(apply=set_limit),
    })

    async with sqlite_journal("limits.sqlite", schema=SCHEMA) as journal:
        await serve(LIMITS, journal, listen="127.0.0.1:7001", announce=print)

The five promises of `governance.v1.MutationEngine` are then kept by the kit. One duty stays with
the author: whatever `apply` does, it does through the transaction it is given.
"""

from governor.hostkit.engine import Engine
from governor.hostkit.errors import HostBusy, HostKitError
from governor.hostkit.failpoints import Failpoint, Failpoints, failpoints_from_arguments
from governor.hostkit.journal import (
    Claim,
    Decided,
    Image,
    Inquiry,
    Journal,
    Past,
    Record,
    Settled,
)
from governor.hostkit.locks import AlreadyInUse
from governor.hostkit.model import (
    Applied,
    Change,
    Compensation,
    CompensationKind,
    CompensationTrigger,
    Host,
    MutationType,
    Order,
    Refused,
    Reversibility,
    Severity,
    SideEffect,
    State,
    Undo,
)
from governor.hostkit.server import CannotListen, serve, served
from governor.hostkit.sqlite import (
    SqliteJournal,
    Transaction,
    begin_new_lineage,
    sqlite_journal,
)

__all__ = [
    "AlreadyInUse",
    "Applied",
    "CannotListen",
    "Change",
    "Claim",
    "Compensation",
    "CompensationKind",
    "CompensationTrigger",
    "Decided",
    "Engine",
    "Failpoint",
    "Failpoints",
    "Host",
    "HostBusy",
    "HostKitError",
    "Image",
    "Inquiry",
    "Journal",
    "MutationType",
    "Order",
    "Past",
    "Record",
    "Refused",
    "Reversibility",
    "Settled",
    "Severity",
    "SideEffect",
    "SqliteJournal",
    "State",
    "Transaction",
    "Undo",
    "begin_new_lineage",
    "failpoints_from_arguments",
    "serve",
    "served",
    "sqlite_journal",
]
