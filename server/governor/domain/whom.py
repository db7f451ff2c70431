"""Whom a request waits for: who can act on each thing that holds it back."""

from governor.domain.approval import Target
from governor.domain.counting import open_requirements
from governor.domain.request import MutationRequest, Pending, PendingReason


def waited_for(request: MutationRequest, pending: Pending) -> tuple[Target, ...]:
    """The targets who can act on `pending` now; none where nobody in particular can.

    For APPROVAL these are the targets of the requirements that the open step still lacks.
    """
    progress = request.progress
    if pending.reason is PendingReason.APPROVAL and progress.approval is not None:
        approval = progress.approval
        lacking = open_requirements(approval)
        step = approval.plan.steps[approval.open_step]
        named = (
            target
            for requirement in step.requirements
            if requirement.id in lacking
            for target in requirement.targets
        )
        return tuple(dict.fromkeys(named))
    gates = progress.verdict.gates if progress.verdict is not None else ()
    for gate in gates:
        if gate.reason == pending.reason and gate.name == pending.name:
            return gate.resolvers
    return ()
