"""A MutationRequest as an answer to callers."""

from collections.abc import Sequence
from typing import Final

from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

from governance.v1 import mutation_pb2, request_pb2
from governor.domain.approval import (
    Approval,
    BreakGlass,
    Requirement,
    Step,
    Target,
    Vote,
)
from governor.domain.break_glass import Review
from governor.domain.compensation import CompensatedBy, Compensation
from governor.domain.counting import open_requirements
from governor.domain.digest import plan_digest
from governor.domain.gates import Gate, Window
from governor.domain.policy import Verdict
from governor.domain.request import (
    BatchProgress,
    BatchSpec,
    Content,
    Evidence,
    Intent,
    MutationRequest,
    Payload,
    Pending,
    PendingReason,
)
from governor.domain.whom import waited_for
from governor.usecases.commands import etag_of
from governor.wire.codec import values
from governor.wire.codec.enums import (
    BATCH_DECISION_MODE,
    BATCH_FAILURE_MODE,
    BATCH_ORDERING,
    BLAST_RADIUS,
    COMPENSATION_KIND,
    COMPENSATION_TRIGGER,
    DEPENDENCY_FAILURE,
    EFFECT,
    EXECUTION_MODE,
    PENDING_REASON,
    REVERSIBILITY,
    REVIEW_STATUS,
    RISK,
    STALE_STRATEGY,
    STATUS,
    STEP_MODE,
    TARGET_KIND,
    VOTE_KIND,
)


def put_request(
    target: request_pb2.MutationRequest, request: MutationRequest, *, with_data: bool = True
) -> None:
    """Sets `target` to the request as it stands. Lists go `with_data` False."""
    content, progress = request.content, request.progress
    target.id = request.id
    target.request_audit_id = request.audit_id
    target.status = STATUS.to_wire[progress.status]
    for pending in progress.pending:
        _put_pending(target.pending.add(), request, pending)
    _put_content(target, content, with_data=with_data)
    if progress.expected_version is not None:
        target.mutation.expected_version = progress.expected_version
    values.put_moment(target.expire_time, request.expires_at)
    target.request_digest = progress.digest
    if progress.verdict is not None:
        _put_verdict(target.verdict, progress.verdict)
    if progress.approval is not None:
        _put_approval(target.approval, progress.approval)
    if progress.status_reason is not None:
        values.put_reason(target.status_reason, progress.status_reason)
    target.superseded_by = progress.superseded_by or ""
    target.supersedes = request.supersedes or ""
    target.execution_id = progress.execution_id or ""
    values.put_moment(target.submit_time, request.submitted_at)
    values.put_moment(target.update_time, progress.updated_at)
    if request.revision:
        target.revision = request.revision
        target.etag = etag_of(request)
    target.traceparent = request.traceparent
    if progress.execute_before is not None:
        values.put_moment(target.execute_before, progress.execute_before)
    if progress.review is not None:
        _put_review(target.review, progress.review)
    if progress.compensated_by is not None:
        _put_compensated_by(target.compensated_by, progress.compensated_by)
    target.compensation_id = progress.compensation_id or ""
    if content.batch is not None:
        target.batch.batch_id = content.batch.batch_id
        target.batch.position = content.batch.position
    if content.batch_spec is not None:
        _put_batch(target.batch_spec, content.batch_spec, progress.batch or NOT_BEGUN)


def _put_content(target: request_pb2.MutationRequest, content: Content, *, with_data: bool) -> None:
    _put_context(target.context, content)
    _put_mutation(target.mutation, content, with_data=with_data)
    _put_intent(target.intent, content.intent)
    target.justification = content.justification
    for evidence in content.evidence:
        _put_evidence(target.evidence.add(), evidence)
    if content.metadata:
        target.metadata.update(content.metadata)
    if content.tags:
        target.tags.extend(content.tags)
    if content.execute_after is not None:
        values.put_moment(target.execute_after, content.execute_after)
    if content.depends_on:
        target.depends_on.extend(content.depends_on)
    target.execution_mode = EXECUTION_MODE.to_wire[content.execution_mode]
    target.on_dependency_failure = DEPENDENCY_FAILURE.to_wire[content.on_dependency_failure]
    if content.compensation is not None:
        _put_compensation(target.compensation, content.compensation)


NOT_BEGUN: Final = BatchProgress()


def _put_batch(target: request_pb2.BatchSpec, spec: BatchSpec, progress: BatchProgress) -> None:
    target.ordering = BATCH_ORDERING.to_wire[spec.ordering]
    target.failure_mode = BATCH_FAILURE_MODE.to_wire[spec.failure_mode]
    target.decision_mode = BATCH_DECISION_MODE.to_wire[spec.decision_mode]
    target.member_ids.extend(spec.member_ids)
    target.applied_ids.extend(progress.applied)
    target.failed_ids.extend(progress.failed)
    target.stopping = progress.stopped is not None
    target.compensated_ids.extend(progress.undone)


def _put_context(target: mutation_pb2.RuntimeContext, content: Content) -> None:
    context = content.context
    target.tenant = context.tenant
    target.environment = context.environment
    target.service = context.service
    target.region = context.region
    target.actor = context.actor
    target.correlation_id = context.correlation_id
    target.causation_id = context.causation_id


def _put_mutation(target: mutation_pb2.Mutation, content: Content, *, with_data: bool) -> None:
    target.type = content.mutation_type
    values.put_state(target.state, content.state)
    _put_payload(target.payload, content.payload, with_data=with_data)
    target.stale_strategy = STALE_STRATEGY.to_wire[content.stale_strategy]


def _put_payload(target: mutation_pb2.Payload, payload: Payload, *, with_data: bool) -> None:
    target.content_type = payload.content_type
    target.size_bytes = payload.size_bytes
    target.sha256 = payload.sha256
    if with_data:
        target.data = payload.data


def _put_intent(target: mutation_pb2.Intent, intent: Intent) -> None:
    target.category = intent.category
    target.risk = RISK.to_wire[intent.risk]
    target.reversibility = REVERSIBILITY.to_wire[intent.reversibility]
    target.blast_radius = BLAST_RADIUS.to_wire[intent.blast_radius]


def _put_evidence(target: mutation_pb2.Evidence, evidence: Evidence) -> None:
    target.kind = evidence.kind
    target.uri = evidence.uri
    target.sha256 = evidence.sha256
    target.description = evidence.description


def _put_compensation(target: mutation_pb2.Compensation, compensation: Compensation) -> None:
    target.mutation_request_id = compensation.request_id
    target.execution_id = compensation.execution_id
    target.kind = COMPENSATION_KIND.to_wire[compensation.kind]
    target.trigger = COMPENSATION_TRIGGER.to_wire[compensation.trigger]
    target.undo_token = compensation.undo_token
    if compensation.reason.code:
        values.put_reason(target.reason, compensation.reason)


def _put_compensated_by(target: request_pb2.CompensatedBy, by: CompensatedBy) -> None:
    target.mutation_request_id = by.request_id
    target.execution_id = by.execution_id
    target.execution_audit_id = by.execution_audit_id
    target.kind = COMPENSATION_KIND.to_wire[by.kind]
    target.trigger = COMPENSATION_TRIGGER.to_wire[by.trigger]
    values.put_moment(target.time, by.at)


def _put_pending(target: request_pb2.Pending, request: MutationRequest, pending: Pending) -> None:
    target.reason = PENDING_REASON.to_wire[pending.reason]
    values.put_moment(target.since_time, pending.since)
    if pending.until is not None:
        values.put_moment(target.until_time, pending.until)
    target.detail = pending.detail
    target.name = pending.name
    _put_targets(target.waits_for, waited_for(request, pending))


def _put_verdict(target: request_pb2.Verdict, verdict: Verdict) -> None:
    target.effect = EFFECT.to_wire[verdict.effect]
    if verdict.rules:
        target.rules.extend(verdict.rules)
    if verdict.reason is not None:
        values.put_reason(target.reason, verdict.reason)
    target.policy_sha256 = verdict.policy_sha256
    for gate in verdict.gates:
        _put_gate(target.gates.add(), gate)
    for window in verdict.windows:
        _put_window(target.windows.add(), window)
    if verdict.execution_window_seconds is not None:
        target.execution_window.seconds = verdict.execution_window_seconds


def _put_gate(target: request_pb2.Gate, gate: Gate) -> None:
    target.reason = PENDING_REASON.to_wire[PendingReason(gate.reason)]
    target.name = gate.name
    _put_targets(target.resolvers, gate.resolvers)
    if gate.timeout_seconds is not None:
        target.timeout.seconds = gate.timeout_seconds
    target.called = gate.called
    target.detail = gate.detail


def _put_window(target: request_pb2.Window, window: Window) -> None:
    target.name = window.name
    target.opens = window.opens
    target.lasts.seconds = window.lasts_seconds
    target.timezone = window.timezone


def _put_approval(target: request_pb2.Approval, approval: Approval) -> None:
    for step in approval.plan.steps:
        _put_step(target.steps.add(), step)
    target.round = approval.round
    target.open_step = approval.open_step
    for vote in approval.votes:
        _put_vote(target.votes.add(), vote, voided=not approval.counts(vote))
    target.open_requirements.extend(open_requirements(approval))
    target.plan_digest = plan_digest(approval.plan, approval.round)
    if approval.step_opened_at:
        values.put_moment(target.step_open_time, approval.step_opened_at)
    target.expired_requirements.extend(approval.expired)
    target.repeat_voters = approval.plan.repeat_voters
    if approval.break_glass is not None:
        _put_break_glass(target.break_glass, approval.break_glass)


def _put_break_glass(target: request_pb2.BreakGlass, broken: BreakGlass) -> None:
    values.put_actor(target.actor, broken.by, broken.at)
    target.justification = broken.justification


def _put_review(target: request_pb2.Review, review: Review) -> None:
    target.status = REVIEW_STATUS.to_wire[review.status]
    _put_targets(target.reviewers, review.reviewers)
    values.put_moment(target.due_time, review.due_at)
    if review.reviewer is not None and review.reviewed_at is not None:
        values.put_actor(target.reviewer, review.reviewer, review.reviewed_at)
    if review.reason is not None:
        values.put_reason(target.reason, review.reason)


def _put_step(target: request_pb2.Step, step: Step) -> None:
    target.name = step.name
    target.mode = STEP_MODE.to_wire[step.mode]
    for requirement in step.requirements:
        _put_requirement(target.requirements.add(), requirement)


def _put_requirement(target: request_pb2.Requirement, requirement: Requirement) -> None:
    target.id = requirement.id
    _put_targets(target.targets, requirement.targets)
    target.quorum = requirement.quorum
    if requirement.deadline_seconds is not None:
        target.deadline.seconds = requirement.deadline_seconds
    target.rejections = requirement.rejections
    target.meaning = VOTE_KIND.to_wire[requirement.meaning]


def _put_targets(
    target: RepeatedCompositeFieldContainer[request_pb2.Target], named: Sequence[Target]
) -> None:
    for one in named:
        target.add(kind=TARGET_KIND.to_wire[one.kind], name=one.name)


def _put_vote(target: request_pb2.Vote, vote: Vote, *, voided: bool) -> None:
    values.put_actor(target.actor, vote.voter, vote.at)
    target.kind = VOTE_KIND.to_wire[vote.kind]
    target.request_digest = vote.digest
    target.round = vote.round
    target.step = vote.step
    if vote.reason is not None:
        values.put_reason(target.reason, vote.reason)
    target.voided = voided
    target.plan_digest = vote.plan_digest
    if vote.on_behalf_of is not None:
        target.on_behalf_of = vote.on_behalf_of.person
    if vote.revoked_at is not None:
        values.put_moment(target.revoke_time, vote.revoked_at)
    if vote.voided_at is not None:
        values.put_moment(target.void_time, vote.voided_at)
    target.void_reason = vote.void_reason
