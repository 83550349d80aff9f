"""What the death of a child means for the lease that it was running: whose fault it was, and who is charged."""

from __future__ import annotations

from dataclasses import dataclass

import orjson

from gristmill.planning.values import DeadLetter, Lease
from gristmill.protocol.steps import ChoreFailed, Fail, Release, Step


@dataclass(frozen=True, slots=True)
class Scene:
    """What a dead child left: how it died, and what it last said of where it was (see `Marker`)."""

    #: crash, timeout, frozen or removed (the job is given up)
    kind: str
    error: str
    chunk: int
    exact: bool
    item: int
    items: int
    printed: str
    worker: str


def after_death(lease: Lease, scene: Scene, now: float) -> list[Step]:
    """Return what to tell the queue of the lease that ran; `now` in unix seconds.

    A chunk that was announced is charged, and the rest of the lease is not. Where chunks were not announced nobody is
    charged: the lease goes back as lost, and its next holder announces every item. A process that somebody froze is
    nobody's fault either. A time-out is that of the chunk: the item at which the time was up is none the worse for it,
    and items that took too long together are halved at once, which gives up none of them.
    """
    if scene.kind in ("frozen", "removed"):
        return [Release(lease.nonce, lost=True)]
    if lease.chore:
        return [ChoreFailed(lease.nonce, "ChoreFailed", f"{lease.chore}: {scene.error}")]
    if not scene.exact or not lease.start <= scene.chunk < lease.stop:
        return [Release(lease.nonce, lost=True)]
    is_timeout = scene.kind == "timeout"
    item = -1 if is_timeout else scene.item
    halved = is_timeout and lease.high - lease.low > 1
    letter = DeadLetter(
        chunk=scene.chunk,
        item=item,
        items=max(1, scene.items),
        kind=scene.kind,
        attempts=lease.attempt,
        worker=scene.worker,
        error=scene.error,
        traceback=scene.printed,
        at=now,
    )
    text = orjson.dumps(letter).decode()
    steps: list[Step] = [Fail(lease.nonce, scene.chunk, scene.kind, item, scene.items, halved, text)]
    if not lease.is_fragment and scene.chunk + 1 < lease.stop:
        steps.append(Release(lease.nonce))
    return steps
