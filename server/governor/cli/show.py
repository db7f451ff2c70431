"""Requests, executions and decisions as a person reads them; whatever is foreign passes safe()."""

import re
from collections.abc import Callable, Iterable, Mapping

from rich.text import Text

from governance.v1 import (
    decision_pb2,
    execution_pb2,
    mutation_engine_pb2,
    mutation_pb2,
    request_pb2,
)
from governor.cli.console import Output
from governor.cli.durations import shown_duration, shown_moment
from governor.cli.texts import payload_text, safe

_STATUS_STYLES = {
    "PENDING": "yellow",
    "APPROVED": "cyan",
    "EXECUTING": "cyan",
    "EXECUTED": "green",
    "REJECTED": "red",
    "FAILED": "red",
    "IN_DOUBT": "bold red",
    "APPLIED": "green",
}

_DIGEST = re.compile(r"[0-9a-f]{64}")

Fields = list[tuple[str, Text | str]]
PayloadReader = Callable[[str, bytes], str]
"""Content type and bytes, as text that is safe to show."""


def status_text(request: request_pb2.MutationRequest) -> Text:
    """The status, and for PENDING what it waits for."""
    word = status_word(request.status)
    text = Text(word, style=_STATUS_STYLES.get(word, ""))
    if request.pending:
        waits = ", ".join(pending_word(pending.reason) for pending in request.pending)
        text.append(f" ({waits})")
    return text


def status_word(status: request_pb2.RequestStatus.ValueType) -> str:
    return request_pb2.RequestStatus.Name(status).removeprefix("REQUEST_STATUS_")


def pending_word(reason: request_pb2.PendingReason.ValueType) -> str:
    return request_pb2.PendingReason.Name(reason).removeprefix("PENDING_REASON_")


def state_text(state: mutation_pb2.StateRef) -> str:
    return safe(f"{state.type}/{state.id}")


def reason_text(reason: mutation_pb2.Reason) -> str:
    """`CODE [CATEGORY]: words (fact=value)`."""
    code = f"{reason.code} [{reason.category}]" if reason.category else reason.code
    text = f"{code}: {reason.message}" if reason.message else code
    return safe(text + facts_text(reason.metadata))


def compensation_text(asked: mutation_pb2.Compensation) -> str:
    """`ROLLBACK, OPERATOR, CODE: words`."""
    kind = mutation_pb2.CompensationKind.Name(asked.kind).removeprefix("COMPENSATION_KIND_")
    trigger = mutation_pb2.CompensationTrigger.Name(asked.trigger)
    words = f"{kind}, {trigger.removeprefix('COMPENSATION_TRIGGER_')}"
    return f"{words}, {reason_text(asked.reason)}" if asked.reason.code else words


def show_content(
    output: Output, request: request_pb2.MutationRequest, read_payload: PayloadReader = payload_text
) -> None:
    """What will run, before anything else."""
    mutation, context = request.mutation, request.context
    version: Text | str = "whatever is there (unversioned)"
    if mutation.HasField("expected_version"):
        version = safe(mutation.expected_version) or "none: the state must not exist yet"
    strategy = mutation_pb2.StaleStrategy.Name(mutation.stale_strategy)
    payload = mutation.payload
    sha256 = f"sha256 {payload.sha256.hex()}"
    fields: Fields = [
        ("mutation", safe(mutation.type)),
        ("state", state_text(mutation.state)),
        ("tenant", safe(context.tenant)),
        *_compensates(request),
        ("expected version", version),
        ("if it moved on", strategy.removeprefix("STALE_STRATEGY_")),
        ("payload", safe(f"{payload.content_type}, {payload.size_bytes} bytes, {sha256}")),
    ]
    output.fields(fields)
    for line in read_payload(payload.content_type, payload.data).split("\n"):
        output.line(f"    {line}")


def show_circumstances(output: Output, request: request_pb2.MutationRequest) -> None:
    """Who asks, why, and what there is to look at."""
    context, intent = request.context, request.intent
    where = [("env", context.environment), ("service", context.service), ("region", context.region)]
    fields: Fields = [
        ("requested by", safe(context.actor)),
        ("justification", safe(request.justification) or "none given"),
        ("intent", _intent(intent)),
    ]
    fields += [("where", safe(_facts_of(where)))] if any(value for _, value in where) else []
    fields += [("evidence", _evidence(item)) for item in request.evidence]
    fields += [
        ("metadata", safe(f"{key}={request.metadata[key]}")) for key in sorted(request.metadata)
    ]
    fields += [("tags", safe(", ".join(request.tags)))] if request.tags else []
    if request.depends_on:
        failure = request_pb2.DependencyFailure.Name(request.on_dependency_failure)
        otherwise = failure.removeprefix("DEPENDENCY_FAILURE_")
        fields.append(("depends on", safe(f"{', '.join(request.depends_on)}, else {otherwise}")))
    if request.HasField("execute_after"):
        fields.append(("not before", shown_moment(request.execute_after)))
    fields.append(("expires", shown_moment(request.expire_time)))
    output.fields(fields)


def show_execution(output: Output, execution: execution_pb2.Execution) -> None:
    """One attempt chain, and what it changed."""
    word = execution_word(execution)
    fields: Fields = [
        ("execution", safe(execution.id)),
        ("status", Text(word, style=_STATUS_STYLES.get(word, ""))),
        ("audit id", safe(execution.execution_audit_id)),
        ("started", f"{shown_moment(execution.start_time)} by {safe(execution.started_by)}"),
        ("attempts", f"{execution.attempts}, fencing token {execution.fencing_token}"),
    ]
    if execution.HasField("finish_time"):
        took = shown_duration(execution.duration)
        fields.append(("finished", f"{shown_moment(execution.finish_time)} after {took}"))
    if execution.resolution:
        name = execution_pb2.VersionResolution.Name(execution.resolution)
        fields.append(("version", name.removeprefix("VERSION_RESOLUTION_")))
    if execution.HasField("error"):
        fields.append(("because", reason_text(execution.error)))
    if execution.compensates_execution_audit_id:
        fields.append(("compensates", safe(execution.compensates_execution_audit_id)))
    if execution.compensated_by_execution_audit_id:
        fields.append(("compensated by", safe(execution.compensated_by_execution_audit_id)))
    if execution.resolved_by:
        fields.append(("resolved by", safe(execution.resolved_by)))
    if execution.HasField("applied"):
        fields.append(("new version", safe(execution.applied.resulting_version)))
    output.fields(fields)
    show_changes(output, execution.applied.changes)
    for effect in execution.applied.side_effects:
        severity = execution_pb2.Severity.Name(effect.severity).removeprefix("SEVERITY_")
        text = f"{severity} {effect.type}: {effect.description}{facts_text(effect.data)}"
        output.line(f"    side effect: {safe(text)}")


def show_changes(output: Output, changes: Iterable[execution_pb2.Change]) -> None:
    """What changed, or would, before and after."""
    for change in changes:
        before = safe(change.before) if change.HasField("before") else "(none)"
        after = safe(change.after) if change.HasField("after") else "(none)"
        output.line(f"    {safe(change.path)}: {before} -> {after}")


def show_preview(output: Output, preview: mutation_engine_pb2.ValidateMutationResponse) -> None:
    """What the host says of it now: its version, its objections, and what would change."""
    version = safe(preview.current_version) or "(the state does not exist)"
    output.line(f"the host has version {version}")
    for violation in preview.violations:
        output.line(f"the host objects: {safe(f'{violation.code}: {violation.message}')}")
    show_changes(output, preview.preview)


def execution_word(execution: execution_pb2.Execution) -> str:
    name = execution_pb2.ExecutionStatus.Name(execution.status)
    return name.removeprefix("EXECUTION_STATUS_")


def decision_row(decision: decision_pb2.Decision) -> dict[str, str]:
    """A decision by the columns of its table."""
    category = decision_pb2.DecisionCategory.Name(decision.category)
    why = reason_text(decision.reason) if decision.HasField("reason") else ""
    facts = {name: _shortened(value) for name, value in decision.facts.items()}
    return {
        "REVISION": str(decision.revision),
        "TIME": shown_moment(decision.time),
        "REQUEST": safe(decision.mutation_request_id),
        "DECISION": safe(f"{category.removeprefix('DECISION_CATEGORY_')}.{decision.code}"),
        "ACTOR": safe(decision.actor.id),
        "WHY": " ".join(part for part in (why, safe(facts_text(facts)).strip()) if part),
    }


def show_decisions(
    output: Output, decisions: Iterable[decision_pb2.Decision], *, of_one_request: bool = False
) -> None:
    """A table of decisions; where all are about one request, that column says nothing."""
    rows = [decision_row(decision) for decision in decisions]
    for row in rows if of_one_request else ():
        del row["REQUEST"]
    columns = list(rows[0]) if rows else ["REVISION", "TIME", "DECISION", "ACTOR", "WHY"]
    output.table(columns, [list(row.values()) for row in rows])


def _compensates(request: request_pb2.MutationRequest) -> Fields:
    if not request.HasField("compensation"):
        return []
    asked = request.compensation
    what = f"{asked.mutation_request_id}, its execution {asked.execution_id}"
    return [("compensates", safe(what)), ("compensation", compensation_text(asked))]


def _intent(intent: mutation_pb2.Intent) -> str:
    risk = mutation_pb2.Risk.Name(intent.risk).removeprefix("RISK_")
    back = mutation_pb2.Reversibility.Name(intent.reversibility).removeprefix("REVERSIBILITY_")
    radius = mutation_pb2.BlastRadius.Name(intent.blast_radius).removeprefix("BLAST_RADIUS_")
    stated = [("risk", risk), ("reversibility", back), ("blast radius", radius)]
    words = [f"{name} {word}" for name, word in stated if word != "UNSPECIFIED"]
    category = [f"category {intent.category}"] if intent.category else []
    return safe(", ".join([*category, *words])) or "not stated"


def _evidence(item: mutation_pb2.Evidence) -> str:
    pinned = f" (sha256 {item.sha256.hex()})" if item.sha256 else " (content not pinned)"
    description = f" {item.description}" if item.description else ""
    return safe(f"{item.kind}: {item.uri}{description}{pinned}")


def _shortened(value: str) -> str:
    """The beginning of a digest, which is enough to tell it from others at a glance."""
    return f"{value[:12]}..." if _DIGEST.fullmatch(value) else value


def facts_text(facts: Mapping[str, str]) -> str:
    """` (name=value, ...)`, or nothing."""
    return f" ({_facts_of(sorted(facts.items()))})" if facts else ""


def _facts_of(pairs: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name}={value}" for name, value in pairs if value)
