"""The mutants: one line of the program each, turned against a promise, and who must notice."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """A build in which `old`, which stands once in `file`, reads `new`.

    Each of `caught_by`, tests as pytest names them, must then fail.
    """

    name: str
    why: str
    file: str
    old: str
    new: str
    caught_by: tuple[str, ...]
    is_quick: bool = False

    def applied_to(self, text: str) -> str:
        """The broken text. Raises ValueError where `old` does not stand exactly once."""
        if text.count(self.old) != 1:
            raise ValueError(
                f"{self.name}: {self.file} holds its text {text.count(self.old)} times"
            )
        return text.replace(self.old, self.new)


def in_file(path: str, *tests: str) -> tuple[str, ...]:
    """The tests as pytest names them."""
    return tuple(f"{path}::{test}" for test in tests)


MUTANTS = (
    Mutant(
        name="fencing check removed",
        why="a delayed order of a former owner would still take effect",
        file="server/governor/hostkit/law.py",
        old="    if fencing_token < record.fencing_token:\n",
        new="    if fencing_token < 0:\n",
        caught_by=in_file(
            "tests/hostkit/test_promises.py",
            "test_a_lower_token_is_fenced_also_for_a_replay",
            "test_a_lookup_with_a_lower_token_is_fenced",
        ),
        is_quick=True,
    ),
    Mutant(
        name="tombstone forgotten",
        why="an order that arrives after the fence would land on a request that was released",
        file="server/governor/hostkit/law.py",
        old="    if record.fenced:\n",
        new="    if record.fenced and claim.fencing_token <= record.fencing_token - 1:\n",
        caught_by=in_file(
            "tests/hostkit/test_promises.py",
            "test_an_apply_that_arrives_after_the_fence_never_lands",
        ),
    ),
    Mutant(
        name="ledger head lock removed",
        why="two replicas would give out the same revisions",
        file="server/governor/storage/dialect.py",
        old="    FROM head FOR UPDATE\n",
        new="    FROM head\n",
        caught_by=in_file(
            "tests/contract/test_postgres.py",
            "test_what_a_batch_decides_on_is_read_under_the_lock_on_the_head",
        ),
    ),
    Mutant(
        name="idle transactions borne with for ever",
        why="a replica that is paused or cut off in a transaction would keep all others waiting",
        file="server/governor/storage/dialect.py",
        old="str(max(1, round(idle_seconds_max * 1_000)))",
        new='"0"',
        caught_by=in_file(
            "tests/crash/test_store_connection.py",
            "test_a_transaction_that_a_network_has_orphaned_does_not_hold_the_head_for_long",
        ),
    ),
    Mutant(
        name="host keeps the effect before the outcome",
        why="a crash between them would leave an effect that nobody remembers, to be made again",
        file="server/governor/hostkit/sqlite.py",
        old="            self._remember(law.conclude(claim, decided.outcome))\n",
        new="""\
            self._release_effect()
            self._connection.execute("COMMIT")
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.execute("SAVEPOINT effect")
            self._remember(law.conclude(claim, decided.outcome))
""",
        caught_by=in_file(
            "tests/crash/test_sigkill.py",
            "test_a_host_killed_in_the_middle_of_an_apply_is_settled_after_its_restart",
        ),
    ),
    Mutant(
        name="undo token outlives its end",
        why="a rollback would restore what the host said it no longer answers for",
        file="server/governor/hostkit/undoing.py",
        old="now >= image.expires_at",
        new="now >= image.expires_at + 60 * MICROS_PER_SECOND",
        caught_by=in_file(
            "tests/hostkit/test_undo.py",
            "test_a_token_is_good_until_its_end_and_not_a_moment_longer",
        ),
    ),
    Mutant(
        name="rollback restores whatever the state is",
        why="what was done since would be swept away unseen",
        file="server/governor/hostkit/decide.py",
        old="    if order.expected_version not in (None, previous_version):\n",
        new="    if order.compensation is None and order.expected_version not in (\n"
        "        None,\n        previous_version,\n    ):\n",
        caught_by=in_file(
            "tests/hostkit/test_undo.py",
            "test_a_rollback_onto_a_state_that_moved_on_changes_nothing",
        ),
    ),
    Mutant(
        name="image of another state restored",
        why="one state would get what another one was",
        file="server/governor/hostkit/undoing.py",
        old="    if (image.tenant, image.mutation_type, image.state) != "
        "(order.tenant, order.type, order.state):\n",
        new="    if image.mutation_type != order.type:\n",
        caught_by=in_file(
            "tests/hostkit/test_undo.py",
            "test_only_what_was_applied_to_that_state_is_taken_back",
        ),
    ),
    Mutant(
        name="rollback sent to a host that announces none",
        why="the host would take it for the original change with an empty payload",
        file="server/governor/host/client.py",
        old="        return self._known is not None and self._known.rollback\n",
        new="        return True\n",
        caught_by=in_file(
            "tests/host/test_client.py",
            "test_a_rollback_never_reaches_a_host_that_would_take_it_for_a_change",
        ),
    ),
    Mutant(
        name="write lock taken late",
        why="what a batch decides on could change before it is written",
        file="server/governor/storage/sqlite.py",
        old='.execute("BEGIN IMMEDIATE")',
        new='.execute("BEGIN")',
        caught_by=in_file(
            "tests/contract/test_sqlite.py",
            "test_a_transaction_of_the_writer_holds_the_lock_before_it_reads",
        ),
    ),
    Mutant(
        name="outcome written in two transactions",
        why="a crash between them would leave an ended execution of a request that still runs",
        file="server/governor/usecases/settle.py",
        old="""\
            committed = await persistently(self._app, self._app.store.commit, commit)
""",
        new="""\
            first = await persistently(
                self._app,
                self._app.store.commit,
                commit.but(requests=(), decisions=progress.decisions[:1]),
            )
            second = await persistently(
                self._app,
                self._app.store.commit,
                commit.but(
                    executions=(),
                    decisions=progress.decisions[1:] or progress.decisions[:1],
                ),
            )
            committed = second.but(executions=first.executions)
""",
        caught_by=in_file(
            "tests/usecases/test_recovery.py",
            "test_a_death_at_any_step_costs_no_effect_and_makes_no_second",
        ),
    ),
    Mutant(
        name="compare-and-set on revisions removed",
        why="of two who read the same request, the second would undo what the first did",
        file="server/governor/storage/admission.py",
        old="        error = self._stale(commit) or self._occupied(commit)\n",
        new="        error = self._occupied(commit)\n",
        caught_by=in_file(
            "tests/contract/test_commits.py",
            "test_of_two_who_read_the_same_revision_one_wins",
            "test_of_two_in_one_batch_who_read_the_same_revision_the_first_wins",
        ),
    ),
    Mutant(
        name="idempotency fingerprint not compared",
        why="another content under a used request_id would be answered as if it were the first",
        file="server/governor/storage/admission.py",
        old="        if known != key.fingerprint:\n",
        new="        if not known:\n",
        caught_by=in_file(
            "tests/contract/test_keys.py", "test_another_content_under_the_same_key_is_refused"
        ),
    ),
    Mutant(
        name="not seen taken for not applied",
        why="an order that is still on its way would be carried out beside its successor",
        file="server/governor/usecases/settle.py",
        old="            case NotSeen(fenced=True) if self._capabilities.exactly_once:\n",
        new="            case NotSeen():\n",
        caught_by=in_file(
            "tests/usecases/test_settle.py",
            "test_a_new_life_never_orders_again_from_a_host_without_the_promises",
        ),
    ),
    Mutant(
        name="the requester counts",
        why="one person could ask and agree",
        file="server/governor/domain/ballots.py",
        old="    if voter.person == requester:\n",
        new="    if not voter.person:\n",
        caught_by=in_file(
            "tests/domain/test_approval.py",
            "test_the_requester_never_votes_under_any_of_their_names",
        )
        + in_file("tests/usecases/test_vote.py", "test_the_requester_never_votes_under_no_alias"),
        is_quick=True,
    ),
    Mutant(
        name="a vote holds for any plan",
        why="what was approved by one plan would count under another",
        file="server/governor/domain/ballots.py",
        old="    if seen_plan != seen:\n",
        new="    if not seen:\n",
        caught_by=in_file(
            "tests/domain/test_counting.py",
            "test_a_vote_is_for_exactly_one_plan_in_one_round",
        )
        + in_file("tests/usecases/test_vote.py", "test_a_vote_under_another_plan_is_refused"),
    ),
    Mutant(
        name="voters are not looked up again",
        why="who has lost the role would still have their vote carried out",
        file="server/governor/usecases/claiming.py",
        old="        if approval is None or not approval.votes:\n",
        new="        if approval is None or approval.votes:\n",
        caught_by=in_file(
            "tests/usecases/test_eligibility.py",
            "test_a_vote_whose_voter_has_lost_it_lets_nothing_be_claimed",
            "test_the_claim_of_an_automatic_request_looks_again_too",
        ),
    ),
    Mutant(
        name="a late vote counts",
        why="an approval would come after its time had passed",
        file="server/governor/domain/ballots.py",
        old="    return until is not None and until <= at\n",
        new="    return until is not None and until < at\n",
        caught_by=in_file(
            "tests/domain/test_counting.py",
            "test_a_vote_at_the_deadline_is_too_late_and_one_before_it_is_not",
        ),
    ),
    Mutant(
        name="a delegate keeps their own voice",
        why="one person would count twice, once in another's place",
        file="server/governor/domain/counting.py",
        old="            if vote.on_behalf_of is not None:\n",
        new="            if vote.on_behalf_of is not None and self._repeat:\n",
        caught_by=in_file(
            "tests/usecases/test_delegation.py", "test_two_steps_do_not_count_one_voice_twice"
        ),
    ),
    Mutant(
        name="a vote that was taken back counts",
        why="a request would run on the word of somebody who has thought better of it",
        file="server/governor/domain/approval.py",
        old="vote.round == self.round and vote.revoked_at is None and vote.voided_at is None\n",
        new="vote.round == self.round and vote.voided_at is None\n",
        caught_by=in_file(
            "tests/usecases/test_revoke_vote.py",
            "test_an_approved_request_that_loses_its_quorum_waits_for_approval_again",
        ),
    ),
    Mutant(
        name="votes outlive their round",
        why="a change would run on a version of the state that nobody approved it for",
        file="server/governor/domain/approval.py",
        old="        return vote.round == self.round and ",
        new="        return vote.round <= self.round and ",
        caught_by=in_file(
            "tests/usecases/test_renewal.py",
            "test_a_renewed_approval_leads_to_execution_on_the_latest_version",
        ),
    ),
    Mutant(
        name="acknowledged before it is on disk",
        why="a power cut would take back what callers were told",
        file="server/governor/storage/sqlite.py",
        old='    "synchronous": 2,\n',
        new='    "synchronous": 1,\n',
        caught_by=in_file(
            "tests/contract/test_sqlite.py", "test_every_pragma_of_the_writer_is_in_force"
        ),
        is_quick=True,
    ),
    Mutant(
        name="published though COMMIT failed",
        why="streams and executions would act on what never became durable",
        file="server/governor/storage/transaction.py",
        old="""\
            if transaction.is_active:
                transaction.rollback()
            raise self._unknown(written) from error
""",
        new="""\
            if transaction.is_active:
                transaction.rollback()
            self._unknown(written).add_note(str(error))
""",
        caught_by=in_file(
            "tests/contract/test_publishing.py",
            "test_a_failed_commit_fails_every_waiter_and_nothing_has_happened",
        ),
    ),
    Mutant(
        name="answered before it is published",
        why="a caller would not find its own submission in the stream",
        file="server/governor/storage/writer.py",
        old="""\
        self._caught_up(settlement)
        self._answer(waiters, settlement.answers)
""",
        new="""\
        self._answer(waiters, settlement.answers)
        self._loop.call_later(0.01, self._caught_up, settlement)
""",
        caught_by=in_file(
            "tests/contract/test_publishing.py",
            "test_a_caller_goes_on_after_every_listener_has_heard",
        ),
    ),
    Mutant(
        name="what the server shows is believed",
        why="an approver would vote for other bytes than those on the screen",
        file="server/governor/cli/seen.py",
        old='        ("", request.request_digest, computed),\n',
        new='        ("", computed, computed),\n',
        caught_by=in_file(
            "tests/cli/test_review.py",
            "test_a_request_that_is_not_what_its_digest_says_is_not_voted_on",
        ),
    ),
    Mutant(
        name="the plan that the server shows is believed",
        why="an approver would vote alone and believe to be one of two",
        file="server/governor/cli/seen.py",
        old='        ("the plan of ", request.approval.plan_digest, of_plan),\n',
        new='        ("the plan of ", of_plan, of_plan),\n',
        caught_by=in_file(
            "tests/cli/test_review.py",
            "test_a_plan_that_is_not_what_its_digest_says_is_not_voted_under",
        ),
    ),
    Mutant(
        name="a stream skips what it slept through",
        why="a subscriber would miss decisions without knowing",
        file="server/governor/usecases/tail.py",
        old="""\
        if not self._entries or self._entries[0].revision > revision + 1:
            return None
        skip = revision + 1 - self._entries[0].revision
""",
        new="""\
        if not self._entries:
            return None
        skip = max(0, revision + 1 - self._entries[0].revision)
""",
        caught_by=in_file(
            "tests/usecases/test_stream.py",
            "test_a_stream_resumes_from_any_cursor_without_gap_or_repetition",
        ),
    ),
    Mutant(
        name="bytes in flight not counted",
        why="a flood of large requests would take all the memory there is",
        file="server/governor/wire/admission.py",
        old="        if self._bytes and self._bytes + size_bytes > bounds.bytes_in_flight_max:\n",
        new="        if self._bytes < 0:\n",
        caught_by=in_file(
            "tests/wire/test_endpoint.py",
            "test_an_open_stream_counts_with_the_bytes_of_its_request",
        ),
    ),
    Mutant(
        name="silence is a yes",
        why="a check that nobody answers would let a request through when its time is up",
        file="server/governor/domain/gating.py",
        old="    if is_quota:\n",
        new="    if is_quota or pending.until is not None:\n",
        caught_by=in_file(
            "tests/domain/test_gating.py",
            "test_a_gate_that_nobody_answers_in_time_is_a_no",
        ),
        is_quick=True,
    ),
    Mutant(
        name="an answer that says nothing is taken for a yes",
        why="a service that is broken, or of another contract, would pass everything",
        file="server/governor/check_client.py",
        old="    outcome = _OUTCOMES.get(response.outcome)\n",
        new="    outcome = _OUTCOMES.get(response.outcome, CheckOutcome.PASSED)\n",
        caught_by=in_file(
            "tests/checks/test_check_client.py",
            "test_whatever_is_no_answer_is_none",
        ),
    ),
    Mutant(
        name="aliases of the requester answer for them",
        why="who asks for a change would pass its check under another name",
        file="server/governor/domain/gating.py",
        old="    if actor.person == request.requester:\n",
        new="    if actor.id == request.requester:\n",
        caught_by=in_file(
            "tests/domain/test_gating.py",
            "test_the_requester_answers_nothing_under_any_name",
        ),
    ),
    Mutant(
        name="windows not looked at again",
        why="a request whose turn comes late would be executed outside its maintenance window",
        file="server/governor/domain/waits.py",
        old="    return verdict is None or is_open(verdict.windows, now)\n",
        new="    return verdict is None or now >= 0\n",
        caught_by=in_file(
            "tests/usecases/test_pending.py",
            "test_whose_turn_comes_when_the_window_has_closed_waits_for_the_next",
        ),
    ),
    Mutant(
        name="circles closed by two at once",
        why="two replacements in the same moment could wait for each other for ever",
        file="server/governor/usecases/supersede.py",
        old="guards=tuple(dict.fromkeys((*walked, *waits.guards))),",
        new="guards=waits.guards,",
        caught_by=in_file(
            "tests/usecases/test_dependencies.py",
            "test_two_replacements_at_once_close_no_circle_between_them",
        ),
    ),
    Mutant(
        name="allowed to do, allowed to take back",
        why="a rule that has never heard of rollbacks would let them go without a look",
        file="server/governor/domain/policy.py",
        old="            return self.effect is not Effect.ALLOW\n",
        new="            return self.effect is not None\n",
        caught_by=in_file(
            "tests/usecases/test_compensate.py",
            "test_what_is_allowed_to_do_is_not_for_that_allowed_to_take_back",
        ),
    ),
    Mutant(
        name="two compensations of one change",
        why="two operators in one incident would take the same change back twice",
        file="server/governor/usecases/compensate.py",
        old="                requests=(step.request, asked.request),\n",
        new="                requests=(step.request,),\n",
        caught_by=in_file(
            "tests/usecases/test_compensate.py",
            "test_of_many_at_once_one_is_taken",
            "test_a_second_compensation_waits_for_the_end_of_the_first",
        ),
    ),
    Mutant(
        name="links left for later",
        why="a crash would leave a change taken back and its original not knowing",
        file="server/governor/usecases/outcomes.py",
        old="        requests=(own.request, theirs.request),\n",
        new="        requests=(own.request,),\n",
        caught_by=in_file(
            "tests/usecases/test_compensate.py",
            "test_a_rollback_is_approved_executed_and_linked_both_ways",
            "test_wherever_it_dies_the_links_are_whole_or_not_there",
        ),
    ),
    Mutant(
        name="a rollback for whatever is there",
        why="the older image would be put over the work of others, unseen",
        file="server/governor/usecases/compensate.py",
        old="    if expected_version is None and execution.applied is not None:\n",
        new="    if expected_version is None and execution.applied is None:\n",
        caught_by=in_file(
            "tests/usecases/test_compensate.py",
            "test_a_rollback_onto_a_state_that_moved_on_is_rejected",
        ),
    ),
    Mutant(
        name="a rollback to a host that knows none",
        why="it would take the order for the original change, with an empty payload",
        file="server/governor/usecases/claiming.py",
        old="request.is_rollback and not capabilities.rollback:\n",
        new="request.is_rollback and not capabilities.contract_version:\n",
        caught_by=in_file(
            "tests/usecases/test_compensate.py",
            "test_a_host_that_takes_nothing_back_any_more_is_sent_no_rollback",
        ),
    ),
)
