"""Places where a fault can be ordered, so that "whatever dies" can be tried at every step of the loop.

GRISTMILL_FAILPOINTS is a list like `child.published=kill@3; supervisor.leased=stop~0.1`: the action at the third
time, or at each time with that probability. Actions: kill (SIGKILL), stop (SIGSTOP), exit. Free when unset.
"""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from typing import NamedTuple

#: every place, in the order in which a chunk passes them
NAMES = (
    "supervisor.hello",
    "supervisor.leased",
    "child.started",
    "child.computed",
    "child.written",
    "child.published",
    "supervisor.before_report",
    "supervisor.after_report",
    "supervisor.heartbeat",
    "child.chore",
    "child.chore_done",
)


class _Order(NamedTuple):
    action: str
    hit: int
    probability: float


def _parse(text: str) -> dict[str, _Order]:
    orders = {}
    for part in filter(None, (p.strip() for p in text.split(";"))):
        name, _, rest = part.partition("=")
        action, _, hit = rest.partition("@")
        action, _, probability = action.partition("~")
        if name not in NAMES or action not in ("kill", "stop", "exit"):
            raise ValueError(f"GRISTMILL_FAILPOINTS: {part!r} is not NAME=kill|stop|exit[@HIT|~PROBABILITY]")
        orders[name] = _Order(action, int(hit or 0), float(probability or 0))
    return orders


_ORDERS = _parse(os.environ.get("GRISTMILL_FAILPOINTS", ""))
_hits: Counter[str] = Counter()


def _reach(name: str) -> None:
    order = _ORDERS.get(name)
    if order is None:
        return
    _hits[name] += 1
    if order.probability:
        if random.SystemRandom().random() >= order.probability:
            return
    elif _hits[name] != max(order.hit, 1):
        return
    if order.action == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGKILL if order.action == "kill" else signal.SIGSTOP)


def _pass(name: str) -> None:
    pass


#: called at each place with its name
reach = _reach if _ORDERS else _pass
