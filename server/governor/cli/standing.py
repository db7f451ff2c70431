"""Where a request stands, as a person reads it: what it waits for, who spoke, who still must."""

from collections.abc import Iterable, Iterator

from governance.v1 import mutation_pb2, request_pb2
from governor.cli.console import Output
from governor.cli.durations import shown_duration, shown_moment
from governor.cli.show import Fields, pending_word, reason_text, status_text
from governor.cli.texts import safe

RESOLVABLE = (
    request_pb2.PENDING_REASON_EXTERNAL_CHECK,
    request_pb2.PENDING_REASON_QUOTA,
    request_pb2.PENDING_REASON_MANUAL_REVIEW,
)
"""What ResolvePending answers; it decides everything else about a request on other grounds."""

_OWED = (request_pb2.REVIEW_STATUS_OPEN, request_pb2.REVIEW_STATUS_OVERDUE)


def show_standing(output: Output, request: request_pb2.MutationRequest) -> None:
    """Where it stands, what policy said, and who has agreed or still must."""
    fields: Fields = [("status", status_text(request))]
    if request.HasField("status_reason"):
        fields.append(("because", reason_text(request.status_reason)))
    fields += [("waits for", _pending(pending)) for pending in request.pending]
    fields += _policy(request)
    fields += _approval(request.approval)
    if request.HasField("review"):
        fields.append(("review", _review(request.review)))
    fields += [("superseded by", safe(request.superseded_by))] if request.superseded_by else []
    fields += [("supersedes", safe(request.supersedes))] if request.supersedes else []
    fields += _compensated(request)
    fields.append(("digest", request.request_digest.hex()))
    if request.approval.plan_digest:
        fields.append(("plan digest", request.approval.plan_digest.hex()))
    output.fields(fields)


def show_still_to_act(output: Output, request: request_pb2.MutationRequest) -> None:
    """Who else must act before it can run: now, beside that, and in later steps."""
    fields = list(_still_to_act(request))
    output.fields(fields or [("to act", "nobody else")])


def targets_text(targets: Iterable[request_pb2.Target], joiner: str = " or ") -> str:
    """`group reviewers or actor sam`."""
    return safe(joiner.join(_target(target) for target in targets))


def is_owed(review: request_pb2.Review) -> bool:
    """Whether nobody has given it yet."""
    return review.status in _OWED


def missing_votes(approval: request_pb2.Approval, requirement: request_pb2.Requirement) -> int:
    """How many votes the requirement of the open step lacks at least; 0 when it lacks none.

    The server says which lack votes; how many is counted here, by what the voters held.
    """
    if requirement.id not in approval.open_requirements:
        return 0
    voters = {
        vote.on_behalf_of or vote.actor.id
        for vote in _votes_of_open_step(approval)
        if vote.kind == requirement.meaning and _names(requirement.targets, vote)
    }
    return max(1, requirement.quorum - len(voters))


def _compensated(request: request_pb2.MutationRequest) -> Fields:
    if not request.HasField("compensated_by"):
        asked = request.compensation_id
        return [("compensation asked", safe(asked))] if asked else []
    by = request.compensated_by
    kind = mutation_pb2.CompensationKind.Name(by.kind).removeprefix("COMPENSATION_KIND_")
    return [
        ("compensated by", safe(f"{by.mutation_request_id} ({kind}) at {shown_moment(by.time)}"))
    ]


def _policy(request: request_pb2.MutationRequest) -> Fields:
    verdict = request.verdict
    effect = request_pb2.PolicyEffect.Name(verdict.effect).removeprefix("POLICY_EFFECT_")
    rules = ", ".join(verdict.rules) or "no rule"
    fields: Fields = [("policy", safe(f"{effect} by {rules}"))]
    fields += [("gate", _gate(request, gate)) for gate in verdict.gates]
    fields += [("window", _window(window)) for window in verdict.windows]
    if verdict.HasField("execution_window"):
        within = shown_duration(verdict.execution_window)
        fields.append(("runs within", f"{within} of its approval"))
    if request.HasField("execute_before"):
        fields.append(("runs before", shown_moment(request.execute_before)))
    return fields


def _approval(approval: request_pb2.Approval) -> Fields:
    fields: Fields = [("step", _step(approval, n)) for n in range(len(approval.steps))]
    if approval.repeat_voters:
        fields.append(("counting", "one person may count in several steps"))
    fields += [("vote", _vote(vote)) for vote in approval.votes]
    if approval.HasField("break_glass"):
        broken = approval.break_glass
        who = f"{broken.actor.id} at {shown_moment(broken.actor.time)}: {broken.justification}"
        fields.append(("break-glass", safe(f"the approval was skipped by {who}")))
    return fields


def _still_to_act(request: request_pb2.MutationRequest) -> Iterator[tuple[str, str]]:
    approval = request.approval
    for pending in request.pending:
        if pending.reason == request_pb2.PENDING_REASON_APPROVAL:
            yield from _votes_to_come(approval)
        else:
            yield "beside that", _pending(pending)


def _votes_to_come(approval: request_pb2.Approval) -> Iterator[tuple[str, str]]:
    for index in range(approval.open_step, len(approval.steps)):
        step = approval.steps[index]
        is_open = index == approval.open_step
        joiner = " or " if step.mode == request_pb2.STEP_MODE_ANY_OF else " and "
        wanted = [
            (requirement, missing_votes(approval, requirement) if is_open else requirement.quorum)
            for requirement in step.requirements
        ]
        words = (f"{count} more of {_asked(item)}" for item, count in wanted if count)
        yield "now" if is_open else "then", safe(f"step {step.name}: {joiner.join(words)}")


def _pending(pending: request_pb2.Pending) -> str:
    name = f" {pending.name}" if pending.name else ""
    whom = targets_text(pending.waits_for)
    by = f" by {whom}" if whom else ""
    until = f" until {shown_moment(pending.until_time)}" if pending.HasField("until_time") else ""
    detail = f": {pending.detail}" if pending.detail else ""
    since = shown_moment(pending.since_time)
    return safe(f"{pending_word(pending.reason)}{name}{by}{until}{detail} (since {since})")


def _gate(request: request_pb2.MutationRequest, gate: request_pb2.Gate) -> str:
    asked = "asked by Governor" if gate.called else "answered by resolve-pending"
    whom = targets_text(gate.resolvers)
    words = [asked, f"by {whom}" if whom else ""]
    if gate.HasField("timeout"):
        end = "opens" if gate.reason == request_pb2.PENDING_REASON_QUOTA else "fails"
        words.append(f"{end} after {shown_duration(gate.timeout)}")
    is_waiting = any((p.reason, p.name) == (gate.reason, gate.name) for p in request.pending)
    mark = " [still open]" if is_waiting else ""
    detail = f": {gate.detail}" if gate.detail else ""
    facts = ", ".join(word for word in words if word)
    return safe(f"{pending_word(gate.reason)} {gate.name} ({facts}){mark}{detail}")


def _window(window: request_pb2.Window) -> str:
    lasts = shown_duration(window.lasts)
    return safe(f"{window.name}: opens {window.opens} in {window.timezone}, for {lasts}")


def _step(approval: request_pb2.Approval, index: int) -> str:
    step, is_open = approval.steps[index], index == approval.open_step
    joiner = " or " if step.mode == request_pb2.STEP_MODE_ANY_OF else " and "
    parts = [_requirement(approval, item, is_open=is_open) for item in step.requirements]
    mark = "done" if index < approval.open_step else "later"
    if approval.HasField("break_glass"):
        mark = "skipped"
    elif is_open:
        mark = f"open, {len(_votes_of_open_step(approval))} so far"
    place = f"{index + 1} of {len(approval.steps)}"
    return safe(f"{place}, {step.name} ({mark}): {joiner.join(parts)}")


def _requirement(
    approval: request_pb2.Approval, requirement: request_pb2.Requirement, *, is_open: bool
) -> str:
    text = f"{requirement.quorum} of {_asked(requirement)}"
    terms = []
    if requirement.rejections > 1:
        terms.append(f"{requirement.rejections} rejections end it")
    if requirement.HasField("deadline"):
        terms.append(f"within {shown_duration(requirement.deadline)} of the step's opening")
    if terms:
        text += f" ({', '.join(terms)})"
    if is_open and requirement.id in approval.expired_requirements:
        return f"{text} [its time has passed]"
    missing = missing_votes(approval, requirement) if is_open else 0
    return f"{text} [{missing} more needed]" if missing else text


def _asked(requirement: request_pb2.Requirement) -> str:
    people = ", ".join(_target(target) for target in requirement.targets)
    is_review = requirement.meaning == request_pb2.VOTE_KIND_REVIEW
    return f"{people} to review" if is_review else people


def _votes_of_open_step(approval: request_pb2.Approval) -> list[request_pb2.Vote]:
    return [v for v in approval.votes if v.step == approval.open_step and not v.voided]


def _names(targets: Iterable[request_pb2.Target], vote: request_pb2.Vote) -> bool:
    held = {
        request_pb2.TARGET_KIND_ACTOR: {vote.actor.id, vote.on_behalf_of},
        request_pb2.TARGET_KIND_ROLE: set(vote.actor.roles),
        request_pb2.TARGET_KIND_GROUP: set(vote.actor.groups),
    }
    # What a person held for whom somebody votes is not in the vote; the server has checked it.
    return bool(vote.on_behalf_of) or any(
        target.name in held.get(target.kind, ()) for target in targets
    )


def _target(target: request_pb2.Target) -> str:
    kind = request_pb2.TargetKind.Name(target.kind).removeprefix("TARGET_KIND_").lower()
    return f"{kind} {target.name}"


def _vote(vote: request_pb2.Vote) -> str:
    kind = request_pb2.VoteKind.Name(vote.kind).removeprefix("VOTE_KIND_")
    place = f" for {vote.on_behalf_of}" if vote.on_behalf_of else ""
    why = f" {reason_text(vote.reason)}" if vote.HasField("reason") else ""
    when = shown_moment(vote.actor.time)
    text = f"{kind} by {vote.actor.id}{place} at {when}, round {vote.round}{_struck(vote)}"
    return safe(text) + why


def _struck(vote: request_pb2.Vote) -> str:
    """Why a vote does not count any more; nothing for one that does."""
    if vote.HasField("revoke_time"):
        return f" (taken back at {shown_moment(vote.revoke_time)})"
    if vote.HasField("void_time"):
        return f" (voided at {shown_moment(vote.void_time)}: {vote.void_reason})"
    return " (voided by a new round)" if vote.voided else ""


def _review(review: request_pb2.Review) -> str:
    status = request_pb2.ReviewStatus.Name(review.status).removeprefix("REVIEW_STATUS_")
    if is_owed(review):
        by = targets_text(review.reviewers)
        return safe(f"{status}: owed by {shown_moment(review.due_time)}{f' by {by}' if by else ''}")
    found = reason_text(review.reason)
    return safe(
        f"{status} by {review.reviewer.id} at {shown_moment(review.reviewer.time)}: {found}"
    )
