"""A job's user in the queue: functions and the job's own keys, nothing else."""

from __future__ import annotations

import hashlib
import hmac


def user_of(uid: str) -> str:
    """Return the name of a job's user."""
    return f"job-{uid}"


def password_of(key: bytes, uid: str) -> str:
    """Return the password of a job's user: whoever has the operator's key can tell it, so it is kept nowhere else."""
    return hmac.new(key, f"gristmill queue user {uid}".encode(), hashlib.sha256).hexdigest()


def rules_of(uid: str, password: str) -> list[str]:
    """Return the rules for ACL SETUSER; functions run with their caller's rights, so what they use is among them."""
    return [
        "reset",
        "on",
        f">{password}",
        f"~gristmill:{{{uid}}}:*",
        "-@all",
        "+@read",
        "+@write",
        "+@connection",
        "+fcall",
        "+fcall_ro",
        "+time",
        "+waitaof",
        "-@dangerous",
        "-@admin",
        "-scan",
        "-randomkey",
        "-dbsize",
    ]


def url_of(server: str, uid: str, password: str) -> str:
    """Return the URL of the queue for a job's workers; `server` is host:port."""
    return f"redis://{user_of(uid)}:{password}@{server}/0"
