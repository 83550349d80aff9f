from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from tests.unit.sink_builders import lines, plan_of, write

from gristmill.errors import OutputError
from gristmill.sinks import load_plan, open_sink, read_manifest, read_results, remove_output, save_plan

_folders = count()


@pytest.fixture(params=["local", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path / "out") if request.param == "local" else f"memory://folder{next(_folders)}"


def test_the_first_plan_holds(url: str) -> None:
    plan = plan_of(8)
    assert load_plan(url) is None
    assert save_plan(url, plan) == plan
    assert save_plan(url, replace(plan, source={"kind": "changed"})) == plan
    assert load_plan(url) == plan


@pytest.mark.parametrize(
    ("on_cluster", "sentence"),
    [(False, "or start anew with --fresh, which removes it$"), (True, "or empty it$")],
)
def test_another_jobs_folder_is_refused(url: str, on_cluster: bool, sentence: str) -> None:
    """(On a cluster, there is no command line that could have options.)"""
    save_plan(url, plan_of(8))
    with pytest.raises(OutputError, match=f"another spec; choose another output folder, {sentence}"):
        save_plan(url, replace(plan_of(8), work_digest="other"), on_cluster=on_cluster)


def test_results_that_no_plan_speaks_of_are_refused(url: str) -> None:
    write(open_sink(url, "jsonl", "txt", plan_of(1)), 0, [(1, lines(1), 1)], "a")
    with pytest.raises(OutputError, match=r"part-00000\.jsonl, which is not of this job"):
        save_plan(url, plan_of(1))


def test_a_broken_plan_is_told(tmp_path: Path) -> None:
    (tmp_path / "_gristmill").mkdir()
    (tmp_path / "_gristmill/plan.json").write_text("{")
    with pytest.raises(OutputError, match="is not a plan"):
        load_plan(str(tmp_path))


def test_a_broken_manifest_is_told(tmp_path: Path) -> None:
    (tmp_path / "_gristmill").mkdir()
    (tmp_path / "_gristmill/manifest.json").write_text("{}")
    with pytest.raises(OutputError, match="is not a manifest"):
        read_manifest(str(tmp_path))
    sink = open_sink(str(tmp_path), "jsonl", "txt", plan_of(1))
    write(sink, 0, [(1, lines(1), 1)], "a")
    sink.finish(0)
    assert list(read_results(str(tmp_path))) == [1]


def test_remove_takes_what_is_the_jobs_and_nothing_else(tmp_path: Path) -> None:
    plan = plan_of(2)
    save_plan(str(tmp_path), plan)
    sink = open_sink(str(tmp_path), "jsonl", "txt", plan)
    write(sink, 0, [(1, lines(1), 1)], "a")
    write(sink, 1, [(2, lines(1), 1)], "a")
    sink.finish(0)
    for name in ("notes.txt", "part-1.jsonl", "other/part-00000.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    remove_output(str(tmp_path))
    files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert files == ["notes.txt", "other/part-00000.jsonl", "part-1.jsonl"]
    assert not (tmp_path / "_gristmill").exists()


def test_remove_without_a_plan_touches_nothing(tmp_path: Path) -> None:
    (tmp_path / "part-00000.jsonl").touch()
    remove_output(str(tmp_path))
    assert (tmp_path / "part-00000.jsonl").exists()


def test_remove_elsewhere(url: str) -> None:
    save_plan(url, plan_of(8))
    remove_output(url)
    assert load_plan(url) is None
    remove_output(url)


def test_a_result_file_that_is_not_as_the_manifest_says(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path), "jsonl", "txt", plan_of(1))
    write(sink, 0, [(1, lines(1), 1)], "a")
    sink.finish(0)
    (tmp_path / "part-00000.jsonl").write_text("1\n2\n")
    with pytest.raises(OutputError, match="not as the manifest says"):
        list(read_results(str(tmp_path)))


def test_durable_writes_the_same(tmp_path: Path) -> None:
    sink = open_sink(str(tmp_path), "jsonl", "txt", plan_of(1), durable=True)
    write(sink, 0, [(1, lines(1), 1)], "a")
    sink.finish(0)
    assert list(read_results(str(tmp_path))) == [1]


def test_an_output_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").touch()
    sink = open_sink(str(tmp_path / "out"), "jsonl", "txt", plan_of(1))
    with pytest.raises(OutputError, match="can't be written: Not a directory"):
        sink.begin(0, 0, "a")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_is_told_and_leaves_nothing_visible(tmp_path: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], check=False)
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        sink = open_sink(str(tmp_path), "jsonl", "txt", plan_of(4, blocks=1))
        writer = sink.begin(0, 0, "a")
        with pytest.raises(OutputError, match="No space left on device"):
            writer.append(4, b"1\n" * 2_000_000, 2_000_000)
        writer.abort()
        # what still fits the buffer is only missed at the end
        writer = sink.begin(0, 0, "b")
        writer.append(2, b"1\n" * 500_000, 500_000)
        writer.append(4, b"1\n" * 100_000, 100_000)
        with pytest.raises(OutputError, match="No space left on device"):
            writer.close()
        assert sink.store.list(deep=True) == {}
        assert write(sink, 0, [(4, lines(1), 1)], "c")
    finally:
        subprocess.run(["umount", tmp_path], check=True)
