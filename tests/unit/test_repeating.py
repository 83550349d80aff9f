"""`gristmill repro` says what became of an item, whatever it does."""

from __future__ import annotations

import sys

import pytest

from gristmill.cli.repeating import _call


def test_an_item_that_ends_the_process_has_failed(capsys: pytest.CaptureFixture[str]) -> None:
    assert _call(lambda: [sys.exit(0)], "chunk 1 item 2", debug=False) == 1
    assert "SystemExit: 0" in capsys.readouterr().err
