"""Many processes that want one lock: each has it, in turn, and never two at once."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

PROCESSES, ROUNDS = 50, 2


@pytest.fixture(params=["valkey", pytest.param("kube", marks=pytest.mark.e2e)])
def somewhere(request: pytest.FixtureRequest) -> dict[str, str]:
    """Return the environment of programs that meet in a Valkey, or at an API server."""
    if request.param == "valkey":
        return {"GRISTMILL_COORDINATION": request.getfixturevalue("valkey").url}
    server = request.getfixturevalue("api_server")
    return {"KUBECONFIG": str(server.config(namespace=server.make_namespace()))}


@pytest.mark.timeout(600)
def test_fifty_processes_have_a_lock_each_in_turn(somewhere: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "turns"
    words = [sys.executable, "-m", "tests.coordination.contenders", str(PROCESSES), str(ROUNDS), str(file)]
    environment = {name: text for name, text in os.environ.items() if name != "KUBECONFIG"} | somewhere
    done = subprocess.run(words, env=environment, timeout=540, check=False)
    assert done.returncode == 0
    lines = [line.split() for line in file.read_text().splitlines()]
    assert len(lines) == 2 * PROCESSES * ROUNDS
    for begin, end in zip(lines[::2], lines[1::2], strict=True):
        assert (begin[0], *begin[1:]) == ("in", *end[1:]), "two had it at once"
        assert end[0] == "out"
    assert Counter(who for _, who, _ in lines[::2]) == {str(n): ROUNDS for n in range(PROCESSES)}
    tokens = [int(token) for *_, token in lines[::2]]
    assert tokens == sorted(set(tokens))
