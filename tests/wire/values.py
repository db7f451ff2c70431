"""Domain values of every kind, as far as they can reach the wire."""

from hashlib import sha256
from typing import Any

from hypothesis import strategies as st

from governor.domain.decision import Code, Decision
from governor.domain.execution import Applied, Change, Severity, SideEffect
from governor.domain.request import (
    BlastRadius,
    Content,
    Evidence,
    ExecutionMode,
    Intent,
    Payload,
    Reversibility,
    Risk,
    RuntimeContext,
    StaleStrategy,
    StateRef,
    Status,
)
from governor.domain.values import Identity, Reason

# Text as protobuf takes it, which is everything but lone surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
names = texts.filter(bool)
moments = st.integers(0, 253_402_300_799_999_999)
revisions = st.integers(1, 2**63 - 1)
maps = st.dictionaries(texts, texts, max_size=4)
digests = st.binary(min_size=32, max_size=32)


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


reasons = st.builds(Reason, code=texts, message=texts, metadata=maps)
states = st.builds(StateRef, type=texts, id=texts)
# Over the wire an actor is known by its id alone, so here it is its own person.
actors = st.builds(
    lambda id, roles, groups: Identity(id=id, person=id, roles=roles, groups=groups),
    id=texts,
    roles=st.frozensets(texts, max_size=3),
    groups=st.frozensets(texts, max_size=3),
)
decisions = st.builds(
    Decision,
    code=st.sampled_from(Code),
    actor=actors,
    at=moments,
    tenant=texts,
    request_id=texts,
    request_audit_id=texts,
    status=st.sampled_from([status for status in Status if status is not Status.CREATED]),
    digest=st.binary(max_size=32),
    state=states,
    mutation_type=texts,
    execution_id=optional(names),
    execution_audit_id=optional(names),
    reason=optional(reasons),
    facts=maps,
)


def measured(content_type: str, data: bytes) -> Payload:
    return Payload(
        content_type=content_type,
        data=data,
        size_bytes=len(data),
        sha256=sha256(data).digest(),
    )


contents = st.builds(
    Content,
    context=st.builds(
        RuntimeContext,
        tenant=texts,
        actor=texts,
        environment=texts,
        service=texts,
        region=texts,
        correlation_id=texts,
        causation_id=texts,
    ),
    mutation_type=texts,
    state=states,
    payload=st.builds(measured, texts, st.binary(max_size=100)),
    expected_version=optional(texts),
    stale_strategy=st.sampled_from(StaleStrategy),
    intent=st.builds(
        Intent,
        category=texts,
        risk=st.sampled_from(Risk),
        reversibility=st.sampled_from(Reversibility),
        blast_radius=st.sampled_from(BlastRadius),
    ),
    justification=texts,
    evidence=st.lists(
        st.builds(
            Evidence, kind=texts, uri=texts, sha256=st.binary(max_size=32), description=texts
        ),
        max_size=3,
    ).map(tuple),
    metadata=maps,
    tags=st.lists(texts, max_size=3).map(lambda tags: tuple(sorted(tags))),
    execute_after=optional(moments),
    depends_on=st.lists(texts, max_size=3).map(tuple),
    execution_mode=st.sampled_from(ExecutionMode),
)
changes = st.builds(Change, path=texts, before=optional(texts), after=optional(texts))
outcomes = st.builds(
    Applied,
    resulting_version=texts,
    changes=st.lists(changes, max_size=3).map(tuple),
    side_effects=st.lists(
        st.builds(
            SideEffect,
            type=texts,
            severity=st.sampled_from(Severity),
            description=texts,
            data=maps,
        ),
        max_size=3,
    ).map(tuple),
    previous_version=optional(texts),
    undo_token=st.binary(max_size=100),
    undo_expires_at=optional(moments),
)
