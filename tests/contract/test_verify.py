"""Verification finds what was tampered with, names it, and goes on to the end."""

from collections.abc import Sequence
from typing import Any

import pytest

from governor.domain.auditing import audited
from governor.domain.decision import Code, decide
from governor.domain.executing import claimed, in_doubt, not_applied, settled
from governor.domain.execution import (
    Applied,
    Outcome,
    Refused,
    Severity,
    SideEffect,
    VersionMismatch,
)
from governor.domain.ledger import Checkpoint, Frontier, leaf_hash
from governor.domain.policy import Effect, Verdict
from governor.domain.request import MutationRequest, PendingReason, StaleStrategy, Status
from governor.domain.values import (
    GOVERNOR,
    AuditId,
    ExecutionId,
    Reason,
    Revision,
)
from governor.domain.workflow import submitted
from governor.storage.errors import StoreRefused
from governor.storage.findings import Fault, Finding
from governor.storage.store import SqlStore
from governor.storage.verify import Verified, verify
from governor.usecases.commits import Commit
from tests.support.backends import Backend
from tests.support.builders import (
    ALICE,
    LEASE_US,
    START,
    decode_entry,
    encode_entry,
    make_request,
    moved,
    submission,
)

ALLOWED = Verdict(effect=Effect.ALLOW, rules=("all",))


async def examine(
    backend: Backend, checkpoint: Checkpoint | None = None
) -> tuple[list[Finding], Verified]:
    """Everything that verification says."""
    *findings, last = [
        said async for said in verify(backend.url, decode=decode_entry, checkpoint=checkpoint)
    ]
    assert isinstance(last, Verified)
    assert all(isinstance(finding, Finding) for finding in findings)
    assert last.findings == len(findings)
    return [finding for finding in findings if isinstance(finding, Finding)], last


def faults(findings: Sequence[Finding]) -> set[Fault]:
    return {finding.fault for finding in findings}


async def submit(store: SqlStore, request: MutationRequest) -> MutationRequest:
    created = moved(request, Status.CREATED)
    step = submitted(created, verdict=ALLOWED, waits=(), actor=ALICE, now=START)
    committed = await store.commit(Commit(requests=(step.request,), decisions=step.decisions))
    return committed.requests[0]


async def live(store: SqlStore) -> Checkpoint:
    """A store in which everything that can become of an execution has; its checkpoint."""
    outcomes: dict[str, Outcome] = {
        "applied": Applied(
            resulting_version="8", side_effects=(SideEffect(type="mail", severity=Severity.INFO),)
        ),
        "refused": Refused(reason=Reason(code="NO")),
        "stale": VersionMismatch(current_version="9"),
    }
    for name in (*outcomes, "fenced", "doubted", "audited", "audited-not", "running"):
        said: dict[str, Any] = {"tags": ("blue",), "metadata": {"ticket": "1"}}
        if name != "applied":
            said = {}
        request = await submit(store, make_request(name, expected_version="7", **said))
        claim = claimed(
            request,
            execution_id=ExecutionId(f"of-{name}"),
            audit_id=AuditId(f"audit-of-{name}"),
            starter=GOVERNOR,
            now=START,
            lease_us=LEASE_US,
        )
        committed = await store.commit(
            Commit(
                requests=(claim.request,), executions=(claim.execution,), decisions=claim.decisions
            )
        )
        now, execution = committed.requests[0], committed.executions[0]
        reason = Reason(code="UNKNOWN")
        if name in outcomes:
            step = settled(now, execution, outcomes[name], attempts=1, now=START)
        elif name == "fenced":
            step = not_applied(now, execution, attempts=1, now=START, reason=reason)
        elif name == "running":
            continue
        else:
            step = in_doubt(now, execution, attempts=1, now=START, reason=reason)
        committed = await store.commit(
            Commit(requests=(step.request,), executions=(step.execution,), decisions=step.decisions)
        )
        if name.startswith("audited"):
            found = Applied(resulting_version="8") if name == "audited" else None
            step = audited(
                committed.requests[0],
                committed.executions[0],
                found=found,
                actor=ALICE,
                now=START,
                reason=reason,
            )
            await store.commit(
                Commit(
                    requests=(step.request,), executions=(step.execution,), decisions=step.decisions
                )
            )
    return checkpoint_of(store)


def checkpoint_of(store: SqlStore) -> Checkpoint:
    head = store.head
    return Checkpoint(origin=head.store_id, size=head.revision, root=head.root)


async def test_a_store_that_nobody_touched_has_no_findings(
    store: SqlStore, backend: Backend
) -> None:
    """While it is open and being written, with a checkpoint of now, of earlier, and without."""
    empty = checkpoint_of(store)
    middle = await live(store)
    await submit(store, make_request("later"))
    for checkpoint in (empty, middle, checkpoint_of(store)):
        assert (await examine(backend, checkpoint))[0] == []
    findings, verified = await examine(backend)
    assert findings == []
    assert verified.size == store.head.revision
    assert verified.root == store.head.root
    assert verified.store_id == store.head.store_id
    assert (verified.requests, verified.executions) == (9, 8)


async def test_a_closed_store_is_verified_as_well(store: SqlStore, backend: Backend) -> None:
    """The auditor has a copy of the file, and no process that holds it."""
    checkpoint = await live(store)
    await store.close()
    findings, verified = await examine(backend, checkpoint)
    assert findings == []
    assert verified.size == checkpoint.size


async def test_an_empty_store_has_no_findings(store: SqlStore, backend: Backend) -> None:
    """The root over nothing is known too."""
    findings, verified = await examine(backend, checkpoint_of(store))
    assert findings == []
    assert verified.size == 0


# ---------------------------------------------------------------- the ledger


async def test_a_flipped_byte_is_found(store: SqlStore, backend: Backend) -> None:
    """One bit of one entry, as a failing disk would."""
    await live(store)
    await backend.unguard_the_ledger()
    (row,) = await backend.run("SELECT entry FROM ledger WHERE revision = 5")
    flipped = bytearray(row["entry"])
    flipped[len(flipped) // 2] ^= 1
    await backend.run("UPDATE ledger SET entry = :entry WHERE revision = 5", entry=bytes(flipped))
    findings, _ = await examine(backend)
    assert Fault.ENTRY_CHANGED in faults(findings)
    assert Fault.HEAD_ROOT in faults(findings)
    assert next(f for f in findings if f.fault is Fault.ENTRY_CHANGED).revision == 5


async def test_an_entry_missing_in_the_middle_is_found(store: SqlStore, backend: Backend) -> None:
    """The gap is named, and so is what it does to the head."""
    await live(store)
    await backend.unguard_the_ledger()
    await backend.run("DELETE FROM ledger WHERE revision IN (4, 5)")
    findings, _ = await examine(backend)
    gap = next(finding for finding in findings if finding.fault is Fault.ENTRY_MISSING)
    assert gap.revision == 4
    assert gap.detail == "2 entries"
    assert {Fault.HEAD_SIZE, Fault.HEAD_ROOT, Fault.HEAD_FRONTIER} <= faults(findings)


async def remake_the_head(backend: Backend) -> None:
    """Makes the head fit the entries, as a thorough intruder would."""
    entries = await backend.run("SELECT entry FROM ledger ORDER BY revision")
    tree = Frontier().extend([leaf_hash(row["entry"]) for row in entries])
    await backend.run(
        "UPDATE head SET size = :size, root = :root, frontier = :frontier",
        size=tree.size,
        root=tree.root(),
        frontier=tree.to_bytes(),
    )


async def test_a_removed_tail_is_found_against_an_outside_checkpoint(
    store: SqlStore, backend: Backend
) -> None:
    """The last request, with its entries, is taken out as if it had never been, and the head is
    made to fit. Inside the store everything agrees; the checkpoint remembers.
    """
    await live(store)
    earlier = checkpoint_of(store)
    await submit(store, make_request("embarrassing"))
    later = checkpoint_of(store)
    await backend.unguard_the_ledger()
    await backend.run(f"DELETE FROM ledger WHERE revision > {earlier.size}")
    await backend.run("DELETE FROM requests WHERE id = 'embarrassing'")
    await remake_the_head(backend)
    assert (await examine(backend))[0] == []
    assert (await examine(backend, earlier))[0] == []
    findings, _ = await examine(backend, later)
    assert faults(findings) == {Fault.TAIL_REMOVED}


async def test_a_rewritten_entry_is_found_against_an_outside_checkpoint(
    store: SqlStore, backend: Backend
) -> None:
    """Somebody else is made to have submitted: bytes, columns, hashes and head all fit."""
    await live(store)
    checkpoint = checkpoint_of(store)
    await backend.unguard_the_ledger()
    (row,) = await backend.run("SELECT entry FROM ledger WHERE revision = 1")
    entry = decode_entry(row["entry"])
    other = entry.decision.but(actor=entry.decision.actor.but(id="mallory"))
    data = encode_entry(other, Revision(1))
    await backend.run(
        "UPDATE ledger SET entry = :entry, leaf_hash = :leaf, actor = 'mallory' WHERE revision = 1",
        entry=data,
        leaf=leaf_hash(data),
    )
    await remake_the_head(backend)
    assert (await examine(backend))[0] == []
    findings, _ = await examine(backend, checkpoint)
    assert faults(findings) == {Fault.HISTORY_REWRITTEN}


async def test_a_checkpoint_of_another_store_is_told_apart(
    store: SqlStore, backend: Backend
) -> None:
    """It would be missing its tail, or be rewritten, and neither is what happened."""
    await live(store)
    foreign = Checkpoint(origin="another", size=1, root=bytes(32))
    findings, _ = await examine(backend, foreign)
    assert faults(findings) == {Fault.CHECKPOINT_OF_ANOTHER_STORE}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("tenant", "'bolt'"),
        ("request_id", "'other'"),
        ("execution_id", "'other'"),
        ("category", "'CHECK'"),
        ("code", "'other'"),
        ("actor", "'other'"),
        ("at", "1"),
    ],
)
async def test_an_entry_filed_under_something_else_is_found(
    store: SqlStore, backend: Backend, column: str, value: str
) -> None:
    """Its bytes are whole, but no query for the right thing would find it."""
    await live(store)
    await backend.unguard_the_ledger()
    await backend.run(f"UPDATE ledger SET {column} = {value} WHERE revision = 2")
    findings, _ = await examine(backend)
    misfiled = next(finding for finding in findings if finding.fault is Fault.ENTRY_MISFILED)
    assert (misfiled.revision, misfiled.detail) == (2, column)


async def test_bytes_that_are_no_entry_are_found(store: SqlStore, backend: Backend) -> None:
    """Also where their hash was made to fit."""
    await live(store)
    await backend.unguard_the_ledger()
    await backend.run(
        "UPDATE ledger SET entry = :entry, leaf_hash = :leaf WHERE revision = 3",
        entry=b"nonsense",
        leaf=leaf_hash(b"nonsense"),
    )
    findings, _ = await examine(backend)
    assert Fault.ENTRY_UNREADABLE in faults(findings)
    assert Fault.ENTRY_CHANGED not in faults(findings)


# ---------------------------------------------------------------- the rows

PROGRESS_OF_ANOTHER = """
    UPDATE requests SET progress = (SELECT progress FROM requests WHERE id = 'running')
    WHERE id = 'applied'
"""


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE requests SET payload = :bytes WHERE id = 'applied'", Fault.REQUEST_CONTENT),
        ("UPDATE requests SET content = :bytes WHERE id = 'applied'", Fault.REQUEST_UNREADABLE),
        ("UPDATE requests SET status = 'REJECTED' WHERE id = 'applied'", Fault.REQUEST_MISFILED),
        ("UPDATE requests SET due_at = 1 WHERE id = 'applied'", Fault.REQUEST_MISFILED),
        ("UPDATE requests SET tenant = 'bolt' WHERE id = 'applied'", Fault.REQUEST_MISFILED),
        ("UPDATE requests SET revision = 1 WHERE id = 'applied'", Fault.REQUEST_REVISION),
        (PROGRESS_OF_ANOTHER, Fault.REQUEST_STATUS),
        (PROGRESS_OF_ANOTHER, Fault.REQUEST_DIGEST),
        ("UPDATE executions SET body = :bytes WHERE id = 'of-applied'", Fault.EXECUTION_UNREADABLE),
        (
            "UPDATE executions SET status = 'REFUSED' WHERE id = 'of-applied'",
            Fault.EXECUTION_MISFILED,
        ),
        ("DELETE FROM executions WHERE id = 'of-applied'", Fault.EXECUTION_MISSING),
        ("UPDATE requests SET requester = 'bob' WHERE id = 'applied'", Fault.REQUEST_MISFILED),
        ("UPDATE requests SET waits = TRUE WHERE id = 'applied'", Fault.REQUEST_MISFILED),
        ("DELETE FROM request_tags WHERE request_id = 'applied'", Fault.REQUEST_UNLISTED),
        (
            "DELETE FROM request_labels WHERE request_id = 'applied' AND kind = 'SIDE_EFFECT'",
            Fault.REQUEST_UNLISTED,
        ),
        (
            "UPDATE request_labels SET label = 'ticket=2' WHERE kind = 'METADATA'",
            Fault.REQUEST_UNLISTED,
        ),
        (
            "INSERT INTO request_waits VALUES ('acme', 'ROLE:approver', 1, 'applied')",
            Fault.REQUEST_LISTED,
        ),
    ],
)
async def test_a_doctored_row_is_found(
    store: SqlStore, backend: Backend, statement: str, fault: Fault
) -> None:
    """The ledger is whole; the row beside it is not what the ledger tells."""
    await live(store)
    values = {"bytes": b"something else"} if ":bytes" in statement else {}
    await backend.run(statement, **values)
    findings, _ = await examine(backend)
    assert fault in faults(findings)
    found = next(finding for finding in findings if finding.fault is fault)
    assert (found.request_id or found.execution_id or "").endswith("applied")


async def test_a_list_that_holds_what_no_request_says_is_found(
    store: SqlStore, backend: Backend
) -> None:
    await live(store)
    await backend.run("INSERT INTO request_labels VALUES ('acme', 'METADATA', 'a=b', 1, 'applied')")
    await backend.run("INSERT INTO request_tags VALUES ('acme', 'red', 1, 'applied')")
    findings, _ = await examine(backend)
    assert [(finding.fault, finding.detail) for finding in findings] == [
        (Fault.REQUEST_LISTED, "1 of request_tags"),
        (Fault.REQUEST_LISTED, "1 of request_labels"),
    ]


async def test_nobody_is_asked_for_in_vain_who_is_waited_for(
    store: SqlStore, backend: Backend
) -> None:
    """Whom a request waits for can be gone from the lists that they look at."""
    request = make_request("doubt", status=Status.PENDING, waits_for=(PendingReason.AUDIT,))
    await store.commit(submission(request))
    assert faults((await examine(backend))[0]) == set()
    await backend.run("DELETE FROM request_waits WHERE target = 'ROLE:admin'")
    findings, _ = await examine(backend)
    assert [(finding.fault, finding.detail) for finding in findings] == [
        (Fault.REQUEST_UNLISTED, "request_waits")
    ]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (b'"resulting_version":"8"', b'"resulting_version":"6"', Fault.EXECUTION_OUTCOME),
        (b'"status":"APPLIED"', b'"status":"REFUSED"', Fault.EXECUTION_STATUS),
    ],
)
async def test_a_doctored_outcome_is_found(
    store: SqlStore, backend: Backend, old: bytes, new: bytes, fault: Fault
) -> None:
    """What the host is said to have done is bound to the ledger by its hash."""
    await live(store)
    (row,) = await backend.run("SELECT body FROM executions WHERE id = 'of-applied'")
    assert old in row["body"]
    await backend.run(
        "UPDATE executions SET body = :body WHERE id = 'of-applied'",
        body=row["body"].replace(old, new),
    )
    findings, _ = await examine(backend)
    assert fault in faults(findings)


async def test_a_request_that_the_ledger_does_not_know_is_found(
    store: SqlStore, backend: Backend
) -> None:
    """Slipped in beside the sidecar, it would be carried out at the next start."""
    await live(store)
    columns = ", ".join(
        row["name"]
        for row in await backend.run(
            "SELECT name FROM pragma_table_info('requests')"
            if backend.is_sqlite
            else "SELECT column_name AS name FROM information_schema.columns"
            " WHERE table_name = 'requests' ORDER BY ordinal_position"
        )
    )
    await backend.run(
        f"INSERT INTO requests SELECT {columns.replace('id,', ':id,', 1)} FROM requests"
        " WHERE id = 'running'",
        id="smuggled",
    )
    findings, _ = await examine(backend)
    assert [(finding.fault, finding.request_id) for finding in findings] == [
        (Fault.REQUEST_UNRECORDED, "smuggled")
    ]


async def test_a_history_that_does_not_begin_with_the_submission_is_found(
    store: SqlStore, backend: Backend
) -> None:
    """The row is there and its last decision fits; how it came to be, nobody can tell."""
    created = moved(make_request(), Status.CREATED)
    step = submitted(created, verdict=ALLOWED, waits=(), actor=ALICE, now=START)
    await store.commit(Commit(requests=(step.request,), decisions=step.decisions[1:]))
    findings, _ = await examine(backend)
    assert [(one.fault, one.revision, one.detail) for one in findings] == [
        (Fault.REQUEST_BEGINNING, 1, "allowed")
    ]


async def test_a_request_that_only_the_ledger_knows_is_found(
    store: SqlStore, backend: Backend
) -> None:
    """Its row was deleted; the ledger still says when it was submitted."""
    request = await submit(store, make_request())
    await backend.run("DELETE FROM requests")
    findings, _ = await examine(backend)
    assert findings == [
        Finding(fault=Fault.REQUEST_MISSING, request_id=request.id, revision=Revision(1))
    ]


async def test_a_renewed_request_is_held_to_its_new_digest(
    store: SqlStore, backend: Backend
) -> None:
    """Its expected version has moved; its content is still what was submitted."""
    request = await submit(
        store,
        make_request(expected_version="7", stale_strategy=StaleStrategy.REVALIDATE_ON_LATEST),
    )
    moved_on = request.but(progress=request.progress.but(expected_version="9", digest=b"\x02" * 32))
    said = decide(Code.CHECK_PASSED, moved_on, actor=GOVERNOR, at=START)
    await store.commit(Commit(requests=(moved_on,), decisions=(said,)))
    assert (await examine(backend))[0] == []


async def test_every_fault_is_found_in_one_run(store: SqlStore, backend: Backend) -> None:
    """It never stops at the first."""
    checkpoint = await live(store)
    await backend.unguard_the_ledger()
    await backend.run("UPDATE ledger SET actor = 'other' WHERE revision = 1")
    await backend.run("UPDATE ledger SET leaf_hash = :leaf WHERE revision = 2", leaf=bytes(32))
    await backend.run("DELETE FROM ledger WHERE revision = 3")
    await backend.run("UPDATE requests SET payload = :bytes WHERE id = 'refused'", bytes=b"x")
    await backend.run("DELETE FROM executions WHERE id = 'of-stale'")
    findings, verified = await examine(backend, checkpoint)
    assert faults(findings) >= {
        Fault.ENTRY_MISFILED,
        Fault.ENTRY_CHANGED,
        Fault.ENTRY_MISSING,
        Fault.HEAD_ROOT,
        Fault.TAIL_REMOVED,
        Fault.REQUEST_CONTENT,
        Fault.EXECUTION_MISSING,
    }
    assert verified.requests == 8


async def test_a_table_that_cannot_be_read_is_a_finding(store: SqlStore, backend: Backend) -> None:
    """And the ledger is verified all the same."""
    await live(store)
    await backend.run("ALTER TABLE executions RENAME COLUMN body TO corpse")
    findings, verified = await examine(backend)
    assert Fault.STORE_UNREADABLE in faults(findings)
    assert verified.root == store.head.root


async def test_a_store_that_is_not_there_is_refused(backend: Backend) -> None:
    """Nothing was verified, and nothing must look as if it had been."""
    with pytest.raises(StoreRefused):
        async for _ in verify("mysql://nowhere/x", decode=decode_entry):
            pass
