"""One pass over a ChunkJob: gather what is there, have it decided, do it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from math import inf
from typing import Any

from gristmill.api.names import FILE_VOLUME_KIND, FINALIZER, KIND
from gristmill.controllers.cluster import NOT_DONE, ApiError, Cluster, Gone, NameTaken, Outdated
from gristmill.controllers.config import Config
from gristmill.controllers.failpoints import reach
from gristmill.controllers.finalizers import set_finalizer
from gristmill.controllers.queue_link import QueueLink
from gristmill.controllers.statuses import Statuses
from gristmill.controllers.world import Key, World
from gristmill.errors import QueueError
from gristmill.planning.progress import Sample, recent
from gristmill.protocol.refusals import NoSuchJob
from gristmill.reconcilers import actions
from gristmill.reconcilers.access import password_of, url_of, user_of
from gristmill.reconcilers.chunkjob import decide
from gristmill.reconcilers.job_volumes import volumes_of
from gristmill.reconcilers.observed import Observed, context_of
from gristmill.reconcilers.obstacles import unexplained, waits_for_kueue, why_queued
from gristmill.reconcilers.showing import worth_writing
from gristmill.reconcilers.worker_job import job_name

log = logging.getLogger(__name__)

#: seconds until a look at what is about to be known
_SOON_SECONDS = 0.2
#: seconds until the API server, or the queue, is asked again for what it refused
_REFUSED_SECONDS = 5.0
#: seconds between two tries to make an object whose name is somebody else's
_TAKEN_SECONDS = 1.0


class ChunkJobs:
    """Reconciles ChunkJobs. What it keeps between passes only saves writes and makes rates."""

    def __init__(
        self,
        config: Config,
        cluster: Cluster,
        world: World,
        queue: QueueLink,
        look_now: Callable[[], None],
    ) -> None:
        #: has the queue asked at once
        self.look_now = look_now
        self._config = config
        self._cluster = cluster
        self._world = world
        self._queue = queue
        self._statuses = Statuses(cluster, world, config.identity)
        #: what the queue said last, by uid; no entry where it was not asked
        self.told: dict[str, dict[str, Any] | None] = {}
        self.users: set[str] = set()
        self._samples: dict[str, list[Sample]] = {}
        self._written: dict[str, float] = {}
        #: when a Secret was made, or looked for
        self._secrets: dict[str, float] = {}
        #: the same of the service accounts of workers that coordinate; and when they were made
        self._accounts: dict[str, float] = {}
        self._accounts_made: dict[str, float] = {}
        #: what people were told, by uid: a pass that did not come to its end is made again
        self._noted: dict[str, list[actions.Note]] = {}

    async def reconcile(self, key: Key) -> float | None:
        """Look at one ChunkJob; return in how many seconds to look again."""
        try:
            return await self._reconcile(key)
        except (Gone, Outdated) as error:
            log.info("%s/%s: %s", *key, error)
            return _SOON_SECONDS

    async def _reconcile(self, key: Key) -> float | None:
        resource = self._world.get(KIND, key)
        if resource is None:
            return None
        now = time.time()
        observed = await self._observe(resource, now)
        if observed is None:
            return _SOON_SECONDS  # (the queue was not asked yet)
        decision = await self._carry_out(observed, now)
        if decision is None:
            return _SOON_SECONDS
        again = decision.again
        if decision.status is not None:
            pause = await self._show(resource, decision.status, now)
            again = pause if again is None else min(again, pause or again)
        return again

    async def _carry_out(self, observed: Observed, now: float) -> actions.Decision | None:
        """Do what is decided; return what to show, or None where the queue must be asked again first.

        What is refused is shown, and tried again later. What the queue refuses holds up only what it is to do.
        """
        resource = observed.resource
        metadata = resource["metadata"]
        uid, where = metadata["uid"], f"{metadata['namespace']}/{metadata['name']}"
        url = url_of(self._queue.server, uid, password_of(self._config.key, uid))
        done: list[actions.Action] = []
        again = None
        queue_refuses, doing = False, None
        while True:
            decision = decide(observed, self._config.jobs, url, now)
            try:
                for action in decision.actions:
                    doing = action
                    if action not in done and not (queue_refuses and isinstance(action, actions.QueueAction)):
                        await self._do(action, resource)
                        done.append(action)
                return decision if again is None else replace(decision, again=again)
            except QueueError as error:
                if isinstance(error, NoSuchJob) and observed.told is not None:
                    self._ask_again(uid)  # (it was lost since)
                    return None
                log.warning("%s: %s", where, error)
                again, queue_refuses, answers = _REFUSED_SECONDS, True, self._queue.answers
                observed = replace(
                    observed, queue_answers=answers, queue_refuses=str(error) if answers else ""
                )
            except NameTaken as taken:
                log.info("%s: %s", where, taken)
                self._look_at(uid, doing, now)
                decision = decide(replace(observed, taken=str(taken)), self._config.jobs, url, now)
                return replace(decision, again=_TAKEN_SECONDS)
            except ApiError as error:
                log.warning("%s: refused: %s", where, error)
                again, observed = _REFUSED_SECONDS, replace(observed, refused=str(error))
                # (a deletion goes on without the workers' Job: Kubernetes deletes that, too)
                if not ("deletionTimestamp" in metadata and isinstance(doing, actions.DeleteJob)):
                    return replace(decide(observed, self._config.jobs, url, now), again=again)

    def forget(self, uid: str) -> None:
        """Drop what is kept of a ChunkJob that is gone."""
        kept: tuple[dict[str, Any], ...] = (self.told, self._samples, self._written, self._noted)
        for one in (*kept, self._secrets, self._accounts, self._accounts_made):
            one.pop(uid, None)

    def heard(self, uid: str, told: dict[str, Any] | None) -> bool:
        """Take what the queue says of a job; return whether it is news."""
        before = self.told.get(uid)
        news = uid not in self.told or _facts(before) != _facts(told)
        self.told[uid] = told
        if told is not None:
            at = told["now"] / 1000
            sample = Sample(at, int(told["job"].get("settled") or 0))
            self._samples[uid] = recent([*self._samples.get(uid, ()), sample], at)
        return news

    async def _observe(self, resource: dict[str, Any], now: float) -> Observed | None:
        metadata = resource["metadata"]
        uid, namespace = metadata["uid"], metadata["namespace"]
        if not self._queue.asked or (self._queue.answers and uid not in self.told):
            return None
        job = self._world.get("Job", (namespace, job_name(metadata["name"])))
        pods = self._world.owned("Pod", uid, namespace)
        return Observed(
            resource=resource,
            job=job,
            pods=pods,
            secret_age=now - self._secrets.get(uid, -inf),
            account_age=now - self._accounts.get(uid, -inf),
            account_made=self._accounts_made.get(uid),
            warnings=await self._warnings(unexplained(job, pods, uid, now)),
            queue_answers=self._queue.answers,
            queue_ahead=self._queue.ahead,
            told=self.told.get(uid),
            has_user=user_of(uid) in self.users,
            samples=self._samples.get(uid, ()),
            no_volumes=[
                name
                for name in volumes_of(resource["spec"])
                if self._world.get(FILE_VOLUME_KIND, (namespace, name)) is None
            ],
        )

    async def _warnings(self, about: dict[str, Any] | None) -> list[tuple[str, str]]:
        if about is None:
            return []
        metadata = about["metadata"]
        kind, selector = "Event", {"fieldSelector": f"regarding.uid={metadata['uid']},type=Warning"}
        if waits_for_kueue(about):
            kind, selector = "Workload", {"labelSelector": f"kueue.x-k8s.io/job-uid={metadata['uid']}"}
        try:
            found = await self._cluster.list(kind, metadata["namespace"], **selector)
        except NOT_DONE as error:  # (they only say why: nothing waits for them)
            log.warning("no %ss about %s: %s", kind, metadata["name"], error)
            found = []
        found.sort(key=lambda one: one["metadata"]["creationTimestamp"], reverse=True)
        if kind == "Workload":
            return [why_queued(workload) for workload in found] or [("", "")]
        return [(event["reason"], event.get("note", "")) for event in found]

    async def _do(self, action: actions.Action, resource: dict[str, Any]) -> None:
        metadata = resource["metadata"]
        uid, namespace, name = metadata["uid"], metadata["namespace"], metadata["name"]
        log.info("%s/%s: %s", namespace, name, type(action).__name__)
        match action:
            case actions.SetFinalizer(on):
                await set_finalizer(self._cluster, self._world, KIND, resource, FINALIZER, on=on)
            case actions.Create(manifest):
                made = await self._cluster.create(manifest)
                if made is not None and manifest["kind"] == "Job":
                    self._world.put("Job", made)
                elif made is not None and manifest["kind"] == "ServiceAccount":
                    created = made["metadata"]["creationTimestamp"]
                    self._accounts_made[uid] = datetime.fromisoformat(created).timestamp()
                elif manifest["kind"] in ("Secret", "RoleBinding"):
                    self._look_at(uid, action, time.time())
            case actions.Scale(parallelism):
                job = self._world.get("Job", (namespace, job_name(name)))
                if job is not None:
                    body = {"spec": {"parallelism": parallelism}}
                    uid = job["metadata"]["uid"]
                    found = await self._cluster.patch("Job", namespace, job_name(name), body, uid=uid)
                    self._world.put("Job", found)
            case actions.DeleteJob(job, job_uid):
                await self._cluster.delete("Job", namespace, job, uid=job_uid)
            case actions.DeletePod(pod, at_once):
                if lost := self._world.get("Pod", (namespace, pod)):
                    uid = lost["metadata"]["uid"]
                    await self._cluster.delete("Pod", namespace, pod, uid=uid, grace=0 if at_once else None)
            case actions.DeleteResource():
                await self._cluster.delete(KIND, namespace, name, uid=uid)
            case actions.AdmitToQueue(epoch):
                await self._queue.admit(uid, namespace, context_of(resource), epoch)
                self._ask_again(uid)
            case actions.SetUser():
                await self._queue.set_user(uid)
                self._ask_again(uid)
            case actions.Configure(parameters):
                await self._queue.configure(uid, parameters)
                self._ask_again(uid)
            case actions.FailJob(epoch, reason, message):
                await self._queue.fail(uid, epoch, reason, message)
                self._ask_again(uid)
            case actions.Cancel():
                await self._queue.cancel(uid)
                self._ask_again(uid)
            case actions.Forget():
                await self._queue.forget(uid)
            case actions.Note():
                noted = self._noted.setdefault(uid, [])
                if action not in noted:
                    await self._statuses.note(KIND, resource, action)
                    noted.append(action)
        if isinstance(action, actions.QueueAction):
            reach(type(action).__name__)

    async def _show(self, resource: dict[str, Any], status: dict[str, Any], now: float) -> float | None:
        metadata = resource["metadata"]
        uid, old = metadata["uid"], resource.get("status") or {}
        created = datetime.fromisoformat(metadata["creationTimestamp"]).timestamp()
        pause = worth_writing(old, status, now - self._written.get(uid, 0.0), now - created)
        if pause is None or pause > 0:
            return pause
        try:
            await self._statuses.write(KIND, resource, status)
        except ApiError as error:
            log.warning("%s/%s: its status is refused: %s", metadata["namespace"], metadata["name"], error)
            return _REFUSED_SECONDS
        self._written[uid] = now
        return None

    def _look_at(self, uid: str, action: actions.Action | None, now: float) -> None:
        """Remember that an object was looked for, of which nobody tells."""
        kind = action.manifest["kind"] if isinstance(action, actions.Create) else ""
        if kind == "Secret":
            self._secrets[uid] = now
        elif kind in ("ServiceAccount", "RoleBinding"):
            self._accounts[uid] = now

    def _ask_again(self, uid: str) -> None:
        """What the queue said last is not so any more."""
        self.told.pop(uid, None)
        self.look_now()


def _facts(told: dict[str, Any] | None) -> Any:
    """Return what of an answer may lead to a decision: all but the time."""
    return told and {**told, "now": 0}
