"""Every way in which the domain says no; each error carries the facts, none knows about gRPC."""

from collections.abc import Mapping


class GovernorError(Exception):
    """The base of all refusals. `facts` are safe to show to a caller."""

    def __init__(self, message: str, **facts: str) -> None:
        super().__init__(message)
        self.message = message
        self.facts: Mapping[str, str] = facts


class InvalidField(GovernorError):
    """A field breaks a rule that the wire's table of shapes cannot express."""

    def __init__(self, field: str, fact: str) -> None:
        super().__init__(f"{field}: {fact}", field=field)
        self.field = field
        self.fact = fact


class NotFound(GovernorError):
    """There is no such thing, or the caller may not know of it."""

    def __init__(self, kind: str, id: str) -> None:
        super().__init__(f"no {kind} {id!r}", kind=kind, id=id)


class IllegalTransition(GovernorError):
    """The transition table has no row for this status and trigger; nothing has changed."""

    def __init__(self, status: str, trigger: str) -> None:
        super().__init__(f"a request that is {status} does not take {trigger}")
        self.facts = {"status": status, "trigger": trigger}
        self.status = status
        self.trigger = trigger


class EtagMismatch(GovernorError):
    """Somebody changed the request after the caller looked."""

    def __init__(self, etag: str) -> None:
        super().__init__("the request has changed since this etag was read", etag=etag)


class DigestMismatch(GovernorError):
    """A vote names another content than the request has."""

    def __init__(self, *, expected: str, got: str) -> None:
        super().__init__("the digest voted on is not the request's", expected=expected, got=got)


class NotEligible(GovernorError):
    """This person may not vote on this request now, or do what `act` says."""

    def __init__(self, actor: str, cause: str, *, act: str = "vote on") -> None:
        super().__init__(f"{actor} may not {act} this request: {cause}", actor=actor, cause=cause)
        self.act = act


class MissingRole(GovernorError):
    """The identity lacks every role that allows the call in this tenant."""

    def __init__(self, *, rpc: str, tenant: str, needs: str) -> None:
        super().__init__(
            f"{rpc} in tenant {tenant!r} needs one of the roles: {needs}",
            rpc=rpc,
            tenant=tenant,
            needs=needs,
        )


class Unauthenticated(GovernorError):
    """The call carries no identity that this server accepts."""


class UnsatisfiableApproval(GovernorError):
    """Policy demands an approval that the people there are cannot give."""

    def __init__(self, *, step: str, requirement: str) -> None:
        super().__init__(
            f"the approval plan cannot be met: step {step!r}, requirement {requirement!r}",
            step=step,
            requirement=requirement,
        )


class DependencyFailed(GovernorError):
    """A request that must be executed first has ended otherwise."""

    def __init__(self, id: str, status: str) -> None:
        super().__init__(f"the request {id!r} in depends_on is {status}", id=id, status=status)


class DependencyCycle(GovernorError):
    """Requests would wait for each other."""

    def __init__(self, id: str) -> None:
        super().__init__(f"the request {id!r} waits, in the end, for this one", id=id)


class BatchGoverns(GovernorError):
    """A batch has the request in hand, or is it: what was asked is not done to it by itself."""

    def __init__(self, batch: str, act: str, cause: str) -> None:
        super().__init__(f"the batch {batch!r} {cause}", batch=batch, act=act)
        self.cause = cause


class PlanMismatch(GovernorError):
    """The plan that was voted under is not the one in force."""

    def __init__(self, *, expected: str, got: str) -> None:
        super().__init__(
            "the approval plan has changed since it was looked at", expected=expected, got=got
        )


class NoVote(GovernorError):
    """Nobody but its voter takes a vote back, and only one that counts."""

    def __init__(self, actor: str) -> None:
        super().__init__(f"{actor!r} has no vote here that counts", actor=actor)


class NotWaiting(GovernorError):
    """The request does not wait for what was to be resolved."""

    def __init__(self, reason: str, name: str) -> None:
        super().__init__(
            f"the request does not wait for {reason} {name!r}", reason=reason, name=name
        )


class ReviewOverdue(GovernorError):
    """Who owes the review of an emergency does not declare the next one."""

    def __init__(self, id: str, due: str) -> None:
        super().__init__(f"the review of {id!r} was due at {due}", id=id, due=due)


class NoReviewOpen(GovernorError):
    """The request owes no review, or has been reviewed."""

    def __init__(self, status: str) -> None:
        super().__init__(f"no review is open here ({status})", status=status)


class NotInDoubt(GovernorError):
    """Only an execution in doubt can be resolved by a person."""

    def __init__(self, status: str) -> None:
        super().__init__(f"the execution is {status}, not IN_DOUBT", status=status)


class NotExecuted(GovernorError):
    """What was never applied needs no compensation."""

    def __init__(self, status: str) -> None:
        super().__init__(f"the request is {status}: nothing was applied", status=status)


class NotReversible(GovernorError):
    """The host cannot be asked to take this change back."""

    def __init__(self, cause: str, message: str) -> None:
        super().__init__(f"the change cannot be taken back: {message}", cause=cause)


class AlreadyCompensated(GovernorError):
    """A change is made good once: a compensation of it is under way, or was applied."""

    def __init__(self, id: str, status: str) -> None:
        super().__init__(f"the compensation {id!r} of it is {status}", id=id, status=status)


class UndoExpired(GovernorError):
    """The host has kept what taking the change back needs, and does not any more."""

    def __init__(self, expired: str) -> None:
        super().__init__(f"the change could be taken back until {expired}", expired=expired)


class RequestIdReused(GovernorError):
    """The idempotency key was used before with other content."""

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"the request_id {request_id!r} was used before with other content",
            request_id=request_id,
        )


class Conflict(GovernorError):
    """Something the commit relied on no longer holds; it was left out whole."""


class StateBusy(Conflict):
    """Another execution is active on the state."""


class RevisionAhead(GovernorError):
    """A revision lies beyond the ledger's head."""

    def __init__(self, revision: int, head: int) -> None:
        super().__init__(
            f"revision {revision} lies beyond the head {head}",
            revision=str(revision),
            head=str(head),
        )


class WrongStore(GovernorError):
    """A revision was taken from another store."""

    def __init__(self, *, store_id: str, expected: str) -> None:
        super().__init__(
            "the revision was taken from another store", store_id=store_id, expected=expected
        )


class BadPageToken(GovernorError):
    """A page token was not made here for these filters."""


class SlowConsumer(GovernorError):
    """A subscriber read too slowly."""

    def __init__(self, revision: int) -> None:
        super().__init__("the stream was read too slowly", revision=str(revision))


class Draining(GovernorError):
    """The server is going down."""


class StoreUnavailable(GovernorError):
    """The store does not answer. The fact `cause` names why, where that is known and helps; the
    rest stays in the log.
    """


class DirectoryUnavailable(GovernorError):
    """Nobody can say who holds what; until somebody can, nothing that hangs on it is done."""


class HostUnavailable(GovernorError):
    """The host does not answer and the call needs it."""


class HostHeld(GovernorError):
    """Nothing is executed in the host until a person trusts it again."""

    def __init__(self, hold: str, detail: str) -> None:
        super().__init__(f"the host is held: {detail}", hold=hold, detail=detail)


class HostNotHeld(GovernorError):
    """The host is trusted already."""

    def __init__(self, lineage_id: str) -> None:
        super().__init__("the host is not held", lineage_id=lineage_id)


class LineageMismatch(GovernorError):
    """The lineage that somebody trusts is not the one that the host announces now."""

    def __init__(self, *, named: str, announced: str) -> None:
        super().__init__(
            f"the host announces the lineage {announced!r}, not {named!r}",
            named=named,
            announced=announced,
        )


class Overloaded(GovernorError):
    """A bound is reached."""

    def __init__(self, bound: str, limit: int) -> None:
        super().__init__(f"{bound} is at its limit of {limit}", bound=bound, limit=str(limit))
