"""Counting the words of many lines, reduced to one dictionary: real work on real text, whole wall time."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks import corpus
from benchmarks.comparison import Against, compare
from benchmarks.harness import Options, Side, tell
from benchmarks.rows import Row

NAME = "word-count"
SUMMARY = "500 MB of lines to one dictionary, against a hand-tuned Pool program and Dask bag"


def run(options: Options) -> list[Row]:
    """Compare the time from the call to the dictionary, start of processes included on every side."""
    megabytes = options.pick(500, 60)
    with tempfile.TemporaryDirectory() as folder:
        tell(f"{NAME}: writing {megabytes} MB of text")
        corpus.write(Path(folder), megabytes)
        where = {"folder": folder}
        by_dask = Side("Dask bag, read_text", "peers.dask_bag:word_count", where, needs="dask")
        by_ranges = Side("Dask bag, own reading", "peers.dask_bag:ranges_word_count", where, needs="dask")
        return compare(
            NAME,
            Side("gristmill", "ours:word_count", where),
            [
                Against(Side("Pool, hand-tuned", "peers.pool:word_count", where), target=1, goal=1.2),
                Against(by_dask, target=2.5),
                Against(by_ranges),
                Against(Side("the counting alone, in a Pool", "peers.pool:count_only", where)),
                Against(Side("two dictionaries in JSON to one, alone", "ours:combine", where)),
            ],
            options,
            number="seconds",
            unit="s",
            also=("until planned", "from planned to complete", "from complete to the result"),
        )
