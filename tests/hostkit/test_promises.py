"""The five promises of MutationEngine, as a caller sees them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from tests.hostkit.support import (
    COUNTERS,
    DIGEST,
    OTHER_DIGEST,
    Caller,
    apply_request,
    effects,
    running,
    told,
)

WITHOUT_ADD = replace(
    COUNTERS,
    mutations={
        name: mutation_type
        for name, mutation_type in COUNTERS.mutations.items()
        if name != "counter.add"
    },
)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Caller]:
    async with running(tmp_path) as caller:
        yield caller


async def test_an_order_takes_effect_and_reports_what_changed(host: Caller, tmp_path: Path) -> None:
    response = await host.apply(apply_request())

    assert not response.replayed
    assert response.applied.previous_version == ""
    assert response.applied.resulting_version == "1"
    assert [(c.path, c.HasField("before"), c.after) for c in response.applied.changes] == [
        ("value", False, "1")
    ]
    assert effects(tmp_path) == {"execution-1": 1}


async def test_the_same_order_again_replays_its_outcome(host: Caller, tmp_path: Path) -> None:
    first = await host.apply(apply_request())
    await host.apply(apply_request("execution-2"))

    again = await host.apply(apply_request())

    assert again.replayed
    assert again.applied == first.applied
    assert effects(tmp_path) == {"execution-1": 1, "execution-2": 1}


async def test_another_digest_under_the_same_id_is_refused(host: Caller, tmp_path: Path) -> None:
    await host.apply(apply_request())

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await host.apply(apply_request(digest=OTHER_DIGEST))

    error = told(caught.value)
    assert error.code == grpc.StatusCode.FAILED_PRECONDITION
    assert error.reason == "EXECUTION_DIGEST_MISMATCH"
    assert effects(tmp_path) == {"execution-1": 1}


async def test_a_lower_token_is_fenced_also_for_a_replay(host: Caller) -> None:
    await host.apply(apply_request(token=5))

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await host.apply(apply_request(token=4))

    error = told(caught.value)
    assert error.code == grpc.StatusCode.FAILED_PRECONDITION
    assert error.reason == "FENCED"
    assert error.metadata == {"execution_id": "execution-1", "fencing_token": "5"}


async def test_a_replay_with_a_higher_token_fences_the_earlier_one(host: Caller) -> None:
    await host.apply(apply_request(token=1))
    assert (await host.apply(apply_request(token=2))).replayed

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await host.apply(apply_request(token=1))

    assert told(caught.value).reason == "FENCED"


async def test_a_bare_lookup_leaves_the_execution_open_but_remembers_the_token(
    host: Caller, tmp_path: Path
) -> None:
    found = await host.look_up(token=3)
    assert found.HasField("not_seen")
    assert not found.not_seen.fenced

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await host.apply(apply_request(token=2))
    assert told(caught.value).reason == "FENCED"
    assert effects(tmp_path) == {}

    assert (await host.apply(apply_request(token=3))).HasField("applied")


async def test_an_apply_that_arrives_after_the_fence_never_lands(
    host: Caller, tmp_path: Path
) -> None:
    """The caller gave up on token 1, fenced with token 2, and told people "not applied"."""
    assert (await host.look_up(token=2, fence=True)).not_seen.fenced

    for token in (1, 2, 3, 1000):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await host.apply(apply_request(token=token))
        assert told(caught.value).reason == "FENCED"

    assert (await host.look_up(token=1001)).not_seen.fenced
    assert effects(tmp_path) == {}


async def test_a_fence_that_comes_too_late_returns_the_outcome(host: Caller) -> None:
    applied = await host.apply(apply_request())

    found = await host.look_up(token=2, fence=True)

    assert found.outcome.applied == applied.applied
    assert found.outcome.replayed
    assert found.request_digest == DIGEST


async def test_a_lookup_with_a_lower_token_is_fenced(host: Caller) -> None:
    await host.apply(apply_request(token=2))

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await host.look_up(token=1, fence=True)

    assert told(caught.value).reason == "FENCED"


async def test_a_matching_version_is_applied_to(host: Caller) -> None:
    await host.apply(apply_request("execution-1", expected_version=""))
    response = await host.apply(apply_request("execution-2", expected_version="1"))
    assert response.applied.resulting_version == "2"


async def test_a_moved_version_is_answered_without_effect(host: Caller, tmp_path: Path) -> None:
    await host.apply(apply_request("execution-1"))

    response = await host.apply(apply_request("execution-2", expected_version=""))

    assert response.version_mismatch.current_version == "1"
    assert effects(tmp_path) == {"execution-1": 1}


async def test_a_version_mismatch_is_final_even_when_the_version_would_fit_later(
    host: Caller, tmp_path: Path
) -> None:
    """The caller closed the execution as stale; a delayed duplicate must not land after that."""
    await host.apply(apply_request("execution-1", expected_version="1"))
    await host.apply(apply_request("execution-2"))

    late = await host.apply(apply_request("execution-1", expected_version="1"))

    assert late.replayed
    assert late.version_mismatch.current_version == ""
    assert effects(tmp_path) == {"execution-2": 1}


async def test_a_refusal_undoes_its_effect_and_is_remembered(host: Caller, tmp_path: Path) -> None:
    request = apply_request(mutation_type="counter.refuse")
    first = await host.apply(request)
    assert first.refused.reason.code == "NOT_TODAY"
    assert first.refused.reason.metadata == {"day": "Sunday"}
    assert effects(tmp_path) == {}

    again = await host.apply(request)
    assert again.replayed
    assert again.refused == first.refused
    assert (await host.look_up()).outcome.refused == first.refused


async def test_promises_outlive_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path) as host:
        applied = await host.apply(apply_request("applied", token=7))
        await host.look_up("fenced", token=7, fence=True)
        await host.look_up("open", token=7)
        lineage_id = (await host.capabilities()).lineage_id

    async with running(tmp_path) as host:
        assert (await host.apply(apply_request("applied", token=7))).applied == applied.applied
        for execution_id, token in (("applied", 6), ("fenced", 8), ("open", 6)):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await host.apply(apply_request(execution_id, token=token))
            assert told(caught.value).reason == "FENCED"
        assert (await host.capabilities()).lineage_id == lineage_id
    assert effects(tmp_path) == {"applied": 1}


async def test_a_host_that_forgot_a_mutation_type_still_replays_what_it_applied(
    tmp_path: Path,
) -> None:
    """Rolled back to an older version, it must not answer "not applied" for what it applied."""
    async with running(tmp_path) as host:
        applied = await host.apply(apply_request())

    async with running(tmp_path, host=WITHOUT_ADD) as host:
        assert (await host.apply(apply_request())).applied == applied.applied


async def test_an_unsupported_type_stays_unapplied_when_a_newer_host_supports_it(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, host=WITHOUT_ADD) as host:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await host.apply(apply_request())
        assert told(caught.value).reason == "MUTATION_NOT_SUPPORTED"

    async with running(tmp_path) as host:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await host.apply(apply_request())
        error = told(caught.value)
        assert error.code == grpc.StatusCode.INVALID_ARGUMENT
        assert error.reason == "MUTATION_NOT_SUPPORTED"
        assert (await host.look_up()).outcome.refused.reason.code == "MUTATION_NOT_SUPPORTED"
    assert effects(tmp_path) == {}
