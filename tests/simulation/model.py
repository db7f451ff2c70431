"""A mutation request as its callers know it, one thing after the other: what each operation may
answer and lead to, and what the sidecar does by itself.

Written from the documented lifecycle, not from the transition table, which it is to be held
against. Every answer names the revision of what it shows, so that none may show the past.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache

from governor.domain.request import TERMINAL, MutationRequest, PendingReason, Status
from tests.simulation.linearizability import Specification

APPROVAL, AUDIT = PendingReason.APPROVAL, PendingReason.AUDIT
REVALIDATION = PendingReason.REVALIDATION
_BY_THEMSELVES = (PendingReason.SCHEDULE, PendingReason.DEPENDENCY)

NEUTRAL = frozenset({"Conflict", "StateBusy", "HostUnavailable", "Overloaded", "DigestMismatch"})
"""Refusals that say nothing of where the request stands, and change nothing."""


@dataclass(frozen=True, slots=True)
class Content:
    """Where a request stands. Who voted counts in the round that is open."""

    status: Status
    waiting: frozenset[PendingReason] = frozenset()
    voters: frozenset[str] = frozenset()

    def takes(self, reason: PendingReason) -> bool:
        return self.status is Status.PENDING and reason in self.waiting

    def ends(self, status: Status) -> "Content":
        return Content(status, voters=self.voters)


ABSENT = Content(Status.CREATED)


@dataclass(frozen=True, slots=True)
class Seen:
    """What an answer showed."""

    revision: int
    content: Content

    @classmethod
    def of(cls, request: MutationRequest) -> "Seen":
        approval = request.progress.approval
        votes = approval.current_votes() if approval else ()
        return cls(
            request.revision,
            Content(
                request.status,
                frozenset(pending.reason for pending in request.progress.pending),
                frozenset(vote.voter.person for vote in votes),
            ),
        )


@dataclass(frozen=True, slots=True)
class Done:
    """It took effect at that revision; where the request stood then was not shown."""

    revision: int


@dataclass(frozen=True, slots=True)
class No:
    """It was refused, by the name of the error."""

    refusal: str


class Verb(StrEnum):
    """What can be asked."""

    SUBMIT = "submit"
    GET = "get"
    APPROVE = "approve"
    REJECT = "reject"
    REVOKE = "revoke"
    CANCEL = "cancel"
    SUPERSEDE = "supersede"
    EXECUTE = "execute"
    RESOLVE = "resolve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Did:
    """One call of a caller. `key` is its request_id; `answer` None: there was none.

    `barred`: whoever asks may never do this. `late`: the request may have run out by then, before
    anybody has noticed.
    """

    verb: Verb
    actor: str
    key: str = ""
    quorum: int = 0
    begins: tuple[Content, ...] = ()
    found: Status | None = None
    barred: bool = False
    late: bool = False
    answer: Seen | Done | No | None = None


@dataclass(frozen=True, slots=True)
class State:
    """The request, the revision that it was last shown at, whether it has moved since, and the
    calls that took effect, each with the revision of its answer, 0 where that is not known.
    """

    content: Content = ABSENT
    revision: int = 0
    moved: bool = False
    keys: frozenset[tuple[str, int]] = frozenset()


def step(state: State, did: Did) -> Iterator[State]:
    """See Specification."""
    earlier = next((revision for key, revision in state.keys if did.key and key == did.key), None)
    match did.answer:
        case No(refusal):
            if refusal in NEUTRAL or (earlier is None and _may_refuse(state.content, did)):
                yield state
        case Seen() as seen if did.verb is Verb.GET:
            yield from _shown(state, seen)
        case Seen() | Done() if earlier is not None:
            if earlier in (0, did.answer.revision):
                yield state
        case _ if earlier is not None:
            yield state
        case answer:
            for content in effects(state.content, did):
                yield from _changed(state, content, did, answer)


def _shown(state: State, seen: Seen) -> Iterator[State]:
    """Another revision means that something happened, and the same one that nothing did."""
    is_newer = seen.revision > state.revision
    is_possible = is_newer if state.moved else seen.revision == state.revision
    if is_possible and seen.content == state.content:
        yield replace(state, revision=seen.revision, moved=False)


def _changed(
    state: State, content: Content, did: Did, answer: Seen | Done | No | None
) -> Iterator[State]:
    match answer:
        case Seen(revision, shown):
            if revision > state.revision and shown == content:
                keys = state.keys | {(did.key, revision)}
                yield State(content, revision, moved=False, keys=keys)
        case Done(revision):
            if revision > state.revision:
                keys = state.keys | {(did.key, revision)}
                yield State(content, revision, moved=False, keys=keys)
        case _:
            yield replace(state, content=content, moved=True, keys=state.keys | {(did.key, 0)})


# ---------------------------------------------------------------- what callers bring about


def effects(content: Content, did: Did) -> tuple[Content, ...]:
    """Where the call may lead; nowhere when it must be refused."""
    if not _would_take(content, did):
        return ()
    match did.verb:
        case Verb.SUBMIT:
            return did.begins
        case Verb.APPROVE:
            return (_approved(content, did),)
        case Verb.REJECT:
            return (replace(content, voters=content.voters | {did.actor}).ends(Status.REJECTED),)
        case Verb.REVOKE:
            return (_revoked(content, did),)
        case Verb.CANCEL:
            return (content.ends(Status.CANCELED),)
        case Verb.SUPERSEDE:
            return (content.ends(Status.SUPERSEDED),)
        case Verb.EXECUTE:
            return (content.ends(Status.EXECUTING), *_overtaken(content))
        case Verb.RESOLVE:
            return (content.ends(did.found or Status.FAILED),)
        case Verb.GET:
            return ()


def _would_take(content: Content, did: Did) -> bool:
    match did.verb:
        case Verb.SUBMIT:
            return content == ABSENT
        case Verb.APPROVE | Verb.REJECT:
            can_vote = did.actor not in content.voters and not did.barred
            return content.takes(APPROVAL) and can_vote
        case Verb.REVOKE:
            can_change = content.status is Status.PENDING and not content.takes(AUDIT)
            is_open = can_change or content.status is Status.APPROVED
            return is_open and did.actor in content.voters
        case Verb.CANCEL | Verb.SUPERSEDE:
            # An execution may have to be left to its host, and is then refused to be ended.
            is_open = content != ABSENT and content.status not in TERMINAL
            return is_open and not content.takes(AUDIT)
        case Verb.EXECUTE:
            return content.status is Status.APPROVED
        case Verb.RESOLVE:
            return content.takes(AUDIT)
        case Verb.GET:
            return content != ABSENT


def _may_refuse(content: Content, did: Did) -> bool:
    """Whether it is, or might be, something that cannot be done."""
    match did.verb:
        case Verb.SUBMIT:
            return True  # for its content, or for what it depends on
        case Verb.CANCEL | Verb.SUPERSEDE if content.status is Status.EXECUTING:
            return True  # the host may have applied it, or not be able to promise that it will not
        case Verb.EXECUTE if content.status is Status.APPROVED:
            return did.late
        case _:
            return not _would_take(content, did)


def _approved(content: Content, did: Did) -> Content:
    voters = content.voters | {did.actor}
    waiting = content.waiting - {APPROVAL} if len(voters) >= did.quorum else content.waiting
    return Content(Status.PENDING if waiting else Status.APPROVED, waiting, voters)


def _revoked(content: Content, did: Did) -> Content:
    """No quorum has a vote to spare: what was approved is to be approved again."""
    return Content(Status.PENDING, content.waiting | {APPROVAL}, content.voters - {did.actor})


# ---------------------------------------------------------------- what happens by itself


@cache
def _reachable(content: Content) -> tuple[Content, ...]:
    """Where the sidecar may take it, in one step or in several."""
    found: dict[Content, None] = {}
    left = [content]
    while left:
        for after in _moves(left.pop()):
            if after not in found:
                found[after] = None
                left.append(after)
    return tuple(found)


def alone(state: State) -> Iterable[State]:
    """See Specification."""
    return (replace(state, content=after, moved=True) for after in _reachable(state.content))


def _moves(content: Content) -> Iterator[Content]:
    match content.status:
        case Status.PENDING if not content.takes(AUDIT):
            yield content.ends(Status.EXPIRED)
            yield from _resolved(content)
        case Status.APPROVED:
            yield content.ends(Status.EXPIRED)
            yield content.ends(Status.EXECUTING)
            yield from _overtaken(content)
        case Status.EXECUTING:
            yield content  # the lease is extended, or somebody takes it over
            for status in (Status.EXECUTED, Status.FAILED, Status.APPROVED):
                yield content.ends(status)
            yield replace(content, status=Status.PENDING, waiting=frozenset({AUDIT}))
            yield from _overtaken(content)
        case _:
            return


def _resolved(content: Content) -> Iterator[Content]:
    for reason in content.waiting.intersection(_BY_THEMSELVES):
        left = content.waiting - {reason}
        yield Content(Status.PENDING if left else Status.APPROVED, left, content.voters)
    if content.takes(PendingReason.DEPENDENCY):
        yield content.ends(Status.REJECTED)
    if content.takes(REVALIDATION):
        for status in (Status.APPROVED, Status.REJECTED, Status.FAILED):
            yield content.ends(status)
        yield Content(Status.PENDING, frozenset({APPROVAL}))


def _overtaken(content: Content) -> Iterator[Content]:
    """Its state has moved on."""
    yield content.ends(Status.REJECTED)
    yield Content(Status.PENDING, frozenset({APPROVAL}))
    yield Content(Status.PENDING, frozenset({REVALIDATION}), content.voters)


REQUEST = Specification(initial=State(), step=step, alone=alone)
