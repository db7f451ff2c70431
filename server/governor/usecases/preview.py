"""What a request would do in the host if it were executed now, for whoever is about to decide."""

from governor.domain.errors import HostUnavailable
from governor.domain.request import MutationRequest, Status
from governor.usecases.app import App
from governor.usecases.ports import Validation

_STILL_AHEAD = frozenset({Status.PENDING, Status.APPROVED})


async def preview(app: App, request: MutationRequest) -> Validation | None:
    """The host's opinion of the whole request. None where it does not answer.

    Nor is it asked about what has been ordered or has ended: that would be done no more, or twice.
    """
    if request.status not in _STILL_AHEAD:
        return None
    try:
        return await app.host.validate(request)
    except HostUnavailable:
        return None
