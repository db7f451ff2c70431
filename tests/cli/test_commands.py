"""The commands against a running sidecar and host: what each does, prints and ends with."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from governance.v1 import governance_service_pb2 as service
from governor.cli.exits import ExitCode
from governor.cli.main import app
from governor.cli.seen import digest_of
from tests.support.deployment import TENANT, Deployment

PAYLOAD = '{"enabled": true, "rollout_percent": 25}'


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    made = Deployment(tmp_path_factory.mktemp("cli"))
    with made.host(), made.sidecar():
        yield made


class Shell:
    """Runs commands as one actor."""

    def __init__(self, deployment: Deployment) -> None:
        self._environment = {"GOVERNOR_ADDRESS": deployment.target, "GOVERNOR_TENANT": TENANT}

    def __call__(self, line: str, *more: str, actor: str = "ann", stdin: str = "") -> Result:
        environment = self._environment | {"GOVERNOR_ACTOR": actor}
        return CliRunner().invoke(
            app, (*line.split(), *more), env=environment, input=stdin, catch_exceptions=False
        )

    def json(self, line: str, *more: str, actor: str = "ann") -> list[Any]:
        """What the command prints for programs: one object a line."""
        result = self(line, *more, "--json", actor=actor)
        assert result.exit_code in (ExitCode.OK, ExitCode.REFUSED, ExitCode.PENDING), result.output
        return [json.loads(text) for text in result.stdout.splitlines()]

    def submitted(self, flag: str, *more: str, risk: str = "medium") -> str:
        """The id of a fresh request."""
        line = f"submit -t flag.set -s flag/{flag} --risk {risk}"
        [answer] = self.json(line, "-p", PAYLOAD, *more)
        return str(answer["request"]["id"])


@pytest.fixture
def governor(deployment: Deployment) -> Shell:
    return Shell(deployment)


def test_what_policy_allows_is_executed_while_the_caller_waits(governor: Shell) -> None:
    line = "submit -t flag.set -s flag/allowed --risk low --wait 10s"
    result = governor(line, "-p", PAYLOAD)
    assert result.exit_code == ExitCode.OK, result.output
    assert re.search(r"^mr-[0-9a-f]{32} at revision \d+$", result.stdout, re.MULTILINE)
    assert "status  EXECUTED" in result.stdout
    assert "ALLOW by low-risk-flags" in result.stdout


def test_what_policy_denies_ends_with_refused(governor: Shell) -> None:
    result = governor("submit -t flag.set -s flag/denied --risk critical", "-p", PAYLOAD)
    assert result.exit_code == ExitCode.REFUSED
    assert "because  NO_RULE_MATCHED" in result.stdout


def test_what_waits_for_people_ends_with_pending_only_if_one_waits(governor: Shell) -> None:
    line = "submit -t flag.set -s flag/waiting --risk medium"
    assert governor(line, "-p", PAYLOAD).exit_code == ExitCode.OK
    assert governor(f"{line} --wait 10s", "-p", PAYLOAD).exit_code == ExitCode.PENDING


def test_everything_that_can_be_said_of_a_mutation_arrives_and_is_under_its_digest(
    governor: Shell, deployment: Deployment
) -> None:
    first = governor.submitted("first")
    options = f"""
        --expected-version 3 --stale renew --mode on-execute --execute-after 2h --expires 3d
        --category rollout --reversibility reversible --blast-radius service -m because
        --evidence ticket=https://t/1 --metadata a=b=c --tag t2 --tag t1 --depends-on {first}
        --environment production --service cart --region eu-1
        --correlation-id c-1 --causation-id e-1 --request-id the-key
    """
    id = governor.submitted("whole", *options.split())
    [shown, *_] = governor.json(f"requests show {id}")
    request = shown["request"]
    assert request["mutation"]["expectedVersion"] == "3"
    assert request["mutation"]["staleStrategy"] == "STALE_STRATEGY_REQUIRE_RENEWED_APPROVAL"
    assert request["intent"] == {
        "category": "rollout",
        "risk": "RISK_MEDIUM",
        "reversibility": "REVERSIBILITY_REVERSIBLE",
        "blastRadius": "BLAST_RADIUS_SERVICE",
    }
    assert request["context"] == {
        "tenant": TENANT,
        "environment": "production",
        "service": "cart",
        "region": "eu-1",
        "actor": "ann",
        "correlationId": "c-1",
        "causationId": "e-1",
    }
    assert request["evidence"] == [{"kind": "ticket", "uri": "https://t/1"}]
    assert request["metadata"] == {"a": "b=c"}
    assert request["tags"] == ["t1", "t2"]
    assert request["dependsOn"] == [first]
    assert request["executionMode"] == "EXECUTION_MODE_ON_EXECUTE"
    assert request["justification"] == "because"
    assert {pending["reason"] for pending in request["pending"]} == {
        "PENDING_REASON_APPROVAL",
        "PENDING_REASON_SCHEDULE",
        "PENDING_REASON_DEPENDENCY",
    }
    with deployment.client("ben") as ben:
        seen = ben.call("GetRequest", service.GetRequestRequest(id=id)).request
    assert digest_of(seen) == seen.request_digest


def test_a_payload_comes_from_stdin_too_and_need_not_be_json(governor: Shell) -> None:
    line = "submit -t flag.set -s flag/stdin --risk medium --payload-file - --content-type a/b"
    result = governor(f"{line} --json", stdin="not json")
    assert json.loads(result.stdout)["request"]["mutation"]["payload"]["sizeBytes"] == "8"


def test_validate_only_says_what_would_happen_and_writes_nothing(governor: Shell) -> None:
    before = len(governor.json("decisions"))
    line = "submit -t flag.set -s flag/preview --risk medium --validate-only"
    result = governor(line, "-p", PAYLOAD)
    assert result.exit_code == ExitCode.OK, result.output
    assert result.stdout.startswith("nothing was written")
    assert "flag/preview/rollout_percent: (none) -> 25" in result.stdout
    assert len(governor.json("decisions")) == before


def test_the_same_request_id_gives_the_same_request(governor: Shell) -> None:
    assert governor.submitted("same", "--request-id", "same-key") == governor.submitted(
        "same", "--request-id", "same-key"
    )


def test_two_approvals_and_what_show_tells_of_them(governor: Shell) -> None:
    id = governor.submitted("approved", "-m", "a quarter", "--expected-version", "")
    [listed] = governor.json("pending --waiting-for approval --limit 1", actor="ben")
    assert listed["id"] == id
    first = governor(f"approve {id} --yes -m fine", actor="ben")
    assert first.exit_code == ExitCode.OK, first.output
    assert "review (open, 1 so far): 2 of group reviewers [1 more needed]" in first.stdout
    assert "the host has version (the state does not exist)" in first.stdout
    assert "flag/approved/enabled: (none) -> true" in first.stdout
    assert governor(f"approve {id} --yes", actor="cleo").exit_code == ExitCode.OK
    done = governor(f"watch --request {id} --after 0 --until-caught-up --json", actor="ada")
    assert done.exit_code == ExitCode.OK
    shown = governor(f"requests show {id}", actor="ada").stdout
    for words in (
        "must not exist yet",
        '"rollout_percent": 25',
        "justification  a quarter",
        "APPROVE by ben",
        "APPROVAL.quorum_satisfied",
    ):
        assert words in shown, words


def test_an_execution_is_shown_with_what_it_changed(governor: Shell) -> None:
    id = governor.submitted("changed", "--wait", "10s", risk="low")
    [execution] = governor.json(f"executions list --request {id} --status applied")
    shown = governor(f"executions show {execution['id']}").stdout
    assert "flag/changed/enabled: (none) -> true" in shown
    assert "side effect: INFO cache.invalidated" in shown
    assert "APPLIED" in governor("executions list --state flag/changed").stdout
    timeline = governor(f"requests show {id}").stdout
    assert "EXECUTION.applied" in timeline
    assert f"execution    {execution['id']}" in timeline


def test_a_rejection_carries_its_code_and_ends_the_request(governor: Shell) -> None:
    id = governor.submitted("rejected")
    result = governor(f"reject {id} --yes --code TOO_BROAD -m halve-it", actor="ben")
    assert result.exit_code == ExitCode.OK, result.output
    assert "REJECTED" in result.stdout
    assert "TOO_BROAD: halve-it" in result.stdout


def test_a_canceled_request_cannot_be_canceled_again(governor: Shell) -> None:
    id = governor.submitted("canceled")
    assert "CANCELED" in governor(f"cancel {id} -m never-mind").stdout
    again = governor(f"cancel {id}")
    assert again.exit_code == ExitCode.REFUSED
    assert again.stderr.startswith("refused: ILLEGAL_TRANSITION")
    assert "  status: CANCELED" in again.stderr


def test_an_etag_that_is_not_the_last_is_refused(governor: Shell) -> None:
    id = governor.submitted("etag")
    result = governor(f"cancel {id} --etag r1")
    assert result.exit_code == ExitCode.REFUSED
    assert "ETAG_MISMATCH" in result.stderr


def test_superseding_changes_what_is_said_and_keeps_the_rest(governor: Shell) -> None:
    id = governor.submitted("superseded", "-m", "first try", "--tag", "kept")
    other = PAYLOAD.replace("25", "10")
    [answer] = governor.json(f"supersede {id}", "-p", other, "-m", "smaller")
    new = answer["request"]
    assert answer["superseded"]["supersededBy"] == new["id"]
    assert (new["justification"], new["tags"]) == ("smaller", ["kept"])
    assert new["mutation"]["state"] == {"type": "flag", "id": "superseded"}
    assert f"supersedes {new['id']}" in governor(f"supersede {new['id']} -m again").stdout


def test_execution_on_request_waits_for_execute(governor: Shell) -> None:
    id = governor.submitted("manual", "--mode", "on-execute", risk="low")
    [shown, *_] = governor.json(f"requests show {id}")
    assert shown["request"]["status"] == "REQUEST_STATUS_APPROVED"
    result = governor(f"execute {id} --wait 10s", actor="oli")
    assert result.exit_code == ExitCode.OK, result.output
    assert "status  EXECUTED" in result.stdout
    assert "by oli" in result.stdout


def test_an_execution_that_is_not_in_doubt_cannot_be_resolved(governor: Shell) -> None:
    id = governor.submitted("certain", "--wait", "10s", risk="low")
    [execution] = governor.json(f"executions list --request {id}")
    line = f"resolve {execution['id']} --not-applied --code I_LOOKED"
    result = governor(line, actor="oli")
    assert result.exit_code == ExitCode.REFUSED
    assert "NOT_IN_DOUBT" in result.stderr


def test_lists_filter_and_say_when_there_is_more(governor: Shell) -> None:
    ids = [governor.submitted("listed", "--tag", "listed") for _ in range(3)]
    newest = governor("requests list --tag listed --limit 2")
    assert [line.split()[0] for line in newest.stdout.splitlines()[1:]] == [ids[2], ids[1]]
    assert "there are more" in newest.stderr
    assert len(governor.json("requests list --tag listed --status pending")) == 3
    assert governor.json("requests list --tag listed --status executed") == []
    assert governor.json("requests list --tag listed --requester ben") == []
    assert governor.json("requests list --tag listed --until 2020-01-01T00:00:00Z") == []
    assert (
        len(governor.json("requests list --tag listed --state flag --since 2020-01-01T00:00Z")) == 3
    )


def test_every_filter_finds_what_it_is_for_and_nothing_else(governor: Shell) -> None:
    facts = ("--tag", "eu", "--tag", "web", "--metadata", "team=search", "--blast-radius", "region")
    more = ("--correlation-id", "case-7", "--category", "filtered")
    wanted = governor.submitted("filtered", *facts, *more, "--wait", "10s", risk="low")
    governor.submitted("filtered-not", "--tag", "eu", "--category", "filtered")
    for line in (
        "--tag-all eu --tag-all web",
        "--tag-any web --tag-any nowhere",
        "--metadata team=search",
        "--risk low --blast-radius region",
        "--linked correlation:case-7",
        "--side-effect cache.invalidated --severity info --status executed",
    ):
        found = governor.json(f"requests list --category filtered {line}")
        assert [request["id"] for request in found] == [wanted], line
    assert len(governor.json("requests list --category filtered --tag-any eu")) == 2
    assert governor.json("requests list --category filtered --severity critical") == []
    newer = governor.json(f"supersede {governor.submitted('linked')}", "-m", "again")[0]
    link = f"supersedes:{newer['superseded']['id']}"
    [found] = governor.json(f"requests list --linked {link}")
    assert found["id"] == newer["request"]["id"]


def test_counts_tell_of_what_was_submitted(governor: Shell) -> None:
    def waiting() -> int:
        [counts] = governor.json("counts")
        of_reason = {row["reason"]: int(row["count"]) for row in counts.get("pending", [])}
        return of_reason.get("PENDING_REASON_APPROVAL", 0)

    before = waiting()
    governor.submitted("counted")
    assert waiting() == before + 1
    assert re.search(r"^WAITS FOR\s+APPROVAL\s+\d+$", governor("counts").stdout, re.MULTILINE)


def test_what_waits_for_me_is_gone_once_i_have_voted(governor: Shell) -> None:
    id = governor.submitted("mine")
    line = "pending --mine --state flag/mine"
    assert f"governor approve {id}" in governor(line, actor="ben").stdout
    assert id not in governor(line, actor="ann").stdout, "the requester has no vote"
    governor(f"approve {id} --yes", actor="ben")
    assert id not in governor(line, actor="ben").stdout
    assert id in governor(line, actor="cleo").stdout
    [vote] = governor.json("votes --mine --limit 1", actor="ben")
    assert (vote["code"], vote["mutationRequestId"]) == ("granted", id)
    revoked = governor(f"revoke {id} --code MISREAD", actor="ben")
    assert revoked.exit_code == ExitCode.OK, revoked.output
    assert id in governor(line, actor="ben").stdout


def test_recent_decisions_come_first_when_asked_for(governor: Shell) -> None:
    id = governor.submitted("recent")
    forth = governor.json(f"decisions --request {id} --from 1h")
    back = governor.json(f"decisions --request {id} --from 1h --newest-first")
    assert back == forth[::-1]
    assert len(back) > 1
    assert governor.json(f"decisions --request {id} --until 1h") == []


def test_watch_and_decisions_tell_the_same_story(governor: Shell) -> None:
    id = governor.submitted("watched", "--wait", "10s", risk="low")
    watched = governor.json(f"watch --after 0 --until-caught-up --request {id}", actor="ada")
    assert watched == governor.json(f"decisions --request {id}", actor="ada")
    codes = [decision["code"] for decision in watched]
    assert codes[0] == "submitted"
    assert codes[-1] == "executed"
    only = governor.json(f"decisions --request {id} --category lifecycle", actor="ada")
    assert [decision["code"] for decision in only] == ["submitted", "approved", "executed"]


def test_a_role_that_is_missing_is_named(governor: Shell) -> None:
    result = governor("submit -t flag.set -s flag/x --risk low", "-p", PAYLOAD, actor="ada")
    assert result.exit_code == ExitCode.REFUSED
    assert "MISSING_ROLE" in result.stderr
    assert "  needs: submitter" in result.stderr


BATCH = """
failure_mode = "compensate"
justification = "both or none"

[[member]]
type = "flag.set"
state = "flag/together-1"
payload = '{"enabled": true, "rollout_percent": 1}'
risk = "low"

[[member]]
type = "flag.set"
state = "flag/together-2"
payload = '{"enabled": true, "rollout_percent": 2}'
risk = "low"
"""


def test_a_batch_is_read_from_a_file_and_shown_with_its_members(
    governor: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "batch.toml"
    file.write_text(BATCH)
    result = governor("submit-batch", str(file), "--wait", "10s")
    assert result.exit_code == ExitCode.OK, result.output
    assert "2 of 2 applied" in result.stdout
    shown = governor(f"requests show {result.stdout.split()[0]}")
    assert "SEQUENTIAL, COMPENSATE, BATCH" in shown.stdout
    assert "flag/together-2" in shown.stdout


def test_a_batch_file_with_a_key_too_many_is_refused_unsent(
    governor: Shell, tmp_path: Path
) -> None:
    file = tmp_path / "batch.toml"
    file.write_text(BATCH.replace("risk", "risc"))
    result = governor("submit-batch", str(file))
    assert result.exit_code == ExitCode.USAGE
    assert "risc" in result.output
