"""Under which conditions a node is written: at a version, and by no holder of a lock but its last."""

from __future__ import annotations

from gristmill.coordination.errors import BadValue, Conflict, Fenced, Refused
from gristmill.coordination.lock import Token
from gristmill.coordination.nodes import FENCE_LOCK, FENCE_NUMBER
from gristmill.coordination.port import Record


def number_of(path: str, field: str, text: str | None) -> int:
    """Return the number that a field of a node is, 0 where there is none. Refused where it is no number."""
    try:
        return int(text or 0)
    except ValueError:
        raise Refused(
            f"{path}: its annotation {field} is {text!r} and must be a number: correct it, or remove it"
        ) from None


def check_conditions(version: int | None, token: Token | None) -> None:
    """Raise BadValue where a version or token is none."""
    if version is not None and not is_number(version):
        raise BadValue(f"version: {version!r} is none: give node.version, or int(...)")
    if token is not None and not (
        isinstance(token, Token) and isinstance(token.lock, str) and is_number(token.number)
    ):
        raise BadValue(
            f"token: {token!r} is none: give lock.token, or gristmill.coordination.Token(name, int(...))"
        )


def is_number(given: object) -> bool:
    """Whether something is a whole number: to Python a truth is one, too."""
    return isinstance(given, int) and not isinstance(given, bool)


def check_version(path: str, record: Record | None, version: int | None) -> None:
    """Raise Conflict where a node is not at the version that is expected (0: not there)."""
    current = record.revision if record is not None else 0
    if version not in (None, current):
        found = f"is at version {current}" if record is not None else "is not there"
        raise Conflict(f"{path} {found}, and not at version {version}: read it again, and decide again")


def check_fence(path: str, record: Record | None, token: Token | None) -> None:
    """Raise Fenced where a token is older than one that has written, or of another lock."""
    if token is None or record is None or FENCE_NUMBER not in record.fields:
        return
    lock = record.fields.get(FENCE_LOCK, "")
    number = number_of(path, FENCE_NUMBER, record.fields[FENCE_NUMBER])
    if lock != token.lock:
        raise Fenced(
            f"{path} is written by holders of lock {lock}, and the token is of lock {token.lock}: take that lock"
        )
    if token.number < number:
        raise Fenced(
            f"{path} was written by a later holder of lock {lock}: the lock was lost; stop what it protected"
        )
