"""The preview: an approver sees what the host would do now, and the host does nothing."""

from governor.domain.request import Risk, Status
from governor.domain.values import Reason
from governor.usecases.preview import preview
from tests.support.governed import Governed


async def test_what_waits_is_shown_as_the_host_sees_it_now(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)
    sidecar.host.violations = (Reason(code="NO_SUCH_FLAG"),)
    before = sidecar.store.head

    seen = await preview(sidecar.app, request)

    assert seen is not None
    assert seen.violations == sidecar.host.violations
    assert seen.current_version == sidecar.host.version(request.slot)
    assert sidecar.host.effects == []
    assert sidecar.store.head == before


async def test_without_the_host_there_is_no_preview(sidecar: Governed) -> None:
    request = await sidecar.submit(risk=Risk.HIGH)
    sidecar.host.is_reachable = False

    assert await preview(sidecar.app, request) is None


async def test_what_has_been_executed_has_no_preview(sidecar: Governed) -> None:
    """The host would answer for doing it once more."""
    request = await sidecar.submit(wait_seconds=30)
    assert request.status is Status.EXECUTED

    assert await preview(sidecar.app, request) is None
