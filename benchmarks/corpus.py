"""The text that is counted: Python's own standard library, repeated until it is large, in several files."""

from __future__ import annotations

import json
import sysconfig
from collections.abc import Iterator
from pathlib import Path

FILES = 8
FACTS = "facts.json"


def write(folder: Path, megabytes: int) -> None:
    """Write about `megabytes` of lines into files of `folder`, and what a right count must show."""
    text = b"".join(_modules())
    share = megabytes * 1_000_000 // FILES
    words = 0
    for number in range(FILES):
        # each file begins elsewhere in the text, so that no two chunks are alike
        begin = text.find(b"\n", number * len(text) // FILES) + 1
        turned = text[begin:] + text[:begin]
        with open(folder / f"text-{number}.txt", "wb") as file:
            left = share
            while left > 0:
                piece = turned if len(turned) <= left else turned[: turned.find(b"\n", left) + 1]
                file.write(piece)
                words += len(piece.split())
                left -= len(piece)
    facts = {"words": words, "distinct": len(set(text.split()))}
    (folder / FACTS).write_text(json.dumps(facts))


def files(folder: str) -> list[str]:
    """Return the paths of the text, in order."""
    return sorted(str(path) for path in Path(folder).glob("text-*.txt"))


def size(folder: str) -> int:
    """Return the bytes of the text."""
    return sum(Path(path).stat().st_size for path in files(folder))


def check(counts: dict[str, int], folder: str) -> None:
    """Raise unless `counts` has every word of the text, as often as it is there."""
    facts = json.loads((Path(folder) / FACTS).read_text())
    found = {"words": sum(counts.values()), "distinct": len(counts)}
    if found != facts:
        raise AssertionError(f"a wrong count: {found} instead of {facts}")


def _modules() -> Iterator[bytes]:
    root = Path(sysconfig.get_paths()["stdlib"])
    for path in sorted(root.rglob("*.py")):
        if "site-packages" in path.parts:
            continue
        data = path.read_bytes()
        try:
            data.decode()
        except UnicodeDecodeError:
            continue
        yield data if data.endswith(b"\n") else data + b"\n"
