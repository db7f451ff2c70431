"""What callers did and were answered, in the order in which it happened, request by request."""

from dataclasses import dataclass, replace

from governor.domain.request import MutationRequest
from governor.domain.values import RequestId
from tests.simulation.linearizability import Operation, check_linearizable
from tests.simulation.model import REQUEST, Did, Done, No, Seen


@dataclass(slots=True)
class Call:
    """A call that was made. `about` is a request's id, or what a submission calls it before."""

    about: str
    did: Did
    called: int
    answered: int | None = None


class History:
    """The places count calls and answers alike."""

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._place = 0
        self._ids: dict[str, RequestId] = {}

    def begin(self, about: str, did: Did) -> Call:
        """Somebody calls."""
        call = Call(about, did, self._next())
        self._calls.append(call)
        return call

    def end(self, call: Call, answer: Seen | Done | No) -> None:
        """And is answered. A call that never is stays open for ever."""
        call.did = replace(call.did, answer=answer)
        call.answered = self._next()

    def named(self, submission: str, request: MutationRequest) -> None:
        """The submission has made this request, and never another one."""
        known = self._ids.setdefault(submission, request.id)
        assert known == request.id, f"{submission} has made {known} and {request.id}"

    @property
    def operations(self) -> int:
        """How many there are."""
        return len(self._calls)

    def check(self) -> None:
        """Every request's history has an order that explains it. Raises NotLinearizable."""
        by_request: dict[str, list[Operation[Did]]] = {}
        for call in self._calls:
            about = self._ids.get(call.about, call.about)
            operation = Operation(call.did, call.called, call.answered)
            by_request.setdefault(about, []).append(operation)
        for operations in by_request.values():
            check_linearizable(_likeliest_first(operations), REQUEST)

    def _next(self) -> int:
        self._place += 1
        return self._place


def _likeliest_first(operations: list[Operation[Did]]) -> list[Operation[Did]]:
    """In the order of the revisions that were shown. Of the attempts at one call that were not
    answered one at most takes effect, and may do so from the first on; a look that nobody was shown
    has none.
    """
    answered = [one for one in operations if one.answered is not None]
    unanswered: dict[Did, Operation[Did]] = {}
    for one in operations:
        if one.answered is None and one.did.key:
            unanswered.setdefault(one.did, one)
    return [*sorted(answered, key=_revision), *unanswered.values()]


def _revision(operation: Operation[Did]) -> int:
    match operation.did.answer:
        case Seen(revision=revision) | Done(revision=revision):
            return revision
        case _:
            return 0
