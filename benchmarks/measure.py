"""One measurement in a process of its own: `python -m benchmarks.measure MODULE:FUNCTION '{"argument": 1}'`.

A fresh process a measurement, so that no side inherits another's caches, threads or background daemons.
The module is one of this package; the numbers are the last line on stdout, as JSON.
"""

from __future__ import annotations

import importlib
import json
import sys


def main() -> None:
    module, function = sys.argv[1].split(":")
    numbers = getattr(importlib.import_module(f"benchmarks.{module}"), function)(**json.loads(sys.argv[2]))
    print(json.dumps(numbers), flush=True)


if __name__ == "__main__":
    main()
