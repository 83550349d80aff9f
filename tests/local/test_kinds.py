"""Every kind of input and of process, from a manifest to its results."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from tests.builders import chunk_job, numbers, source
from tests.local.conftest import Here

DOUBLE = source("def double(x):\n    return x * 2\n")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"input": {"items": [1, "a", None, [2]]}}, [2, "aa", None, [2, 2]]),
        ({"input": {"range": {"start": 5, "stop": -5, "step": -3}}}, [10, 4, -2, -8]),
        (numbers(1000, 7), [2 * x for x in range(1000)]),
        ({"input": {"range": {"stop": 20}}, "chunks": {"count": 3}}, [2 * x for x in range(20)]),
        ({"input": {"items": []}}, []),
    ],
    ids=["items", "range", "chunks.size", "chunks.count", "empty"],
)
def test_values_in(here: Here, given: dict[str, Any], expected: list[Any]) -> None:
    text = "def double(x):\n    return x and x * 2\n"
    here.write(chunk_job(**given, **source(text)))
    status = here.status()
    assert status["state"] == "Complete"
    assert here.results() == expected
    assert status["items"] == {"total": len(expected), "succeeded": len(expected), "failed": 0}


def test_lines_are_read_once_each_wherever_they_are_cut(here: Here) -> None:
    (here.folder / "text").mkdir()
    first = "".join(f"line {number} ü\r\n" for number in range(500))
    (here.folder / "text" / "a.txt").write_text(first, encoding="utf-8", newline="")
    (here.folder / "text" / "b.txt.gz").write_bytes(gzip.compress(b"zipped\nlast"))
    here.write(chunk_job(input={"lines": {"url": "text/*"}}, chunks={"bytes": 100}))
    status = here.status()
    assert status["chunks"]["total"] > 50
    assert here.results() == [*[f"line {number} ü" for number in range(500)], "zipped", "last"]
    assert status["items"]["succeeded"] == 502


@pytest.mark.parametrize("each", ["item", "chunk"])
def test_a_bad_line_of_a_large_chunk_is_found_in_less_memory_than_the_chunk_needs(
    here: Here, each: str
) -> None:
    lines = [b"%6d" % number + b" " * 8_000 for number in range(5_000)]
    (here.folder / "large.txt").write_bytes(b"\n".join(lines))
    text = (
        "def number(line):\n    if int(line) == 2500:\n        raise ValueError\n    return int(line)\n"
        "def numbers(lines):\n    return [number(l) for block in lines.blocks() for l in block.splitlines()]\n"
    )
    (here.folder / "mine.py").write_text(text)
    function = "mine:number" if each == "item" else "mine:numbers"
    here.write(
        chunk_job(
            input={"lines": {"url": "large.txt"}},
            chunks={"count": 1},
            process={"function": function, "each": each, "memoryBytes": "64Mi"},
            retry={"attempts": 1},
            failures={"tolerated": 1},
        )
    )
    status = here.status("--workers", "1")
    assert status["items"] == {"total": None, "succeeded": 4_999, "failed": 1}
    assert here.results() == [number for number in range(5_000) if number != 2_500]
    letter = json.loads(here.run("failures", "--json").stdout)
    assert (letter["item"], letter["error"]) == (2_500, "ValueError: ")


def test_files_are_items(here: Here) -> None:
    (here.folder / "in").mkdir()
    for name in "abc":
        (here.folder / "in" / name).write_text(name * 3)
    here.write(
        chunk_job(
            input={"files": {"url": "in"}}, **source("def size(file):\n    return len(file.read_bytes())\n")
        )
    )
    here.run("run", "job.yaml")
    assert here.results() == [3, 3, 3]


def test_function_of_a_module_beside_the_manifest(here: Here) -> None:
    (here.folder / "mine.py").write_text("def add_one(x):\n    return x + 1\n")
    here.write(chunk_job(process={"function": "mine:add_one"}))
    here.run("run", str(here.folder / "job.yaml"))
    assert here.results() == list(range(1, 11))


def test_class_is_built_once_a_process_and_kept(here: Here) -> None:
    text = "class Count:\n    n = 0\n    def __call__(self, x):\n        self.n += 1\n        return self.n\n"
    (here.folder / "mine.py").write_text(text)
    here.write(chunk_job(**numbers(50), process={"class": "mine:Count"}))
    here.run("run", "job.yaml", "--workers", "1")
    assert sorted(here.results()) == list(range(1, 51))


def test_a_chunk_at_a_time(here: Here) -> None:
    here.write(
        chunk_job(**numbers(10, 4), **source("def pair(x):\n    return [len(x), sum(x)]\n", each="chunk"))
    )
    here.run("run", "job.yaml")
    assert here.results() == [4, 6, 4, 22, 2, 17]


def test_reduce_is_one_value_with_the_same_bits_every_time(here: Here) -> None:
    text = "def process(x):\n    return 1 / (x + 1)\n\ndef add(a, b):\n    return a + b\n"
    here.write(chunk_job(**numbers(5000, 3), **source(text), reduce={"function": "add"}))
    digests = {here.status("--workers", workers, "--fresh")["outputDigest"] for workers in ("1", "3")}
    assert len(digests) == 1
    assert here.results() == [pytest.approx(sum(1 / (x + 1) for x in range(5000)))]


def test_a_file_a_chunk(here: Here) -> None:
    output = {"url": "out", "format": "files", "extension": "txt"}
    here.write(
        chunk_job(
            **numbers(4, 2), **source("def text(x):\n    return str(list(x))\n", each="chunk"), output=output
        )
    )
    here.run("run", "job.yaml")
    assert [Path(name).read_text() for name in here.results()] == ["[0, 1]", "[2, 3]"]
    assert sorted(path.name for path in (here.folder / "out").glob("*.txt")) == [
        "chunk-000000000000.txt",
        "chunk-000000000001.txt",
    ]


def test_a_file_url_of_an_output_is_relative_to_the_manifest(here: Here) -> None:
    (here.folder / "sub").mkdir()
    (here.folder / "other").mkdir()
    here.write(chunk_job(output={"url": "file://rel"}), "sub/job.yaml")
    Here(here.folder / "other").run("run", "../sub/job.yaml", "--state", "../s")
    assert (here.folder / "sub" / "rel" / "_gristmill").is_dir()
    assert here.run("results", "--state", "s").stdout.split() == [str(x) for x in range(10)]


def test_output_url_is_relative_to_the_manifest(here: Here) -> None:
    (here.folder / "sub").mkdir()
    here.write(chunk_job(output={"url": "out"}), "sub/job.yaml")
    status = json.loads(here.run("run", "sub/job.yaml", "--json").stdout)
    assert status["output"] == str(here.folder / "sub" / "out")
    parts = sorted((here.folder / "sub" / "out").glob("part-*.jsonl"))
    assert "".join(part.read_text() for part in parts).split() == [str(x) for x in range(10)]


def test_results_are_in_input_order_whatever_took_how_long(here: Here) -> None:
    text = "import time\n\ndef process(x):\n    time.sleep(0.02 if x % 7 == 0 else 0)\n    return x\n"
    here.write(chunk_job(**numbers(100), **source(text)))
    here.run("run", "job.yaml", "--workers", "3")
    assert here.results() == list(range(100))
