"""Who may call what: the roles each RPC asks for, in the tenant it is about. Absence denies."""

from collections.abc import Mapping

from governor.domain.errors import MissingRole, NotFound
from governor.domain.request import MutationRequest
from governor.domain.values import Identity, RequestId
from governor.usecases.app import App
from governor.usecases.commands import Caller

SUBMITTER = "submitter"
APPROVER = "approver"
OPERATOR = "operator"
AUDITOR = "auditor"
ADMIN = "admin"
CHECKER = "checker"
BREAK_GLASS = "break_glass"
"""Beside `submitter`: may go past an approval in an emergency. Opens no RPC by itself."""

_EVERYBODY = frozenset({SUBMITTER, APPROVER, OPERATOR, AUDITOR, ADMIN, CHECKER})

ROLES: Mapping[str, frozenset[str]] = {
    "Submit": frozenset({SUBMITTER}),
    "SubmitBatch": frozenset({SUBMITTER}),
    "GetRequest": _EVERYBODY,
    "TraceRequest": _EVERYBODY,
    "ListRequests": _EVERYBODY,
    "CountRequests": _EVERYBODY,
    "Approve": frozenset({APPROVER}),
    "Reject": frozenset({APPROVER}),
    "RevokeVote": frozenset({APPROVER}),
    "ResolvePending": frozenset({OPERATOR, ADMIN, CHECKER}),
    "ReviewBreakGlass": frozenset({APPROVER, AUDITOR}),
    "Cancel": frozenset({SUBMITTER, OPERATOR, ADMIN}),
    "Supersede": frozenset({SUBMITTER}),
    "Execute": frozenset({SUBMITTER, OPERATOR, ADMIN}),
    "ResolveExecution": frozenset({OPERATOR, ADMIN}),
    "Compensate": frozenset({SUBMITTER, OPERATOR, ADMIN}),
    "GetExecution": _EVERYBODY,
    "ListExecutions": _EVERYBODY,
    "WaitRequest": _EVERYBODY,
    "ListDecisions": _EVERYBODY,
    "StreamDecisions": _EVERYBODY,
    "GetHost": _EVERYBODY,
    "TrustHost": frozenset({OPERATOR, ADMIN}),
}
"""One of these roles, held in the tenant, is needed for the RPC."""

OWN_ONLY: Mapping[str, frozenset[str]] = {
    "Cancel": frozenset({SUBMITTER}),
    "Supersede": frozenset({SUBMITTER}),
    "Execute": frozenset({SUBMITTER}),
    "Compensate": frozenset({SUBMITTER}),
}
"""With no better role than these, the RPC applies to the caller's own requests alone."""


def authorise(app: App, caller: Caller, tenant: str, rpc: str) -> Identity:
    """The caller with what it holds in `tenant`. Raises MissingRole."""
    identity = app.directory.identity(caller.actor, tenant)
    if identity is None or identity.roles.isdisjoint(ROLES[rpc]):
        raise MissingRole(rpc=rpc, tenant=tenant, needs=", ".join(sorted(ROLES[rpc])))
    return identity


async def authorised_request(
    app: App, caller: Caller, id: RequestId, rpc: str
) -> tuple[MutationRequest, Identity]:
    """The request, and the caller as it may act on it.

    Raises NotFound where there is none or the caller has no place in its tenant, so that ids of
    other tenants cannot be probed; MissingRole where the place lacks the role.
    """
    request = await app.store.request(id)
    if request is None or app.directory.identity(caller.actor, request.tenant) is None:
        raise NotFound("mutation request", id)
    identity = authorise(app, caller, request.tenant, rpc)
    owned = OWN_ONLY.get(rpc, frozenset())
    if (
        owned
        and identity.person != request.requester
        and identity.roles.isdisjoint(ROLES[rpc] - owned)
    ):
        needs = ", ".join(sorted(ROLES[rpc] - owned)) or "the requester"
        raise MissingRole(rpc=rpc, tenant=request.tenant, needs=needs)
    return request, identity
