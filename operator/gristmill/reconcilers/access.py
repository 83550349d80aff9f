"""A job's user in the queue: functions and the job's own keys, nothing else."""

from __future__ import annotations

import hashlib
import hmac

from gristmill.protocol.keys import keys_of

#: kinds of values: their commands name the keys that they touch, so that the server holds them to the job's own.
#: (Not @read and @write: loading, deleting and flushing the functions of all are among what writes.)
_KINDS = ("hash", "list", "set", "sortedset", "stream", "string")
_COMMANDS = (
    *("fcall", "fcall_ro", "time", "waitaof"),
    *("del", "exists", "unlink"),
    # (not @connection: CLIENT TRACKING tells the names of the keys of all)
    *("auth", "hello", "ping", "client|setinfo", "client|setname"),
)


def user_of(uid: str) -> str:
    """Return the name of a job's user."""
    return f"job-{uid}"


def uid_of(user: str) -> str:
    """Return the uid of the job whose user has this name, or "" where it is no job's."""
    return user.removeprefix("job-") if user.startswith("job-") else ""


def password_of(key: bytes, uid: str) -> str:
    """Return the password of a job's user: whoever has the operator's key can tell it, so it is kept nowhere else."""
    return hmac.new(key, f"gristmill queue user {uid}".encode(), hashlib.sha256).hexdigest()


def rules_of(uid: str, password: str) -> list[str]:
    """Return the rules for ACL SETUSER; functions run with their caller's rights, so what they use is among them."""
    return [
        "reset",
        "on",
        f">{password}",
        # (each by its name: what else a job made would be left behind when it goes)
        *(f"~{key}" for key in keys_of(uid)),
        "-@all",
        *(f"+@{kind}" for kind in _KINDS),
        "-@dangerous",
        "-@blocking",
        *(f"+{command}" for command in _COMMANDS),
    ]


def url_of(server: str, uid: str, password: str) -> str:
    """Return the URL of the queue for a job's workers; `server` is host:port."""
    return f"redis://{user_of(uid)}:{password}@{server}/0"
