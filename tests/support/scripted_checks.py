"""Outside services that answer checks as a test says."""

import asyncio
from collections import deque

from governor.domain.request import MutationRequest
from governor.domain.values import Reason
from governor.usecases.ports import CheckAnswer, CheckOutcome

PASSED = CheckAnswer(outcome=CheckOutcome.PASSED, reason=Reason(code="CLEAN", message="all fine"))
FAILED = CheckAnswer(outcome=CheckOutcome.FAILED, reason=Reason(code="DIRTY", message="no good"))
LATER = CheckAnswer(outcome=CheckOutcome.LATER)
NONE = CheckAnswer(outcome=CheckOutcome.NONE)


class ScriptedChecks:
    """Gives its answers in turn, the last one for ever; keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: deque[CheckAnswer] = deque([PASSED])
        self.asked: list[tuple[str, MutationRequest]] = []
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.asking = 0
        self.asking_max = 0

    async def ask(self, name: str, request: MutationRequest) -> CheckAnswer:
        self.asked.append((name, request))
        self.asking += 1
        self.asking_max = max(self.asking_max, self.asking)
        try:
            await self.is_open.wait()
        finally:
            self.asking -= 1
        return self.answers.popleft() if len(self.answers) > 1 else self.answers[0]

    def say(self, *answers: CheckAnswer) -> None:
        """What it answers from now on."""
        self.answers = deque(answers)
