"""What to do about a ChunkJob: a function of the resource, of what was made for it, and of what the queue says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from gristmill.api.chunkjob import ChunkJob
from gristmill.api.manifest import load_manifest
from gristmill.api.names import API_VERSION, FINALIZER, KIND, ConditionType, Reason
from gristmill.client.status import status_of
from gristmill.errors import ManifestError
from gristmill.planning.progress import Sample, State
from gristmill.protocol.job import JobContext
from gristmill.reconcilers.actions import (
    Action,
    AdmitToQueue,
    Cancel,
    Configure,
    Create,
    Decision,
    DeleteJob,
    DeletePod,
    DeleteResource,
    FailJob,
    Forget,
    Note,
    Scale,
    SetFinalizer,
)
from gristmill.reconcilers.objects import is_young
from gristmill.reconcilers.obstacles import has_crashed, is_alive, obstacle_of, waits_for_collection
from gristmill.reconcilers.times import seconds_of, text_of
from gristmill.reconcilers.worker_job import (
    WORK,
    Images,
    belongs,
    is_current,
    job_name,
    parallelism_of,
    queue_secret,
    worker_job,
)
from gristmill.reconcilers.workers import Present, wanted_workers

#: seconds that a deletion waits for queue and workers to remove what is theirs
REMOVAL_SECONDS = 30.0
#: seconds between two looks while something that nobody tells of is waited for
_LOOK_SECONDS = 1.0
#: the longest time between two looks at why there are no pods
_REFUSED_SECONDS = 15.0
#: so many failed pods before a first worker has begun end the job
_EARLY_CRASHES = 6


@dataclass(frozen=True)
class Observed:
    """What is there. Objects are as the API server has them."""

    resource: dict[str, Any]
    #: the Job with the name that the ChunkJob's has
    job: dict[str, Any] | None = None
    pods: Sequence[dict[str, Any]] = ()
    #: newest first: (reason, message) of warnings about the Job
    warnings: Sequence[tuple[str, str]] = ()
    #: whether the queue answers
    queue_answers: bool = True
    #: what the queue says of the job; None where it does not know it
    told: dict[str, Any] | None = None
    #: whether the queue knows the job's user
    has_user: bool = True
    samples: Sequence[Sample] = ()
    #: an object that is somebody else's and has a name that this job needs, in words; "" where there is none
    taken: str = ""
    #: why the API server refused what was to be done, ""
    refused: str = ""


@dataclass(frozen=True)
class Settings:
    """What the operator was told about all jobs."""

    images: Images
    #: workers where `workers.max` is not said
    default_workers: int = 4


@dataclass
class _Plan:
    """A decision in the making."""

    actions: list[Action] = field(default_factory=list)
    again: float | None = None

    def look_again(self, seconds: float) -> None:
        self.again = seconds if self.again is None else min(self.again, seconds)


def context_of(resource: dict[str, Any]) -> JobContext:
    """Return what workers must know of a job. ManifestError when the resource is wrong."""
    metadata = resource["metadata"]
    manifest = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": metadata["name"]},
        "spec": resource["spec"],
    }
    job = load_manifest(manifest)
    if job.spec.reduce and not job.spec.output:
        raise ManifestError(
            ["spec.output.url: is needed on a cluster with a reduce: a place that all workers reach"]
        )
    url = job.spec.output.url if job.spec.output else ""
    return JobContext(
        manifest=job.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"status"}),
        base=WORK,
        output=url if not url or "://" in url or url.startswith("/") else f"{WORK}/{url}",
        code_version="",
        generation=int(metadata.get("generation") or 0),
    )


def decide(observed: Observed, settings: Settings, secret_url: str, now: float) -> Decision:
    """Return what to do; `secret_url` is the queue's URL for this job, `now` unix seconds."""
    metadata = observed.resource["metadata"]
    if metadata.get("deletionTimestamp"):
        return _remove(observed, now)
    try:
        context = context_of(observed.resource)
    except ManifestError as error:
        return _wrong(observed, str(error), now)
    plan = _Plan()
    ended = _ended(observed)
    if FINALIZER not in (metadata.get("finalizers") or ()) and not (ended and observed.told is None):
        plan.actions.append(SetFinalizer(True))
    if not ended:
        _keep_in_queue(plan, observed, context, now)
    _keep_workers(plan, observed, settings, context.job, secret_url, now)
    _keep_time(plan, observed, context.job, now)
    _keep_pods(plan, observed, now)
    return Decision(tuple(plan.actions), _status(observed, context, now), plan.again)


def _wrong(observed: Observed, message: str, now: float) -> Decision:
    """Return what to do about a spec that is wrong: nothing begins; what has begun goes on with the former one."""
    told = observed.told
    if told is None:
        return Decision(status=_refused(observed.resource, message, now))
    status = status_of(told, observed.samples, told["job"].get("output") or "")
    del status["name"]
    shown = _condition(ConditionType.SPEC_CHANGED, True, Reason.NOT_TAKEN_OVER, message, now)
    generation = int(observed.resource["metadata"].get("generation") or 0)
    conditions = _kept(observed.resource.get("status") or {}, [*status["conditions"], shown], generation)
    idle = _ended(observed) and observed.job is not None and parallelism_of(observed.job)
    return Decision((Scale(0),) if idle else (), {**status, "conditions": conditions})


# -- the parts of a decision


def _keep_in_queue(plan: _Plan, observed: Observed, context: JobContext, now: float) -> None:
    if not observed.queue_answers:
        plan.look_again(_LOOK_SECONDS)
        return
    told = observed.told
    if told is None or not observed.has_user:
        plan.actions.append(AdmitToQueue(int(now * 1000)))
        plan.look_again(_LOOK_SECONDS)
    elif int(told["job"].get("generation") or 0) < context.generation:
        parameters = context.parameters()
        if told["job"].get("planned"):
            items = int(told["job"].get("items") or -1)
            parameters |= context.tolerance(int(told["job"]["chunks"]), items)
        plan.actions.append(Configure(parameters))


def _keep_workers(
    plan: _Plan, observed: Observed, settings: Settings, job: ChunkJob, secret_url: str, now: float
) -> None:
    owner = observed.resource["metadata"]
    if observed.job is not None and not belongs(observed.job, owner["uid"]):
        plan.look_again(_LOOK_SECONDS)  # it is that of a job of the same name which is being deleted
        return
    if observed.job is not None and not _ended(observed) and not is_current(observed.job, job):
        found = observed.job["metadata"]
        if not found.get("deletionTimestamp"):
            plan.actions.append(DeleteJob(found["name"], found["uid"]))
        plan.look_again(_LOOK_SECONDS)
        return
    if _ended(observed) and (observed.told is None or observed.job is None):
        if observed.job is not None and parallelism_of(observed.job):
            plan.actions.append(Scale(0))
        return
    present = 0 if observed.job is None else parallelism_of(observed.job)
    alive = sum(is_alive(pod) for pod in observed.pods)
    workers = Present(present, alive)
    wanted, again = wanted_workers(job, observed.told, workers, settings.default_workers, now)
    if again is not None:
        plan.look_again(again)
    if observed.job is None:
        if wanted:
            plan.actions.append(Create(queue_secret(owner, secret_url)))
            plan.actions.append(Create(worker_job(owner, job, settings.images, wanted)))
    elif wanted != present and (observed.queue_answers or job.spec.suspend):
        plan.actions.append(Scale(wanted))
    told = observed.told
    if present and not alive and not _ended(observed) and observed.job is not None:
        # (nobody tells that Kubernetes refuses to make pods)
        age = now - (seconds_of(observed.job["metadata"].get("creationTimestamp")) or now)
        plan.look_again(min(max(_LOOK_SECONDS, age / 4), _REFUSED_SECONDS))
    if not told or told["job"]["phase"] != "planning" or told["workers"]:
        return
    # (workers of an epoch that the queue has forgotten had begun)
    crashes = sum(has_crashed(pod, since=int(told["job"]["created"]) / 1000) for pod in observed.pods)
    if crashes >= _EARLY_CRASHES:
        message = f"{crashes} workers failed before one began; `kubectl logs job/{job_name(owner['name'])}` tells why"
        plan.actions.append(FailJob(int(told["job"]["epoch"]), Reason.WORKERS_CRASH, message))


def _keep_pods(plan: _Plan, observed: Observed, now: float) -> None:
    """Have pods of a lost node gone, after the job's end too: in their namespace they would stay for ever."""
    for pod in observed.pods:
        if (late := _stuck_at(pod)) is None:
            continue
        if now > late:
            plan.actions.append(DeletePod(pod["metadata"]["name"]))
        plan.look_again(max(late - now, _LOOK_SECONDS))


def _keep_time(plan: _Plan, observed: Observed, job: ChunkJob, now: float) -> None:
    told = observed.told
    if _ended(observed):
        end = seconds_of((observed.resource.get("status") or {}).get("completionTime"))
        if told is not None and told["job"].get("finished"):
            end = int(told["job"]["finished"]) / 1000
        if job.spec.ttl_seconds_after_finished is not None and end is not None:
            left = end + job.spec.ttl_seconds_after_finished - now
            if left <= 0:
                plan.actions.append(DeleteResource())
            else:
                plan.look_again(left)
    elif job.spec.active_deadline_seconds is not None and told is not None:
        left = int(told["job"]["created"]) / 1000 + job.spec.active_deadline_seconds - now
        if left <= 0:
            message = f"it ran longer than {job.spec.active_deadline_seconds} seconds"
            plan.actions.append(FailJob(int(told["job"]["epoch"]), Reason.DEADLINE_EXCEEDED, message))
        else:
            plan.look_again(left)


def _remove(observed: Observed, now: float) -> Decision:
    """Return what is to be done before a ChunkJob may go."""
    metadata = observed.resource["metadata"]
    if FINALIZER not in (metadata.get("finalizers") or ()):
        return Decision()
    told = observed.told
    if observed.queue_answers and (told is None or told["job"]["phase"] == "removed"):
        return Decision((Forget(), SetFinalizer(False)))
    if observed.queue_answers and told is not None:
        # (nobody may have been there when it was deleted: workers have their time from when they were told)
        removing = told["job"]["phase"] == "removing"
        since = int(told["job"].get("finished") or 0) / 1000 if removing else None
    else:
        since = seconds_of(metadata["deletionTimestamp"])
    if since is not None and now > since + REMOVAL_SECONDS:
        what = "the queue did not answer: its keys may be left" if not observed.queue_answers else ""
        output = (observed.resource["spec"].get("output") or {}).get("url")
        what = what or f"no worker removed what was staged in {output}: parts may be left there"
        note = Note("RemovalIncomplete", what, warning=True)
        return Decision((note, *((Forget(),) if observed.queue_answers else ()), SetFinalizer(False)))
    actions: list[Action] = []
    if observed.queue_answers and told is not None and told["job"]["phase"] != "removing":
        actions.append(Cancel())
    job = observed.job
    if job is not None and belongs(job, metadata["uid"]) and not job["metadata"].get("deletionTimestamp"):
        wanted = 1 if told is not None and told["job"].get("sink") == "url" else 0
        if parallelism_of(job) != wanted and told is not None and told["job"]["phase"] == "removing":
            actions.append(Scale(wanted))
    return Decision(tuple(actions), again=0.25)


def _stuck_at(pod: dict[str, Any]) -> float | None:
    """Return when a pod that is to go should be gone: later its node is lost, and fencing makes forcing it safe."""
    metadata = pod["metadata"]
    deleted = seconds_of(metadata.get("deletionTimestamp"))
    grace = int(metadata.get("deletionGracePeriodSeconds") or 0)
    # (the time stamp has the grace period in it)
    return None if deleted is None else deleted + min(grace, 30) + 10


# -- what is shown


def _ended(observed: Observed) -> bool:
    """Whether the job is over: the queue's word counts, and the status where the queue does not know the job."""
    if observed.told is not None:
        return observed.told["job"]["phase"] in ("complete", "failed", "removing", "removed")
    status = observed.resource.get("status") or {}
    return any(
        condition["type"] in (ConditionType.COMPLETE, ConditionType.FAILED)
        and condition["status"] == "True"
        and condition["reason"] != Reason.INVALID_SPEC
        for condition in status.get("conditions") or ()
    )


def _status(observed: Observed, context: JobContext, now: float) -> dict[str, Any]:
    old = observed.resource.get("status") or {}
    told = observed.told
    if told is None:
        if _ended(observed):
            return old
        reason = Reason.STARTING if observed.queue_answers else Reason.QUEUE_UNREACHABLE
        message = "" if observed.queue_answers else "the queue does not answer; what runs goes on"
        if taken := _taken(observed, now):
            reason, message = taken
        conditions = [_condition(ConditionType.PROGRESSING, False, reason, message, now)]
        status = {**old, "state": old.get("state") or str(State.PENDING)}
    else:
        status = status_of(told, observed.samples, context.output)
        del status["name"]
        conditions = status["conditions"]
        changed = _changed(told["job"], context)
        if obstacle := _obstacle(observed, told, now):
            conditions = [c for c in conditions if c["type"] != ConditionType.PROGRESSING]
            conditions.append(_condition(ConditionType.PROGRESSING, False, *obstacle, now))
        if changed:
            conditions.append(
                _condition(ConditionType.SPEC_CHANGED, True, Reason.NOT_TAKEN_OVER, changed, now)
            )
    return {**status, "conditions": _kept(old, conditions, context.generation)}


def _obstacle(observed: Observed, told: dict[str, Any], now: float) -> tuple[str, str] | None:
    """Return (reason, message) of what keeps the job from going on."""
    if not observed.queue_answers:
        return Reason.QUEUE_UNREACHABLE, "the queue does not answer; what runs goes on"
    if _ended(observed):
        return None
    if waits_for_collection(told):
        name = observed.resource["metadata"]["name"]
        message = f"the queue is full of results: `gristmill results {name} --take` fetches them"
        return Reason.AWAITING_COLLECTION, message
    if told["workers"]:
        return None
    return obstacle_of(observed.job, observed.pods, observed.warnings) or _taken(observed, now)


def _taken(observed: Observed, now: float) -> tuple[Reason, str] | None:
    """Return that the API server refuses what is to be made, or that its name is somebody else's."""
    if observed.refused:
        quota = "exceeded quota" in observed.refused
        return (Reason.QUOTA_EXCEEDED if quota else Reason.REFUSED), observed.refused
    if not observed.taken or is_young(observed.resource["metadata"], now):
        return None
    return Reason.NAME_TAKEN, observed.taken


def _changed(job: dict[str, Any], context: JobContext) -> str:
    same = job.get("spec_digest", context.spec_digest) == context.spec_digest
    if same and job.get("output", context.output) == context.output:
        return ""
    return (
        "input, chunks, process, reduce or output changed after the job began; it goes on with the former ones: "
        "delete it and apply it again"
    )


def _refused(resource: dict[str, Any], message: str, now: float) -> dict[str, Any]:
    generation = int(resource["metadata"].get("generation") or 0)
    conditions = [_condition(ConditionType.FAILED, True, Reason.INVALID_SPEC, message, now)]
    return {
        "state": str(State.FAILED),
        "conditions": _kept(resource.get("status") or {}, conditions, generation),
    }


def _condition(kind: str, holds: bool, reason: str, message: str, now: float) -> dict[str, Any]:
    return {
        "type": str(kind),
        "status": "True" if holds else "False",
        "reason": str(reason),
        "message": message,
        "lastTransitionTime": text_of(now),
    }


def _kept(old: dict[str, Any], conditions: Sequence[dict[str, Any]], generation: int) -> list[dict[str, Any]]:
    """Return conditions with the times at which they came about; those that do not hold any more stay, as False."""
    former = {condition["type"]: condition for condition in old.get("conditions") or ()}
    kept = []
    for condition in conditions:
        before = former.pop(condition["type"], None)
        since = condition["lastTransitionTime"]
        if before and before["status"] == condition["status"]:
            since = before["lastTransitionTime"]
        kept.append({**condition, "lastTransitionTime": since, "observedGeneration": generation})
    if ConditionType.SUSPENDED in former and former[ConditionType.SUSPENDED]["status"] == "True":
        since = next((c["lastTransitionTime"] for c in conditions), None)
        kept.append(
            {
                **former[ConditionType.SUSPENDED],
                "status": "False",
                "reason": str(Reason.RESUMED),
                "lastTransitionTime": since,
                "observedGeneration": generation,
            }
        )
    elif ConditionType.SUSPENDED in former:
        kept.append(former[ConditionType.SUSPENDED])
    return kept
