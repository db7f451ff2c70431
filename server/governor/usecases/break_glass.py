"""Breaking the glass: who may, who may not again, and whether the ground for it still stands."""

from governor.domain.approval import BreakGlass
from governor.domain.break_glass import Emergency
from governor.domain.emergency import glass_lost
from governor.domain.errors import MissingRole, ReviewOverdue
from governor.domain.request import MutationRequest
from governor.domain.values import Identity, Micros, rfc3339
from governor.domain.workflow import Advance
from governor.usecases.access import BREAK_GLASS
from governor.usecases.app import App

MICROS = 1_000_000


async def declare(
    app: App, identity: Identity, tenant: str, justification: str, now: Micros
) -> Emergency:
    """An emergency, on this person's word. Raises MissingRole, ReviewOverdue.

    A review is overdue by the clock, whether or not the timer has said so yet. Which of two
    submissions sees it, around that very moment, is for the clock to say: nothing holds one back
    until the other is durable.
    """
    if BREAK_GLASS not in identity.roles:
        raise MissingRole(rpc="Submit with break_glass", tenant=tenant, needs=BREAK_GLASS)
    overdue = await app.store.overdue_reviews(tenant, requester=identity.person, until=now, limit=1)
    for owing in overdue:
        if owing.progress.review is not None:
            raise ReviewOverdue(owing.id, rfc3339(owing.progress.review.due_at))
    due_at = Micros(now + round(app.limits.break_glass_review_seconds * MICROS))
    broken = BreakGlass(by=identity, justification=justification, at=now)
    return Emergency(broken=broken, review_due_at=due_at)


def ground_lost(app: App, request: MutationRequest) -> Advance | None:
    """Back to the approval, where whoever went past it does not hold the role any more.

    None for every request that does not stand on a broken glass, and where the ground still holds.
    """
    approval = request.progress.approval
    if approval is None or approval.break_glass is None:
        return None
    then = approval.break_glass.by
    now = app.directory.identity(then.id, request.tenant)
    if now is not None and now.person == then.person and BREAK_GLASS in now.roles:
        return None
    return glass_lost(request, now=app.clock.now())
