"""What to do about a ChunkJob: a function of the resource, of what was made for it, and of what the queue says."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any

from gristmill.api.chunkjob import ChunkJob
from gristmill.api.names import FINALIZER, ConditionType, Reason
from gristmill.errors import ManifestError
from gristmill.protocol.job import JobContext
from gristmill.protocol.statuses import DAMAGED
from gristmill.reconcilers.accounts import account, account_name, binding, has_former_account
from gristmill.reconcilers.actions import (
    Action,
    AdmitToQueue,
    Configure,
    Create,
    Decision,
    DeleteJob,
    DeletePod,
    DeleteResource,
    FailJob,
    Scale,
    SetFinalizer,
    SetUser,
)
from gristmill.reconcilers.job_status import OTHER_WORK, is_same_work, status, status_when_wrong
from gristmill.reconcilers.observed import (
    Observed,
    begun,
    context_of,
    former_workers,
    has_begun,
    has_ended,
    right_part_of,
)
from gristmill.reconcilers.obstacles import has_crashed, is_alive, is_being_made, is_orphan, lacks_secret
from gristmill.reconcilers.removal import remove
from gristmill.reconcilers.times import seconds_of
from gristmill.reconcilers.worker_job import (
    Images,
    belongs,
    coordinates,
    is_current,
    is_for,
    job_name,
    kueue_of,
    parallelism_of,
    queue_secret,
    secret_name,
    worker_job,
)
from gristmill.reconcilers.workers import Present, wanted_workers

#: seconds between two looks while something that nobody tells of is waited for
_LOOK_SECONDS = 1.0
#: the longest time between two looks at why there are no pods
_REFUSED_SECONDS = 15.0
#: seconds between two looks at the service account of workers that coordinate: nobody tells that somebody deleted it
_ACCOUNT_SECONDS = 60.0
#: so many failed pods before a first worker has begun end the job
_EARLY_CRASHES = 6


@dataclass(frozen=True)
class Settings:
    """What the operator was told about all jobs."""

    images: Images
    #: workers where `workers.max` is not said
    default_workers: int = 4
    #: the ClusterRole with the rights of workers that coordinate
    coordination_role: str = "gristmill-coordination"


@dataclass
class _Plan:
    """A decision in the making."""

    actions: list[Action] = field(default_factory=list)
    again: float | None = None

    def look_again(self, seconds: float) -> None:
        self.again = seconds if self.again is None else min(self.again, seconds)


def decide(observed: Observed, settings: Settings, secret_url: str, now: float) -> Decision:
    """Return what to do; `secret_url` is the queue's URL for this job, `now` unix seconds."""
    metadata = observed.resource["metadata"]
    if metadata.get("deletionTimestamp"):
        return remove(observed, now)
    try:
        context = context_of(observed.resource)
    except ManifestError as error:
        return _keep_former(observed, settings, secret_url, Reason.INVALID_SPEC, str(error), now)
    if _is_other_work(observed, context):
        return _keep_former(observed, settings, secret_url, Reason.NOT_TAKEN_OVER, OTHER_WORK, now)
    plan = _Plan()
    ended = has_ended(observed)
    if FINALIZER not in (metadata.get("finalizers") or ()) and not (ended and observed.told is None):
        plan.actions.append(SetFinalizer(True))
    # (what the API server may refuse comes last: it is in the way of nothing else)
    _keep_deadline(plan, observed, context.job, now)
    if not ended:
        _keep_in_queue(plan, observed, context, now)
        _keep_user(plan, observed)
        _keep_secret(plan, observed, secret_url, now)
    _keep_workers(plan, observed, settings, context.job, secret_url, now)
    if not ended and context.job.spec.coordination:
        _keep_account(plan, observed, settings)
    _keep_pods(plan, observed, now)
    _keep_ttl(plan, observed, context.job, now)
    return Decision(tuple(plan.actions), status(observed, context, now), plan.again)


def _is_other_work(observed: Observed, context: JobContext) -> bool:
    """Whether the work is another than when the job began: where the queue has lost it, its Job says it."""
    if observed.told is not None:
        return not is_same_work(observed.told, context)
    if has_ended(observed) or not (observed.resource.get("status") or {}).get("startTime"):
        return False
    return _has_job_of_other_work(observed, context.job)


def _has_job_of_other_work(observed: Observed, job: ChunkJob) -> bool:
    """Whether the Job that is there is this ChunkJob's, and was made for other work than it says now."""
    ours = belongs(observed.job, observed.resource["metadata"]["uid"])
    return ours and observed.job is not None and not is_for(observed.job, job)


def _keep_former(
    observed: Observed, settings: Settings, secret_url: str, reason: Reason, message: str, now: float
) -> Decision:
    """Return what to do about a spec that is not taken over: nothing begins; what has begun goes on as it was."""
    plan = _Plan()
    owner = observed.resource["metadata"]
    job = right_part_of(observed.resource, observed.job)
    if not has_begun(observed):
        if belongs(observed.job, owner["uid"]):
            _have_none(plan, observed)
        _keep_ttl_of_wrong(plan, observed, job, now)
    else:
        _keep_deadline(plan, observed, job, now)
        if observed.told is not None and not has_ended(observed):
            _keep_suspended(plan, observed, observed.told, job)
            _keep_user(plan, observed)
            _keep_secret(plan, observed, secret_url, now)
        if observed.job is not None and belongs(observed.job, owner["uid"]):
            if observed.told is None and (observed.queue_answers or has_ended(observed)):
                _have_none(plan, observed)
            else:
                _keep_number(plan, observed, settings, job, now)
            if coordinates(observed.job, owner["name"]) and not has_ended(observed):
                _keep_account(plan, observed, settings)
        _keep_pods(plan, observed, now)
        _keep_ttl(plan, observed, job, now)
    return Decision(tuple(plan.actions), status_when_wrong(observed, reason, message, now), plan.again)


# -- the parts of a decision


def _keep_in_queue(plan: _Plan, observed: Observed, context: JobContext, now: float) -> None:
    if not observed.queue_answers:
        plan.look_again(_LOOK_SECONDS)
        return
    told = observed.told
    if told is None:
        if _may_begin(observed, context.job):
            plan.actions.append(AdmitToQueue(int(now * 1000)))
        plan.look_again(_LOOK_SECONDS)
        return
    tolerance: dict[str, str | int] = {}
    if told["job"].get("planned"):
        tolerance = context.tolerance(int(told["job"]["chunks"]), int(told["job"].get("items") or -1))
    # (whoever planned it may have begun with another spec)
    is_meant = told["job"].get("tolerated") in (None, str(tolerance.get("tolerated")))
    if not _is_told(observed) or not is_meant:
        spec = context.to_json().decode()
        plan.actions.append(Configure({**context.parameters(), **tolerance, "spec": spec}))


def _may_begin(observed: Observed, job: ChunkJob) -> bool:
    """Whether there are no workers, and none are being made, that would do this work with the mounts of another."""
    return not _has_job_of_other_work(observed, job) and not former_workers(observed, job)


def _keep_suspended(plan: _Plan, observed: Observed, told: dict[str, Any], job: ChunkJob) -> None:
    """Suspend and resume a job of whose spec the queue is told nothing else."""
    suspended = int(job.spec.suspend)
    if observed.queue_answers and str(suspended) != told["job"].get("suspended", "0"):
        plan.actions.append(Configure({"suspended": suspended}))


def _keep_user(plan: _Plan, observed: Observed) -> None:
    """See that the workers are let in; when the operator begins, too: its key may be another than before."""
    begins = _begins(observed) and belongs(observed.job, observed.resource["metadata"]["uid"])
    if observed.queue_answers and observed.told is not None and (begins or not observed.has_user):
        plan.actions.append(SetUser())


def _keep_secret(plan: _Plan, observed: Observed, secret_url: str, now: float) -> None:
    """See that the Secret is right when the operator begins, and where workers do: it may not read Secrets."""
    owner = observed.resource["metadata"]
    if not belongs(observed.job, owner["uid"]) or not observed.queue_answers:
        return
    if not _begins(observed):
        missed = any(lacks_secret(pod, secret_name(owner["name"])) for pod in observed.pods)
        if missed:
            plan.look_again(_LOOK_SECONDS)
        crashed = any(has_crashed(pod, since=now - observed.secret_age + 1) for pod in observed.pods)
        if not crashed and not (missed and observed.secret_age >= _LOOK_SECONDS):
            return
    plan.actions.append(Create(queue_secret(owner, secret_url)))


def _keep_workers(
    plan: _Plan, observed: Observed, settings: Settings, job: ChunkJob, secret_url: str, now: float
) -> None:
    owner = observed.resource["metadata"]
    if observed.job is not None and not belongs(observed.job, owner["uid"]):
        plan.look_again(_LOOK_SECONDS)  # it is that of a job of the same name which is being deleted
        return
    if observed.job is not None and not has_ended(observed) and not is_current(observed.job, job):
        found = observed.job["metadata"]
        if not found.get("deletionTimestamp") and _is_told(observed):
            plan.actions.append(DeleteJob(found["name"], found["uid"]))
        elif job.spec.suspend and parallelism_of(observed.job):
            plan.actions.append(_scaled(observed.job, 0))
        plan.look_again(_LOOK_SECONDS)
        return
    if has_ended(observed) and (observed.told is None or observed.job is None):
        _have_none(plan, observed)
        return
    wanted = _keep_number(plan, observed, settings, job, now)
    refused = observed.told is None and observed.queue_refuses
    # (a queue that is away may know the job, by other work)
    if observed.job is None and wanted and _is_told(observed) and not refused:
        plan.actions.append(Create(queue_secret(owner, secret_url)))
        if job.spec.coordination:
            plan.actions += _making_account(owner, settings)
        plan.actions.append(Create(worker_job(owner, job, settings.images, wanted)))


def _is_told(observed: Observed) -> bool:
    """Whether the queue has the spec as it is now: workers that begin read it there."""
    if observed.told is None:
        return observed.queue_answers
    told = int(observed.told["job"].get("generation") or 0)
    return told >= int(observed.resource["metadata"].get("generation") or 0)


def _keep_account(plan: _Plan, observed: Observed, settings: Settings) -> None:
    """See that workers that coordinate have their account, and its rights.

    Pods of one that was deleted and made again have a token that says nothing any more: others take their place.
    """
    owner = observed.resource["metadata"]
    if not belongs(observed.job, owner["uid"]):
        return
    plan.actions += [
        DeletePod(pod["metadata"]["name"])
        for pod in observed.pods
        if is_alive(pod) and has_former_account(pod, observed.account_made)
    ]
    missed = any(account_name(owner["name"]) in message for _, message in observed.warnings)
    left = (_LOOK_SECONDS if missed else _ACCOUNT_SECONDS) - observed.account_age
    if left > 0:
        plan.look_again(left)
    else:
        plan.actions += _making_account(owner, settings)


def _making_account(owner: dict[str, Any], settings: Settings) -> list[Action]:
    return [Create(account(owner)), Create(binding(owner, settings.coordination_role))]


def _have_none(plan: _Plan, observed: Observed) -> None:
    """Have no workers, where the queue knows of nothing to do."""
    if observed.job is not None and parallelism_of(observed.job):
        plan.actions.append(_scaled(observed.job, 0))


def _scaled(found: dict[str, Any], wanted: int) -> Action:
    """Return what leads to another number of workers.

    Kueue would make another workload of the same Job, by the same name: that can be lost, and the quota stay used.
    """
    metadata = found["metadata"]
    return DeleteJob(metadata["name"], metadata["uid"]) if kueue_of(found) else Scale(wanted)


def _keep_number(plan: _Plan, observed: Observed, settings: Settings, job: ChunkJob, now: float) -> int:
    """Have as many workers as are wanted, where there is a Job, or give up where none begins; return how many."""
    present = 0 if observed.job is None else parallelism_of(observed.job)
    alive = sum(is_alive(pod) for pod in observed.pods)
    workers = Present(present, alive, queued=bool(kueue_of(observed.job or observed.resource)))
    queue_now = observed.queue_time(now)
    wanted, again = wanted_workers(job, observed.told, workers, settings.default_workers, queue_now)
    if again is not None:
        plan.look_again(again)
    if observed.job is not None and wanted != present and (observed.queue_answers or job.spec.suspend):
        plan.actions.append(_scaled(observed.job, wanted))
    told = observed.told
    waiting = [pod for pod in observed.pods if is_being_made(pod)]
    if present and len(waiting) == alive and not has_ended(observed) and observed.job is not None:
        # (nobody tells that Kubernetes refuses to make pods, nor that a node can't start them)
        made = [
            seconds_of(one["metadata"].get("creationTimestamp")) or now for one in (observed.job, *waiting)
        ]
        plan.look_again(min(max(_LOOK_SECONDS, (now - max(made)) / 4), _REFUSED_SECONDS))
    if not told or told["job"]["phase"] != "planning" or told["alive"]:
        return wanted
    # (workers of an epoch that the queue has forgotten had begun)
    since = int(told["job"]["created"]) / 1000 - (observed.queue_time(now) - now)
    crashes = sum(has_crashed(pod, since=since) for pod in observed.pods)
    if crashes >= _EARLY_CRASHES:
        name = job_name(observed.resource["metadata"]["name"])
        message = f"{crashes} workers failed before one began; `kubectl logs job/{name}` tells why"
        plan.actions.append(FailJob(int(told["job"]["epoch"]), Reason.WORKERS_CRASH, message))
    return wanted


def _keep_pods(plan: _Plan, observed: Observed, now: float) -> None:
    """Have pods gone that nobody else removes, after the job's end too: those of a lost node, and those of no Job."""
    for pod in observed.pods:
        if is_orphan(pod):
            plan.actions.append(DeletePod(pod["metadata"]["name"], at_once=False))
        if (late := _stuck_at(pod)) is None:
            continue
        if now > late:
            plan.actions.append(DeletePod(pod["metadata"]["name"]))
        plan.look_again(max(late - now, _LOOK_SECONDS))


def _keep_deadline(plan: _Plan, observed: Observed, job: ChunkJob, now: float) -> None:
    told, seconds = observed.told, job.spec.active_deadline_seconds
    if has_ended(observed) or seconds is None or told is None:
        return
    left = begun(observed.resource, told) + seconds - observed.queue_time(now)
    if left <= 0:
        message = f"it ran longer than {seconds} seconds"
        plan.actions.append(FailJob(int(told["job"]["epoch"]), Reason.DEADLINE_EXCEEDED, message))
    else:
        plan.look_again(left)


def _keep_ttl(plan: _Plan, observed: Observed, job: ChunkJob, now: float) -> None:
    """Have a job that has ended gone in its time: its end is told by the queue's clock, also by the status."""
    told, seconds = observed.told, job.spec.ttl_seconds_after_finished
    if not has_ended(observed) or seconds is None:
        return
    end = seconds_of((observed.resource.get("status") or {}).get("completionTime"))
    if told is not None and told["job"].get("finished"):
        end = int(told["job"]["finished"]) / 1000
    if end is None or (told is not None and told["job"].get("reason") == DAMAGED):
        return
    if observed.queue_ahead is None:
        plan.look_again(_LOOK_SECONDS)
    else:
        _delete_at(plan, end + seconds, observed.queue_time(now))


def _keep_ttl_of_wrong(plan: _Plan, observed: Observed, job: ChunkJob, now: float) -> None:
    """Have a ChunkJob that never began gone in its time."""
    seconds = job.spec.ttl_seconds_after_finished
    if not observed.queue_answers or seconds is None:
        return
    for condition in (observed.resource.get("status") or {}).get("conditions") or ():
        if condition["type"] == ConditionType.FAILED and condition["status"] == "True":
            _delete_at(plan, (seconds_of(condition["lastTransitionTime"]) or now) + seconds, now)


def _begins(observed: Observed) -> bool:
    """Whether the operator has begun, and has not looked for the job's Secret yet."""
    return observed.secret_age == inf


def _delete_at(plan: _Plan, when: float, now: float) -> None:
    if now >= when:
        plan.actions.append(DeleteResource())
    else:
        plan.look_again(when - now)


def _stuck_at(pod: dict[str, Any]) -> float | None:
    """Return when a pod that is to go should be gone: later its node is lost, and fencing makes forcing it safe."""
    metadata = pod["metadata"]
    deleted = seconds_of(metadata.get("deletionTimestamp"))
    grace = int(metadata.get("deletionGracePeriodSeconds") or 0)
    # (the time stamp has the grace period in it)
    return None if deleted is None else deleted + min(grace, 30) + 10
