"""Of all replicas one leads: it holds a Lease. Who loses it ends, for what it has begun can't be taken back."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from kubernetes.aio.client import CoordinationV1Api, V1Lease, V1ObjectMeta
from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.leaderelection.electionconfig import Config as ElectionConfig
from kubernetes.aio.leaderelection.leaderelection import LeaderElection
from kubernetes.aio.leaderelection.resourcelock.leaselock import LeaseLock

log = logging.getLogger(__name__)

LEASE = "gristmill-operator"
#: seconds: how long the Lease lasts, until when it must be renewed, and between two tries
_LEASE_SECONDS, _RENEW_SECONDS, _RETRY_SECONDS = 15, 10, 2


class _Lock(LeaseLock):
    """The library's, which asks for an answer in words that its own client does not know."""

    async def create(self, name: str, namespace: str, election_record: Any) -> bool:
        body = V1Lease(metadata=V1ObjectMeta(name=name), spec=self.update_lease(election_record))
        try:
            await self.api_instance.create_namespaced_lease(namespace, body)
        except ApiException as error:
            log.warning("the Lease %s was not made: %s", name, error.reason)
            return False
        return True


async def lead(
    client: Any, namespace: str, identity: str, work: Callable[[], Coroutine[Any, Any, None]]
) -> None:
    """Wait until this process leads, then run `work`; return when the Lease is lost."""
    config = ElectionConfig(
        _Lock(LEASE, namespace, identity, client),
        lease_duration=_LEASE_SECONDS,
        renew_deadline=_RENEW_SECONDS,
        retry_period=_RETRY_SECONDS,
        onstarted_leading=work,
        onstopped_leading=_nothing,
    )
    await LeaderElection(config).run()


async def release(client: Any, namespace: str, identity: str) -> None:
    """Let the next one lead at once."""
    api = CoordinationV1Api(client)
    lease = await api.read_namespaced_lease(LEASE, namespace)
    if lease.spec and lease.spec.holder_identity == identity:
        lease.spec.holder_identity = None
        await api.replace_namespaced_lease(LEASE, namespace, lease)


async def _nothing() -> None:
    """Whoever called `lead` sees that it returns."""
