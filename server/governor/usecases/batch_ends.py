"""What a batch and its members owe each other when one of them is ended from outside."""

import asyncio

from governor.domain.batches import members_ended, spec_of
from governor.domain.errors import BatchGoverns, Conflict
from governor.domain.request import MutationRequest, PendingReason
from governor.domain.values import RequestId
from governor.usecases.app import App
from governor.usecases.commits import Commit


async def whole(app: App, commit: Commit) -> Commit:
    """The commit; with a batch that ends in it and never began, also the ends of its members."""
    for request in commit.requests:
        if request.is_batch and request.is_terminal and not request.progress.executions:
            steps = members_ended(request, await members_of(app, request), app.clock.now())
            commit = commit.but(
                requests=(*commit.requests, *(step.request for step in steps)),
                decisions=(*commit.decisions, *(one for step in steps for one in step.decisions)),
            )
    return commit


async def members_of(app: App, batch: MutationRequest) -> tuple[MutationRequest, ...]:
    """The members as they stand, in their order. Raises Conflict when one cannot be read back."""
    ids = spec_of(batch).member_ids
    found = await asyncio.gather(*(app.store.request(id) for id in ids))
    members = tuple(member for member in found if member is not None)
    if len(members) != len(ids):
        raise Conflict(f"members of the batch {batch.id} cannot be read back")
    return members


async def batch_of(app: App, request: MutationRequest) -> MutationRequest | None:
    """The batch that a request belongs to, as it stands; None where it belongs to none."""
    membership = request.content.batch
    return None if membership is None else await app.store.request(membership.batch_id)


def check_cancelable(request: MutationRequest) -> None:
    """Raises BatchGoverns for a member whose turn has not come: its batch is canceled, or it is
    canceled once its batch has let it go.
    """
    if request.waits_for(PendingReason.BATCH):
        raise BatchGoverns(batch_id_of(request), "Cancel", "has this member in hand")


def check_supersedable(request: MutationRequest) -> None:
    """Raises BatchGoverns for a batch and for any member: what was decided on is the exact set."""
    if request.is_batch:
        raise BatchGoverns(request.id, "Supersede", "is canceled and submitted anew")
    if request.content.batch is not None:
        raise BatchGoverns(batch_id_of(request), "Supersede", "has this very member")


def batch_id_of(request: MutationRequest) -> RequestId:
    """The batch that a request belongs to; empty where it belongs to none."""
    membership = request.content.batch
    return membership.batch_id if membership is not None else RequestId("")
