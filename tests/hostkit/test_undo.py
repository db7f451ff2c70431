"""Changes that are taken back: what a rollback restores and refuses, and that promises hold."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from governance.v1 import execution_pb2, mutation_pb2
from governor.hostkit import (
    Applied,
    CompensationKind,
    Host,
    MutationType,
    Order,
    Reversibility,
    Transaction,
    Undo,
)
from governor.hostkit.sqlite import FORGOTTEN_PER_IMAGE_MAX
from tests.hostkit.registers import (
    FORBIDDEN,
    REGISTERS,
    RETENTION_SECONDS,
    SCHEMA,
    capture,
    images,
    restore,
    set_value,
    setting,
    values,
    version,
)
from tests.hostkit.support import (
    OTHER_DIGEST,
    Caller,
    effects,
    rollback_request,
    running,
    told,
)


class Time:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
async def host(tmp_path: Path, time: Time) -> AsyncIterator[Caller]:
    async with running(tmp_path, host=REGISTERS, schema=SCHEMA, clock=time) as caller:
        yield caller


async def applied(host: Caller, value: str, execution_id: str) -> execution_pb2.Applied:
    response = await host.apply(setting(value, execution_id))
    assert response.HasField("applied")
    return response.applied


async def refusal(host: Caller, request: object) -> str:
    response = await host.apply(request)  # type: ignore[arg-type]  # an ApplyMutationRequest
    assert response.WhichOneof("outcome") == "refused"
    return response.refused.reason.code


# ---------------------------------------------------------------- what is restored


async def test_a_rollback_restores_what_was_there_before_under_a_new_version(
    host: Caller, tmp_path: Path
) -> None:
    await applied(host, "first", "execution-1")
    second = await applied(host, "second", "execution-2")
    assert (second.undo_token != b"", second.undo_expire_time.seconds) == (True, 1_060)

    undone = await host.apply(
        rollback_request(setting("second", "execution-2"), second, expected_version="2")
    )

    assert values(tmp_path) == {"a": "first"}
    assert (undone.applied.previous_version, undone.applied.resulting_version) == ("2", "3")
    (change,) = undone.applied.changes
    assert (change.before, change.after) == ("second", "first")
    assert effects(tmp_path) == {"execution-1": 1, "execution-2": 1, "rollback-1": 1}


async def test_what_was_made_is_gone_after_its_rollback(host: Caller, tmp_path: Path) -> None:
    made = await applied(host, "first", "execution-1")
    await host.apply(rollback_request(setting("first"), made))
    assert values(tmp_path) == {"a": None}


async def test_a_rollback_is_rolled_back_by_its_own_token_and_so_on(
    host: Caller, tmp_path: Path
) -> None:
    await applied(host, "first", "execution-1")
    latest = await applied(host, "second", "execution-2")
    request = setting("second", "execution-2")
    for number, expected in enumerate(["first", "second", "first", "second"]):
        request = rollback_request(request, latest, f"rollback-{number}")
        latest = (await host.apply(request)).applied
        assert values(tmp_path) == {"a": expected}
    assert latest.resulting_version == "6"


async def test_an_older_change_is_taken_back_to_what_was_before_it_where_that_was_approved(
    host: Caller, tmp_path: Path
) -> None:
    """Whoever expects the version of now has seen what a rollback will sweep away."""
    await applied(host, "first", "execution-1")
    second = await applied(host, "second", "execution-2")
    await applied(host, "third", "execution-3")
    order = rollback_request(setting("second", "execution-2"), second, expected_version="3")
    assert (await host.apply(order)).HasField("applied")
    assert values(tmp_path) == {"a": "first"}


async def test_a_rollback_onto_a_state_that_moved_on_changes_nothing(
    host: Caller, tmp_path: Path
) -> None:
    first = await applied(host, "first", "execution-1")
    await applied(host, "second", "execution-2")
    order = rollback_request(setting("first"), first, expected_version="1")

    response = await host.apply(order)

    assert response.version_mismatch.current_version == "2"
    assert (await host.apply(order)).replayed
    assert values(tmp_path) == {"a": "second"}


async def test_a_preview_of_a_rollback_says_what_it_would_restore_and_does_nothing(
    host: Caller, tmp_path: Path
) -> None:
    await applied(host, "first", "execution-1")
    second = await applied(host, "second", "execution-2")
    order = rollback_request(setting("second", "execution-2"), second)

    opinion = await host.validate(order)

    assert [(change.before, change.after) for change in opinion.preview] == [("second", "first")]
    assert values(tmp_path) == {"a": "second"}
    assert images(tmp_path) == {"execution-1", "execution-2"}
    order.compensation.undo_token = b"another"
    violations = (await host.validate(order)).violations
    assert [violation.code for violation in violations] == ["UNKNOWN_EXECUTION"]


# ---------------------------------------------------------------- the promises


async def test_the_same_rollback_again_replays_its_outcome(host: Caller, tmp_path: Path) -> None:
    first = await applied(host, "first", "execution-1")
    order = rollback_request(setting("first"), first)
    undone = await host.apply(order)
    await applied(host, "later", "execution-2")

    again = await host.apply(order)

    assert again.replayed
    assert again.applied == undone.applied
    assert (await host.look_up("rollback-1")).outcome.applied == undone.applied
    assert values(tmp_path) == {"a": "later"}
    assert effects(tmp_path)["rollback-1"] == 1


async def test_a_rollback_under_another_digest_or_a_lower_token_is_refused(
    host: Caller, tmp_path: Path
) -> None:
    first = await applied(host, "first", "execution-1")
    await host.apply(rollback_request(setting("first"), first, token=2))
    for order, reason in (
        (
            rollback_request(setting("first"), first, token=2, digest=OTHER_DIGEST),
            "EXECUTION_DIGEST_MISMATCH",
        ),
        (rollback_request(setting("first"), first, token=1), "FENCED"),
        # The id of the original, as if the rollback were the original again.
        (
            rollback_request(setting("first"), first, "execution-1"),
            "EXECUTION_DIGEST_MISMATCH",
        ),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await host.apply(order)
        assert told(caught.value).reason == reason
    assert effects(tmp_path) == {"execution-1": 1, "rollback-1": 1}


async def test_a_fenced_rollback_never_lands(host: Caller, tmp_path: Path) -> None:
    first = await applied(host, "first", "execution-1")
    assert (await host.look_up("rollback-1", token=2, fence=True)).not_seen.fenced
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await host.apply(rollback_request(setting("first"), first, token=3))
    assert told(caught.value).reason == "FENCED"
    assert values(tmp_path) == {"a": "first"}


async def test_what_undoing_takes_outlives_a_restart(tmp_path: Path) -> None:
    async with running(tmp_path, host=REGISTERS, schema=SCHEMA) as host:
        first = await applied(host, "first", "execution-1")
    async with running(tmp_path, host=REGISTERS, schema=SCHEMA) as host:
        order = rollback_request(setting("first"), first)
        assert (await host.apply(order)).HasField("applied")
    assert values(tmp_path) == {"a": None}


async def test_a_change_that_was_refused_leaves_nothing_to_take_back(
    host: Caller, tmp_path: Path
) -> None:
    await applied(host, FORBIDDEN, "execution-1")
    assert await refusal(host, setting("second", "execution-2")) == "FORBIDDEN"
    assert images(tmp_path) == {"execution-1"}


async def test_an_author_may_refuse_to_restore_and_then_nothing_is_restored(
    host: Caller, tmp_path: Path
) -> None:
    made = await applied(host, FORBIDDEN, "execution-1")
    order = rollback_request(setting(FORBIDDEN), made)
    assert await refusal(host, order) == "FORBIDDEN"
    assert values(tmp_path) == {"a": FORBIDDEN}
    assert images(tmp_path) == {"execution-1"}


# ---------------------------------------------------------------- what is refused


async def test_a_token_is_good_until_its_end_and_not_a_moment_longer(
    host: Caller, tmp_path: Path, time: Time
) -> None:
    first = await applied(host, "first", "execution-1")
    time.seconds += RETENTION_SECONDS - 0.001
    within = rollback_request(setting("first"), first, "within")
    assert (await host.apply(within)).HasField("applied")
    time.seconds += 0.001
    late = rollback_request(setting("first"), first, "late")
    assert await refusal(host, late) == "UNDO_EXPIRED"
    assert effects(tmp_path) == {"execution-1": 1, "within": 1}


async def test_a_change_whose_image_was_forgotten_says_the_same_as_one_that_has_expired(
    host: Caller, tmp_path: Path, time: Time
) -> None:
    first = await applied(host, "first", "execution-1")
    time.seconds += RETENTION_SECONDS
    await applied(host, "second", "execution-2")
    assert images(tmp_path) == {"execution-2"}
    assert await refusal(host, rollback_request(setting("first"), first)) == "UNDO_EXPIRED"


async def test_each_change_forgets_a_bounded_number_of_images(
    host: Caller, tmp_path: Path, time: Time
) -> None:
    for number in range(FORGOTTEN_PER_IMAGE_MAX + 3):
        await applied(host, str(number), f"old-{number}")
    time.seconds += RETENTION_SECONDS
    await applied(host, "new", "new-1")
    assert images(tmp_path) == {"new-1"} | {
        f"old-{FORGOTTEN_PER_IMAGE_MAX + number}" for number in range(3)
    }
    await applied(host, "newer", "new-2")
    assert images(tmp_path) == {"new-1", "new-2"}


async def test_without_a_retention_images_are_kept_for_ever(tmp_path: Path, time: Time) -> None:
    for_ever = replace(REGISTERS, undo_retention_seconds=None)
    async with running(tmp_path, host=for_ever, schema=SCHEMA, clock=time) as host:
        first = await applied(host, "first", "execution-1")
        assert not first.HasField("undo_expire_time")
        assert not (await host.capabilities()).HasField("undo_retention")
        time.seconds += 100 * 365 * 24 * 3600
        await applied(host, "second", "execution-2")
        order = rollback_request(setting("first"), first)
        assert (await host.apply(order)).HasField("applied")


@pytest.mark.parametrize(
    "mutation_type", ["register.set_for_good", "register.set_unseen", "register.set_hugely"]
)
async def test_what_cannot_be_taken_back_is_applied_without_a_token_and_refused_by_name(
    host: Caller, tmp_path: Path, mutation_type: str
) -> None:
    change = setting("first", mutation_type=mutation_type)
    made = (await host.apply(change)).applied
    assert made.resulting_version == "1"
    assert made.undo_token == b""
    assert not made.HasField("undo_expire_time")
    assert await refusal(host, rollback_request(change, made)) == "NOT_REVERSIBLE"
    assert images(tmp_path) == set()


async def test_only_what_was_applied_to_that_state_is_taken_back(
    host: Caller, tmp_path: Path
) -> None:
    original = setting("first")
    made = (await host.apply(original)).applied
    await host.apply(setting("other", "execution-2", state_id="b"))

    unheard_of = rollback_request(original, made, "rollback-1")
    unheard_of.compensation.execution_id = "never-ordered"
    wrong_token = rollback_request(original, made, "rollback-2")
    wrong_token.compensation.undo_token = b"guessed"
    no_token = rollback_request(original, made, "rollback-3")
    no_token.compensation.undo_token = b""
    another_state = rollback_request(original, made, "rollback-4")
    another_state.mutation.state.id = "b"
    another_tenant = rollback_request(original, made, "rollback-5")
    another_tenant.context.tenant = "globex"
    another_type = rollback_request(original, made, "rollback-6")
    another_type.mutation.type = "register.set_unseen"
    stale = setting("late", "execution-3", expected_version="0")
    assert (await host.apply(stale)).HasField("version_mismatch")
    never_applied = rollback_request(stale, made, "rollback-7")
    for order in (
        *(unheard_of, wrong_token, no_token, another_state, another_tenant, another_type),
        never_applied,
    ):
        assert await refusal(host, order) == "UNKNOWN_EXECUTION"
        assert (await host.apply(order)).replayed
    assert values(tmp_path) == {"a": "first", "b": "other"}


@pytest.mark.parametrize(
    ("spoil", "field"),
    [
        (
            lambda order: setattr(order.compensation, "kind", 0),
            "compensation.kind",
        ),
        (
            lambda order: setattr(order.compensation, "kind", 99),
            "compensation.kind",
        ),
        (
            lambda order: setattr(order.compensation, "execution_id", ""),
            "compensation.execution_id",
        ),
        (
            lambda order: setattr(order.mutation.payload, "data", b"something"),
            "mutation.payload.data",
        ),
    ],
)
async def test_a_malformed_compensation_is_refused_by_its_field(
    host: Caller, tmp_path: Path, spoil: object, field: str
) -> None:
    """A kind that this kit does not know may not be carried out as if it were the change."""
    order = rollback_request(setting("first"), await applied(host, "first", "execution-1"))
    spoil(order)  # type: ignore[operator]  # a function of the order
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await host.apply(order)
    assert told(caught.value).fields == (field,)
    assert effects(tmp_path) == {"execution-1": 1}


async def test_faults_of_the_author_are_refused_and_leave_nothing(
    host: Caller, tmp_path: Path
) -> None:
    unseen = setting("first", mutation_type="register.fail_to_capture")
    assert await refusal(host, unseen) == "HOST_FAULT"
    change = setting("first", "execution-2", mutation_type="register.fail_to_restore")
    made = (await host.apply(change)).applied
    assert await refusal(host, rollback_request(change, made)) == "HOST_FAULT"
    assert effects(tmp_path) == {"execution-2": 1}
    assert images(tmp_path) == {"execution-2"}


# ---------------------------------------------------------------- what is announced


async def test_the_capabilities_say_what_can_be_taken_back_and_for_how_long(host: Caller) -> None:
    said = await host.capabilities()
    assert said.rollback
    assert said.undo_retention.seconds == RETENTION_SECONDS
    kinds = {kind.name: kind.reversibility for kind in said.mutation_types}
    assert kinds["register.set"] == mutation_pb2.REVERSIBILITY_REVERSIBLE
    assert kinds["register.set_for_good"] == mutation_pb2.REVERSIBILITY_UNSPECIFIED


async def test_a_host_without_any_undo_announces_none(tmp_path: Path) -> None:
    async with running(tmp_path) as host:
        said = await host.capabilities()
    assert not said.rollback
    assert not said.HasField("undo_retention")


@pytest.mark.parametrize(
    ("undo", "reversibility"),
    [
        (None, Reversibility.REVERSIBLE),
        (Undo(capture=capture, restore=restore), Reversibility.COMPENSABLE),
        (Undo(capture=capture, restore=restore), Reversibility.IRREVERSIBLE),
    ],
)
def test_a_type_says_of_itself_only_what_it_keeps(
    undo: Undo[Transaction] | None, reversibility: Reversibility
) -> None:
    with pytest.raises(ValueError, match="mutation type"):
        MutationType(apply=set_value, undo=undo, reversibility=reversibility)


async def test_a_correction_is_an_ordinary_change_that_knows_what_it_corrects(
    tmp_path: Path,
) -> None:
    seen: list[Order] = []

    def note(transaction: Transaction, order: Order) -> Applied:
        seen.append(order)
        return Applied()

    noting = Host(name="notes", version=version, mutations={"note": MutationType(apply=note)})
    async with running(tmp_path, host=noting, schema=SCHEMA) as host:
        order = setting("put right", mutation_type="note")
        order.compensation.kind = mutation_pb2.COMPENSATION_KIND_FORWARD
        order.compensation.execution_id = "execution-0"
        order.compensation.trigger = 99  # type: ignore[assignment]  # a value of tomorrow
        assert (await host.apply(order)).HasField("applied")
        await host.apply(setting("plain", "execution-2", mutation_type="note"))
    forward, plain = seen
    assert forward.payload == b"put right"
    assert forward.compensation is not None
    assert forward.compensation.kind is CompensationKind.FORWARD
    assert forward.compensation.execution_id == "execution-0"
    assert plain.compensation is None
