"""What a refusal of the server means: it passes by itself, the job is not there, or the call is wrong."""

from __future__ import annotations

from redis.exceptions import OutOfMemoryError, ReadOnlyError, ResponseError

from gristmill.errors import QueueError

#: refusals of the server that a little later are none
_PASSING = ("OOM", "MISCONF", "BUSY", "LOADING", "MASTERDOWN", "NOREPLICAS", "TRYAGAIN", "CLUSTERDOWN")


class NoSuchJob(QueueError):  # noqa: N818
    """The queue holds no such job: it was removed, or the queue lost its memory."""


def will_pass(error: ResponseError) -> bool:
    """Whether the server is there, but can't answer now: memory or disk is short, a failover is going on."""
    return isinstance(error, OutOfMemoryError | ReadOnlyError) or str(error).startswith(_PASSING)


def knows_no_job(error: ResponseError) -> bool:
    """Whether the server has the functions, and not the job."""
    return str(error).startswith("NOJOB")


def lacks_functions(error: ResponseError) -> bool:
    """Whether the server has lost the functions: it may have lost its memory, or no more than them."""
    return str(error).startswith("Function not found")


def refusal_of(error: ResponseError) -> QueueError:
    """Return the error to raise for one that does not pass."""
    if knows_no_job(error) or lacks_functions(error):
        return NoSuchJob(f"the queue holds no such job: {error}")
    return QueueError(f"the queue refused the call: {error}")
