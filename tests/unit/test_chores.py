"""Planning a job over what is in its output: what is refused, and what is then advised."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.builders import chunk_job, numbers

from gristmill.errors import CodeChanged
from gristmill.protocol.job import JobContext
from gristmill.sinks.known_code import keep_code
from gristmill.sinks.store import open_store
from gristmill.worker.chores import plan_job


@pytest.mark.parametrize(("generation", "advised"), [(0, True), (3, False)])
def test_options_of_the_command_line_are_not_advised_on_a_cluster(
    tmp_path: Path, generation: int, advised: bool
) -> None:
    job = chunk_job(**numbers(4))
    context = JobContext(job, str(tmp_path), str(tmp_path / "out"), generation=generation)
    plan_job(context, None, {})
    keep_code(open_store(context.output), {"mine": "1", "first": "1"})
    with pytest.raises(CodeChanged, match="the module mine is not the one that the job has") as caught:
        plan_job(context, None, {"mine": "2", "second": "1"})
    assert ("--accept-code" in str(caught.value)) is advised
    assert ("acceptCode: true" in str(caught.value)) is not advised


def test_the_same_code_or_accepted_code_goes_on_with_the_plan_that_is_there(tmp_path: Path) -> None:
    context = JobContext(chunk_job(**numbers(4)), str(tmp_path), str(tmp_path / "out"))
    first = plan_job(context, None, {"mine": "1"})
    keep_code(open_store(context.output), {"mine": "1"})
    assert plan_job(context, None, {"mine": "1", "more": "1"})["digest"] == first["digest"]
    assert plan_job(replace(context, accept_code=True), None, {"mine": "2"})["digest"] == first["digest"]
    keep_code(open_store(context.output), {"mine": "2"})
    assert plan_job(context, None, {"mine": "2"})["digest"] == first["digest"]
