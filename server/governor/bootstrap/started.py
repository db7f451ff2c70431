"""What an operator is told of a sidecar that has come up."""

from collections.abc import Iterator
from dataclasses import dataclass

from governor.config.reference import without_password
from governor.config.settings import Settings
from governor.directory_file import FileDirectory
from governor.domain.host_standing import Hold
from governor.domain.policy import Rule
from governor.policy_file import FilePolicy
from governor.storage.store import SqlStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What an operator wants to know of a sidecar that is up."""

    settings: Settings
    address: str
    store: SqlStore
    policy: FilePolicy
    directory: FileDirectory
    host_promises: str
    hold: Hold | None
    is_armed: bool

    def facts(self) -> Iterator[tuple[str, str]]:
        """Name and value, the most important first."""
        head, settings = self.store.head, self.settings
        yield "address", self.address
        yield "identity", settings.identity
        yield "store", f"{without_password(settings.store_url)}, revision {head.revision}"
        yield "store id", head.store_id
        rules, digest = self.policy.loaded.rules, self.policy.loaded.sha256.hex()[:12]
        yield "policy", f"{settings.policy_file or 'none'}, {len(rules)} rules, sha256 {digest}..."
        actors = len(self.directory.loaded.actors)
        yield "directory", f"{settings.directory_file or 'none'}, {actors} actors"
        yield "host", f"{settings.host_address} ({self.host_promises or 'does not answer yet'})"

    def warnings(self) -> Iterator[str]:
        """What an operator may not have meant."""
        if not self.policy.loaded.rules:
            yield "there is no policy rule: every mutation is denied"
        if not self.directory.loaded.actors:
            yield "there is nobody in the directory: nobody may call anything but health"
        for rule in self.policy.loaded.rules:
            yield from self._unmanned(rule)
        if self.settings.identity == "development":
            yield "development identity: whoever reaches this address can call as anyone"
        if not self.host_promises:
            yield "the host does not answer: what is approved is executed when it does"
        if self.hold is not None:
            yield (
                f"the host is held ({self.hold.code}): nothing is executed until a person has "
                "looked; see governor host show"
            )
        if self.is_armed:
            yield "failpoints are armed: this process may kill or pause itself"

    def _unmanned(self, rule: Rule) -> Iterator[str]:
        targets = (t for step in rule.steps for r in step.requirements for t in r.targets)
        for target in dict.fromkeys(targets):
            if not self.directory.loaded.knows(target):
                named = f"{target.kind.lower()} {target.name}"
                yield f"rule {rule.id} asks {named}, but nobody is that and may approve"
        for gate in rule.gates:
            for target in gate.resolvers:
                if not self.directory.loaded.may_resolve(target):
                    named = f"{target.kind.lower()} {target.name}"
                    yield (
                        f"rule {rule.id} lets {named} answer {gate.name}, but nobody is that and "
                        "may resolve"
                    )
