"""Jobs that read from a volume and write to one, by URL: the same bytes as with a folder."""

from __future__ import annotations

import json
import runpy
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import pytest
from tests.builders import chunk_job, numbers, source
from tests.local.conftest import Here
from tests.volumes.builders import findings

from gristmill.volumes import open_volume

EXAMPLE = Path(__file__).parents[2] / "examples/wordcount"


@pytest.fixture
def volumes(here: Here, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The volumes of the commands that run in this folder, in this process."""
    monkeypatch.setenv("GRISTMILL_VOLUMES", str(here.folder / ".gristmill/volumes"))
    return fsspec.filesystem("volume")


def test_word_count_on_a_volume(here: Here, volumes: Any) -> None:
    shutil.copytree(
        EXAMPLE, here.folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("data", ".gristmill")
    )
    texts = {
        f"pkg/{number}/text {number}.py": "the word of a text\n" * (number * 500) for number in range(1, 9)
    }
    for name, text in texts.items():
        path = here.folder / "data" / name
        path.parent.mkdir(parents=True)
        path.write_text(text)
    here.run("volume", "put", "data", "volume://texts/stdlib")
    manifest = (here.folder / "volume.yaml").read_text() + "  chunks: {count: 40}\n"
    (here.folder / "job.yaml").write_text(manifest)
    on_volume = here.status("--state", "two")
    assert on_volume["output"] == "volume://counts/stdlib"
    for url, path in (("volume://texts/stdlib/", "data/"), ("volume://counts/stdlib", "out")):
        manifest = manifest.replace(f"url: {url}", f"url: {path}")
    (here.folder / "job.yaml").write_text(manifest)
    in_folder = here.status("--state", "one")
    assert in_folder["output"] == str(here.folder / "out")
    assert on_volume["outputDigest"] == in_folder["outputDigest"]
    words = runpy.run_path(str(EXAMPLE / "wordcount.py"))["WORD"]
    expected: Counter[str] = Counter()
    for text in texts.values():
        expected.update(words.findall(text))
    (counts,) = here.results("--state", "two")
    assert counts == expected
    assert json.loads(volumes.cat("counts/stdlib/result.json")) == counts
    assert findings(open_volume("counts")) == []


def test_files_as_items(here: Here, volumes: Any) -> None:
    sizes = "def process(item):\n    return len(item.read_bytes())\n"
    volumes.pipe({f"in/{number}.txt": b"x" * (number * 1000) for number in range(5)})
    here.write(
        chunk_job(
            "sizes",
            input={"files": {"url": "volume://in/*.txt"}},
            **source(sizes),
            output={"url": "volume://out/sizes"},
        )
    )
    here.run("run", "job.yaml")
    assert here.results() == [0, 1000, 2000, 3000, 4000]


def test_input_that_changed_is_noticed_by_its_content(here: Here, volumes: Any) -> None:
    volumes.pipe("in/lines.txt", b"".join(b"%d\n" % number for number in range(3000)))
    here.write(
        chunk_job("count", input={"lines": {"url": "volume://in/lines.txt"}}, **source("process = len\n"))
    )
    here.run("run", "job.yaml")
    here.run("run", "job.yaml")  # (complete)
    volumes.cp("in/lines.txt", "in/same.txt")
    volumes.mv("in/same.txt", "in/lines.txt")
    here.run("run", "job.yaml")
    volumes.pipe("in/lines.txt", b"".join(b"%d\n" % number for number in range(1, 3001)))
    assert "lines.txt has changed" in here.run("run", "job.yaml", code=2).stderr


def test_goes_on_from_the_parts_on_a_volume(here: Here, volumes: Any) -> None:
    here.write(
        chunk_job(
            "doubled",
            **numbers(200, 5),
            **source("def process(x):\n    return 2 * x\n"),
            output={"url": "volume://out/x"},
        )
    )
    first = here.status("--state", "one")
    second = here.status("--state", "two")
    assert second["outputDigest"] == first["outputDigest"]
    here.write(
        chunk_job(
            "other",
            **numbers(100, 5),
            **source("def process(x):\n    return x\n"),
            output={"url": "volume://out/x"},
        )
    )
    assert (
        "has the output of a job with another spec"
        in here.run("run", "job.yaml", "--state", "three", code=1).stderr
    )
