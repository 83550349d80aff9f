"""The operator's connection to a real queue."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.reconcile_builders import resource

from gristmill.controllers.queue_link import QueueLink
from gristmill.local.server import Server
from gristmill.protocol.client import Queue, connect
from gristmill.reconcilers.observed import context_of


@pytest.fixture
def link(tmp_path: Path) -> Iterator[QueueLink]:
    server = Server.start(tmp_path / "queue", durable=False)
    link = QueueLink("nowhere:6379", b"key")
    link._client = connect(server.draft_url)
    Queue(link._client, "-").load_library()
    yield link
    server.kill()


def test_the_queue_remembers_where_a_chunkjob_is(link: QueueLink, monkeypatch: pytest.MonkeyPatch) -> None:
    # (this server has no file to save its users in)
    execute = link._client.execute_command
    monkeypatch.setattr(
        link._client, "execute_command", lambda *words: words != ("ACL", "SAVE") and execute(*words)
    )
    link._client.set("gristmill:{c}:job", "what a job wrote there")

    async def run() -> dict[str, str]:
        await link.admit("a", "here", context_of(resource()), 1)
        return await link.namespaces(["a", "b", "c"])

    assert asyncio.run(run()) == {"a": "here", "b": "", "c": ""}
