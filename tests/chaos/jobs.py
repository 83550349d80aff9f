"""The jobs that faults are tried on: some chunks take a moment, so that there is a middle to strike in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.builders import chunk_job, source

#: numbers in the input of a job, a chunk each, and those of a final block
NUMBERS = 12_000
BLOCK = 16

_BEGIN = "import os, time\n\n"
#: opens the file that takes a line for each call
_COUNT = "CALLS = os.open(os.environ['CALLS'], os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n\n"
_PROCESS = "def process(x):\n    if x % 40 == 0:\n        time.sleep(0.008)\n"
_COUNTED = "    os.write(CALLS, b'%d\\n' % x)\n"

_RETURNS = {
    "lines": "    return [x, x * x % 9973]\n",
    "files": "    return f'{x}:{x * x % 9973}\\n'\n",
    "reduce": "    return x * 0.1\n\n\ndef add(a, b):\n    return a + b\n",
}
_SPECS: dict[str, dict[str, Any]] = {
    "lines": {},
    "files": {"output": {"url": "out", "format": "files"}},
    "reduce": {"reduce": {"function": "add"}},
}

#: nothing is a chunk's own fault in a job where processes are killed at random
PATIENT = {"attempts": 1000, "infrastructure": 1000, "backoffSeconds": 0.01, "backoffMaxSeconds": 0.1}


def text(kind: str, counted: bool = False) -> str:
    """The source of a kind's function; `counted`: it adds each of its items to the file $CALLS."""
    begin = _BEGIN + _COUNT + _PROCESS + _COUNTED if counted else _BEGIN + _PROCESS
    return begin + _RETURNS[kind]


def job(kind: str, **spec: Any) -> dict[str, Any]:
    """A job of a kind: "lines", "files" or "reduce"; `spec` replaces fields of its spec."""
    numbers = NUMBERS if kind != "files" else NUMBERS // 6
    given = {
        "input": {"range": {"stop": numbers}},
        "chunks": {"size": 1},
        **source(text(kind)),
        "output": {"url": "out"},
        "workers": {"leaseSeconds": 1},
        "retry": PATIENT,
    }
    return chunk_job("mill", **{**given, **_SPECS[kind], **spec})


def expected(kind: str) -> list[Any] | None:
    """The results that a complete job has, in order; of a reduction only the calm run can tell."""
    return [[x, x * x % 9973] for x in range(NUMBERS)] if kind == "lines" else None


def files_of(output: Path) -> Iterator[str]:
    """The names of all files below an output folder."""
    return (str(path.relative_to(output)) for path in sorted(output.rglob("*")) if path.is_file())
