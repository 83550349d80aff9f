"""The rows of coordination: the same ones for a cluster and for a Valkey, each beside a bare call of its server."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.harness import Options, Series, Side, alternate
from benchmarks.rows import Row

NAME = "coordination"
SUMMARY = "locks and trees at an embedded Valkey, beside redis-py; on a cluster: python -m benchmarks.cluster"
PROCESSES = 50
LEASE_SECONDS = 3


def run(options: Options) -> list[Row]:
    """Measure at an embedded Valkey."""
    from benchmarks.server import valkey_server

    with tempfile.TemporaryDirectory() as folder, valkey_server(Path(folder)) as socket:
        url = f"unix://{socket}"
        table = _Table(NAME, options, secrets.token_hex(4), {"GRISTMILL_COORDINATION": url})
        peer: dict[str, Any] = {"url": url}
        number = options.pick(2000, 200)
        return [
            *table.compare(
                "acquire and release",
                "rate",
                table.ours("uncontended", number=number),
                (
                    "redis-py's Lock",
                    Side("redis-py", "coordination.valkey:locks", {**peer, "number": number}),
                ),
                unit="/s",
            ),
            *table.compare(
                "ConfigTree.get",
                "rate",
                table.ours("gets", number=100 * number),
                ("HGET", Side("redis-py", "coordination.valkey:gets", {**peer, "number": number})),
                unit="/s",
            ),
            *table.times(),
            *table.killed(),
            *table.contend({"url": url}),
            *table.large(
                options.pick(10_000, 500),
                ("HGETALL", "coordination.valkey:lists", {**peer, "nodes": options.pick(10_000, 500)}),
            ),
        ]


def on_cluster(namespace: str, options: Options) -> list[Row]:
    """Measure on the cluster of $KUBECONFIG."""
    table = _Table(NAME, options, namespace, {"GRISTMILL_COORDINATION": ""})
    number = options.pick(500, 50)
    peer = {"namespace": namespace, "number": number}

    def raw(function: str, words: Mapping[str, Any] = peer) -> Side:
        return Side(f"raw {function}", f"coordination.raw:{function}", words, accounted=False)

    return [
        *table.compare(
            "acquire and release",
            "rate",
            table.ours("uncontended", number=number),
            ("a Lease replaced", raw("updates")),
            unit="/s",
            target=0.45,
        ),
        *table.compare(
            "hand-over",
            "median",
            table.ours("hand_overs", number=number // 2),
            ("one watch event and one write", raw("hand_overs")),
            unit="ms",
            target=1.5,
        ),
        *table.watches(number),
        *table.compare(
            "ConfigTree.get",
            "rate",
            table.ours("gets", number=200 * number),
            ("GET", raw("gets")),
            unit="/s",
            target=1000,
        ),
        *table.killed(),
        *table.contend(None),
        *table.large(
            options.pick(10_000, 500),
            ("paged GET", "coordination.raw:lists", {"namespace": namespace, "tree": "large"}),
        ),
    ]


class _Table:
    """Makes the rows of one place."""

    def __init__(self, name: str, options: Options, namespace: str, environment: Mapping[str, str]) -> None:
        self._name = name
        self._options = options
        self._namespace = namespace
        self._environment = environment

    def ours(self, function: str, *, module: str = "ours", **arguments: Any) -> Side:
        """Return a side of ours."""
        words = {"namespace": self._namespace, **arguments}
        name = f"coordination.{module}:{function}"
        return Side(f"{module} {function}", name, words, environment=self._environment, accounted=False)

    def compare(
        self,
        variant: str,
        number: str,
        ours: Side,
        peer: tuple[str, Side],
        *,
        unit: str,
        target: float | None = None,
    ) -> list[Row]:
        """Measure both in turns. The ratio is ours to the peer's: of times at most the target, of rates at least."""
        at_most = unit != "/s"
        first, second = self._series([ours, peer[1]])
        rows = [self._row(variant, unit, first, number), self._row(peer[0], unit, second, number)]
        if not first.problem and not second.problem:
            ratio = median(first[number]) / median(second[number])
            rows[0] = rows[0].against(ratio, target=target, at_most=at_most)
        return rows

    def times(self) -> list[Row]:
        """Hand-over and watch, where there is no peer."""
        number = self._options.pick(500, 50)
        both = [self.ours("hand_overs", number=number), self.ours("latencies", number=number)]
        handed, seen = self._series(both)
        return [
            self._row("hand-over", "ms", handed, "median"),
            self._row("watch", "ms", seen, "median"),
            self._row("watch, p99", "ms", seen, "p99"),
        ]

    def watches(self, number: int) -> list[Row]:
        """A tree's watch beside a raw one."""
        (series,) = self._series([self.ours("latencies", module="beside", number=number)])
        names = {
            "watch": "median",
            "raw HTTP watch": "raw median",
            "watch, p99": "p99",
            "raw HTTP watch, p99": "raw p99",
        }
        rows = {variant: self._row(variant, "ms", series, name) for variant, name in names.items()}
        if not series.problem:
            ratio = median(series["p99"]) / median(series["raw p99"])
            rows["watch, p99"] = rows["watch, p99"].against(ratio, target=2, at_most=True)
        return list(rows.values())

    def killed(self) -> list[Row]:
        """What is to be had after a kill -9, and what is to be gone, over the time that there is for it."""
        sides = [self.ours(one, seconds=LEASE_SECONDS) for one in ("killed_holder", "killed_session")]
        rows = []
        holder, session = self._series(sides)
        parts = (
            (f"holder of {LEASE_SECONDS} s killed, until the next", holder, LEASE_SECONDS + 1),
            (f"session of {LEASE_SECONDS} s killed, until its node is gone", session, LEASE_SECONDS),
        )
        for variant, series, limit in parts:
            row = self._row(variant, "s", series, "seconds")
            if not series.problem:
                row = row.against(max(series["seconds"]) / limit, target=1, at_most=True)
            rows.append(row)
        return rows

    def contend(self, peer: dict[str, Any] | None) -> list[Row]:
        """Fifty processes at one lock."""
        size = {"processes": PROCESSES, "rounds": self._options.pick(5, 2)}
        sides = [self.ours("ours", module="contenders", **size)]
        if peer is not None:
            sides.append(Side("redis-py's Lock", "coordination.contenders:redis_py", {**peer, **size}))
        rows = []
        for who, series in zip(("", ", redis-py's Lock"), self._series(sides), strict=False):
            rows += [
                self._row(f"{PROCESSES} processes, hand-over{who}", "ms", series, "median"),
                self._row(f"{PROCESSES} processes, hand-over, p99{who}", "ms", series, "p99"),
                self._row(f"{PROCESSES} processes, passed by, mean{who}", "others", series, "late"),
                self._row(f"{PROCESSES} processes, passed by, most{who}", "others", series, "latest"),
            ]
        return rows

    def large(self, nodes: int, peer: tuple[str, str, dict[str, Any]]) -> list[Row]:
        """A tree of many nodes."""
        once = Options(1, self._options.quick, self._options.patience)
        alternate(self._name, [self.ours("fill", tree="large", nodes=nodes)], once)
        name, function, arguments = peer
        peers = Side(name, function, arguments, accounted=False)
        ours, theirs = self._series([self.ours("large", tree="large"), peers])
        size = f"{nodes:,} nodes"
        listed = self._row(f"{size}, client.tree()", "s", ours, "list")
        if not ours.problem and not theirs.problem:
            listed = listed.against(median(ours["list"]) / median(theirs["list"]))
        units = {
            "children": "ms",
            "walk": "ms",
            "walk of 100": "ms",
            "watch begun": "ms",
            "change": "ms",
            "memory": "MiB",
        }
        return [
            listed,
            self._row(f"{size}, {name}", "s", theirs, "list"),
            *(self._row(f"{size}, {what}", unit, ours, what) for what, unit in units.items()),
        ]

    def _series(self, sides: Sequence[Side]) -> list[Series]:
        return alternate(self._name, sides, self._options)

    def _row(self, variant: str, unit: str, series: Series, number: str) -> Row:
        if series.problem:
            return Row(self._name, variant, unit, problem=series.problem)
        return Row.of(self._name, variant, unit, series[number])
