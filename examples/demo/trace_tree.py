"""The traces of one request, joined: the calls that led to it, and the execution linked to them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.text import Text
from rich.tree import Tree

from examples.demo.collector import Kind, Span, SpanRef
from examples.demo.processes import HOST, SIDECAR
from governance.v1.execution_pb2 import Execution

CLIENT: Final = "demo-client"
SERVICE_WIDTH: Final = max(map(len, (CLIENT, SIDECAR, HOST)))
TRACE_ID_SHOWN: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinedTrace:
    """The execution's root span, all spans of its trace and of the traces it links to."""

    root: Span
    linked: tuple[str, ...]
    spans: tuple[Span, ...]

    def of(self, trace_id: str) -> list[Span]:
        return [span for span in self.spans if span.ref.trace_id == trace_id]


def join(spans: Sequence[Span], execution: Execution) -> JoinedTrace | None:
    """None as long as the execution's own span has not come in."""
    root = next((span for span in spans if span.ref == ref_of(execution.traceparent)), None)
    if root is None:
        return None
    linked = tuple(dict.fromkeys(link.trace_id for link in root.links))
    wanted = {*linked, root.ref.trace_id}
    return JoinedTrace(
        root=root,
        linked=linked,
        spans=tuple(span for span in spans if span.ref.trace_id in wanted),
    )


def missing(spans: Sequence[Span], execution: Execution, approvals: int) -> list[str]:
    """What keeps the traces from telling the whole story, in words; empty when nothing does."""
    joined = join(spans, execution)
    if joined is None:
        return ["the execution's root span"]
    audit_id = joined.root.attributes.get("governor.execution_audit_id")
    known = {span.ref for span in joined.spans}
    return [
        *_unless(joined.root.parent is None, "an execution span without a parent"),
        *_unless(audit_id == execution.execution_audit_id, "the execution's audit id on its span"),
        *_unless(known.issuperset(joined.root.links), "the spans that the execution links to"),
        *_unless(_calls(joined, "Submit") == 1, "a linked trace with Submit, client and server"),
        *_unless(
            _calls(joined, "Approve") == approvals,
            f"{approvals} linked traces with Approve, client and server",
        ),
        *_unless(
            _has_call(joined.of(joined.root.ref.trace_id), "ApplyMutation", SIDECAR, HOST),
            "the call of ApplyMutation, from the sidecar into the host",
        ),
    ]


def tree(joined: JoinedTrace) -> Tree:
    """Each trace with its spans, the one of the execution last and with its links."""
    top = Tree(Text("the request's calls and its execution, joined by links"), guide_style="dim")
    traces = (*joined.linked, joined.root.ref.trace_id)
    numbers = {trace_id: number for number, trace_id in enumerate(traces, start=1)}
    names = {
        span.ref: f"trace {numbers[span.ref.trace_id]}, {short(span.name)} in {span.service}"
        for span in joined.spans
    }
    for trace_id, number in numbers.items():
        label = Text(f"trace {number}  ", style="bold")
        label.append(f"{trace_id[:TRACE_ID_SHOWN]}...", style="dim")
        _grow(top.add(label), joined.of(trace_id), None, names)
    return top


def ref_of(traceparent: str) -> SpanRef:
    """Reads a W3C traceparent: version-trace-span-flags."""
    _, trace_id, span_id, _ = traceparent.split("-")
    return SpanRef(trace_id=trace_id, span_id=span_id)


def _grow(
    branch: Tree, spans: Sequence[Span], parent: SpanRef | None, names: Mapping[SpanRef, str]
) -> None:
    for span in sorted(spans, key=lambda span: span.start_nanos):
        if span.parent == parent:
            twig = branch.add(_label(span))
            for link in span.links:
                twig.add(Text(f"linked to {names.get(link, link.span_id)}", style="yellow"))
            _grow(twig, spans, span.ref, names)


def _label(span: Span) -> Text:
    label = Text(f"{span.service:<{SERVICE_WIDTH}}  ")
    label.append(f"{span.kind.name.lower():<8}", style="dim")
    label.append(f"  {short(span.name)}", style="bold")
    if actor := span.attributes.get("enduser.id"):
        label.append(f" by {actor}")
    if outcome := span.attributes.get("governor.outcome"):
        label.append(f" -> {outcome}")
    label.append(f"  {span.milliseconds:.1f} ms", style="dim")
    return label


def short(name: str) -> str:
    """`governance.v1.GovernanceService/Submit` without its package."""
    service, slash, method = name.partition("/")
    return f"{service.rpartition('.')[2]}{slash}{method}" if slash else name


def _calls(joined: JoinedTrace, rpc: str) -> int:
    return sum(_has_call(joined.of(trace_id), rpc, CLIENT, SIDECAR) for trace_id in joined.linked)


def _has_call(spans: Iterable[Span], rpc: str, caller: str, callee: str) -> bool:
    """Whether a client span of one service has a server span of another as its child."""
    ends = [span for span in spans if span.name.endswith(f"/{rpc}")]
    clients = {span.ref for span in ends if (span.service, span.kind) == (caller, Kind.CLIENT)}
    return any(
        span.parent in clients and (span.service, span.kind) == (callee, Kind.SERVER)
        for span in ends
    )


def _unless(holds: bool, what: str) -> tuple[str, ...]:
    return () if holds else (what,)
