"""A ChunkJob that reads from a FileVolume and writes to it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.e2e.kube import Kube, chunk_job
from tests.e2e.rig import await_some
from tests.e2e.volumes import PATIENCE, await_ready, await_whole, file_volume, holder, lose_server, volume

pytestmark = pytest.mark.timeout(600)

FILES, LINES = 10, 40
SOURCE = "import time\n\ndef process(line):\n    time.sleep(0.1)\n    return [int(line), int(line) / 7]\n"


def job(name: str) -> dict[str, Any]:
    return chunk_job(
        name,
        input={"lines": {"url": "volume://files/in/*.txt"}},
        chunks={"count": 100},
        process={"source": SOURCE},
        output={"url": f"volume://files/{name}"},
    )


def test_a_job_reads_and_writes_a_volume_of_which_a_server_is_lost(kube: Kube, tmp_path: Path) -> None:
    where = ("-n", kube.namespace)
    kube.apply(file_volume(deletionPolicy="Delete"))
    await_ready(kube)
    await_whole(kube, 4)
    for number in range(FILES):
        lines = "".join(f"{line}\n" for line in range(number * LINES, (number + 1) * LINES))
        (tmp_path / f"{number}.txt").write_text(lines)
    volume("put", str(tmp_path), "volume://files/in", *where)
    kube.apply(job("calm"))
    digest = kube.await_complete("calm", PATIENCE)["outputDigest"]
    kube.apply(job("faulted"))
    await_some(kube, "faulted")
    lose_server(kube, holder(kube))
    assert kube.await_complete("faulted", PATIENCE)["outputDigest"] == digest
    volume("get", "volume://files/faulted", str(tmp_path / "back"), *where)
    found = [
        json.loads(line)
        for path in sorted((tmp_path / "back").glob("*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    assert found == [[number, number / 7] for number in range(FILES * LINES)]
    await_whole(kube, 4)
    assert "all is as it was written" in volume("verify", "volume://files", *where).stdout
