"""What the operator's process answers over HTTP: whether it is well, and its metrics."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from tests.unit.fake_api import FakeApi

from gristmill.controllers import web
from gristmill.controllers.cluster import Cluster


async def answers(monkeypatch: pytest.MonkeyPatch, board: web.Board, *paths: str) -> list[tuple[int, str]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    monkeypatch.setattr(web, "PORT", port)
    server = await web.serve(board)
    found = []
    async with aiohttp.ClientSession() as session:
        for path in paths:
            async with session.get(f"http://127.0.0.1:{port}{path}") as response:
                found.append((response.status, await response.text()))
    await server.cleanup()
    return found


@pytest.fixture
def board() -> web.Board:
    return web.Board(Cluster(FakeApi()))


def test_a_process_that_is_well_says_so_and_one_that_is_not_says_why(
    monkeypatch: pytest.MonkeyPatch, board: web.Board
) -> None:
    health, ready = asyncio.run(answers(monkeypatch, board, "/healthz", "/readyz"))
    assert (health[0], ready[0]) == (200, 200)
    board.fault = lambda: "the watch of pods stands still"
    sick, ready = asyncio.run(answers(monkeypatch, board, "/healthz", "/readyz"))
    assert sick[0] == 500
    assert "the watch of pods stands still" in sick[1]
    assert ready[0] == 500


def test_metrics_of_who_waits_and_of_who_leads(monkeypatch: pytest.MonkeyPatch, board: web.Board) -> None:
    ((status, text),) = asyncio.run(answers(monkeypatch, board, "/metrics"))
    assert status == 200
    assert "gristmill_leading 0.0" in text
    assert "gristmill_jobs" not in text
    board._cluster.writes = Counter({("PATCH", "Job"): 3})
    jobs = [{"status": {"state": "Running"}}, {"status": {"state": "Running"}}, {}]
    leads: Any = SimpleNamespace(
        world=SimpleNamespace(all=lambda kind: jobs if kind == "ChunkJob" else []),
        queue=SimpleNamespace(answers=True),
        job_queue=[1, 2],
    )
    board.operator = leads
    ((_, text),) = asyncio.run(answers(monkeypatch, board, "/metrics"))
    for line in (
        "gristmill_leading 1.0",
        'gristmill_api_writes_total{kind="Job",verb="PATCH"} 3.0',
        'gristmill_jobs{state="Running"} 2.0',
        'gristmill_jobs{state="Failed"} 0.0',
        "gristmill_queue_answers 1.0",
        "gristmill_waiting_reconciliations 2.0",
    ):
        assert line in text
