"""The operator's process: how it ends, and what it logs."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

#: a process whose work is `body`
SCRIPT = """
import asyncio, logging, sys, time
from gristmill.controllers import __main__ as operator
from gristmill.errors import UsageError

async def work():
    {body}

operator._work = work
operator.main()
"""


def run(body: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end, which no thread may hold up for the minute that it sleeps."""
    words = [sys.executable, "-c", SCRIPT.format(body=body)]
    return subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)


def logged(line: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(line)
    return found


@pytest.mark.parametrize(
    ("end", "code"),
    [("return 1", 1), ("return 0", 0), ("raise UsageError('x')", 2), ("raise ValueError('x')", 1)],
)
def test_a_thread_that_waits_for_the_queue_does_not_hold_up_the_end(end: str, code: int) -> None:
    """Who has lost the Lease must go before the next one leads."""
    wait = "asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)"
    assert run(f"{wait}; await asyncio.sleep(0); {end}").returncode == code


def test_what_is_wrong_with_its_settings_is_one_sentence() -> None:
    assert run("raise UsageError('it is not set')").stderr == "error: it is not set\n"


@pytest.mark.parametrize("words", ['say "so" \\ and', "two\nlines", "é€𝄞", "\x00\ud800", "100%"])
def test_a_message_is_one_line_of_json(words: str) -> None:
    ended = run(f"logging.getLogger('a').warning('%s: %s', {words!a}, 7); return 0")
    (line,) = ended.stderr.splitlines()
    found = logged(line)
    assert found["message"] == f"{words}: 7"
    assert (found["level"], found["logger"]) == ("WARNING", "a")
    assert found["time"].endswith("Z")


def test_a_traceback_is_in_the_line_of_its_message() -> None:
    (line,) = run("raise ValueError('what\\n\"else')").stderr.splitlines()
    found = logged(line)
    assert found["level"] == "ERROR"
    assert found["exception"].startswith("Traceback")
    assert 'what\n"else' in found["exception"]
