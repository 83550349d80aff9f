"""When a status is worth a write, and which of its changes people are told of by an Event."""

from __future__ import annotations

from typing import Any

from gristmill.reconcilers.actions import Note

#: seconds between two writes of mere numbers: at first, and at the most
_PAUSE = (1.0, 10.0)


def worth_writing(
    old: dict[str, Any], new: dict[str, Any], since_write: float, running: float
) -> float | None:
    """Return in how many seconds the status should be written (0: now), or None where nothing differs.

    `since_write` and `running` are seconds since the last write and since the job began. Conditions and state are
    written at once, numbers less and less often.
    """
    if all(old.get(name) == value for name, value in new.items()):
        return None
    if old.get("state") != new.get("state") or _words(old) != _words(new):
        return 0.0
    pause = min(max(_PAUSE[0], running / 30), _PAUSE[1])
    return max(0.0, pause - since_write)


def notes(old: dict[str, Any], new: dict[str, Any]) -> list[Note]:
    """Return what has become so since `old`: each condition that is true now, and what holds a job up."""
    before = _words(old)
    told = []
    messages = {condition["type"]: condition["message"] for condition in new.get("conditions") or ()}
    for kind, (status, reason) in _words(new).items():
        if before.get(kind) == (status, reason):
            continue
        message = messages[kind]
        held_up = kind in ("Progressing", "Ready") and status == "False" and message
        if status == "True" or held_up:
            warning = bool(kind in ("Failed", "SpecChanged", "Degraded") or held_up)
            told.append(Note(reason, message or f"{kind}: {reason}", warning))
    return told


def _words(status: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Return what is so, and why; how it is said may change with each look."""
    return {
        condition["type"]: (condition["status"], condition["reason"])
        for condition in status.get("conditions") or ()
    }
