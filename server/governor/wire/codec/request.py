"""A MutationRequest as an answer to callers."""

from governance.v1 import mutation_pb2, request_pb2
from governor.domain.approval import Approval, Requirement, Step, Vote, open_requirements
from governor.domain.policy import Verdict
from governor.domain.request import Content, Evidence, Intent, MutationRequest, Payload, Pending
from governor.usecases.commands import etag_of
from governor.wire.codec import values
from governor.wire.codec.enums import (
    BLAST_RADIUS,
    EFFECT,
    EXECUTION_MODE,
    PENDING_REASON,
    REVERSIBILITY,
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
        _put_pending(target.pending.add(), pending)
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


def _put_pending(target: request_pb2.Pending, pending: Pending) -> None:
    target.reason = PENDING_REASON.to_wire[pending.reason]
    values.put_moment(target.since_time, pending.since)
    if pending.until is not None:
        values.put_moment(target.until_time, pending.until)
    target.detail = pending.detail


def _put_verdict(target: request_pb2.Verdict, verdict: Verdict) -> None:
    target.effect = EFFECT.to_wire[verdict.effect]
    if verdict.rules:
        target.rules.extend(verdict.rules)
    if verdict.reason is not None:
        values.put_reason(target.reason, verdict.reason)
    target.policy_sha256 = verdict.policy_sha256


def _put_approval(target: request_pb2.Approval, approval: Approval) -> None:
    for step in approval.plan.steps:
        _put_step(target.steps.add(), step)
    target.round = approval.round
    target.open_step = approval.open_step
    for vote in approval.votes:
        _put_vote(target.votes.add(), vote, voided=vote.round != approval.round)
    target.open_requirements.extend(open_requirements(approval))


def _put_step(target: request_pb2.Step, step: Step) -> None:
    target.name = step.name
    target.mode = STEP_MODE.to_wire[step.mode]
    for requirement in step.requirements:
        _put_requirement(target.requirements.add(), requirement)


def _put_requirement(target: request_pb2.Requirement, requirement: Requirement) -> None:
    target.id = requirement.id
    for named in requirement.targets:
        target.targets.add(kind=TARGET_KIND.to_wire[named.kind], name=named.name)
    target.quorum = requirement.quorum


def _put_vote(target: request_pb2.Vote, vote: Vote, *, voided: bool) -> None:
    values.put_actor(target.actor, vote.voter, vote.at)
    target.kind = VOTE_KIND.to_wire[vote.kind]
    target.request_digest = vote.digest
    target.round = vote.round
    target.step = vote.step
    if vote.reason is not None:
        values.put_reason(target.reason, vote.reason)
    target.voided = voided
