"""`python -m benchmarks [NAME ...] [--rounds N] [--quick] [--json]`: rows on stdout, progress on stderr."""

from __future__ import annotations

import argparse
import json
import sys

from benchmarks import (
    cold_start,
    memory,
    one_item_chunks,
    overhead,
    scale,
    single_intervals,
    thousand_item_chunks,
    volume_filer,
    volume_files,
    volume_small_files,
    word_count,
)
from benchmarks.coordination import table as coordination
from benchmarks.harness import Options, disturbances
from benchmarks.quiet import TOLERATED, adopt_orphans
from benchmarks.rows import Row, machine, table

BENCHMARKS = {
    module.NAME: module
    for module in (
        one_item_chunks,
        single_intervals,
        thousand_item_chunks,
        word_count,
        overhead,
        scale,
        cold_start,
        memory,
        coordination,
        volume_files,
        volume_small_files,
        volume_filer,
    )
}


def main() -> int:
    """Run what was asked for; exit code 1 if a target was missed."""
    arguments = _parse()
    names = arguments.names or list(BENCHMARKS)
    rounds = arguments.rounds or (1 if arguments.quick else 5)
    options = Options(rounds, arguments.quick, patience=1 if arguments.quick else arguments.patience)
    rows: list[Row] = []
    line = machine()
    adopt_orphans()
    for name in names:
        rows += BENCHMARKS[name].run(options)
    if arguments.json:
        for row in rows:
            print(json.dumps({**row.to_json(), "rounds": rounds, "machine": line}))
    else:
        print(f"{line}; two workers, medians of {rounds}\n\n{table(rows)}")
    disturbed = [share for share in disturbances if share > TOLERATED]
    if disturbed:
        print(
            f"others took up to {max(disturbed):.0%} of the machine in {len(disturbed)} of "
            f"{len(disturbances)} measurements: repeat it on a quiet one",
            file=sys.stderr,
        )
    return 1 if any(row.met is False for row in rows) else 0


def _parse() -> argparse.Namespace:
    summaries = "\n".join(f"  {name:22}{module.SUMMARY}" for name, module in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Gristmill and its peers do the same real work, in turns.",
        epilog=f"benchmarks:\n{summaries}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which; all, if none is named")
    parser.add_argument("--rounds", type=int, help="how often each side runs (5; 1 with --quick)")
    parser.add_argument("--quick", action="store_true", help="small sizes: to try it, not to quote it")
    parser.add_argument(
        "--patience", type=float, default=60, help="seconds to wait for a quiet machine, each time (60)"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object a row")
    arguments = parser.parse_args()
    for name in arguments.names:
        if name not in BENCHMARKS:
            parser.error(f"there is no benchmark {name}")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
