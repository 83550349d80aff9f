"""Items that kill what touches them, in every way there is: exactly they are dead letters."""

from __future__ import annotations

import pytest
from tests.builders import chunk_job, numbers, source
from tests.chaos.rig import Rig

from gristmill.sinks import read_manifest, read_results

#: what a poisonous item does, and the kind of its dead letter
POISON = {
    "raise ValueError('poison')": "error",
    "ctypes.string_at(0)": "crash",
    "bytearray(1 << 30)": "memory",
    "spin()": "timeout",
    "os._exit(7)": "crash",
    "return {1, 2}": "error",
    "return deep()": "error",
    "raise KeyboardInterrupt": "error",
    "raise SystemExit(0)": "error",
    "os.kill(os.getpid(), 15)": "crash",
}
BEGIN = """import ctypes, os, time

def spin():
    while True:
        pass

def deep():
    return deep()

"""
ITEMS = 3000


@pytest.mark.chaos
@pytest.mark.parametrize("size", [1, 50])
@pytest.mark.parametrize("faults", ["", "supervisor.after_report=kill~0.05; supervisor.leased=kill~0.05"])
def test_each_kind_of_poison(rig: Rig, size: int, faults: str) -> None:
    poison(rig, size, faults)


def test_sample_of_poison(rig: Rig) -> None:
    poison(rig, 50, "supervisor.after_report=kill~0.05")


def poison(rig: Rig, size: int, faults: str) -> None:
    places = dict(zip(rig.random.sample(range(ITEMS), len(POISON)), POISON, strict=True))
    lines = [f"    if x == {place}:\n        {deed}\n" for place, deed in places.items()]
    text = BEGIN + "def process(x):\n" + "".join(lines) + "    return x\n"
    rig.prepare(
        chunk_job(
            **numbers(ITEMS, size),
            **source(text, memoryBytes="256Mi"),
            output={"url": "out"},
            workers={"leaseSeconds": 1},
            retry={"attempts": 2, "timeoutSeconds": 1, "backoffSeconds": 0.01, "infrastructure": 100},
            failures={"tolerated": len(POISON)},
        )
    )
    if faults:
        rig.order(faults, 5)
    status = rig.complete()
    assert status["state"] == "Complete"
    assert status["items"] == {"total": ITEMS, "succeeded": ITEMS - len(POISON), "failed": len(POISON)}
    assert list(read_results(str(rig.output))) == [x for x in range(ITEMS) if x not in places]
    assert {letter.chunk * size + letter.item: letter.kind for letter in rig.letters()} == {
        place: POISON[deed] for place, deed in places.items()
    }
    manifest = read_manifest(str(rig.output))
    assert manifest is not None
    assert manifest.dead == len(POISON)
