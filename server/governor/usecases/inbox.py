"""What waits for the caller: the requests that they can do something about now."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from governor.domain.approval import Target
from governor.domain.ballots import is_asked
from governor.domain.request import MutationRequest, Pending, PendingReason
from governor.domain.values import Identity, Micros, Revision, TargetKind, Value
from governor.domain.whom import who_can_act, who_reviews
from governor.usecases.access import ROLES, authorise
from governor.usecases.app import App
from governor.usecases.commands import Caller
from governor.usecases.query import reach
from governor.usecases.questions import Cursor, RequestQuery

INBOX_PAGES_MAX: Final = 8
"""How many pages are read to fill one. Then a page is short, and says where the next goes on."""

_ROLES: Final[Mapping[PendingReason, frozenset[str]]] = {
    PendingReason.APPROVAL: ROLES["Approve"],
    PendingReason.EXTERNAL_CHECK: ROLES["ResolvePending"],
    PendingReason.QUOTA: ROLES["ResolvePending"],
    PendingReason.MANUAL_REVIEW: ROLES["ResolvePending"],
    PendingReason.AUDIT: ROLES["ResolveExecution"],
}
"""One of these roles is needed to do something about the reason; about the others nobody can."""


class Inbox(Value, frozen=True, kw_only=True):
    """A page; `goes_on_after` is set when it is short without being the last."""

    requests: tuple[MutationRequest, ...]
    goes_on_after: Cursor | None = None


async def waiting_for(app: App, caller: Caller, query: RequestQuery, min_revision: int) -> Inbox:
    """What of the query waits for the caller, newest first, without payload data.

    Raises MissingRole, RevisionAhead.
    """
    await reach(app, Revision(min_revision))
    identity = authorise(app, caller, query.tenant, "ListRequests")
    now = app.clock.now()
    voices = (identity, *app.directory.delegators(caller.actor, query.tenant, now))
    query = query.but(targets=targets_of(voices), not_of=identity.person)
    found: list[MutationRequest] = []
    for _ in range(INBOX_PAGES_MAX):
        page = await app.store.requests(query)
        found.extend(request for request in page if can_act(request, voices, now))
        if len(page) < query.limit or len(found) >= query.limit:
            return Inbox(requests=tuple(found[: query.limit]))
        last = page[-1]
        query = query.but(after=Cursor(revision=last.submitted_revision, id=last.id))
    return Inbox(requests=tuple(found), goes_on_after=query.after)


def targets_of(voices: Iterable[Identity]) -> tuple[Target, ...]:
    """Everything that names one of them."""
    found: list[Target] = []
    for voice in voices:
        names = (voice.id, voice.person)
        found.extend(Target(kind=TargetKind.ACTOR, name=name) for name in names)
        found.extend(Target(kind=TargetKind.ROLE, name=name) for name in sorted(voice.roles))
        found.extend(Target(kind=TargetKind.GROUP, name=name) for name in sorted(voice.groups))
    return tuple(dict.fromkeys(found))


def can_act(request: MutationRequest, voices: Sequence[Identity], at: Micros) -> bool:
    """Whether the first of the voices can do something about a request, in whichever place.

    Nobody does about their own. Only votes are given in somebody else's place.
    """
    own = voices[0]
    if own.person == request.requester:
        return False
    if _is_named(own, who_reviews(request)) and not own.roles.isdisjoint(ROLES["ReviewBreakGlass"]):
        return True
    return any(_can_act_on(request, pending, voices, at) for pending in request.progress.pending)


def _can_act_on(
    request: MutationRequest, pending: Pending, voices: Sequence[Identity], at: Micros
) -> bool:
    own, approval = voices[0], request.progress.approval
    if pending.reason is PendingReason.APPROVAL:
        return approval is not None and any(
            _may(own, pending)
            and _may(voice, pending)
            and is_asked(
                approval,
                own,
                requester=request.requester,
                at=at,
                on_behalf_of=voice if voice is not own else None,
            )
            for voice in voices
        )
    return _may(own, pending) and _is_named(own, who_can_act(request, pending))


def _may(voice: Identity, pending: Pending) -> bool:
    return not voice.roles.isdisjoint(_ROLES.get(pending.reason, frozenset()))


def _is_named(voice: Identity, targets: Sequence[Target]) -> bool:
    return not set(targets_of((voice,))).isdisjoint(targets)
