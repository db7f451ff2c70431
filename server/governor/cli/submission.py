"""A draft from the command line, laid over an empty submission or over an earlier request."""

import sys
from collections.abc import Mapping

import typer

from governance.v1 import governance_service_pb2, mutation_pb2, request_pb2
from governor.cli.draft import Draft
from governor.cli.durations import timestamp_of
from governor.cli.texts import json_problem
from governor.domain.request import StaleStrategy
from governor.wire.codec.enums import (
    BLAST_RADIUS,
    DEPENDENCY_FAILURE,
    EXECUTION_MODE,
    REVERSIBILITY,
    RISK,
    STALE_STRATEGY,
    EnumTable,
    Inner,
    Outer,
)

JSON = "application/json"

_STALE_STRATEGIES = {
    "reject": STALE_STRATEGY.to_wire[StaleStrategy.REJECT_STALE],
    "renew": STALE_STRATEGY.to_wire[StaleStrategy.REQUIRE_RENEWED_APPROVAL],
    "revalidate": STALE_STRATEGY.to_wire[StaleStrategy.REVALIDATE_ON_LATEST],
}


def lay_over(request: governance_service_pb2.SubmitRequest, draft: Draft) -> None:
    """Writes everything that was said into `request` and leaves the rest as it is."""
    _lay_mutation(request.mutation, draft)
    _lay_intent(request.intent, draft)
    for name in ("environment", "service", "region", "correlation_id", "causation_id"):
        if (text := getattr(draft, name)) is not None:
            setattr(request.context, name, text)
    if draft.justification is not None:
        request.justification = draft.justification
    if draft.evidence:
        del request.evidence[:]
        request.evidence.extend(_evidence(text) for text in draft.evidence)
    if draft.metadata:
        request.metadata.clear()
        request.metadata.update(pair(text, "--metadata") for text in draft.metadata)
    if draft.tag:
        request.tags[:] = draft.tag
    _lay_conditions(request, draft)


def content_of(request: request_pb2.MutationRequest) -> governance_service_pb2.SubmitRequest:
    """The submission that would ask for the same again; times are for its caller to choose anew."""
    submission = governance_service_pb2.SubmitRequest(
        context=request.context,
        mutation=request.mutation,
        intent=request.intent,
        justification=request.justification,
        evidence=request.evidence,
        metadata=request.metadata,
        tags=request.tags,
        depends_on=request.depends_on,
        execution_mode=request.execution_mode,
        on_dependency_failure=request.on_dependency_failure,
    )
    if request.HasField("execute_after"):
        submission.execute_after.CopyFrom(request.execute_after)
    return submission


def parse_state(text: str) -> mutation_pb2.StateRef:
    """Reads `type/id`; the id may hold further slashes."""
    state_type, slash, state_id = text.partition("/")
    if not state_type or not slash or not state_id:
        raise typer.BadParameter(f"must be TYPE/ID, not {text!r}", param_hint="--state")
    return mutation_pb2.StateRef(type=state_type, id=state_id)


def state_filter(text: str) -> mutation_pb2.StateRef | None:
    """Reads `type` or `type/id`; None for nothing."""
    state_type, _, state_id = text.partition("/")
    return mutation_pb2.StateRef(type=state_type, id=state_id) if text else None


def chosen(table: EnumTable[Inner, Outer], word: str, option: str) -> Outer:
    """The enum's value for a word such as `high` or `on-execute`."""
    words = {str(inner.value).lower().replace("_", "-"): n for inner, n in table.to_wire.items()}
    words.pop("unspecified", None)
    return _among(words, word.lower(), option)


def pair(text: str, option: str) -> tuple[str, str]:
    """Reads `name=value`."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"must be NAME=VALUE, not {text!r}", param_hint=option)
    return name, value


def reason_of(code: str, words: str, category: str, facts: list[str] | None) -> mutation_pb2.Reason:
    """A reason as it was typed."""
    metadata = dict(pair(text, "--metadata") for text in facts or ())
    return mutation_pb2.Reason(code=code, message=words, category=category, metadata=metadata)


def _lay_conditions(request: governance_service_pb2.SubmitRequest, draft: Draft) -> None:
    """What has to be the case before it runs, and who starts it."""
    if draft.depends_on:
        request.depends_on[:] = draft.depends_on
    if draft.execute_after is not None:
        request.execute_after.CopyFrom(timestamp_of(draft.execute_after))
    if draft.expires is not None:
        request.expire_time.CopyFrom(timestamp_of(draft.expires))
    if draft.mode is not None:
        request.execution_mode = chosen(EXECUTION_MODE, draft.mode, "--mode")
    if draft.on_dependency_failure is not None:
        request.on_dependency_failure = chosen(
            DEPENDENCY_FAILURE, draft.on_dependency_failure, "--on-dependency-failure"
        )
    if draft.break_glass is not None:
        request.break_glass.justification = draft.break_glass


def _lay_mutation(mutation: mutation_pb2.Mutation, draft: Draft) -> None:
    if draft.mutation_type is not None:
        mutation.type = draft.mutation_type
    if draft.state is not None:
        mutation.state.CopyFrom(parse_state(draft.state))
    if draft.expected_version is not None:
        mutation.expected_version = draft.expected_version
    if draft.stale is not None:
        mutation.stale_strategy = _among(_STALE_STRATEGIES, draft.stale, "--stale")
    data = _payload(draft)
    if data is not None:
        mutation.payload.data = data
        mutation.payload.content_type = draft.content_type or JSON
        if draft.content_type is None:
            _require_json(data)
    elif draft.content_type is not None:
        mutation.payload.content_type = draft.content_type


def _lay_intent(intent: mutation_pb2.Intent, draft: Draft) -> None:
    if draft.category is not None:
        intent.category = draft.category
    if draft.risk is not None:
        intent.risk = chosen(RISK, draft.risk, "--risk")
    if draft.reversibility is not None:
        intent.reversibility = chosen(REVERSIBILITY, draft.reversibility, "--reversibility")
    if draft.blast_radius is not None:
        intent.blast_radius = chosen(BLAST_RADIUS, draft.blast_radius, "--blast-radius")


def _payload(draft: Draft) -> bytes | None:
    if draft.payload is not None and draft.payload_file is not None:
        raise typer.BadParameter("goes without --payload", param_hint="--payload-file")
    if draft.payload is not None:
        return draft.payload.encode()
    if draft.payload_file is None:
        return None
    if str(draft.payload_file) == "-":
        return sys.stdin.buffer.read()
    try:
        return draft.payload_file.read_bytes()
    except OSError as error:
        fact = f"{draft.payload_file}: {error.strerror}"
        raise typer.BadParameter(fact, param_hint="--payload-file") from None


def _require_json(data: bytes) -> None:
    try:
        problem = json_problem(data.decode())
    except UnicodeDecodeError:
        problem = "this is not UTF-8"
    if problem:
        raise typer.BadParameter(
            f"{problem}; for a payload that is not JSON say --content-type", param_hint="--payload"
        )


def _evidence(text: str) -> mutation_pb2.Evidence:
    kind, uri = pair(text, "--evidence")
    return mutation_pb2.Evidence(kind=kind, uri=uri)


def _among(words: Mapping[str, Outer], text: str, option: str) -> Outer:
    if text not in words:
        raise typer.BadParameter(
            f"must be one of {', '.join(words)}, not {text!r}", param_hint=option
        )
    return words[text]
