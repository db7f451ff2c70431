"""TrustHost: a person has looked at the host, and lets executions go on."""

from governor.domain.digest import fingerprint
from governor.domain.host_standing import trusted
from governor.usecases.access import authorise
from governor.usecases.app import App
from governor.usecases.commands import Caller, Trusted, TrustHost
from governor.usecases.commits import Commit, Committed, IdempotencyKey
from governor.usecases.once import once


async def trust_host(app: App, caller: Caller, command: TrustHost) -> Trusted:
    """Raises MissingRole, HostUnavailable, LineageMismatch, HostNotHeld, RequestIdReused,
    Conflict.
    """
    actor = authorise(app, caller, command.tenant, "TrustHost")
    reason = command.reason
    key = IdempotencyKey(
        tenant=command.tenant,
        actor=caller.actor,
        rpc="TrustHost",
        request_id=command.request_id,
        fingerprint=fingerprint(
            command.lineage_id,
            reason.code,
            reason.message,
            *(part for item in sorted(reason.metadata.items()) for part in item),
        ),
    )

    async def attempt() -> Committed:
        # Asked now: what was looked at may have been replaced again.
        capabilities = await app.host.capabilities()
        stance = trusted(
            await app.store.host_standing(),
            command.lineage_id,
            announced=capabilities.lineage_id,
            actor=actor,
            reason=reason,
            now=app.clock.now(),
        )
        commit = Commit(decisions=(stance.decision,), standing=stance.standing, key=key)
        return await app.store.commit(commit)

    committed = await once(app, key, attempt)
    return Trusted(lineage_id=command.lineage_id, revision=committed.revision)
