"""The operator while it leads: watches fill the copy of the world, and workers reconcile what has changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import chain, repeat
from typing import Any

import kopf

from gristmill.api.names import (
    CACHE_KIND,
    CACHE_PLURAL,
    FILE_VOLUME_KIND,
    FILE_VOLUME_PLURAL,
    GROUP,
    KIND,
    PLURAL,
    VERSION,
)
from gristmill.controllers.caches import Caches
from gristmill.controllers.chunkjobs import ChunkJobs
from gristmill.controllers.cluster import ApiError, Cluster
from gristmill.controllers.config import Config
from gristmill.controllers.echoes import Echoes
from gristmill.controllers.master_link import MasterLink
from gristmill.controllers.queue_link import QueueLink
from gristmill.controllers.sessions import Sessions
from gristmill.controllers.volumes import Volumes
from gristmill.controllers.watched import JOB_LABEL, WATCHED, is_watched, selector_of
from gristmill.controllers.work_queue import WorkQueue
from gristmill.controllers.world import Key, World, key_of
from gristmill.reconcilers.access import uid_of, user_of
from gristmill.reconcilers.cache_access import endpoint
from gristmill.reconcilers.job_volumes import volumes_of
from gristmill.reconcilers.observed import is_at_rest

log = logging.getLogger(__name__)

#: ChunkJobs that are reconciled at a time
_WORKERS = 8
#: FileVolumes that are reconciled at a time
_VOLUME_WORKERS = 2
#: seconds that kopf keeps the task of an object of which nothing more is heard
_IDLE_SECONDS = 0.5
#: seconds between two looks at the queue: while a job is young, and otherwise
_LOOK_SECONDS = (0.25, 1.0)
#: seconds between two looks at jobs that have ended so long ago: somebody may have tried one again
_REST_SECONDS = 10.0
#: a job is young for so long (seconds)
_YOUNG = 15.0
#: seconds between two looks at everything
_RESYNC_SECONDS = 60.0
#: seconds without an event after which a watch is made anew
_INACTIVITY_SECONDS = 70.0
#: seconds between two tries to list what there is
_RETRY_SECONDS = 2.0
#: seconds between the first tries to watch, and between all later ones
_FIRST_PAUSES, _PAUSE = (1.0, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0), 20.0
#: group, version and plural of what is watched
_RESOURCES = {
    KIND: (GROUP, VERSION, PLURAL),
    CACHE_KIND: (GROUP, VERSION, CACHE_PLURAL),
    FILE_VOLUME_KIND: (GROUP, VERSION, FILE_VOLUME_PLURAL),
    "Job": ("batch", "v1", "jobs"),
    "Pod": ("", "v1", "pods"),
    "StatefulSet": ("apps", "v1", "statefulsets"),
}


class Operator:
    """All that runs while this process leads."""

    def __init__(self, config: Config, cluster: Cluster) -> None:
        self._config = config
        self._cluster = cluster
        self.world = World()
        self._echoes = Echoes(is_watched)
        cluster.on_written = lambda kind, found: self._echoes.expect(kind, found, time.monotonic())
        cluster.on_gone = lambda kind, namespace, name, uid: self._end(kind, (namespace, name), uid)
        #: is set when the copy of the world is whole: nothing is decided before
        self._listed = asyncio.Event()
        server = endpoint(config.queue_cache, config.namespace)
        self.queue = QueueLink(server, config.key)
        self._look_now = asyncio.Event()
        #: when (seconds) the queue is to be asked about jobs that are at rest, too
        self._ask_all_at = 0.0
        #: (namespace, kind) of what is to be watched and may not be, and why
        self._forbidden: dict[tuple[str, str], str] = {}
        #: without these it can do nothing
        self._needed = ("", config.namespace)
        #: when (seconds) something was heard of a ChunkJob last, by uid: who tries one again touches it
        self._stirred: dict[str, float] = {}
        self.jobs = ChunkJobs(config, cluster, self.world, self.queue, self._look_now.set)
        self.caches = Caches(config, cluster, self.world)
        self._link = MasterLink()
        self.volumes = Volumes(config, cluster, self.world, self._link)
        self.sessions = Sessions(cluster, config.watch)
        self.job_queue: WorkQueue[Key] = WorkQueue(self.jobs.reconcile)
        self.cache_queue: WorkQueue[Key] = WorkQueue(self.caches.reconcile)
        self.volume_queue: WorkQueue[Key] = WorkQueue(self.volumes.reconcile)

    async def run(self, stop: asyncio.Event) -> None:
        """Operate until `stop` is set. What ends by itself ends all."""
        parts: list[Awaitable[None]] = [
            self._watch(stop),
            self._look_for_ever(),
            self._resync(),
            self.sessions.run(),
            self._work(self.cache_queue),
            *(self._work(self.volume_queue) for _ in range(_VOLUME_WORKERS)),
            *(self._work(self.job_queue) for _ in range(_WORKERS)),
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
            await self._link.close()

    def fault(self) -> str:
        """Return why this process should be started again, or ""."""
        return self._blind() or self._echoes.fault(time.monotonic())

    def _blind(self) -> str:
        """Return why the operator may not watch what it needs, or ""."""
        return next((why for (place, _), why in self._forbidden.items() if place in self._needed), "")

    # -- watching

    async def _watch(self, stop: asyncio.Event) -> None:
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.scanning.disabled = True
        settings.watching.inactivity_timeout = _INACTIVITY_SECONDS
        settings.networking.error_backoffs = _Pauses()
        settings.queueing.idle_timeout = _IDLE_SECONDS
        for kind, resource in _RESOURCES.items():
            if selector := selector_of(kind):
                settings.watching.label_selectors[resource] = selector
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
        kopf.on.login(registry=registry)(_login)
        for kind, resource in _RESOURCES.items():
            kopf.on.event(*resource, registry=registry)(self._on(kind))
        return registry

    def _on(self, kind: str) -> Callable[..., Awaitable[None]]:
        async def handler(event: Any, **_: Any) -> None:
            found = dict(event["object"])
            if event["type"] == "DELETED":
                self._end(kind, key_of(found), found["metadata"]["uid"])
            else:
                self._echoes.hear(kind, found)
                self.world.put(kind, found)
                if kind == KIND:
                    self._stirred[found["metadata"]["uid"]] = time.monotonic()
                self._changed(kind, found)

        handler.__name__ = f"on_{kind.lower()}"
        return handler

    def _end(self, kind: str, key: Key, uid: str) -> None:
        """Take that an object is gone, or has lost the labels by which it is watched."""
        self._echoes.end(kind, uid, time.monotonic())
        if kind == KIND:
            self.jobs.forget(uid)
            self._stirred.pop(uid, None)
        if gone := self.world.drop(kind, key, uid):
            self._changed(kind, gone)

    def _changed(self, kind: str, found: dict[str, Any]) -> None:
        metadata = found["metadata"]
        if kind == KIND:
            if metadata["uid"] not in self.jobs.told:
                self._look_now.set()
            self.job_queue.add(key_of(found))
            for volume in volumes_of(found["spec"]):
                if self.volumes.is_news((metadata["namespace"], volume)):
                    self.volume_queue.add((metadata["namespace"], volume))
        elif kind in (CACHE_KIND, "StatefulSet"):
            self.cache_queue.add(key_of(found))
        elif kind == FILE_VOLUME_KIND:
            self.volume_queue.add(key_of(found))
            for job in self.world.all(KIND):  # (whoever waits for it)
                here = job["metadata"]["namespace"] == metadata["namespace"]
                if here and metadata["name"] in volumes_of(job["spec"]):
                    self.job_queue.add(key_of(job))
        elif name := (metadata.get("labels") or {}).get(JOB_LABEL):
            self.job_queue.add((metadata["namespace"], name))

    async def _lists(self, kind: str) -> AsyncIterator[tuple[str, list[dict[str, Any]]]]:
        """Give what there is of a kind by the namespaces that are watched ("": all)."""
        for namespace in self._config.watch or ("",):
            try:
                there = await self._cluster.list(kind, namespace, labelSelector=selector_of(kind))
            except ApiError as error:
                if error.status != 403:
                    raise
                is_known = any(place == namespace for place, _ in self._forbidden)
                self._forbidden[namespace, kind] = str(error)
                if namespace in self._needed:
                    raise
                if not is_known:  # (it was deleted, say)
                    log.warning("%s is watched, and may not be: %s", namespace, error)
            else:
                self._forbidden.pop((namespace, kind), None)
                yield namespace, there

    async def _list_all(self) -> None:
        """Begin with what there is: a decision that is made without a part of it may be wrong."""
        for kind in WATCHED:
            async for _, there in self._lists(kind):
                for found in there:
                    self.world.put(kind, found)
                    self._changed(kind, found)
        self._listed.set()

    async def _drop_missing(self) -> None:
        """Forget what is not there any more: a watch that is made anew does not tell what has gone meanwhile."""
        for kind in WATCHED:
            known = self.world.all(kind)
            async for namespace, there in self._lists(kind):
                uids = {found["metadata"]["uid"] for found in there}
                for found in known:
                    key, uid = key_of(found), found["metadata"]["uid"]
                    if uid not in uids and namespace in ("", key[0]):
                        self._end(kind, key, uid)

    async def _work(self, queue: WorkQueue[Key]) -> None:
        await self._listed.wait()
        await queue.work()

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
            try:
                self.queue.use_password(await self.caches.queue_password())
            finally:  # (also where it can't be read: jobs say that the queue does not answer, and can be deleted)
                self.queue.asked = self.queue.asked or not self.queue.has_password
            if not self.queue.has_password:
                return True
        answered = self.queue.answers
        by_uid = {found["metadata"]["uid"]: key_of(found) for found in self.world.all(KIND)}
        try:
            told, users = await self.queue.look(self._to_ask(everything=not answered))
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
        now = time.time() + (self.queue.ahead or 0.0)
        return any(_is_young(what, there[uid], now) for uid, what in told.items() if uid in there)

    def _to_ask(self, *, everything: bool) -> list[str]:
        """Return the uids of the jobs that the queue is to be asked about: of those long at rest, now and then."""
        now = time.monotonic()
        if everything := everything or now >= self._ask_all_at:
            self._ask_all_at = now + _REST_SECONDS
        known = self.jobs.told
        return [
            uid
            for found in self.world.all(KIND)
            if (uid := found["metadata"]["uid"]) not in known
            or everything
            or now < self._stirred.get(uid, 0.0) + _REST_SECONDS
            or not is_at_rest(found, known[uid])
        ]

    async def _resync(self) -> None:
        while True:
            for step in (
                self._drop_missing if self._listed.is_set() else self._list_all,
                lambda: self.caches.keep_queue(str(int(time.time()))),
                self._remove_orphans,
            ):
                try:
                    await step()
                except Exception as error:
                    log.warning("what is looked at from time to time was not: %s", error)
            is_well = self._listed.is_set() and not self._blind()
            await asyncio.sleep(_RESYNC_SECONDS if is_well else _RETRY_SECONDS)
            for found in self.world.all(KIND):
                self.job_queue.add(key_of(found))
            for found in self.world.all(CACHE_KIND):
                self.cache_queue.add(key_of(found))
            for found in self.world.all(FILE_VOLUME_KIND):
                self.volume_queue.add(key_of(found))

    async def _remove_orphans(self) -> None:
        """Remove from the queue what belongs to no ChunkJob: it was deleted when the queue could not be reached."""
        suspects = self._orphans(self.world.all(KIND))
        if not suspects:
            return
        # (what was heard may be less than there is: nothing is removed but by the API server's own word)
        listed = {namespace: there async for namespace, there in self._lists(KIND)}
        suspects &= self._orphans([found for there in listed.values() for found in there])
        if self._config.watch:  # (a job may be in a namespace that is not watched any more)
            places = await self.queue.namespaces([uid_of(user) for user in suspects])
            suspects = {user for user in suspects if places[uid_of(user)] in listed}
        for user in suspects:
            log.info("%s belongs to no ChunkJob: removed", user)
            await self.queue.forget(uid_of(user))

    def _orphans(self, there: list[dict[str, Any]]) -> set[str]:
        known = {user_of(found["metadata"]["uid"]) for found in there}
        return {user for user in self.jobs.users - known if uid_of(user)}


class _Pauses:
    """Pauses without end: a namespace that is deleted may not be watched, and that ends no watch of another."""

    def __iter__(self) -> Iterator[float]:
        return chain(_FIRST_PAUSES, repeat(_PAUSE))


def _is_young(told: dict[str, Any] | None, resource: dict[str, Any], now: float) -> bool:
    """Whether something is likely to happen to a job within the second."""
    if told is None:
        return not is_at_rest(resource, told)
    begun = now - int(told["job"].get("created") or 0) / 1000
    return told["job"]["phase"] in ("planning", "running", "removing") and begun < _YOUNG


def _login(**kwargs: Any) -> Any:
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)
