"""A million items, seven of them poison: seven dead letters, and nobody else is charged."""

from __future__ import annotations

import pytest
from tests.builders import chunk_job, numbers, source
from tests.chaos.rig import Rig

from gristmill.sinks import read_manifest

ITEMS = 1_000_000
POISON = {
    12_345: "ctypes.string_at(0)",
    12_346: "raise ValueError('poison')",
    300_000: "bytearray(1 << 30)",
    500_000: "time.sleep(3600)",
    700_777: "ctypes.string_at(0)",
    700_999: "raise KeyError('poison')",
    999_999: "return {x}",
}
KINDS = ["crash", "error", "memory", "timeout", "crash", "error", "error"]


@pytest.mark.parametrize("size", [1, 1000])
def test_a_million_items_seven_of_them_poison(rig: Rig, size: int) -> None:
    lines = [f"        if x == {place}:\n            {deed}\n" for place, deed in POISON.items()]
    text = (
        f"import ctypes, time\n\nPOISON = {set(POISON)}\n\ndef process(x):\n    if x in POISON:\n"
        + "".join(lines)
        + "    return x\n"
    )
    rig.prepare(
        chunk_job(
            **numbers(ITEMS, size),
            **source(text, memoryBytes="256Mi"),
            output={"url": "out"},
            retry={"attempts": 2, "timeoutSeconds": 1, "backoffSeconds": 0.01},
            failures={"tolerated": 7},
        )
    )
    status = rig.complete()
    assert status["state"] == "Complete"
    assert status["items"] == {"total": ITEMS, "succeeded": ITEMS - 7, "failed": 7}
    letters = rig.letters()
    assert [letter.chunk * size + letter.item for letter in letters] == list(POISON)
    assert [letter.kind for letter in letters] == KINDS
    assert set(rig.failed()) == {place // size for place in POISON}
    assert status["chunks"]["retried"] == 7 if size == 1 else 7 <= status["chunks"]["retried"] <= 14
    manifest = read_manifest(str(rig.output))
    assert manifest is not None
    assert (manifest.items, manifest.dead) == (ITEMS - 7, 7)
