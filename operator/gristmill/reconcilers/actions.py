"""What a reconciliation may want done. Each can be done again without harm, and none needs the answer of another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Action:
    """Base of all actions."""


@dataclass(frozen=True)
class QueueAction(Action):
    """Base of what the queue does, and may refuse."""


@dataclass(frozen=True)
class SetFinalizer(Action):
    """Put the finalizer on the resource, or take it away."""

    on: bool


@dataclass(frozen=True)
class Create(Action):
    """Make an object unless it is there."""

    manifest: dict[str, Any]


@dataclass(frozen=True)
class Scale(Action):
    """Change the number of workers."""

    parallelism: int


@dataclass(frozen=True)
class DeleteJob(Action):
    """Delete the workers' Job with this uid: nobody may change its pods, so another is made."""

    name: str
    uid: str


@dataclass(frozen=True)
class DeletePod(Action):
    """Delete a pod, `at_once` where its node does not answer."""

    name: str
    at_once: bool = True


@dataclass(frozen=True)
class Patch(Action):
    """Merge into the object with this uid."""

    kind: str
    name: str
    uid: str
    body: dict[str, Any]


@dataclass(frozen=True)
class Delete(Action):
    """Delete the object with this uid; with a version: unless it has changed since."""

    kind: str
    name: str
    uid: str
    version: str = ""


@dataclass(frozen=True)
class DeleteResource(Action):
    """Delete the resource itself."""


@dataclass(frozen=True)
class AdmitToQueue(QueueAction):
    """See that the queue has the job and its user."""

    epoch: int


@dataclass(frozen=True)
class SetUser(QueueAction):
    """See that the queue has the job's user, with the password that is in the Secret."""


@dataclass(frozen=True)
class Configure(QueueAction):
    """Tell the queue of parameters that have changed."""

    parameters: dict[str, str | int]


@dataclass(frozen=True)
class FailJob(QueueAction):
    """End the job in the queue."""

    epoch: int
    reason: str
    message: str


@dataclass(frozen=True)
class Cancel(QueueAction):
    """Give the job up in the queue."""


@dataclass(frozen=True)
class Forget(QueueAction):
    """Remove keys and user of the job from the queue."""


@dataclass(frozen=True)
class Note(Action):
    """Tell people by an Event."""

    reason: str
    message: str
    warning: bool = False


@dataclass(frozen=True)
class Decision:
    """What to do, what to show, and when to look again (seconds; None: when something changes)."""

    actions: tuple[Action, ...] = ()
    status: dict[str, Any] | None = None
    again: float | None = None
