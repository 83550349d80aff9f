"""Temporary drafts of a child that dies are removed by whoever finds it dead, and nobody else's."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest

from gristmill.sinks.drafts import discard_drafts_of, temporary_draft


def test_drafts_of_a_dead_child_go_and_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ours = temporary_draft()
    pid = os.fork()
    if not pid:
        temporary_draft()
        os._exit(0)
    os.waitpid(pid, 0)
    (tmp_path / f"gristmill-0badcafe-{pid}-x").touch()  # of another family
    assert len(list(tmp_path.iterdir())) == 3
    discard_drafts_of(pid)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [Path(ours.path).name, f"gristmill-0badcafe-{pid}-x"]
    )
    ours.discard()
