"""What the callers of a run do: they ask for changes, decide about others' and look at them.

Whoever gets no answer asks again with the same request_id, and nobody waits for the others.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

from governor.domain.approval import VoteKind
from governor.domain.digest import plan_digest
from governor.domain.execution import Execution, ExecutionStatus
from governor.domain.request import (
    Content,
    ExecutionMode,
    MutationRequest,
    PendingReason,
    Risk,
    StaleStrategy,
    Status,
)
from governor.domain.values import Reason, RequestId, Revision
from governor.usecases.cancel import cancel
from governor.usecases.commands import (
    Cancel,
    CastVote,
    Changed,
    Execute,
    ResolveExecution,
    RevokeVote,
    Submit,
    Submitted,
    Supersede,
    WaitFor,
)
from governor.usecases.execute import execute
from governor.usecases.query import get_request
from governor.usecases.resolve import resolve_execution
from governor.usecases.revoke_vote import revoke_vote
from governor.usecases.submit import submit
from governor.usecases.supersede import supersede
from governor.usecases.vote import vote
from governor.usecases.watch import wait_request
from tests.simulation import model
from tests.simulation.asking import QUORUMS, Asking, Known
from tests.simulation.history import Call
from tests.simulation.host import REFUSED_FLAG
from tests.simulation.model import Did, Seen, Verb
from tests.simulation.network import NoAnswer, call
from tests.support.governed import caller, content
from tests.support.people import ANN, AUDREY, BOB, CLEO, OTTO, RITA, ROBOT, SAM, TENANT

FLAGS: Final = ("a", "a", "b", REFUSED_FLAG)
RISKS: Final = (Risk.LOW, Risk.LOW, Risk.LOW, Risk.MEDIUM, Risk.MEDIUM, Risk.HIGH, Risk.CRITICAL)
PERSONS: Final = {ROBOT: RITA}
THINKING_SECONDS_MAX: Final = 0.6


class Callers(Asking):
    """Any number of them, who act one after the other or at once."""

    async def act(self, times: int) -> None:
        """One of them, from the beginning to the end."""
        for _ in range(times):
            await asyncio.sleep(self._chance.between(0, THINKING_SECONDS_MAX))
            if not self.known:
                await self.submit()
                continue
            verb = self._chance.weighted(
                submit=5,
                vote=6,
                revoke=1,
                cancel=1,
                supersede=1,
                execute=2,
                resolve=1,
                get=3,
                wait=1,
                again=1,
            )
            await getattr(self, verb)()

    async def probe(self) -> None:
        """In a world without faults, a plain change of a state that nobody else wants is made."""
        command = Submit(
            request_id=self._key(), content=content(RITA, flag="probe"), wait_seconds=5.0
        )
        sidecar = self._world.sidecar()
        answer = await call(self._chance, sidecar, lambda app: submit(app, caller(RITA), command))
        assert answer.request.status is Status.EXECUTED, answer.request.status

    # --- What they do ---------------------------------------------------------------------------

    async def submit(self) -> None:
        actor, risk = self._chance.pick((RITA, SAM)), self._chance.pick(RISKS)
        asked = self._content(actor, risk, flag=self._chance.pick(FLAGS))
        lifetime = self._chance.pick((None, None, None, None, 6.0))
        command = Submit(
            request_id=self._key(),
            content=asked,
            expires_at=self._moment(lifetime),
            wait_seconds=self._chance.pick((None, None, 0.0, 3.0)),
        )
        did = Did(
            verb=Verb.SUBMIT, actor=actor, key=command.request_id, begins=_beginnings(asked, risk)
        )

        def answered(answer: Submitted, calls: list[Call]) -> None:
            self._history.named(command.request_id, answer.request)
            self._learn(answer.request, risk)
            self.acknowledged.append(((answer.request.id,), answer.revision))
            self._took(calls[0], answer.revision, answer.request, command.wait_seconds)

        await self._ask(
            [(command.request_id, did)],
            lambda app: submit(app, caller(actor), command),
            answered,
            again=command.wait_seconds is None,
        )

    async def vote(self) -> None:
        known = self._some(lambda one: one.request.waits_for(PendingReason.APPROVAL))
        voter = self._chance.pick((ANN, BOB, CLEO, ROBOT))
        kind = self._chance.pick((*[VoteKind.APPROVE] * 6, VoteKind.REJECT))
        progress = known.request.progress
        command = CastVote(
            request_id=self._key(),
            id=known.id,
            kind=kind,
            digest=progress.digest,
            plan_digest=plan_digest(progress.approval.plan, progress.approval.round)
            if progress.approval
            else b"",
        )
        person = PERSONS.get(voter, voter)
        did = Did(
            verb=Verb.APPROVE if kind is VoteKind.APPROVE else Verb.REJECT,
            actor=person,
            key=command.request_id,
            quorum=known.quorum,
            barred=person == known.request.requester,
        )
        await self._change(known, did, lambda app: vote(app, caller(voter), command))

    async def revoke(self) -> None:
        known = self._some(lambda one: bool(_voters(one.request)) and not one.request.is_terminal)
        voter = self._chance.pick(_voters(known.request) or (ANN, BOB, CLEO))
        command = RevokeVote(
            request_id=self._key(), id=known.id, reason=Reason(code="ON_SECOND_THOUGHT")
        )
        did = Did(verb=Verb.REVOKE, actor=PERSONS.get(voter, voter), key=command.request_id)
        await self._change(known, did, lambda app: revoke_vote(app, caller(voter), command))

    async def cancel(self) -> None:
        known = self._some(lambda one: not one.request.is_terminal)
        command = Cancel(request_id=self._key(), id=known.id)
        did = Did(verb=Verb.CANCEL, actor=OTTO, key=command.request_id)
        await self._change(known, did, lambda app: cancel(app, caller(OTTO), command))

    async def supersede(self) -> None:
        known = self._some(lambda one: not one.request.is_terminal)
        actor, risk = known.request.requester, self._chance.pick(RISKS)
        asked = self._content(actor, risk, state=known.request.state, depends_on=())
        command = Supersede(request_id=self._key(), id=known.id, content=asked)
        key = command.request_id
        ending = Did(verb=Verb.SUPERSEDE, actor=actor, key=key)
        beginning = Did(verb=Verb.SUBMIT, actor=actor, key=key, begins=_beginnings(asked, risk))

        def answered(answer: Changed, calls: list[Call]) -> None:
            old, new = answer.superseded, answer.request
            assert old is not None
            assert old.status is Status.SUPERSEDED, old.status
            self._history.named(key, new)
            self._learn(new, risk)
            self.acknowledged.append(((old.id, new.id), answer.revision))
            known.show(old)
            self._newest = max(self._newest, answer.revision)
            self._history.end(calls[0], Seen.of(old))
            self._history.end(calls[1], Seen.of(new))

        await self._ask(
            [(known.id, ending), (key, beginning)],
            lambda app: supersede(app, caller(actor), command),
            answered,
        )

    async def execute(self) -> None:
        known = self._some(lambda one: one.request.status is Status.APPROVED)
        wait_seconds = self._chance.pick((None, 2.0))
        command = Execute(request_id=self._key(), id=known.id, wait_seconds=wait_seconds)
        did = Did(verb=Verb.EXECUTE, actor=OTTO, key=command.request_id, late=True)
        await self._change(
            known, did, lambda app: execute(app, caller(OTTO), command), wait_seconds=wait_seconds
        )

    async def resolve(self) -> None:
        """An honest person looks into the host."""
        known = self._some(lambda one: one.request.waits_for(PendingReason.AUDIT))
        shown = await self.get(known)
        doubtful = [one for one in shown if one.status is ExecutionStatus.IN_DOUBT]
        if not doubtful:
            return
        execution = doubtful[0]
        effects = self._world.host.effects
        made = [effect.version for effect in effects if effect.execution_id == execution.id]
        command = ResolveExecution(
            request_id=self._key(),
            execution_id=execution.id,
            resulting_version=made[0] if made else None,
            reason=Reason(code="LOOKED"),
        )
        did = Did(
            verb=Verb.RESOLVE,
            actor=OTTO,
            key=command.request_id,
            found=Status.EXECUTED if made else Status.FAILED,
        )
        await self._change(known, did, lambda app: resolve_execution(app, caller(OTTO), command))

    async def get(self, known: Known | None = None) -> tuple[Execution, ...]:
        """Answers its executions, if there was an answer."""
        known = known or self._some(lambda _: True)
        newest = self._newest if self._chance.happens(0.5) else Revision(0)
        found: list[tuple[Execution, ...]] = []

        def answered(
            answer: tuple[MutationRequest, tuple[Execution, ...]], calls: list[Call]
        ) -> None:
            request, executions = answer
            known.show(request)
            found.append(executions)
            self._look(calls[0], request, may_be_old=not newest)

        await self._ask(
            [(known.id, Did(verb=Verb.GET, actor=AUDREY))],
            lambda app: get_request(app, caller(AUDREY), known.id, newest),
            answered,
            attempts_max=1,
        )
        return found[0] if found else ()

    async def wait(self) -> None:
        known = self._some(lambda one: not one.request.is_terminal)
        command = WaitFor(
            id=known.id,
            after_revision=self._chance.pick((None, known.request.revision)),
            timeout_seconds=self._chance.between(0, 4),
        )

        def answered(answer: Any, calls: list[Call]) -> None:
            known.show(answer.request)
            self._look(calls[0], answer.request, may_be_old=True)

        await self._ask(
            [(known.id, Did(verb=Verb.GET, actor=AUDREY))],
            lambda app: wait_request(app, caller(AUDREY), command),
            answered,
            attempts_max=1,
        )

    async def again(self) -> None:
        """A call that was answered, made once more: it is answered as before."""
        if not self._answered:
            return
        serve, before = self._chance.pick(self._answered)
        try:
            answer = await call(self._chance, self._world.sidecar(), serve)
        except NoAnswer:
            return
        assert answer == before, f"the same call was answered {before}, and then {answer}"

    def _content(self, actor: str, risk: Risk, **fields: Any) -> Content:
        flag = fields["state"].id if "state" in fields else fields["flag"]
        current = self._world.host.version((TENANT, "flag", flag))
        depends_on: Iterable[RequestId] = ()
        if self.known and self._chance.happens(0.1):
            depends_on = (self._chance.pick(list(self.known)),)
        return content(
            actor,
            risk=risk,
            execution_mode=self._chance.pick(
                (*[ExecutionMode.AUTOMATIC] * 3, ExecutionMode.ON_EXECUTE)
            ),
            stale_strategy=self._chance.pick(list(StaleStrategy)),
            expected_version=self._chance.pick((None, None, current, current, "wrong")),
            execute_after=self._moment(self._chance.pick((None, None, None, None, None, 3.0))),
            **{"depends_on": tuple(depends_on), **fields},
        )


def _voters(request: MutationRequest) -> tuple[str, ...]:
    """Whose votes count, as it was shown last."""
    approval = request.progress.approval
    return tuple(vote.voter.id for vote in approval.current_votes()) if approval else ()


def _beginnings(asked: Content, risk: Risk) -> tuple[model.Content, ...]:
    """Where the request may stand when it has been submitted: times may have passed by then, and
    what it depends on may have ended.
    """
    if risk is Risk.CRITICAL:
        return (model.Content(Status.REJECTED),)
    always = frozenset({PendingReason.APPROVAL} if QUORUMS[risk] else ())
    sets = [always]
    if asked.execute_after is not None:
        sets += [one | {PendingReason.SCHEDULE} for one in sets]
    if asked.depends_on:
        sets += [one | {PendingReason.DEPENDENCY} for one in sets]
    waiting = tuple(model.Content(Status.PENDING, one) for one in sets if one)
    if always:
        return waiting
    return (*waiting, model.Content(Status.APPROVED), model.Content(Status.EXECUTING))
