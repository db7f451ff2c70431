"""Eligibility: whether those who voted, or want to, may do so by what the directory says now."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from governor.domain.approval import Target, Vote, is_target
from governor.domain.counting import bears_on
from governor.domain.errors import DirectoryUnavailable, GovernorError, NotEligible
from governor.domain.request import MutationRequest
from governor.domain.values import Identity, Micros
from governor.usecases.access import ROLES
from governor.usecases.app import App

_T = TypeVar("_T")


class Electorate:
    """The people of one tenant. A directory that fails answers nothing: DirectoryUnavailable."""

    def __init__(self, app: App, tenant: str) -> None:
        self._directory = app.directory
        self._tenant = tenant

    def members(self, target: Target) -> Iterable[str]:
        """The persons that a target names."""
        return _asked(lambda: self._directory.members(target, self._tenant))

    def fault(self, vote: Vote, request: MutationRequest) -> str:
        """What its voter has lost that the vote rests on; empty when it would be taken today.

        The dates of a delegation are none of it: what was voted within them stays.
        """
        who = (vote.voter,) if vote.on_behalf_of is None else (vote.voter, vote.on_behalf_of)
        for then in who:
            now = self._identity(then.id)
            if now is None:
                return f"{then.id} has no place in the tenant any more"
            if now.roles.isdisjoint(ROLES["Approve"]):
                return f"{then.id} may not vote any more"
            if now.person == request.requester:
                return f"{then.id} stands for the requester by now"
            if now.person != then.person:
                return f"{then.id} stands for somebody else by now"
        return self._no_longer_asked(vote, request)

    def delegator(self, voter: Identity, person: str, at: Micros) -> Identity:
        """The person in whose place `voter` may vote at that time. Raises NotEligible."""
        delegators = _asked(lambda: self._directory.delegators(voter.id, self._tenant, at))
        for delegator in delegators:
            if delegator.person == person and not delegator.roles.isdisjoint(ROLES["Approve"]):
                return delegator
        raise NotEligible(voter.id, f"{person} has not delegated to them, or may not vote")

    def _no_longer_asked(self, vote: Vote, request: MutationRequest) -> str:
        holder, approval = self._identity(vote.holder.id), request.progress.approval
        if holder is None or approval is None:
            return f"{vote.holder.id} has no place in the tenant any more"
        counted = bears_on(approval, vote)
        for requirement in approval.plan.steps[vote.step].requirements:
            if requirement.id in counted and not is_target(holder, requirement):
                return f"{requirement.id} does not ask {holder.id} any more"
        return ""

    def _identity(self, actor: str) -> Identity | None:
        return _asked(lambda: self._directory.identity(actor, self._tenant))


def _asked(question: Callable[[], _T]) -> _T:
    try:
        return question()
    except GovernorError:
        raise
    except Exception as fault:
        raise DirectoryUnavailable("the directory does not answer") from fault
