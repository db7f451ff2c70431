"""Claims about the request digest: any language can make it, and no two contents share one."""

import re
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from governor.domain.compensation import Compensation, CompensationKind, CompensationTrigger
from governor.domain.digest import (
    canonical_form,
    fingerprint,
    request_digest,
    submission_fingerprint,
)
from governor.domain.request import (
    BlastRadius,
    Content,
    DependencyFailure,
    Evidence,
    ExecutionMode,
    Intent,
    Membership,
    Payload,
    Reversibility,
    Risk,
    RuntimeContext,
    StaleStrategy,
    StateRef,
)
from governor.domain.values import ExecutionId, Micros, Reason, RequestId

# ---------------------------------------------------------------- known answers

SMALL = Content(
    context=RuntimeContext(tenant="acme", actor="rita"),
    mutation_type="flag.set",
    state=StateRef(type="flag", id="checkout"),
    payload=Payload(content_type="application/json", data=b'{"on":true}'),
)
SMALL_FORM = (
    b"governor.request-digest.v1\n"
    b"tenant=4:acme\n"
    b"actor=4:rita\n"
    b"mutation_type=8:flag.set\n"
    b"state_type=4:flag\n"
    b"state_id=8:checkout\n"
    b"content_type=16:application/json\n"
    b'payload=11:{"on":true}\n'
    b"stale_strategy=12:REJECT_STALE\n"
    b"risk=11:UNSPECIFIED\n"
    b"reversibility=11:UNSPECIFIED\n"
    b"blast_radius=11:UNSPECIFIED\n"
    b"execution_mode=9:AUTOMATIC\n"
)
SMALL_DIGEST = "4b4a77d3e2034de7f2a2f7acfa40a2d89de43de2949542d6978426b569e6ef5c"

ROLLBACK = Compensation(
    request_id=RequestId("r-9"),
    execution_id=ExecutionId("ex-9"),
    kind=CompensationKind.ROLLBACK,
    trigger=CompensationTrigger.OPERATOR,
    undo_token=b"\x00\n9",
    reason=Reason(
        code="WRONG", category="RISK", message="it was", metadata={"z": "1", "ticket": "T-1"}
    ),
)

WHOLE = Content(
    context=RuntimeContext(
        tenant="acme",
        actor="rita",
        environment="production",
        service="shop",
        region="eu",
        correlation_id="c-1",
        causation_id="c-0",
    ),
    mutation_type="role.grant",
    state=StateRef(type="role", id="Zoë"),
    payload=Payload(content_type="application/octet-stream", data=b"\x00\n\xff"),
    expected_version="7",
    stale_strategy=StaleStrategy.REVALIDATE_ON_LATEST,
    intent=Intent(
        category="access",
        risk=Risk.HIGH,
        reversibility=Reversibility.REVERSIBLE,
        blast_radius=BlastRadius.SERVICE,
    ),
    justification="on call",
    evidence=(
        Evidence(kind="ticket", uri="https://t/1"),
        Evidence(kind="plan", uri="s3://p", sha256=b"\xab", description="diff"),
    ),
    metadata={"é": "2", "b": "", "a": "1"},
    tags=("y", "x"),
    execute_after=Micros(1_700_000_000_000_000),
    depends_on=(RequestId("r-2"), RequestId("r-1")),
    execution_mode=ExecutionMode.ON_EXECUTE,
    on_dependency_failure=DependencyFailure.PROCEED,
    batch=Membership(batch_id=RequestId("b-1"), position=3),
    compensation=ROLLBACK,
)
WHOLE_FORM = (
    b"governor.request-digest.v1\n"
    b"tenant=4:acme\n"
    b"actor=4:rita\n"
    b"environment=10:production\n"
    b"service=4:shop\n"
    b"region=2:eu\n"
    b"correlation_id=3:c-1\n"
    b"causation_id=3:c-0\n"
    b"mutation_type=10:role.grant\n"
    b"state_type=4:role\n"
    b"state_id=4:Zo\xc3\xab\n"
    b"content_type=24:application/octet-stream\n"
    b"payload=3:\x00\n\xff\n"
    b"expected_version=1:7\n"
    b"stale_strategy=20:REVALIDATE_ON_LATEST\n"
    b"category=6:access\n"
    b"risk=4:HIGH\n"
    b"reversibility=10:REVERSIBLE\n"
    b"blast_radius=7:SERVICE\n"
    b"justification=7:on call\n"
    b"evidence_kind=6:ticket\n"
    b"evidence_uri=11:https://t/1\n"
    b"evidence_sha256=0:\n"
    b"evidence_description=0:\n"
    b"evidence_kind=4:plan\n"
    b"evidence_uri=6:s3://p\n"
    b"evidence_sha256=1:\xab\n"
    b"evidence_description=4:diff\n"
    b"metadata_key=1:a\n"
    b"metadata_value=1:1\n"
    b"metadata_key=1:b\n"
    b"metadata_value=0:\n"
    b"metadata_key=2:\xc3\xa9\n"
    b"metadata_value=1:2\n"
    b"tag=1:y\n"
    b"tag=1:x\n"
    b"execute_after=16:1700000000000000\n"
    b"depends_on=3:r-2\n"
    b"depends_on=3:r-1\n"
    b"on_dependency_failure=7:PROCEED\n"
    b"execution_mode=10:ON_EXECUTE\n"
    b"batch_id=3:b-1\n"
    b"batch_position=1:3\n"
    b"compensates=3:r-9\n"
    b"compensated_execution=4:ex-9\n"
    b"compensation_kind=8:ROLLBACK\n"
    b"compensation_trigger=8:OPERATOR\n"
    b"undo_token=3:\x00\n9\n"
    b"compensation_reason=5:WRONG\n"
    b"compensation_reason_category=4:RISK\n"
    b"compensation_reason_message=6:it was\n"
    b"compensation_fact_key=6:ticket\n"
    b"compensation_fact_value=3:T-1\n"
    b"compensation_fact_key=1:z\n"
    b"compensation_fact_value=1:1\n"
)
WHOLE_DIGEST = "7c02579c187eb842226172466ea55bd5745e1941236cd562a75cd999695632c4"

KNOWN = [
    pytest.param(SMALL, None, SMALL_FORM, SMALL_DIGEST, id="small"),
    pytest.param(WHOLE, "7", WHOLE_FORM, WHOLE_DIGEST, id="whole"),
]


@pytest.mark.parametrize(("content", "expected_version", "form", "digest"), KNOWN)
def test_the_digest_is_the_published_one(
    content: Content, expected_version: str | None, form: bytes, digest: str
) -> None:
    assert canonical_form(content, expected_version) == form
    assert sha256(form).hexdigest() == digest
    assert request_digest(content, expected_version).hex() == digest


def test_the_version_is_the_one_passed_beside_the_content() -> None:
    assert request_digest(WHOLE, "8") == request_digest(WHOLE.but(expected_version="9"), "8")
    assert request_digest(WHOLE, "8") != request_digest(WHOLE, "9")


def test_no_expected_version_and_an_empty_one_are_two_things() -> None:
    assert b"expected_version=0:\n" in canonical_form(SMALL, "")
    assert b"expected_version" not in canonical_form(SMALL, None)
    assert request_digest(SMALL, "") != request_digest(SMALL, None)


def test_a_change_its_rollback_and_its_correction_never_share_a_digest() -> None:
    correction = ROLLBACK.but(kind=CompensationKind.FORWARD, undo_token=b"")
    kinds = [SMALL.but(compensation=compensation) for compensation in (None, ROLLBACK, correction)]
    assert len({request_digest(content, None) for content in kinds}) == 3
    assert b"undo_token" not in canonical_form(kinds[2], None)


def test_the_order_of_metadata_is_no_content_and_that_of_lists_is() -> None:
    turned = dict(reversed(WHOLE.metadata.items()))
    assert request_digest(WHOLE.but(metadata=turned), "7") == request_digest(WHOLE, "7")
    for field in ("tags", "depends_on", "evidence"):
        swapped = WHOLE.but(**{field: getattr(WHOLE, field)[::-1]})
        assert request_digest(swapped, "7") != request_digest(WHOLE, "7")


# ---------------------------------------------------------------- every field counts

# Another value for every field of everything that a content is made of.
OTHER: dict[tuple[str, str], Any] = {
    ("RuntimeContext", "tenant"): "other",
    ("RuntimeContext", "actor"): "other",
    ("RuntimeContext", "environment"): "other",
    ("RuntimeContext", "service"): "other",
    ("RuntimeContext", "region"): "other",
    ("RuntimeContext", "correlation_id"): "other",
    ("RuntimeContext", "causation_id"): "other",
    ("StateRef", "type"): "other",
    ("StateRef", "id"): "other",
    ("Payload", "content_type"): "other",
    ("Payload", "data"): b"other",
    ("Intent", "category"): "other",
    ("Intent", "risk"): Risk.LOW,
    ("Intent", "reversibility"): Reversibility.IRREVERSIBLE,
    ("Intent", "blast_radius"): BlastRadius.GLOBAL,
    ("Evidence", "kind"): "other",
    ("Evidence", "uri"): "other",
    ("Evidence", "sha256"): b"other",
    ("Evidence", "description"): "other",
    ("Content", "context"): RuntimeContext(tenant="other", actor="other"),
    ("Content", "mutation_type"): "other",
    ("Content", "state"): StateRef(type="other", id="other"),
    ("Content", "payload"): Payload(content_type="other"),
    ("Content", "stale_strategy"): StaleStrategy.REQUIRE_RENEWED_APPROVAL,
    ("Content", "intent"): Intent(),
    ("Content", "justification"): "other",
    ("Content", "evidence"): (),
    ("Content", "metadata"): {"other": "other"},
    ("Content", "tags"): ("other",),
    ("Content", "execute_after"): Micros(1),
    ("Content", "depends_on"): (RequestId("other"),),
    ("Content", "execution_mode"): ExecutionMode.AUTOMATIC,
    ("Content", "on_dependency_failure"): DependencyFailure.REVIEW,
    ("Content", "batch"): None,
    ("Membership", "batch_id"): RequestId("other"),
    ("Membership", "position"): 4,
    ("Content", "compensation"): None,
    ("Compensation", "request_id"): RequestId("other"),
    ("Compensation", "execution_id"): ExecutionId("other"),
    ("Compensation", "kind"): CompensationKind.FORWARD,
    ("Compensation", "trigger"): CompensationTrigger.BATCH_FAILURE,
    ("Compensation", "undo_token"): b"other",
    ("Compensation", "reason"): Reason(code=""),
    ("Reason", "code"): "OTHER",
    ("Reason", "category"): "OTHER",
    ("Reason", "message"): "other",
    ("Reason", "metadata"): {"other": "other"},
}
NOT_TAKEN_FROM_THE_CONTENT = {
    ("Content", "batch_spec"),  # stands in the payload, which names every member's digest
    ("Content", "expected_version"),  # passed beside it: renewal and revalidation move it
    ("Payload", "size_bytes"),  # follows from data, as its digest does
    ("Payload", "sha256"),
}
PARTS = (
    Content,
    RuntimeContext,
    StateRef,
    Payload,
    Intent,
    Evidence,
    Compensation,
    Reason,
    Membership,
)


def changed(struct: str, field: str, value: Any) -> Content:
    """WHOLE with that one field changed, in its second evidence where it has several."""
    match struct:
        case "Content":
            return WHOLE.but(**{field: value})
        case "Evidence":
            first, second = WHOLE.evidence
            return WHOLE.but(evidence=(first, second.but(**{field: value})))
        case "Membership":
            return WHOLE.but(
                batch=Membership(batch_id=RequestId("b-1"), position=3).but(**{field: value})
            )
        case "Reason":
            reason = ROLLBACK.reason.but(**{field: value})
            return WHOLE.but(compensation=ROLLBACK.but(reason=reason))
        case _:
            name = {
                "RuntimeContext": "context",
                "StateRef": "state",
                "Payload": "payload",
                "Intent": "intent",
                "Compensation": "compensation",
            }[struct]
            return WHOLE.but(**{name: getattr(WHOLE, name).but(**{field: value})})


def test_no_field_is_forgotten_here() -> None:
    fields = {
        (part.__name__, field.name) for part in PARTS for field in msgspec.structs.fields(part)
    }
    assert set(OTHER) | NOT_TAKEN_FROM_THE_CONTENT == fields
    structs = {
        field.type
        for part in PARTS
        for field in msgspec.structs.fields(part)
        if isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
    }
    assert structs <= set(PARTS)


@pytest.mark.parametrize(("struct", "field"), OTHER)
def test_every_field_is_part_of_the_digest(struct: str, field: str) -> None:
    other = changed(struct, field, OTHER[struct, field])
    assert other != WHOLE
    assert request_digest(other, "7") != request_digest(WHOLE, "7")


@pytest.mark.parametrize("field", [name for struct, name in OTHER if struct == "Content"])
def test_a_field_that_is_left_out_differs_from_one_that_is_stated(field: str) -> None:
    information = {info.name: info for info in msgspec.structs.fields(Content)}[field]
    if information.required:
        return
    default = getattr(SMALL, field)
    assert getattr(WHOLE, field) != default
    assert request_digest(WHOLE.but(**{field: default}), "7") != request_digest(WHOLE, "7")


# ---------------------------------------------------------------- in general

# Few letters, among them those that the form itself is made of, so that mistakes would collide.
TEXT = st.text("a1=:\né", max_size=5)
BYTES = st.text("a1=:\n", max_size=5).map(str.encode) | st.binary(max_size=3)
CONTENTS = st.builds(
    Content,
    context=st.builds(
        RuntimeContext,
        tenant=TEXT,
        actor=TEXT,
        environment=TEXT,
        service=TEXT,
        region=TEXT,
        correlation_id=TEXT,
        causation_id=TEXT,
    ),
    mutation_type=TEXT,
    state=st.builds(StateRef, type=TEXT, id=TEXT),
    payload=st.builds(Payload, content_type=TEXT, data=BYTES),
    stale_strategy=st.sampled_from(StaleStrategy),
    intent=st.builds(
        Intent,
        category=TEXT,
        risk=st.sampled_from(Risk),
        reversibility=st.sampled_from(Reversibility),
        blast_radius=st.sampled_from(BlastRadius),
    ),
    justification=TEXT,
    evidence=st.lists(
        st.builds(Evidence, kind=TEXT, uri=TEXT, sha256=BYTES, description=TEXT), max_size=2
    ).map(tuple),
    metadata=st.dictionaries(TEXT, TEXT, max_size=3),
    tags=st.lists(TEXT, max_size=3).map(tuple),
    execute_after=st.none() | st.integers(0, 2**63 - 1).map(Micros),
    depends_on=st.lists(TEXT.map(RequestId), max_size=3).map(tuple),
    execution_mode=st.sampled_from(ExecutionMode),
    on_dependency_failure=st.sampled_from(DependencyFailure),
    compensation=st.none()
    | st.builds(
        Compensation,
        request_id=TEXT.map(RequestId),
        execution_id=TEXT.map(ExecutionId),
        kind=st.sampled_from(CompensationKind),
        trigger=st.sampled_from(CompensationTrigger),
        undo_token=BYTES,
        reason=st.builds(
            Reason,
            code=TEXT,
            category=TEXT,
            message=TEXT,
            metadata=st.dictionaries(TEXT, TEXT, max_size=3),
        ),
    ),
)
VERSIONS = st.none() | TEXT

_FIELD = re.compile(rb"([a-z0-9_]+)=([0-9]+):")


def read_back(form: bytes) -> Iterator[tuple[str, bytes]]:
    """The fields of a canonical form, read as another language would: by their lengths."""
    header = b"governor.request-digest.v1\n"
    assert form.startswith(header)
    place = len(header)
    while place < len(form):
        field = _FIELD.match(form, place)
        assert field is not None
        end = field.end() + int(field[2])
        assert form[end : end + 1] == b"\n"
        yield field[1].decode(), form[field.end() : end]
        place = end + 1


def rebuilt(form: bytes) -> tuple[Content, str | None]:
    """The content and version that a canonical form is of: whatever has a form has only one."""
    fields = list(read_back(form))
    single = dict(fields)

    def text(name: str) -> str:
        return single.get(name, b"").decode()

    def each(name: str) -> list[bytes]:
        return [value for key, value in fields if key == name]

    evidence = zip(
        each("evidence_kind"),
        each("evidence_uri"),
        each("evidence_sha256"),
        each("evidence_description"),
        strict=True,
    )
    metadata = zip(each("metadata_key"), each("metadata_value"), strict=True)
    facts = [
        [value.decode() for value in each(f"compensation_fact_{part}")] for part in ("key", "value")
    ]
    content = Content(
        context=RuntimeContext(
            tenant=text("tenant"),
            actor=text("actor"),
            environment=text("environment"),
            service=text("service"),
            region=text("region"),
            correlation_id=text("correlation_id"),
            causation_id=text("causation_id"),
        ),
        mutation_type=text("mutation_type"),
        state=StateRef(type=text("state_type"), id=text("state_id")),
        payload=Payload(content_type=text("content_type"), data=single["payload"]),
        stale_strategy=StaleStrategy(text("stale_strategy")),
        intent=Intent(
            category=text("category"),
            risk=Risk(text("risk")),
            reversibility=Reversibility(text("reversibility")),
            blast_radius=BlastRadius(text("blast_radius")),
        ),
        justification=text("justification"),
        evidence=tuple(
            Evidence(kind=kind.decode(), uri=uri.decode(), sha256=sha, description=words.decode())
            for kind, uri, sha, words in evidence
        ),
        metadata={key.decode(): value.decode() for key, value in metadata},
        tags=tuple(tag.decode() for tag in each("tag")),
        execute_after=Micros(int(text("execute_after"))) if "execute_after" in single else None,
        depends_on=tuple(RequestId(id.decode()) for id in each("depends_on")),
        execution_mode=ExecutionMode(text("execution_mode")),
        on_dependency_failure=DependencyFailure(text("on_dependency_failure") or "REJECT"),
        compensation=Compensation(
            request_id=RequestId(text("compensates")),
            execution_id=ExecutionId(text("compensated_execution")),
            kind=CompensationKind(text("compensation_kind")),
            trigger=CompensationTrigger(text("compensation_trigger")),
            undo_token=single.get("undo_token", b""),
            reason=Reason(
                code=text("compensation_reason"),
                category=text("compensation_reason_category"),
                message=text("compensation_reason_message"),
                metadata=dict(zip(*facts, strict=True)),
            ),
        )
        if "compensates" in single
        else None,
    )
    return content, text("expected_version") if "expected_version" in single else None


@given(CONTENTS, VERSIONS)
def test_the_canonical_form_says_everything_so_no_two_contents_share_one(
    content: Content, expected_version: str | None
) -> None:
    assert rebuilt(canonical_form(content, expected_version)) == (content, expected_version)


@given(CONTENTS, VERSIONS, CONTENTS, VERSIONS)
def test_different_contents_have_different_digests(
    one: Content, one_version: str | None, other: Content, other_version: str | None
) -> None:
    is_same = (one, one_version) == (other, other_version)
    assert (request_digest(one, one_version) == request_digest(other, other_version)) is is_same


# ---------------------------------------------------------------- fingerprints

PART = st.none() | TEXT


@given(st.lists(PART, max_size=4), st.lists(PART, max_size=4))
def test_a_fingerprint_tells_where_one_part_ends_and_whether_there_is_one(
    one: list[str | None], other: list[str | None]
) -> None:
    assert (fingerprint(*one) == fingerprint(*other)) is (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((), ("",)),
        ((None,), ("",)),
        ((None,), ()),
        (("a", "b"), ("ab",)),
        (("a", "b"), ("b", "a")),
        (("1:a,",), ("a",)),
        (("-1:,",), (None,)),
    ],
)
def test_parts_that_look_alike_have_different_fingerprints(
    one: tuple[str | None, ...], other: tuple[str | None, ...]
) -> None:
    assert fingerprint(*one) != fingerprint(*other)


def test_a_fingerprint_is_of_what_a_part_says_and_not_of_its_type() -> None:
    assert fingerprint("7") == fingerprint(7) == fingerprint(b"7")


@pytest.mark.parametrize(("struct", "field"), OTHER)
def test_a_submission_with_another_field_is_another_submission(struct: str, field: str) -> None:
    other = changed(struct, field, OTHER[struct, field])
    assert submission_fingerprint(other, None) != submission_fingerprint(WHOLE, None)


@pytest.mark.parametrize("version", [None, "", "8"])
def test_the_expected_version_is_part_of_a_submission(version: str | None) -> None:
    other = WHOLE.but(expected_version=version)
    assert submission_fingerprint(other, None) != submission_fingerprint(WHOLE, None)


def test_when_it_expires_is_part_of_a_submission_and_the_order_of_metadata_is_not() -> None:
    plain = submission_fingerprint(WHOLE, None)
    assert len({plain, *(submission_fingerprint(WHOLE, Micros(at)) for at in (0, 1))}) == 3
    turned = WHOLE.but(metadata=dict(reversed(WHOLE.metadata.items())))
    assert submission_fingerprint(turned, None) == plain


@given(CONTENTS, VERSIONS, CONTENTS, VERSIONS)
def test_different_submissions_have_different_fingerprints(
    one: Content, one_version: str | None, other: Content, other_version: str | None
) -> None:
    one, other = one.but(expected_version=one_version), other.but(expected_version=other_version)
    is_same = submission_fingerprint(one, None) == submission_fingerprint(other, None)
    assert is_same is (one == other)
