"""When something breaks: the host in the middle of an Apply, the stream at any time."""

from collections.abc import Sequence

from examples.demo.collector import Span
from examples.demo.processes import HOST, killed
from examples.demo.stage import Stage, expect, expect_status, flag_set
from examples.demo.trace_tree import ref_of
from governance.v1.execution_pb2 import Execution
from governance.v1.mutation_pb2 import (
    RISK_LOW,
)
from governance.v1.request_pb2 import (
    REQUEST_STATUS_EXECUTED,
    REQUEST_STATUS_EXECUTING,
)


async def host_killed_before_its_commit(stage: Stage) -> str:
    effects, execution = await _killed_in_apply(
        stage, "host.lost-early", failpoint="after_effect_before_commit"
    )
    expect("effects while the host was dead", effects, 0)
    await _expect_calls(stage, execution, "LookupMutation", "ApplyMutation")
    return "killed before its commit: the lost change was ordered again, exactly one effect"


async def host_killed_after_its_commit(stage: Stage) -> str:
    effects, execution = await _killed_in_apply(
        stage, "host.lost-late", failpoint="after_commit_before_answer"
    )
    expect("effects while the host was dead", effects, 1)
    await _expect_calls(stage, execution, "LookupMutation")
    return "killed after its commit: the outcome was looked up, exactly one effect"


async def _killed_in_apply(stage: Stage, flag: str, *, failpoint: str) -> tuple[int, Execution]:
    """How many effects the dead host's database held, and the execution as it ended."""
    alice = stage.client("alice")
    await stage.host.stop()
    await stage.host.start("--failpoint", f"{failpoint}=kill")
    request = await alice.submit(flag_set(flag, rollout_percent=5), risk=RISK_LOW)
    stage.say("alice", f"submits flag.set {flag}; policy allows it, the host is called")
    code = await stage.host.died()
    expect("whether the host was killed", killed(code), True)
    effects = stage.host_state.flag(flag).effects
    stage.say("host", f"SIGKILL at {failpoint}; effects in its database: {effects}")
    request, _ = await alice.get(request.id)
    expect_status(request, REQUEST_STATUS_EXECUTING)
    stage.say("governor", "does not know, and does not guess: EXECUTING")
    await stage.host.start()
    stage.say("host", "is back")
    request = await alice.ended(request.id)
    expect_status(request, REQUEST_STATUS_EXECUTED)
    _, executions = await alice.get(request.id)
    expect("executions of the request", len(executions), 1)
    stage.say("governor", f"asks again under {executions[0].id}: EXECUTED")
    expect("effects of the execution", stage.host_state.effects_of(executions[0].id), 1)
    expect("effects on the flag", stage.host_state.flag(flag).effects, 1)
    await stage.expect_history(
        request,
        *("submitted", "allowed", "approved", "unversioned", "claimed", "applied", "executed"),
    )
    return effects, executions[0]


async def _expect_calls(stage: Stage, execution: Execution, *rpcs: str) -> None:
    """What the host was asked about the execution since its restart, by its own spans.

    The span of the call that killed it died with it.
    """
    trace_id = ref_of(execution.traceparent).trace_id

    def calls(spans: Sequence[Span]) -> list[str]:
        own = [span for span in spans if (span.service, span.ref.trace_id) == (HOST, trace_id)]
        own.sort(key=lambda span: span.start_nanos)
        return [span.name.rpartition("/")[2] for span in own]

    spans = await stage.collector.until(lambda spans: calls(spans) == list(rpcs))
    expect("the calls to the host since its restart", calls(spans), list(rpcs))


async def stream_cut_and_resumed(stage: Stage) -> str:
    ruth, follower = stage.client("ruth"), stage.follower
    stage.say("ruth", f"has followed all decisions since the start, cut off {follower.cuts} times")
    follower.hang_up()
    await stage.flag_at_version_1("stream.unseen")
    before = follower.revision
    stage.say("ruth", f"is cut off once more after revision {before}; meanwhile a flag changes")
    recorded = await ruth.decisions()
    expect("whether there is something to miss", recorded[-1].revision > before, True)
    follower.resume()
    await follower.until(recorded[-1].revision)
    stage.say("ruth", f"resumes after {before} and reads on to {follower.revision}")
    expect("whether the stream is what ListDecisions lists", follower.decisions == recorded, True)
    revisions = [decision.revision for decision in follower.decisions]
    expect("the revisions", revisions, list(range(1, len(recorded) + 1)))
    return f"stream: {len(recorded)} decisions over {follower.cuts} cuts, none missing, none twice"
