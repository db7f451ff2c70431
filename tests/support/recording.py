"""What the application says to its tracing backend, kept for a test to look at."""

from governor.domain.execution import Execution
from governor.domain.request import MutationRequest
from governor.domain.values import RequestId


class RecordedTrace:
    """One execution's span."""

    def __init__(self, request_id: RequestId, number: int) -> None:
        self.request_id = request_id
        self.traceparent = f"00-{number:032x}-{number:016x}-01"
        self.finished: list[Execution] = []

    def finish(self, execution: Execution) -> None:
        self.finished.append(execution)


class RecordingTracing:
    """Keeps every span that was started."""

    def __init__(self) -> None:
        self.traces: list[RecordedTrace] = []

    def current_traceparent(self) -> str:
        return ""

    def execution_started(self, request: MutationRequest) -> RecordedTrace:
        trace = RecordedTrace(request.id, len(self.traces) + 1)
        self.traces.append(trace)
        return trace
