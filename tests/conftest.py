"""What holds for every test: time never decides one."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("gristmill", deadline=None, print_blob=True)
settings.load_profile("gristmill")

#: waits until a condition holds, and returns its value
Until = Callable[[Callable[[], Any]], Any]
#: seconds after which a condition that a test waits for will not come any more
PATIENCE = 60.0


@pytest.fixture
def until() -> Until:
    """Wait until a condition holds, and return its value."""

    def wait(condition: Callable[[], Any]) -> Any:
        end = time.monotonic() + PATIENCE
        while not (value := condition()):
            assert time.monotonic() < end, "it did not happen in time"
            time.sleep(0.01)
        return value

    return wait
