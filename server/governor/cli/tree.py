"""`governor requests show --tree`: everything that came of a request, and the trail of it all."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from governance.v1 import decision_pb2, governance_service_pb2, request_pb2
from governor.cli.decisions import decisions_of
from governor.cli.session import Session
from governor.cli.show import compensation_text, show_decisions, state_text, status_word
from governor.cli.texts import safe
from governor.domain.request import TERMINAL, Status
from governor.wire.codec.enums import STATUS
from governor.wire.limits import FILTER_VALUES_MAX, REQUESTS_TRACED_MAX

# How the request of a line stands to the one above it: as the source of the link, or as its target.
_WORDS: Final = {
    governance_service_pb2.LINK_KIND_COMPENSATES: ("compensated by", "compensates"),
    governance_service_pb2.LINK_KIND_SUPERSEDES: ("superseded by", "supersedes"),
    governance_service_pb2.LINK_KIND_DEPENDS_ON: ("depended on by", "depends on"),
    governance_service_pb2.LINK_KIND_CAUSATION: ("has caused", "caused by"),
    governance_service_pb2.LINK_KIND_MEMBER_OF: ("has the member", "is a member of"),
}

_MEMBER_OF: Final = governance_service_pb2.LINK_KIND_MEMBER_OF
_COMPENSATES: Final = governance_service_pb2.LINK_KIND_COMPENSATES
_EXECUTED: Final = request_pb2.REQUEST_STATUS_EXECUTED
_ENDED_OTHERWISE: Final = frozenset(
    STATUS.to_wire[status] for status in TERMINAL if status is not Status.EXECUTED
)


class Branch(NamedTuple):
    """A request that is linked to another one, and how, as seen from there."""

    words: str
    id: str


def show_tree(session: Session, id: str) -> None:
    """The tree, then every decision about what stands in it, in the order of the ledger."""
    ask = governance_service_pb2.TraceRequestRequest(id=id, requests_max=REQUESTS_TRACED_MAX)
    answer = session.call(session.stub.TraceRequest, ask)
    output = session.output
    decisions = _trail(session, answer.requests)
    if output.as_json:
        output.json(answer)
        for decision in decisions:
            output.json(decision)
        return
    for line in tree_lines(answer):
        output.line(line)
    if answer.truncated:
        output.note(f"there is more; {len(answer.requests)} requests are shown")
    output.line()
    show_decisions(output, decisions)


def tree_lines(answer: governance_service_pb2.TraceRequestResponse) -> Iterator[str]:
    """Each request once, under the nearest one that it is linked to, the first at the root."""
    requests = {request.id: request for request in answer.requests}
    branches: defaultdict[str, list[Branch]] = defaultdict(list)
    compensations = {link.from_id for link in answer.links if link.kind == _COMPENSATES}
    for link in answer.links:
        if (
            link.kind == governance_service_pb2.LINK_KIND_MEMBER_OF
            and link.from_id in compensations
        ):
            continue  # it stands under the member that it takes back
        as_source, as_target = _words(link.kind, requests.get(link.from_id))
        branches[link.to_id].append(Branch(as_source, link.from_id))
        branches[link.from_id].append(Branch(as_target, link.to_id))
    under: defaultdict[str, list[Branch]] = defaultdict(list)
    root = answer.requests[0].id
    shown, ahead = {root}, [root]
    for parent in ahead:  # which grows: nearest first
        for branch in branches[parent]:
            if branch.id in requests and branch.id not in shown:
                shown.add(branch.id)
                ahead.append(branch.id)
                under[parent].append(branch)
    yield _request_text(requests[root])
    yield from _lines(root, under, requests, "")


def _words(
    kind: governance_service_pb2.LinkKind.ValueType, source: request_pb2.MutationRequest | None
) -> tuple[str, str]:
    """Of a compensation it depends on what became of it."""
    as_source, as_target = _WORDS.get(kind, ("linked from", "linked to"))
    if kind == _COMPENSATES and source is not None and source.status != _EXECUTED:
        has_ended = source.status in _ENDED_OTHERWISE
        as_source = f"not {as_source}" if has_ended else f"to be {as_source}"
    return as_source, as_target


def _lines(
    parent: str,
    under: defaultdict[str, list[Branch]],
    requests: dict[str, request_pb2.MutationRequest],
    indent: str,
) -> Iterator[str]:
    """No deeper than there are requests, of which the server sends a bounded number."""
    last = len(under[parent]) - 1
    for number, (words, id) in enumerate(under[parent]):
        is_last = number == last
        yield f"{indent}{'└─' if is_last else '├─'} {words} {_request_text(requests[id])}"
        yield from _lines(id, under, requests, indent + ("   " if is_last else "│  "))


def _request_text(request: request_pb2.MutationRequest) -> str:
    words = [
        safe(request.id),
        status_word(request.status),
        safe(request.mutation.type),
        state_text(request.mutation.state),
        safe(f"by {request.context.actor}"),
    ]
    if request.HasField("compensation"):
        words.append(f"[{compensation_text(request.compensation)}]")
    return "  ".join(words)


def _trail(
    session: Session, requests: Sequence[request_pb2.MutationRequest]
) -> list[decision_pb2.Decision]:
    found: list[decision_pb2.Decision] = []
    for start in range(0, len(requests), FILTER_VALUES_MAX):
        some = requests[start : start + FILTER_VALUES_MAX]
        filter = governance_service_pb2.DecisionFilter(
            tenant=some[0].context.tenant, mutation_request_ids=[one.id for one in some]
        )
        found.extend(decisions_of(session, filter))
    return sorted(found, key=lambda decision: decision.revision)
