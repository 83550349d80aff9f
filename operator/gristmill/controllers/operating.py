"""The operator while it leads: watches fill the copy of the world, and workers reconcile what has changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import kopf

from gristmill.api.names import (
    CACHE_KIND,
    CACHE_PLURAL,
    GROUP,
    KIND,
    PLURAL,
    VERSION,
)
from gristmill.controllers.caches import Caches
from gristmill.controllers.chunkjobs import ChunkJobs
from gristmill.controllers.cluster import Cluster
from gristmill.controllers.config import Config
from gristmill.controllers.echoes import Echoes
from gristmill.controllers.queue_link import QueueLink
from gristmill.controllers.work_queue import WorkQueue
from gristmill.controllers.world import Key, World
from gristmill.planning.progress import State
from gristmill.reconcilers.access import uid_of, user_of
from gristmill.reconcilers.objects import MANAGED_BY, UID

log = logging.getLogger(__name__)

#: ChunkJobs that are reconciled at a time
_WORKERS = 8
#: seconds that kopf keeps the task of an object of which nothing more is heard
_IDLE_SECONDS = 0.5
#: seconds between two looks at the queue: while a job is young, and otherwise
_LOOK_SECONDS = (0.25, 1.0)
#: a job is young for so long (seconds)
_YOUNG = 15.0
#: seconds between two looks at everything
_RESYNC_SECONDS = 60.0
#: seconds without an event after which a watch is made anew
_INACTIVITY_SECONDS = 70.0
_API_VERSION = f"{GROUP}/{VERSION}"


class Operator:
    """All that runs while this process leads."""

    def __init__(self, config: Config, cluster: Cluster) -> None:
        self._config = config
        self._cluster = cluster
        self.world = World()
        self._echoes = Echoes((KIND, CACHE_KIND, "Job", "Pod", "StatefulSet"))
        cluster.on_written = lambda kind, found: self._echoes.expect(kind, found, time.monotonic())
        server = f"{config.queue_cache}.{config.namespace}.svc:6379"
        self.queue = QueueLink(server, config.key)
        self._look_now = asyncio.Event()
        self.jobs = ChunkJobs(config, cluster, self.world, self.queue, self._look_now.set)
        self.caches = Caches(config, cluster, self.world)
        self.job_queue: WorkQueue[Key] = WorkQueue(self.jobs.reconcile)
        self.cache_queue: WorkQueue[Key] = WorkQueue(self.caches.reconcile)

    async def run(self, stop: asyncio.Event) -> None:
        """Operate until `stop` is set. What ends by itself ends all."""
        parts: list[Awaitable[None]] = [
            self._watch(stop),
            self._look_for_ever(),
            self._resync(),
            self.cache_queue.work(),
            *(self.job_queue.work() for _ in range(_WORKERS)),
        ]
        tasks = [asyncio.ensure_future(part) for part in parts]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def fault(self) -> str:
        """Return why this process should be started again, or ""."""
        return self._echoes.fault(time.monotonic())

    # -- watching

    async def _watch(self, stop: asyncio.Event) -> None:
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.scanning.disabled = True
        settings.watching.inactivity_timeout = _INACTIVITY_SECONDS
        settings.queueing.idle_timeout = _IDLE_SECONDS
        await kopf.operator(
            registry=self._registry(),
            settings=settings,
            standalone=True,
            clusterwide=not self._config.watch,
            namespaces=self._config.watch,
            stop_flag=stop,
        )

    def _registry(self) -> kopf.OperatorRegistry:
        registry = kopf.OperatorRegistry()
        ours: Any = {UID: kopf.PRESENT, MANAGED_BY: "gristmill"}
        kopf.on.login(registry=registry)(_login)
        kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)(self._on(KIND, self._job_changed))
        kopf.on.event(GROUP, VERSION, CACHE_PLURAL, registry=registry)(
            self._on(CACHE_KIND, self._cache_changed)
        )
        kopf.on.event("batch", "v1", "jobs", labels=ours, registry=registry)(
            self._on("Job", self._owned_changed)
        )
        kopf.on.event("", "v1", "pods", labels=ours, registry=registry)(self._on("Pod", self._owned_changed))
        kopf.on.event(
            "apps", "v1", "statefulsets", labels={f"{GROUP}/cache": kopf.PRESENT}, registry=registry
        )(self._on("StatefulSet", lambda found: self.cache_queue.add(_key(found))))
        return registry

    def _on(self, kind: str, changed: Callable[[dict[str, Any]], None]) -> Callable[..., Awaitable[None]]:
        async def handler(event: Any, **_: Any) -> None:
            found = dict(event["object"])
            self._echoes.hear(kind, found, event["type"] == "DELETED")
            if event["type"] == "DELETED":
                self.world.drop(kind, found)
            else:
                self.world.put(kind, found)
            changed(found)

        handler.__name__ = f"on_{kind.lower()}"
        return handler

    def _job_changed(self, found: dict[str, Any]) -> None:
        uid = found["metadata"]["uid"]
        if self.world.get(KIND, _key(found)) is None:
            self.jobs.forget(uid)
        elif uid not in self.jobs.told:
            self._look_now.set()
        self.job_queue.add(_key(found))

    def _cache_changed(self, found: dict[str, Any]) -> None:
        self.cache_queue.add(_key(found))

    def _owned_changed(self, found: dict[str, Any]) -> None:
        metadata = found["metadata"]
        if name := (metadata.get("labels") or {}).get(f"{GROUP}/{KIND.lower()}"):
            self.job_queue.add((metadata["namespace"], name))

    # -- the queue

    async def _look_for_ever(self) -> None:
        while True:
            young = False
            try:
                young = await self._look()
            except Exception as error:
                log.warning("the queue does not answer: %s", error)
            pause = _LOOK_SECONDS[0 if young else 1]
            if not self._look_now.is_set():
                try:
                    await asyncio.wait_for(self._look_now.wait(), pause)
                except TimeoutError:
                    continue
            self._look_now.clear()

    async def _look(self) -> bool:
        """Ask the queue about all jobs; return whether one of them is young."""
        if not self.queue.has_password:
            self.queue.use_password(await self.caches.queue_password())
            if not self.queue.has_password:
                self.queue.asked = True
                return True
        answered = self.queue.answers
        resources = self.world.all(KIND)
        by_uid = {found["metadata"]["uid"]: _key(found) for found in resources}
        try:
            told, users = await self.queue.look(list(by_uid))
        except Exception:
            if answered:
                for key in by_uid.values():
                    self.job_queue.add(key)
            raise
        lost = self.jobs.users - users
        self.jobs.users = users
        there = {found["metadata"]["uid"]: found for found in self.world.all(KIND)}
        for uid, what in told.items():
            if uid not in there:  # (it went while the queue was asked)
                continue
            if self.jobs.heard(uid, what) or not answered or user_of(uid) in lost:
                self.job_queue.add(by_uid[uid])
        now = time.time()
        return any(_is_young(what, there[uid], now) for uid, what in told.items() if uid in there)

    async def _resync(self) -> None:
        while True:
            try:
                await self.caches.keep_queue(str(int(time.time())))
                await self._remove_orphans()
            except Exception as error:
                log.warning("what is looked at from time to time was not: %s", error)
            await asyncio.sleep(_RESYNC_SECONDS)
            for found in self.world.all(KIND):
                self.job_queue.add(_key(found))
            for found in self.world.all(CACHE_KIND):
                self.cache_queue.add(_key(found))

    async def _remove_orphans(self) -> None:
        """Remove from the queue what belongs to no ChunkJob: it was deleted when the queue could not be reached."""
        suspects = self._orphans(self.world.all(KIND))
        if not suspects or self._config.watch:  # (a job may be in a namespace that is not watched any more)
            return
        # (what was heard may be less than there is: nothing is removed but by the API server's own word)
        for user in suspects & self._orphans(await self._cluster.list(KIND, "")):
            log.info("%s belongs to no ChunkJob: removed", user)
            await self.queue.forget(uid_of(user))

    def _orphans(self, there: list[dict[str, Any]]) -> set[str]:
        known = {user_of(found["metadata"]["uid"]) for found in there}
        return {user for user in self.jobs.users - known if uid_of(user)}


def _is_young(told: dict[str, Any] | None, resource: dict[str, Any], now: float) -> bool:
    """Whether something is likely to happen to a job within the second."""
    if told is None:
        return (resource.get("status") or {}).get("state") not in (State.COMPLETE, State.FAILED)
    begun = now - int(told["job"].get("created") or 0) / 1000
    return told["job"]["phase"] in ("planning", "running", "removing") and begun < _YOUNG


def _key(found: dict[str, Any]) -> Key:
    return found["metadata"]["namespace"], found["metadata"]["name"]


def _login(**kwargs: Any) -> Any:
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
