"""What docs/contract.md shows and lists is what the code computes and sends."""

import re
from pathlib import Path

from google.protobuf import json_format

from governance.v1 import errors_pb2, governance_service_pb2, request_pb2
from governor.domain.approval import Plan, Requirement, Step, Target
from governor.domain.compensation import Compensation, CompensationKind, CompensationTrigger
from governor.domain.digest import (
    HEADER,
    PLAN_HEADER,
    canonical_form,
    canonical_plan,
    plan_digest,
    request_digest,
)
from governor.domain.request import Content, DependencyFailure, Membership
from governor.domain.values import ExecutionId, Reason, RequestId
from governor.wire.codec import enums, submission
from governor.wire.errors import INTERNAL, PUBLIC, reason_name

CONTRACT = Path(__file__).parents[2] / "docs" / "contract.md"
REASON_PREFIX = "ERROR_REASON_"


def example(name: str) -> str:
    """The fenced block that follows the marker of this name."""
    found = re.search(
        rf"<!-- example:{name} -->\n```\w+\n(.*?)```\n", CONTRACT.read_text(), re.DOTALL
    )
    assert found, f"docs/contract.md has no example {name!r}"
    return found[1]


def example_content() -> Content:
    message = json_format.Parse(example("submission"), governance_service_pb2.SubmitRequest())
    return submission.content(message, "bob")


def names_in(form: bytes) -> list[str]:
    return re.findall(r"^(\w+)=\d+:", form.decode(), re.MULTILINE)


def test_the_example_is_hashed_as_the_bytes_that_are_shown() -> None:
    content = example_content()
    shown = example("canonical-form").encode()
    assert canonical_form(content, content.expected_version) == shown


def test_the_example_has_the_digest_that_is_shown() -> None:
    content = example_content()
    digest = request_digest(content, content.expected_version)
    assert digest.hex() == example("digest").strip()


def test_the_fields_are_listed_in_the_order_they_are_hashed() -> None:
    plain = example_content()
    context = plain.context.but(
        service="shop", region="eu-west-1", correlation_id="c-1", causation_id="e-1"
    )
    rollback = Compensation(
        request_id=RequestId("mr-1"),
        execution_id=ExecutionId("ex-1"),
        kind=CompensationKind.ROLLBACK,
        trigger=CompensationTrigger.OPERATOR,
        undo_token=b"token",
        reason=Reason(code="WRONG", category="RISK", message="it was", metadata={"ticket": "T-1"}),
    )
    whole = plain.but(
        context=context,
        batch=Membership(batch_id=RequestId("mr-2"), position=0),
        depends_on=(RequestId("mr-1"),),
        on_dependency_failure=DependencyFailure.REVIEW,
        compensation=rollback,
    )
    text = CONTRACT.read_text()
    table = text[text.index("| fields, in order |") : text.index("Not covered,")]
    listed = [
        name
        for row in table.splitlines()[2:]
        for name in re.findall(r"`(\w+)`", row.partition("|")[2].partition("|")[0])
    ]
    hashed = list(dict.fromkeys(names_in(canonical_form(whole, whole.expected_version))))
    assert listed == hashed


def test_the_header_is_quoted_as_it_is_hashed() -> None:
    assert f"`{HEADER.decode().strip()}`" in CONTRACT.read_text()


def example_plan() -> tuple[Plan, int]:
    message = json_format.Parse(example("plan"), request_pb2.Approval())
    steps = tuple(
        Step(
            name=step.name,
            mode=enums.STEP_MODE.to_domain[step.mode],
            requirements=tuple(
                Requirement(
                    id=item.id,
                    targets=tuple(
                        Target(kind=enums.TARGET_KIND.to_domain[one.kind], name=one.name)
                        for one in item.targets
                    ),
                    quorum=item.quorum,
                    meaning=enums.VOTE_KIND.to_domain[item.meaning],
                    rejections=item.rejections,
                    deadline_seconds=item.deadline.seconds if item.HasField("deadline") else None,
                )
                for item in step.requirements
            ),
        )
        for step in message.steps
    )
    return Plan(steps=steps, repeat_voters=message.repeat_voters), message.round


def test_the_plan_is_hashed_as_the_bytes_that_are_shown_and_has_the_digest_that_is_shown() -> None:
    plan, round_number = example_plan()
    assert canonical_plan(plan, round_number) == example("canonical-plan").encode()
    assert plan_digest(plan, round_number).hex() == example("plan-digest").strip()


def test_the_lines_of_a_plan_are_listed_in_the_order_they_are_hashed() -> None:
    text = CONTRACT.read_text()
    table = text[text.index("| lines, in order |") : text.index("An example of a plan.")]
    listed = re.findall(
        r"`(\w+)`", "\n".join(row.split("|")[1] for row in table.splitlines()[2:-1])
    )
    plan, _ = example_plan()
    whole = plan.but(steps=plan.steps[1:])
    assert listed == list(dict.fromkeys(names_in(canonical_plan(whole, 1))))


def test_the_header_of_a_plan_is_quoted_as_it_is_hashed() -> None:
    assert f"`{PLAN_HEADER.strip()}`" in CONTRACT.read_text()


def test_every_reason_is_explained() -> None:
    text = CONTRACT.read_text()
    reasons = [
        name.removeprefix(REASON_PREFIX)
        for name, number in errors_pb2.ErrorReason.items()
        if number != errors_pb2.ERROR_REASON_UNSPECIFIED
    ]
    missing = [reason for reason in reasons if f"`{reason}`" not in text]
    assert missing == []


def test_every_reason_is_listed_with_the_code_it_is_told_with() -> None:
    listed = set(re.findall(r"^\| `([A-Z_]+)` \| ([A-Z_]+) \|", CONTRACT.read_text(), re.MULTILINE))
    told = {
        (reason_name(public.reason), public.code.name) for public in (*PUBLIC.values(), INTERNAL)
    }
    assert listed == told
