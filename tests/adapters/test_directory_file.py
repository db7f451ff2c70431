"""The directory file: who there is, who stands behind them, and who can vote."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from governor.directory_file import EVERY_TENANT, FileDirectory, LoadedDirectory, load_directory
from governor.domain.approval import Requirement, Target, is_target
from governor.domain.values import Identity, Micros, TargetKind
from governor.strict_toml import FileRefused

EXAMPLES = Path(__file__).parents[2] / "examples" / "policy"

ANN = '[[actor]]\nid = "ann"\ntenants = ["acme"]\nroles = ["approver"]\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "directory.toml"


def target(text: str) -> Target:
    kind, _, name = text.partition(":")
    return Target(kind=TargetKind(kind.upper()), name=name)


def actor(id: str, **fields: object) -> str:
    usual = {"id": id, "tenants": ["acme"], "roles": ["approver"]}
    lines = (f"{name} = {value!r}" for name, value in (usual | fields).items())
    return "[[actor]]\n" + "\n".join(lines) + "\n"


def delegation(giver: str = "ann", to: str = "bob", **fields: str) -> str:
    """In `acme`, for the month of August; `fields` are TOML."""
    usual = {
        "from": f'"{giver}"',
        "to": f'"{to}"',
        "tenants": '["acme"]',
        "starts": "2030-08-01T00:00:00Z",
        "ends": "2030-09-01T00:00:00Z",
    }
    lines = (f"{name} = {value}" for name, value in (usual | fields).items() if value)
    return "[[delegation]]\n" + "\n".join(lines) + "\n"


def august(day: int, hour: int = 0) -> Micros:
    return Micros(int(datetime(2030, 8, day, hour, tzinfo=UTC).timestamp()) * 1_000_000)


PAIR = actor("ann") + actor("bob")


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        ("[actor]\nid = 'ann'", "actor: should be a valid list"),
        ("[[actors]]\n", "actors: there is no such key"),
        (ANN + "role = 'x'", "actor[0] ('ann').role: there is no such key"),
        (actor("ann", roles=[]), "roles: list should have at least 1 item"),
        (actor("ann", tenants=[]), "tenants: list should have at least 1 item"),
        (actor("ann", tenants=["a b"]), "tenants[0]: string should match pattern"),
        (actor("ann", tenants="acme"), "tenants: should be a valid list"),
        (actor("a b"), "actor[0] ('a b').id: string should match pattern"),
        (actor("annä"), "id: string should match pattern"),
        (actor("governor"), "'governor' is the sidecar itself"),
        (actor("bot", person="governor"), "'governor' is the sidecar itself"),
        (actor("ann", roles=["aprover"]), "there is no role 'aprover'; did you mean approver?"),
        (actor("ann", roles=["wizard"]), "no role 'wizard'; list it in custom_roles"),
        (actor("ann") * 2, "actor 'ann': is listed twice for tenant 'acme'"),
        (
            actor("ann") + actor("ann", tenants=[EVERY_TENANT]),
            "actor 'ann': is listed twice for tenant '*'",
        ),
        (
            actor("ann", tenants=[EVERY_TENANT]) + actor("ann"),
            "actor 'ann': is listed twice for tenant 'acme'",
        ),
        (
            actor("ann", person="a") + actor("ann", tenants=["b"], person="b"),
            "actor 'ann': stands for two persons",
        ),
        (
            actor("bot", person="ann") + actor("ann", person="boss"),
            "actor 'bot': its person 'ann' is itself an alias",
        ),
        (
            PAIR + delegation(to="bobb"),
            "delegation[0]: there is no actor 'bobb'; did you mean bob?",
        ),
        (PAIR + delegation("nobody"), "delegation[0]: there is no actor 'nobody'"),
        (PAIR + delegation("ann", "ann"), "delegation[0]: 'ann' and 'ann' are one person"),
        (
            PAIR + actor("bot", person="ann") + delegation("ann", "bot"),
            "delegation[0]: 'ann' and 'bot' are one person",
        ),
        (
            PAIR + delegation(ends="2030-08-01T00:00:00Z"),
            "delegation[0]: ends does not lie after starts",
        ),
        (
            PAIR + delegation(ends="2030-08-01T01:00:00+01:00"),
            "delegation[0]: ends does not lie after starts",
        ),
        (PAIR + delegation(ends="2030-09-01T00:00:00"), "ends: should have timezone info"),
        (PAIR + delegation(starts="2030-08-01"), "starts: should be a valid datetime"),
        (PAIR + delegation(starts='"2030-08-01T00:00:00Z"'), "starts: should be a valid datetime"),
        (PAIR + delegation(ends=""), "delegation[0].ends: is required"),
        (PAIR + delegation(tenants="[]"), "tenants: list should have at least 1 item"),
        (PAIR + delegation() + "giver = 'ann'", "delegation[0].giver: there is no such key"),
        (
            PAIR + delegation(tenants='["beta"]'),
            "delegation[0]: 'ann' has no place in tenant 'beta'",
        ),
    ],
)
def test_a_faulty_file_is_refused_with_the_key_and_the_fact(
    path: Path, text: str, fact: str
) -> None:
    path.write_text(text)
    with pytest.raises(FileRefused) as refused:
        load_directory(path)
    assert str(refused.value).startswith(f"{path}: ")
    assert fact in str(refused.value)


def test_an_actor_holds_what_is_listed_in_that_tenant_and_nothing_elsewhere(path: Path) -> None:
    path.write_text(
        actor("ann", groups=["team"]) + actor("ann", tenants=["beta"], roles=["auditor"])
    )
    directory = load_directory(path)
    acme, beta = directory.identity("ann", "acme"), directory.identity("ann", "beta")
    assert acme == Identity(
        id="ann", person="ann", roles=frozenset({"approver"}), groups=frozenset({"team"})
    )
    assert beta == Identity(id="ann", person="ann", roles=frozenset({"auditor"}))
    assert directory.identity("ann", "gamma") is None
    assert directory.identity("bob", "acme") is None


def test_a_star_is_every_tenant(path: Path) -> None:
    path.write_text(actor("ruth", tenants=[EVERY_TENANT], roles=["auditor"]))
    assert load_directory(path).identity("ruth", "anything") is not None


def test_an_alias_stands_for_its_person(path: Path) -> None:
    path.write_text(actor("ann") + actor("ann-bot", person="ann"))
    directory = load_directory(path)
    assert directory.members(target("role:approver"), "acme") == {"ann"}
    assert directory.members(target("actor:ann-bot"), "acme") == {"ann"}
    assert directory.members(target("actor:ann"), "acme") == {"ann"}


def test_who_may_not_call_approve_is_no_member_of_any_target(path: Path) -> None:
    """Otherwise a quorum would count on them that can never be met."""
    path.write_text(
        actor("ann", groups=["team"]) + actor("bob", roles=["submitter"], groups=["team"])
    )
    assert load_directory(path).members(target("group:team"), "acme") == {"ann"}


def test_a_delegation_holds_from_its_first_moment_to_before_its_last(path: Path) -> None:
    path.write_text(PAIR + delegation())
    directory = load_directory(path)
    ann = directory.identity("ann", "acme")
    for at in (august(1), august(15), Micros(august(31, 23) + 3_599_999_999)):
        assert directory.delegators("bob", "acme", at) == (ann,)
    for at in (Micros(august(1) - 1), Micros(august(31, 23) + 3_600_000_000)):
        assert directory.delegators("bob", "acme", at) == ()
    assert directory.delegators("ann", "acme", august(2)) == ()
    assert directory.delegators("carol", "acme", august(2)) == ()


def test_a_delegation_is_to_a_person_and_passes_on_what_the_other_holds_themselves(
    path: Path,
) -> None:
    path.write_text(
        actor("ann", groups=["leads"])
        + actor("bob", tenants=["acme", "beta"])
        + actor("bobs-laptop", person="bob")
        + actor("carol")
        + delegation()
        + delegation("bob", "carol")
    )
    directory = load_directory(path)
    assert [one.id for one in directory.delegators("bobs-laptop", "acme", august(2))] == ["ann"]
    (bob,) = directory.delegators("carol", "acme", august(2))
    assert bob == directory.identity("bob", "acme")
    assert bob.groups == frozenset()
    assert directory.delegators("bob", "beta", august(2)) == ()


def test_a_star_delegates_wherever_both_have_a_place(path: Path) -> None:
    path.write_text(
        actor("ann", tenants=["*"])
        + actor("bob", tenants=["acme", "beta"])
        + delegation(tenants='["*"]')
    )
    directory = load_directory(path)
    for tenant, there in (("acme", True), ("beta", True), ("gamma", False)):
        assert bool(directory.delegators("bob", tenant, august(2))) is there


def test_members_of_another_tenant_do_not_count(path: Path) -> None:
    path.write_text(actor("ann") + actor("bob", tenants=["beta"]) + actor("eve", tenants=["*"]))
    assert load_directory(path).members(target("role:approver"), "acme") == {"ann", "eve"}


_names = st.sampled_from(["a", "b", "c"])
_identities = st.dictionaries(
    st.tuples(_names, st.sampled_from(["acme", "beta", EVERY_TENANT])),
    st.tuples(_names, st.frozensets(_names), st.frozensets(_names)),
)


@given(held=_identities, kind=st.sampled_from(TargetKind), name=_names)
def test_members_are_those_whose_votes_the_law_will_count(
    held: dict[tuple[str, str], tuple[str, frozenset[str], frozenset[str]]],
    kind: TargetKind,
    name: str,
) -> None:
    """The index answers what asking domain/approval.py about everybody would."""
    identities = {
        (id, tenant): Identity(id=id, person=person, roles=roles | {"approver"}, groups=groups)
        for (id, tenant), (person, roles, groups) in held.items()
    }
    wanted = Target(kind=kind, name=name)
    requirement = Requirement(id="r", targets=(wanted,))
    assert LoadedDirectory(identities, b"").members(wanted, "acme") == {
        identity.person
        for (_, tenant), identity in identities.items()
        if tenant in ("acme", EVERY_TENANT) and is_target(identity, requirement)
    }


def test_without_a_file_nobody_holds_anything() -> None:
    directory = FileDirectory(None)
    assert directory.identity("ann", "acme") is None
    assert directory.members(target("role:approver"), "acme") == frozenset()


def test_a_reload_takes_the_file_whole_or_not_at_all(path: Path) -> None:
    path.write_text(ANN)
    directory = FileDirectory(path)
    path.write_text(ANN + "roles = 1\n")
    assert not directory.reload()
    assert directory.identity("ann", "acme") is not None
    path.write_text("")
    assert directory.reload()
    assert directory.identity("ann", "acme") is None


def test_the_example_directory_can_meet_the_example_policy() -> None:
    directory = load_directory(EXAMPLES / "directory.toml")
    assert directory.members(target("group:reviewers"), "acme") >= {"bob", "carol"}
    assert directory.members(target("role:access-owner"), "acme") == {"carol"}
    assert directory.identity("alice-bot", "acme") is not None
