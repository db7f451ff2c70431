"""The rows that requests are found by beside their own: tags, labels, and whom they wait for."""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from hashlib import sha256
from typing import Final

from governor.domain.approval import Target
from governor.domain.execution import Execution, ExecutionStatus, Severity, SideEffect
from governor.domain.request import MutationRequest
from governor.domain.whom import acted_on_by


def new_tags(request: MutationRequest) -> Iterator[tuple[object, ...]]:
    """The rows of a new request's tags."""
    for tag in dict.fromkeys(request.content.tags):
        yield (request.tenant, tag, request.submitted_revision, request.id)


def new_dependencies(request: MutationRequest) -> Iterator[tuple[object, ...]]:
    """The rows of what a new request depends on."""
    for dependency in dict.fromkeys(request.content.depends_on):
        yield (dependency, request.id)


def new_waits(request: MutationRequest) -> Sequence[tuple[object, ...]]:
    """The rows of those who can act on a request now."""
    if not request.progress.pending and request.progress.review is None:
        return ()
    return [
        (request.tenant, target_text(target), request.submitted_revision, request.id)
        for target in acted_on_by(request)
    ]


def target_text(target: Target) -> str:
    """What stands in `target`."""
    return indexed(f"{target.kind}:{target.name}")


class LabelKind(StrEnum):
    """What a label is taken from. The values of LinkKind are kinds as well."""

    METADATA = "METADATA"
    DEPENDS_ON = "DEPENDS_ON"
    SUPERSEDES = "SUPERSEDES"
    CORRELATION = "CORRELATION"
    CAUSATION = "CAUSATION"
    COMPENSATES = "COMPENSATES"
    MEMBER_OF = "MEMBER_OF"
    SIDE_EFFECT = "SIDE_EFFECT"
    LEFT_BEHIND = "LEFT_BEHIND"


SEVERITIES: Final = (Severity.INFO, Severity.WARNING, Severity.CRITICAL)
"""From mild to grave."""


def new_labels(request: MutationRequest) -> Iterable[tuple[object, ...]]:
    """The rows of what a new request is found by, beside its columns and tags."""
    content, context = request.content, request.content.context
    if not (
        content.metadata
        or content.depends_on
        or context.correlation_id
        or context.causation_id
        or request.supersedes
        or content.compensation
        or content.batch
    ):
        return ()
    return _labels(request)


def _labels(request: MutationRequest) -> Iterator[tuple[object, ...]]:
    content, context = request.content, request.content.context
    for key, value in content.metadata.items():
        yield _label(request, LabelKind.METADATA, metadata_text(key, value))
    for dependency in dict.fromkeys(content.depends_on):
        yield _label(request, LabelKind.DEPENDS_ON, dependency)
    if request.supersedes:
        yield _label(request, LabelKind.SUPERSEDES, request.supersedes)
    if context.correlation_id:
        yield _label(request, LabelKind.CORRELATION, context.correlation_id)
    if context.causation_id:
        yield _label(request, LabelKind.CAUSATION, context.causation_id)
    if content.compensation is not None:
        yield _label(request, LabelKind.COMPENSATES, content.compensation.request_id)
    if content.batch is not None:
        yield _label(request, LabelKind.MEMBER_OF, content.batch.batch_id)


def left_behind_labels(batch: MutationRequest) -> Iterator[tuple[object, ...]]:
    """The rows of what was applied in a batch that came to less than was asked for.

    Members are written in the commit of their batch, and share its place in lists. The rows stay
    when they are put right, or a person takes the batch as it is; a query asks for both.
    """
    progress = batch.progress.batch
    if progress is not None and progress.is_broken:
        for id in progress.applied:
            kind = LabelKind.LEFT_BEHIND.value
            yield (batch.tenant, kind, "", batch.submitted_revision, id)


def effect_labels(request: MutationRequest, execution: Execution) -> Iterator[tuple[object, ...]]:
    """The rows of what the host reported beside the change, once it is known to be applied."""
    if execution.applied is None or execution.status is not ExecutionStatus.APPLIED:
        return
    found = (text for effect in execution.applied.side_effects for text in _effect_texts(effect))
    for text in dict.fromkeys(found):
        yield _label(request, LabelKind.SIDE_EFFECT, text)


def _effect_texts(effect: SideEffect) -> Iterator[str]:
    """One for each question that the effect answers: "at least" is asked by equality, so that a
    page of it is one range.
    """
    yield effect_text(effect.type, Severity.UNSPECIFIED)
    if effect.severity is Severity.UNSPECIFIED:
        return
    for severity in SEVERITIES:
        yield effect_text(effect.type, severity)
        yield effect_text("", severity)
        if severity is effect.severity:
            return


def metadata_text(key: str, value: str) -> str:
    """A key holds no equals sign."""
    return f"{key}={value}"


def effect_text(name: str, severity: Severity) -> str:
    """An effect of the type of this name, or of any if that is empty, of this severity or worse."""
    return f"{severity}:{name}"


def _label(request: MutationRequest, kind: LabelKind, text: str) -> tuple[object, ...]:
    return (request.tenant, kind.value, indexed(text), request.submitted_revision, request.id)


INDEXED_BYTES_MAX: Final = 128
"""Of a text in an index as it is; PostgreSQL refuses rows of an index that are too long."""

_PREFIX_BYTES: Final = 96


def indexed(text: str) -> str:
    """The text, or where it is long or no database's text, its beginning and its digest.

    That is longer than any text that stands for itself, so that the two are never confused.
    """
    data = text.encode()
    if len(data) <= INDEXED_BYTES_MAX and b"\0" not in data:
        return text
    start = data[:_PREFIX_BYTES].replace(b"\0", b"?").decode(errors="ignore")
    return f"{start:<{_PREFIX_BYTES}}#{sha256(data).hexdigest()}"
