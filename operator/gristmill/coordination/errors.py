"""What can go wrong with coordination, in words that name the remedy."""

from __future__ import annotations

import re

from gristmill.errors import GristmillError

#: what Python and aiohttp say when no thread or connection can be had any more
_ENDS = re.compile("shutdown|is closed")


class CoordinationError(GristmillError):
    """Base of all errors of this package."""


class Unavailable(CoordinationError):  # noqa: N818
    """The server did not answer, or could not; the call may be made again, and may have been done."""


class Unreachable(Unavailable):
    """The server can't be asked in this way, however long it is waited for: its address or certificate is wrong."""


class Denied(CoordinationError):  # noqa: N818
    """The server knows who asks, and does not let them."""


class Refused(CoordinationError):  # noqa: N818
    """The server does not take what was given: it is too large, or has a name that is none."""


class Missing(CoordinationError):  # noqa: N818
    """What was to be changed is not there."""


class Exists(CoordinationError):  # noqa: N818
    """What was to be made is there already."""


class Conflict(CoordinationError):  # noqa: N818
    """What was to be changed is not what it was expected to be: it has been changed meanwhile."""


class HistoryGone(CoordinationError):  # noqa: N818
    """What happened since a revision is not known any more: the state has to be read again."""


class LockTimeout(CoordinationError):  # noqa: N818
    """A lock was not had in the time that there was."""


class NotHeld(CoordinationError):  # noqa: N818
    """A lock was used in a way that only its holder may use it, by one who is not, or taken by one who is."""


class LockLost(NotHeld):
    """A lock was held, and is not any more: it could not be renewed in time, or was taken away."""


class BadName(CoordinationError):  # noqa: N818
    """What was given is no name of a lock, tree or namespace, or no path."""

    exit_code = 2


class BadValue(CoordinationError):  # noqa: N818
    """A value is not what it should be: no text, no JSON, or not as its schema says; or a token or version is none."""


class Fenced(CoordinationError):  # noqa: N818
    """A write was made for one who held a lock, and a later holder has written since; or it is another lock's."""


class Closed(CoordinationError):  # noqa: N818
    """The client was closed, or made in another process; or the program ends, and connects nowhere any more."""


class NotEmpty(CoordinationError):  # noqa: N818
    """A node that is to be deleted has children."""


def closed() -> Closed:
    """Return what is told to who uses something of a client that is closed."""
    return Closed("the client is closed: connect again")


def unconnected(why: object, what: str = "no connection can be made") -> CoordinationError:
    """Return what is told where no connection can be made: names are looked up by threads, which may be not to be had.

    Closed where that is for good, since the program or its loop ends; else Unavailable.
    """
    if _ENDS.search(str(why)):
        return Closed(f"{what} any more, as where a program ends ({why}): use the client in a `with`")
    return Unavailable(f"{what} now: {why}")


def threadless(why: object) -> CoordinationError:
    """Return what is told where a thread that is needed can't be had: as `unconnected`."""
    return unconnected(why, "no thread can be had")
