"""What to do before a ChunkJob may go: nothing of it stays in the queue, and nothing staged in its output."""

from __future__ import annotations

from typing import Any

from gristmill.api.names import FINALIZER
from gristmill.protocol.statuses import DAMAGED
from gristmill.reconcilers.actions import (
    Action,
    Cancel,
    Decision,
    DeleteJob,
    DeletePod,
    Forget,
    Note,
    Scale,
    SetFinalizer,
)
from gristmill.reconcilers.job_status import status_when_removed
from gristmill.reconcilers.objects import UID
from gristmill.reconcilers.observed import Observed, has_begun, has_ended
from gristmill.reconcilers.obstacles import is_orphan, waits_for_kueue
from gristmill.reconcilers.times import seconds_of
from gristmill.reconcilers.worker_job import kueue_of, parallelism_of

#: seconds that a deletion waits for queue and workers to remove what is theirs
REMOVAL_SECONDS = 30.0
#: seconds after which a deletion that has not ended says what it waits for
_SAID_SECONDS = 5.0
#: why something may be left: the reason of an Event, and what the queue says of a job that was not cleaned up
_INCOMPLETE = "RemovalIncomplete"


def remove(observed: Observed, now: float) -> Decision:
    """Return what is to be done before a ChunkJob may go."""
    metadata = observed.resource["metadata"]
    if FINALIZER not in (metadata.get("finalizers") or ()):
        return Decision()
    told, job = observed.told, _job(observed)
    # (what refuses to forget a job may do so for ever, as what is away)
    helps = observed.queue_answers and not observed.queue_refuses
    if helps and (told is None or told["job"]["phase"] == "removed" or _is_damaged(told)):
        return Decision((*_left(observed), Forget(), *_end(job, observed), SetFinalizer(False)))
    removing = told is not None and told["job"]["phase"] == "removing"
    if helps and told is not None:
        # (nobody may have been there when it was deleted: workers have their time from when they were told)
        since = int(told["job"].get("finished") or 0) / 1000 if removing else None
        late = since is not None and (job is None or observed.queue_time(now) > since + REMOVAL_SECONDS)
    else:
        late = now > (seconds_of(metadata["deletionTimestamp"]) or now) + REMOVAL_SECONDS
    if late:
        parts = f", and parts in {_output(observed)}" if _output(observed) else ""
        what = f"{observed.queue_refuses or 'the queue did not answer'}: its keys{parts} may be left"
        if helps:
            what = f"no worker removed what was staged in {_output(observed)}: parts may be left there"
        note = Note(_INCOMPLETE, what, warning=True)
        forget = (Forget(),) if helps else ()
        return Decision((note, *forget, *_end(job, observed), SetFinalizer(False)))
    actions: list[Action] = []
    if helps and told is not None and not removing:
        actions.append(Cancel())
    if told is not None and removing and job is not None:
        wanted = 1 if told["job"].get("sink") == "url" else 0
        # (Kueue is asked for another number only while none is there)
        fixed = kueue_of(job) and not (wanted and waits_for_kueue(job))
        if parallelism_of(job) != wanted and not fixed and not job["metadata"].get("deletionTimestamp"):
            actions.append(Scale(wanted))
    return Decision(tuple(actions), _shown(observed, helps, now), again=0.25)


def _shown(observed: Observed, helps: bool, now: float) -> dict[str, Any] | None:
    """Return the status of a ChunkJob whose deletion takes a while: what it waits for."""
    if now < (seconds_of(observed.resource["metadata"]["deletionTimestamp"]) or now) + _SAID_SECONDS:
        return None
    what = "waits until workers have left what they did"
    if not helps:
        what = f"waits for the queue: {observed.queue_refuses or 'the queue does not answer'}"
    elif _output(observed):
        what = f"waits until a worker has removed what is staged in {_output(observed)}"
    return status_when_removed(observed, f"the deletion {what}", now)


def _left(observed: Observed) -> list[Action]:
    """Return what to tell of what was staged and could not be removed."""
    told = observed.told
    if told is not None and _is_damaged(told) and _output(observed):
        what = f"{told['job']['message']}; parts may be left in {_output(observed)}"
        return [Note(_INCOMPLETE, what, warning=True)]
    if told is None and _output(observed) and has_begun(observed) and not has_ended(observed):
        what = f"the queue does not know the job; if it has lost it, parts may be left in {_output(observed)}"
        return [Note(_INCOMPLETE, what, warning=True)]
    if told is None or told["job"].get("reason") != _INCOMPLETE:
        return []
    return [Note(_INCOMPLETE, told["job"].get("message") or "", warning=True)]


def _is_damaged(told: dict[str, Any]) -> bool:
    """Whether the queue can make nothing of the job's keys, and so can't give it up, either."""
    return bool(told["job"].get("reason") == DAMAGED)


def _output(observed: Observed) -> str | None:
    url: str | None = (observed.resource["spec"].get("output") or {}).get("url")
    return url


def _job(observed: Observed) -> dict[str, Any] | None:
    """Return the Job of the workers: `--cascade=orphan` takes its owner away, but not its label."""
    job = observed.job
    if job is None or (job["metadata"].get("labels") or {}).get(UID) != observed.resource["metadata"]["uid"]:
        return None
    return job


def _end(job: dict[str, Any] | None, observed: Observed) -> list[Action]:
    """Return the end of the workers, which the queue lets in no more: Kubernetes leaves them where it is told to."""
    orphans = [pod["metadata"]["name"] for pod in observed.pods if is_orphan(pod)]
    ends: list[Action] = [DeletePod(name, at_once=False) for name in orphans]
    if job is None or job["metadata"].get("deletionTimestamp"):
        return ends
    if observed.refused:
        left = f"Job {job['metadata']['name']} is left to Kubernetes, which deletes it when it can: {observed.refused}"
        return [*ends, Note(_INCOMPLETE, left, warning=True)]
    return [*ends, DeleteJob(job["metadata"]["name"], job["metadata"]["uid"])]
