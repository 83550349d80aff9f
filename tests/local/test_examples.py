"""The examples do what their READMEs say."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from tests.local.conftest import Here

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def example(here: Here, request: pytest.FixtureRequest) -> Here:
    ignore = shutil.ignore_patterns("data", ".gristmill", "__pycache__")
    shutil.copytree(EXAMPLES / request.param, here.folder, dirs_exist_ok=True, ignore=ignore)
    return here


@pytest.mark.parametrize("example", ["wordcount"], indirect=True)
def test_word_count_of_the_standard_library(example: Here) -> None:
    names = runpy.run_path(str(example.folder / "prepare.py"))
    names["prepare"](example.folder / "data")
    status = example.status()
    assert status["chunks"]["succeeded"] == status["chunks"]["total"] > 10
    (counts,) = example.results()
    words = runpy.run_path(str(example.folder / "wordcount.py"))["WORD"]
    expected: Counter[str] = Counter()
    for path in (example.folder / "data").rglob("*.py"):
        expected.update(words.findall(path.read_text(encoding="latin-1").lower()))
    assert counts == expected
    top = subprocess.run(
        [sys.executable, "top.py"],
        cwd=example.folder,
        input=example.run("results").stdout,
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(top.stdout.splitlines()) == 10
    assert top.stdout.splitlines()[0].split()[-1] == expected.most_common(1)[0][0]


@pytest.mark.parametrize("example", ["spelling"], indirect=True)
def test_class_that_is_kept_between_chunks(example: Here) -> None:
    example.run("run", "job.yaml", "--workers", "1")
    results = example.results()
    assert results[0]["nearest"] == "expression"
    assert results[-1]["nearest"] is None
    assert sorted(result["seen"] for result in results) == list(range(1, 21))
    assert example.run("logs").stdout.count("loaded") == 1


@pytest.mark.parametrize("example", ["primes"], indirect=True)
def test_source_and_nothing_but_a_manifest(example: Here) -> None:
    example.run("run", "job.yaml")
    primes = example.results()
    assert len(primes) == 753
    assert primes[0] == 1_000_003


@pytest.mark.parametrize("example", ["budget"], indirect=True)
def test_workers_that_agree_on_something(example: Here) -> None:
    example.run("run", "job.yaml", "--workers", "3")
    results = example.results()
    assert len(results) == 40
    assert sum(result is not None for result in results) == 25
