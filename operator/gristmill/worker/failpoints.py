"""Places where a fault can be ordered, so that "whatever dies" can be tried at every step of the loop.

GRISTMILL_FAILPOINTS is a list like `child.published=kill@3; supervisor.leased=stop~0.1`: the action at the third
time, or at each time with that probability. Actions: kill (SIGKILL), stop (SIGSTOP), exit. Free when unset.

GRISTMILL_FAULTS names a file that gets a line `NAME ACTION PID` for each fault; all processes of a run share it.
GRISTMILL_FAULTS_MOST bounds their number. Probabilities are drawn from GRISTMILL_FAULTS_SEED, the place, and the
number of faults so far.
"""

from __future__ import annotations

import fcntl
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
_FAULTS = os.environ.get("GRISTMILL_FAULTS", os.devnull)
_MOST = int(os.environ.get("GRISTMILL_FAULTS_MOST", "1000000"))
_SEED = os.environ.get("GRISTMILL_FAULTS_SEED", "0")
_hits: Counter[str] = Counter()


def _reach(name: str) -> None:
    order = _ORDERS.get(name)
    if order is None:
        return
    _hits[name] += 1
    if not _is_due(name, order):
        return
    if order.action == "exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGKILL if order.action == "kill" else signal.SIGSTOP)


def _is_due(name: str, order: _Order) -> bool:
    """Decide, and put it down, while no other process does."""
    hit = _hits[name]
    if not order.probability and hit != max(order.hit, 1):
        return False
    with open(_FAULTS, "a+", encoding="utf-8") as faults:
        fcntl.flock(faults, fcntl.LOCK_EX)
        faults.seek(0)
        before = len(faults.readlines())
        if before >= _MOST:
            return False
        if (
            order.probability
            and random.Random(f"{_SEED} {name} {hit} {before}").random() >= order.probability
        ):
            return False
        faults.write(f"{name} {order.action} {os.getpid()}\n")
    return True


def _pass(name: str) -> None:
    pass


#: called at each place with its name
reach = _reach if _ORDERS else _pass
