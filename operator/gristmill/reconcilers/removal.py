"""What to do before a ChunkJob may go: nothing of it stays in the queue, and nothing staged in its output."""

from __future__ import annotations

from gristmill.api.names import FINALIZER
from gristmill.reconcilers.actions import Action, Cancel, Decision, Forget, Note, Scale, SetFinalizer
from gristmill.reconcilers.observed import Observed
from gristmill.reconcilers.times import seconds_of
from gristmill.reconcilers.worker_job import belongs, parallelism_of

#: seconds that a deletion waits for queue and workers to remove what is theirs
REMOVAL_SECONDS = 30.0


def remove(observed: Observed, now: float) -> Decision:
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
