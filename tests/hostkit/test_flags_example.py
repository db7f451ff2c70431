"""The flags example does what its README says."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from examples.hosts.flags.server import FLAGS, SCHEMA
from governance.v1 import execution_pb2, mutation_pb2
from tests.hostkit.flags_process import flags_host, flags_order, run_script
from tests.hostkit.support import (
    Caller,
    database,
    effects,
    read_rows,
    rollback_request,
    running,
)

ON = {"enabled": True, "rollout_percent": 25}
OFF = {"enabled": False, "rollout_percent": 0}


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Caller]:
    async with running(tmp_path, host=FLAGS, schema=SCHEMA) as caller:
        yield caller


def changes(applied: execution_pb2.Applied) -> list[tuple[str, str | None, str | None]]:
    return [
        (
            change.path,
            change.before if change.HasField("before") else None,
            change.after if change.HasField("after") else None,
        )
        for change in applied.changes
    ]


async def test_setting_a_flag_reports_each_field_that_changed(host: Caller) -> None:
    made = (await host.apply(flags_order("1", payload=ON))).applied
    assert changes(made) == [
        ("flag/checkout.dark-mode/enabled", None, "true"),
        ("flag/checkout.dark-mode/rollout_percent", None, "25"),
    ]
    changed = (
        await host.apply(flags_order("2", payload={"rollout_percent": 50, "enabled": True}))
    ).applied
    assert changes(changed) == [("flag/checkout.dark-mode/rollout_percent", "25", "50")]
    assert (changed.previous_version, changed.resulting_version) == ("1", "2")
    (side_effect,) = changed.side_effects
    assert side_effect.type == "cache.invalidated"
    assert side_effect.severity == execution_pb2.SEVERITY_INFO


async def test_a_deleted_flag_has_no_version_and_never_gets_an_old_one_again(host: Caller) -> None:
    await host.apply(flags_order("1"))
    deleted = (await host.apply(flags_order("2", "flag.delete", payload={}))).applied
    assert deleted.resulting_version == ""
    assert [after for _, _, after in changes(deleted)] == [None, None]

    again = (await host.apply(flags_order("3", expected_version=""))).applied
    assert again.resulting_version == "3"

    gone = await host.apply(flags_order("4", "flag.delete", state="flag/never.was", payload={}))
    assert gone.refused.reason.code == "FLAG_NOT_FOUND"


async def test_a_flag_is_taken_back_to_what_it_was_made_gone_and_deleted_back(
    host: Caller,
) -> None:
    made_order, set_order = flags_order("1"), flags_order("2", payload=OFF)
    deleted_order = flags_order("3", "flag.delete", payload={})
    made, set_off, deleted = [
        (await host.apply(order)).applied for order in (made_order, set_order, deleted_order)
    ]

    back = await host.apply(rollback_request(deleted_order, deleted, "4", expected_version=""))
    assert changes(back.applied) == [
        ("flag/checkout.dark-mode/enabled", None, "false"),
        ("flag/checkout.dark-mode/rollout_percent", None, "0"),
    ]
    on = await host.apply(rollback_request(set_order, set_off, "5", expected_version="4"))
    assert changes(on.applied) == [
        ("flag/checkout.dark-mode/enabled", "false", "true"),
        ("flag/checkout.dark-mode/rollout_percent", "0", "25"),
    ]
    gone = await host.apply(rollback_request(made_order, made, "6", expected_version="5"))
    assert gone.applied.resulting_version == ""
    assert [after for _, _, after in changes(gone.applied)] == [None, None]
    assert [effect.type for effect in gone.applied.side_effects] == ["cache.invalidated"]
    assert (
        await host.apply(flags_order("7", expected_version=""))
    ).applied.resulting_version == "7"


async def test_a_locked_flag_is_not_taken_back_either(host: Caller, tmp_path: Path) -> None:
    order = flags_order("1")
    made = (await host.apply(order)).applied
    touch = ("touch.py", "--database", str(database(tmp_path)))
    await run_script(*touch, "--lock", "flag", "checkout.dark-mode")
    refused = await host.apply(rollback_request(order, made, "2"))
    assert refused.refused.reason.code == "FLAG_LOCKED"
    moved = await host.apply(rollback_request(order, made, "3", expected_version="1"))
    assert moved.version_mismatch.current_version == "2"


async def test_a_notice_is_put_right_by_a_further_one_and_never_taken_back(
    host: Caller, tmp_path: Path
) -> None:
    wrong = {"recipient": "all", "text": "We are down until noon."}
    order = flags_order("1", "notice.send", "notice/outage-7", wrong)
    sent = (await host.apply(order)).applied
    assert changes(sent) == [("notice/outage-7/1", None, "We are down until noon.")]
    assert sent.undo_token == b""

    back = await host.apply(rollback_request(order, sent, "2"))
    assert back.refused.reason.code == "NOT_REVERSIBLE"

    right = {"recipient": "all", "text": "We are back already."}
    correction = flags_order("3", "notice.send", "notice/outage-7", right, expected_version="1")
    correction.compensation.kind = mutation_pb2.COMPENSATION_KIND_FORWARD
    correction.compensation.execution_id = "1"
    corrected = (await host.apply(correction)).applied
    assert corrected.resulting_version == "2"
    (side_effect,) = corrected.side_effects
    assert side_effect.type == "notice.corrected"
    assert side_effect.data == {"recipient": "all", "corrects": "1"}
    assert read_rows(database(tmp_path), "SELECT number, text, corrects FROM notice") == [
        (1, "We are down until noon.", None),
        (2, "We are back already.", "1"),
    ]
    assert effects(tmp_path) == {"1": 1, "3": 1}


@pytest.mark.parametrize("text", ["", "x" * 2001, "a\nb", 7])
async def test_an_unfit_notice_is_refused(host: Caller, text: object) -> None:
    order = flags_order("1", "notice.send", "notice/n", {"recipient": "all", "text": text})
    assert (await host.apply(order)).refused.reason.code == "INVALID_PAYLOAD"


async def test_roles_gain_and_lose_members(host: Caller) -> None:
    grant = flags_order("1", "role.grant", "role/admin", {"member": "grace"})
    granted = (await host.apply(grant)).applied
    assert changes(granted) == [("role/admin/members/grace", None, "member")]
    assert [effect.severity for effect in granted.side_effects] == [execution_pb2.SEVERITY_WARNING]

    twice = await host.apply(flags_order("2", "role.grant", "role/admin", {"member": "grace"}))
    assert twice.refused.reason.code == "MEMBER_ALREADY_HAS_ROLE"

    revoked = await host.apply(flags_order("3", "role.revoke", "role/admin", {"member": "grace"}))
    assert changes(revoked.applied) == [("role/admin/members/grace", "member", None)]

    missing = await host.apply(flags_order("4", "role.revoke", "role/admin", {"member": "grace"}))
    assert missing.refused.reason.code == "MEMBER_LACKS_ROLE"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 60_000,
        b'{"enabled": true}',
        b'{"enabled": 1, "rollout_percent": 1}',
        b'{"enabled": true, "rollout_percent": true}',
        b'{"enabled": true, "rollout_percent": 101}',
        b'{"enabled": true, "rollout_percent": -1}',
        b'{"enabled": true, "rollout_percent": 1.0}',
        b'{"enabled": true, "rollout_percent": NaN}',
        b'{"enabled": true, "rollout_percent": 1, "extra": 1}',
        b'{"enabled": true, "enabled": false, "rollout_percent": 1}',
        b'{"enabled": true, "rollout_percent": ' + b"9" * 5000 + b"}",
    ],
)
async def test_an_unfit_payload_is_refused_without_effect(
    host: Caller, tmp_path: Path, payload: bytes
) -> None:
    response = await host.apply(flags_order("1", raw_payload=payload))
    assert response.refused.reason.code == "INVALID_PAYLOAD"
    assert effects(tmp_path) == {}


@pytest.mark.parametrize("member", ["", "x" * 201, "a\nb", "\ud800", 7, None])
async def test_an_unfit_member_is_refused(host: Caller, member: object) -> None:
    order = flags_order("1", "role.grant", "role/admin", {"member": member})
    assert (await host.apply(order)).refused.reason.code == "INVALID_PAYLOAD"


async def test_another_content_type_is_refused(host: Caller) -> None:
    response = await host.apply(flags_order("1", content_type="text/plain"))
    assert response.refused.reason.code == "INVALID_PAYLOAD"


async def test_the_capabilities_tell_what_can_be_taken_back(host: Caller) -> None:
    kinds = {kind.name: kind for kind in (await host.capabilities()).mutation_types}
    assert {name: kind.reversibility for name, kind in kinds.items()} == {
        "flag.set": mutation_pb2.REVERSIBILITY_REVERSIBLE,
        "flag.delete": mutation_pb2.REVERSIBILITY_REVERSIBLE,
        "role.grant": mutation_pb2.REVERSIBILITY_COMPENSABLE,
        "role.revoke": mutation_pb2.REVERSIBILITY_COMPENSABLE,
        "notice.send": mutation_pb2.REVERSIBILITY_COMPENSABLE,
    }
    assert all(kind.description for kind in kinds.values())


async def test_a_touch_makes_what_was_expected_stale(host: Caller, tmp_path: Path) -> None:
    await host.apply(flags_order("1"))

    touch = ("touch.py", "--database", str(database(tmp_path)))
    code, output, _ = await run_script(*touch, "flag", "checkout.dark-mode")
    assert (code, output) == (0, "flag/checkout.dark-mode is at version 2\n")

    stale = await host.apply(flags_order("2", expected_version="1"))
    assert stale.version_mismatch.current_version == "2"


async def test_a_locked_flag_refuses_changes_until_it_is_unlocked(
    host: Caller, tmp_path: Path
) -> None:
    await host.apply(flags_order("1"))
    touch = ("touch.py", "--database", str(database(tmp_path)))
    await run_script(*touch, "--lock", "flag", "checkout.dark-mode")
    for number, mutation_type in enumerate(("flag.set", "flag.delete")):
        order = flags_order(
            f"locked-{number}", mutation_type, payload=ON if mutation_type == "flag.set" else {}
        )
        assert (await host.apply(order)).refused.reason.code == "FLAG_LOCKED"

    await run_script(*touch, "--no-lock", "flag", "checkout.dark-mode")
    assert (await host.apply(flags_order("2"))).applied.resulting_version == "4"


async def test_a_touch_of_nothing_fails_and_makes_nothing(tmp_path: Path) -> None:
    missing = tmp_path / "missing.sqlite"
    code, _, errors = await run_script("touch.py", "--database", str(missing), "flag", "x")
    assert code == 1
    assert errors.startswith("touch: ")
    assert not missing.exists()


async def test_the_process_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    async with flags_host(tmp_path) as host:
        assert (await host.caller.apply(flags_order("1"))).HasField("applied")
        host.process.send_signal(signal.SIGTERM)
        assert await host.exited() == 0
    async with flags_host(tmp_path) as host:
        assert (await host.caller.apply(flags_order("1"))).replayed


async def test_a_second_process_on_the_same_files_is_refused(tmp_path: Path) -> None:
    async with flags_host(tmp_path):
        code, _, errors = await run_script(
            *("server.py", "--listen", "127.0.0.1:0"),
            *("--database", str(tmp_path / "flags.sqlite")),
        )
        assert code == 1
        assert "in use by another process" in errors


async def test_an_unknown_failpoint_is_refused(tmp_path: Path) -> None:
    code, _, errors = await run_script(
        *("server.py", "--listen", "127.0.0.1:0", "--database", str(tmp_path / "x.sqlite")),
        *("--failpoint", "somewhere=kill"),
    )
    assert code == 1
    assert "somewhere" in errors
