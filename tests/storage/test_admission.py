"""How a batch is cut out of the queue changes nobody's answer."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from governor.domain.errors import Conflict, RequestIdReused, StateBusy
from governor.domain.execution import Execution, ExecutionStatus
from governor.domain.request import MutationRequest, Slot
from governor.domain.values import ExecutionId, RequestId, Revision
from governor.storage.admission import Accepted, Admission, Facts, Lost, Replayed, admit
from governor.storage.rows import KeyDigest, key_digest
from governor.usecases.commits import Commit
from tests.support.builders import make_execution, make_key, make_request, submission

STATES = ("one", "two")


def executions() -> st.SearchStrategy[Execution]:
    """New ones, stored ones, and ones that were read too long ago."""
    return st.builds(
        lambda number, state, status, revision: make_execution(
            make_request(f"request-{number}", state=state), f"execution-{number}", status=status
        ).but(revision=Revision(revision)),
        st.integers(0, 3),
        st.sampled_from(STATES),
        st.sampled_from((ExecutionStatus.RUNNING, ExecutionStatus.APPLIED)),
        st.integers(0, 2),
    )


def requests() -> st.SearchStrategy[MutationRequest]:
    return st.builds(
        lambda number, revision: make_request(f"request-{number}").but(revision=Revision(revision)),
        st.integers(0, 3),
        st.integers(0, 2),
    )


def commits() -> st.SearchStrategy[Commit]:
    keys = st.none() | st.builds(
        lambda number, content: make_key(f"call-{number}", content=content),
        st.integers(0, 2),
        st.sampled_from("ab"),
    )
    return st.builds(
        lambda requests, executions, guards, key: submission().but(
            requests=tuple(requests),
            executions=tuple(executions),
            guards=tuple(guards),
            key=key,
        ),
        st.lists(requests(), max_size=2, unique_by=lambda request: request.id),
        st.lists(executions(), max_size=2, unique_by=lambda execution: execution.id),
        st.lists(
            st.tuples(
                st.integers(0, 3).map(lambda number: RequestId(f"request-{number}")),
                st.integers(0, 2).map(Revision),
            ),
            max_size=1,
        ),
        keys,
    )


def stored() -> st.SearchStrategy[Facts]:
    """What a store may hold before the batch."""
    ids = st.integers(0, 3)
    revisions = st.integers(1, 2).map(Revision)
    slots = st.sampled_from([("acme", "flag", state) for state in STATES])
    return st.builds(
        lambda requests, executions, busy: Facts(
            requests=requests, executions=executions, busy=busy
        ),
        st.dictionaries(ids.map(lambda n: RequestId(f"request-{n}")), revisions),
        st.dictionaries(ids.map(lambda n: ExecutionId(f"execution-{n}")), revisions),
        st.dictionaries(slots, ids.map(lambda n: ExecutionId(f"execution-{n}"))),
    )


def after(facts: Facts, commits: Sequence[Commit], admissions: Sequence[Admission]) -> Facts:
    """What the store holds once the accepted ones are durable, at revisions nobody has read."""
    known: dict[RequestId, Revision] = dict(facts.requests)
    running: dict[ExecutionId, Revision] = dict(facts.executions)
    busy: dict[Slot, ExecutionId] = dict(facts.busy)
    fingerprints: dict[KeyDigest, bytes] = dict(facts.fingerprints)
    for commit, admission in zip(commits, admissions, strict=True):
        if not isinstance(admission, Accepted):
            continue
        known |= {request.id: Revision(1_000) for request in commit.requests}
        running |= {execution.id: Revision(1_000) for execution in commit.executions}
        for execution in commit.executions:
            if not execution.is_active and busy.get(execution.slot) == execution.id:
                del busy[execution.slot]
        busy |= {e.slot: e.id for e in commit.executions if e.is_active}
        if commit.key is not None:
            fingerprints[key_digest(commit.key)] = commit.key.fingerprint
    return Facts(requests=known, executions=running, busy=busy, fingerprints=fingerprints)


def kind(admission: Admission) -> object:
    """The answer as its caller sees it."""
    return type(admission.error) if isinstance(admission, Lost) else type(admission)


@given(facts=stored(), batch=st.lists(commits(), max_size=8), cut=st.integers(0, 8))
def test_two_batches_answer_what_one_batch_answers(
    facts: Facts, batch: list[Commit], cut: int
) -> None:
    """Wherever the queue is cut, each commit sees the same past."""
    together = admit(batch, facts)
    first = admit(batch[:cut], facts)
    second = admit(batch[cut:], after(facts, batch[:cut], first))
    assert list(map(kind, together)) == list(map(kind, (*first, *second)))


@given(facts=stored(), batch=st.lists(commits(), max_size=8))
def test_whatever_is_accepted_no_state_has_two_active_executions(
    facts: Facts, batch: list[Commit]
) -> None:
    """Nor is a request or an execution written twice in one transaction."""
    accepted = [
        commit
        for commit, admission in zip(batch, admit(batch, facts), strict=True)
        if isinstance(admission, Accepted)
    ]
    written = [request.id for commit in accepted for request in commit.requests]
    assert len(written) == len(set(written))
    active = dict(facts.busy)
    for commit in accepted:
        for execution in commit.executions:
            if not execution.is_active and active.get(execution.slot) == execution.id:
                del active[execution.slot]
        for execution in commit.executions:
            if execution.is_active:
                assert active.setdefault(execution.slot, execution.id) == execution.id


def test_a_key_is_looked_at_before_anything_else() -> None:
    """A repeated call relies on revisions that its first attempt has moved on."""
    request = make_request().but(revision=Revision(1))
    commit = submission().but(requests=(request,), key=make_key())
    facts = Facts(
        requests={request.id: Revision(9)},
        fingerprints={key_digest(make_key()): make_key().fingerprint},
    )
    assert admit([commit], facts) == (Replayed(key=make_key()),)


def test_each_loser_is_told_what_it_lost_to() -> None:
    """The facts name the thing, so that the caller knows what to look at again."""
    request = make_request(state="one").but(revision=Revision(1))
    facts = Facts(
        requests={request.id: Revision(2)},
        busy={request.slot: ExecutionId("holder")},
        fingerprints={key_digest(make_key()): b"other"},
    )
    stale = submission().but(requests=(request,))
    claim = submission().but(requests=(), executions=(make_execution(request),))
    reused = submission(make_request("new"), key=make_key())
    lost = [
        answer.error for answer in admit([stale, claim, reused], facts) if isinstance(answer, Lost)
    ]
    assert [type(error) for error in lost] == [Conflict, StateBusy, RequestIdReused]
    assert [error.facts for error in lost] == [
        {"kind": "request", "id": request.id, "expected_revision": "1"},
        {"state_type": "flag", "state_id": "one", "execution_id": "holder"},
        {"request_id": "call-1"},
    ]
