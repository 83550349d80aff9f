"""One pass over a Cache: make what is missing, show whether it serves. And the Cache that is the queue."""

from __future__ import annotations

import logging
import time
from typing import Any

from gristmill.api.names import CACHE_KIND, GROUP
from gristmill.controllers.cluster import ApiError, Cluster, Gone, NameTaken, Outdated
from gristmill.controllers.config import Config
from gristmill.controllers.kept_secrets import KeptSecrets
from gristmill.controllers.statuses import Statuses
from gristmill.controllers.world import Key, World
from gristmill.reconcilers import cache as objects
from gristmill.reconcilers.cache_access import fingerprint, mending, password_in, secret, secret_name
from gristmill.reconcilers.cache_status import status
from gristmill.reconcilers.objects import is_owned
from gristmill.reconcilers.showing import worth_writing
from gristmill.reconcilers.stateful_sets import change
from gristmill.reconcilers.times import text_of

log = logging.getLogger(__name__)

#: an annotation of the queue's Cache: when the operator last wrote something that its watch must tell of
_MARK = f"{GROUP}/watched"
#: seconds between two tries to make an object whose name is somebody else's
_TAKEN_SECONDS = 2.0
#: seconds until the API server is asked again for what it refused
_REFUSED_SECONDS = 5.0
#: seconds until a look at what has changed, or is gone
_SOON_SECONDS = 0.2


class Caches:
    """Reconciles Caches."""

    def __init__(self, config: Config, cluster: Cluster, world: World) -> None:
        self._config = config
        self._cluster = cluster
        self._world = world
        self._statuses = Statuses(cluster, world, config.identity)
        #: why the queue is not as the settings say, or ""
        self._not_applied = ""
        self._secrets = KeptSecrets(cluster, secret, mending, fingerprint)

    async def reconcile(self, key: Key) -> float | None:
        """Look at one Cache; return in how many seconds to look again."""
        try:
            return await self._reconcile(key)
        except (Gone, Outdated):
            return _SOON_SECONDS

    async def _reconcile(self, key: Key) -> float | None:
        cache = self._world.get(CACHE_KIND, key)
        if cache is None or cache["metadata"].get("deletionTimestamp"):
            self._secrets.forget(key)
            return None
        uid = cache["metadata"]["uid"]
        found = self._world.get("StatefulSet", key)
        taken, refused, undone = "", "", []
        if found is None or is_owned(found, uid):
            try:
                found = await self._make(cache, found)
                undone.append(await self._grow(cache))
            except NameTaken as error:
                taken = str(error)
            except ApiError as error:
                log.warning("%s/%s: refused: %s", *key, error)
                refused = str(error)
        if key == (self._config.namespace, self._config.queue_cache):
            undone.append(self._not_applied)
        now = text_of(time.time())
        await self._show(cache, status(cache, found, now, taken, refused, [*filter(None, undone)]))
        return _TAKEN_SECONDS if taken else _REFUSED_SECONDS if refused else None

    async def _make(self, cache: dict[str, Any], found: dict[str, Any] | None) -> dict[str, Any] | None:
        """See that a Cache has its objects; return its StatefulSet."""
        namespace, name = cache["metadata"]["namespace"], cache["metadata"]["name"]
        # (without it an operator can't begin, either)
        serves = bool(found and (found.get("status") or {}).get("readyReplicas"))
        password = await self._secrets.keep(cache, serves=serves)
        service = await self._cluster.get("Service", namespace, name)
        if service is None or not is_owned(service, cache["metadata"]["uid"]):
            await self._cluster.create(objects.service(cache))
        wanted = objects.stateful_set(cache, self._config.valkey_image, password, found)
        if found is None:
            found = await self._cluster.create(wanted)
        elif body := change(found, wanted):
            uid = found["metadata"]["uid"]
            found = await self._cluster.patch("StatefulSet", namespace, name, body, uid=uid)
        if found is not None:
            self._world.put("StatefulSet", found)
        return found

    async def _grow(self, cache: dict[str, Any]) -> str:
        """Have the volume grow if the spec asks for more than its claim does; return why it can't, or ""."""
        namespace, name = cache["metadata"]["namespace"], objects.claim_name(cache)
        claim = await self._cluster.get("PersistentVolumeClaim", namespace, name)
        body = objects.growth(cache, claim)
        if claim is None or body is None:
            return ""
        try:
            await self._cluster.patch(
                "PersistentVolumeClaim", namespace, name, body, uid=claim["metadata"]["uid"]
            )
        except ApiError as error:
            return f"its volume can't grow: {error}"
        return ""

    async def keep_queue(self, mark: str) -> None:
        """See that there is the Cache that is the queue, as the settings say. The mark is for its watch to tell of."""
        config = self._config
        spec = objects.queue_spec(config.queue_capacity, config.queue_size, config.queue_class)
        marked = {"metadata": {"annotations": {_MARK: mark}}}
        try:
            await self._patch_queue({**marked, "spec": spec})
            self._not_applied = ""
        except Gone:
            await self._cluster.create(objects.queue(config.namespace, config.queue_cache, spec))
        except ApiError as error:
            if error.status != 422:
                raise
            self._not_applied = (
                f"the settings of the queue (the chart's values queue.*) are not applied: {error}"
            )
            await self._patch_queue(marked)

    async def _patch_queue(self, body: dict[str, Any]) -> None:
        config = self._config
        found = await self._cluster.patch(CACHE_KIND, config.namespace, config.queue_cache, body)
        self._world.put(CACHE_KIND, found)

    async def queue_password(self) -> str:
        """Return the password of the queue's default user, or "" while there is none."""
        name = secret_name(self._config.queue_cache)
        found = await self._cluster.get("Secret", self._config.namespace, name)
        return password_in(found).decode(errors="replace") if found else ""

    async def _show(self, cache: dict[str, Any], new: dict[str, Any]) -> None:
        if worth_writing(cache.get("status") or {}, new, 60, 60) is not None:
            await self._statuses.write(CACHE_KIND, cache, new)
