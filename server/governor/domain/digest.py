"""The request digest: SHA-256 over everything an approver approves, as any language can make it.

The hashed text is a header line followed by one `name=length:bytes` line per field that is present,
in the order below; length counts bytes of UTF-8, and metadata is in the order of its keys' bytes.
Absent fields are left out, so that absent and empty differ. docs/contract.md states the same rules,
with a worked example, for other languages.
"""

from hashlib import sha256

import msgspec

from governor.domain.approval import Plan
from governor.domain.compensation import Compensation
from governor.domain.request import Content, DependencyFailure
from governor.domain.values import Micros, Reason

HEADER = b"governor.request-digest.v1\n"
PLAN_HEADER = "governor.plan-digest.v1\n"


def request_digest(content: Content, expected_version: str | None) -> bytes:
    """The 32 bytes that votes and executions are bound to.

    `expected_version` is passed beside `content` because renewal and revalidation move it.
    """
    return sha256(canonical_form(content, expected_version)).digest()


def canonical_form(content: Content, expected_version: str | None) -> bytes:
    """The exact bytes that are hashed."""
    payload = content.payload
    before = (
        *_context_lines(content),
        _line("mutation_type", content.mutation_type),
        _line("state_type", content.state.type),
        _line("state_id", content.state.id),
        _line("content_type", payload.content_type),
    )
    return b"%spayload=%d:%s\n%s" % (
        HEADER + "".join(before).encode(),
        len(payload.data),
        payload.data,
        b"".join(_lines_after_payload(content, expected_version)),
    )


def plan_digest(plan: Plan, round_number: int) -> bytes:
    """The 32 bytes that say which plan, in which round, a vote was cast under."""
    return sha256(canonical_plan(plan, round_number)).digest()


def canonical_plan(plan: Plan, round_number: int) -> bytes:
    """The exact bytes that are hashed.

    The same kind of text as for the request, with a header of its own: `round`, `repeat_voters`,
    then for each `step` its `mode` and for each `requirement` what it demands and its targets.
    """
    repeat_voters = str(plan.repeat_voters).lower()
    lines = [_line("round", str(round_number)), _line("repeat_voters", repeat_voters)]
    for step in plan.steps:
        lines.extend((_line("step", step.name), _line("mode", step.mode)))
        for requirement in step.requirements:
            lines.append(_line("requirement", requirement.id))
            lines.append(_line("quorum", str(requirement.quorum)))
            lines.append(_line("meaning", requirement.meaning))
            lines.append(_line("rejections", str(requirement.rejections)))
            if requirement.deadline_seconds is not None:
                lines.append(_line("deadline_seconds", str(requirement.deadline_seconds)))
            lines.extend(
                _line("target", f"{target.kind}:{target.name}") for target in requirement.targets
            )
    return (PLAN_HEADER + "".join(lines)).encode()


def fingerprint(*parts: bytes | str | int | None) -> bytes:
    """SHA-256 that tells one call's content from another's under the same idempotency key."""
    digest = sha256()
    for part in parts:
        data = b"" if part is None else part if isinstance(part, bytes) else str(part).encode()
        digest.update(b"%d:%s," % (-1 if part is None else len(data), data))
    return digest.digest()


def submission_fingerprint(
    content: Content, expires_at: Micros | None, break_glass: str | None = None
) -> bytes:
    """The same for a submission: of all that was asked, also what the digest leaves out.

    Nobody votes on a broken glass, so that the digest does not tell of it.
    """
    emergency = () if break_glass is None else (break_glass,)
    return fingerprint(_FORM.encode(content), expires_at, *emergency)


_FORM = msgspec.json.Encoder(order="deterministic")


def _context_lines(content: Content) -> list[str]:
    context = content.context
    lines = [_line("tenant", context.tenant), _line("actor", context.actor)]
    if context.environment:
        lines.append(_line("environment", context.environment))
    if context.service:
        lines.append(_line("service", context.service))
    if context.region:
        lines.append(_line("region", context.region))
    if context.correlation_id:
        lines.append(_line("correlation_id", context.correlation_id))
    if context.causation_id:
        lines.append(_line("causation_id", context.causation_id))
    return lines


def _lines_after_payload(content: Content, expected_version: str | None) -> list[bytes]:
    intent = content.intent
    lines: list[str] = []
    if expected_version is not None:
        lines.append(_line("expected_version", expected_version))
    lines.append(_line("stale_strategy", content.stale_strategy))
    if intent.category:
        lines.append(_line("category", intent.category))
    lines.append(_line("risk", intent.risk))
    lines.append(_line("reversibility", intent.reversibility))
    lines.append(_line("blast_radius", intent.blast_radius))
    if content.justification:
        lines.append(_line("justification", content.justification))
    parts = ["".join(lines).encode()]
    for item in content.evidence:
        parts.append((_line("evidence_kind", item.kind) + _line("evidence_uri", item.uri)).encode())
        parts.append(b"evidence_sha256=%d:%s\n" % (len(item.sha256), item.sha256))
        parts.append(_line("evidence_description", item.description).encode())
    ending = [
        _line("metadata_key", key) + _line("metadata_value", content.metadata[key])
        for key in sorted(content.metadata)
    ]
    ending.extend(_line("tag", tag) for tag in content.tags)
    if content.execute_after is not None:
        ending.append(_line("execute_after", str(content.execute_after)))
    ending.extend(_line("depends_on", dependency) for dependency in content.depends_on)
    if content.on_dependency_failure is not DependencyFailure.REJECT:
        ending.append(_line("on_dependency_failure", content.on_dependency_failure))
    ending.append(_line("execution_mode", content.execution_mode))
    if content.batch is not None:
        ending.append(_line("batch_id", content.batch.batch_id))
        ending.append(_line("batch_position", str(content.batch.position)))
    parts.append("".join(ending).encode())
    if content.compensation is not None:
        parts.extend(_compensation_lines(content.compensation))
    return parts


def _compensation_lines(compensation: Compensation) -> list[bytes]:
    said = (
        _line("compensates", compensation.request_id),
        _line("compensated_execution", compensation.execution_id),
        _line("compensation_kind", compensation.kind),
        _line("compensation_trigger", compensation.trigger),
    )
    parts = ["".join(said).encode()]
    if compensation.undo_token:
        parts.append(
            b"undo_token=%d:%s\n" % (len(compensation.undo_token), compensation.undo_token)
        )
    parts.append("".join(_reason_lines(compensation.reason)).encode())
    return parts


def _reason_lines(reason: Reason) -> list[str]:
    lines = [
        _line(f"compensation_reason{part}", text)
        for part, text in (
            ("", reason.code),
            ("_category", reason.category),
            ("_message", reason.message),
        )
        if text
    ]
    for key in sorted(reason.metadata):
        lines.append(_line("compensation_fact_key", key))
        lines.append(_line("compensation_fact_value", reason.metadata[key]))
    return lines


def _line(name: str, value: str) -> str:
    """One field. A pass over text alone: this stands in the way of every submission."""
    size = len(value) if value.isascii() else len(value.encode())
    return f"{name}={size}:{value}\n"
