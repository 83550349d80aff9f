"""Planning a job over what is in its output: what is refused, and what is then advised."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.builders import chunk_job, numbers

from gristmill.errors import OutputError
from gristmill.protocol.job import JobContext
from gristmill.worker.chores import plan_job


@pytest.mark.parametrize(("generation", "advised"), [(0, True), (3, False)])
def test_options_of_the_command_line_are_not_advised_on_a_cluster(
    tmp_path: Path, generation: int, advised: bool
) -> None:
    job = chunk_job(**numbers(4))
    context = JobContext(job, str(tmp_path), str(tmp_path / "out"), "code", generation=generation)
    plan_job(context, None)
    with pytest.raises(OutputError) as caught:
        plan_job(replace(context, code_version="other"), None)
    assert ("--accept-code" in str(caught.value)) is advised
    assert ("acceptCode: true" in str(caught.value)) is not advised
    assert ("--fresh" in str(caught.value)) is advised
