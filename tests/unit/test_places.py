"""Which job a command means, as far as that can be told without a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from gristmill.cli.places import Where, name_and_chunk
from gristmill.errors import UsageError


@pytest.mark.parametrize(
    ("words", "meant"), [(["3"], (None, 3)), (["squares", "3"], ("squares", 3)), (["12", "3"], ("12", 3))]
)
def test_name_and_chunk(words: list[str], meant: tuple[str | None, int]) -> None:
    assert name_and_chunk(words) == meant


@pytest.mark.parametrize("words", [["squares"], ["3", "squares"], ["a", "b", "3"], ["1:2"], ["9" * 5000]])
def test_what_is_no_chunk_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError, match=r"write \[NAME\] CHUNK"):
        name_and_chunk(words)


def test_a_folder_here_and_a_cluster_exclude_one_another() -> None:
    assert not Where().is_cluster
    assert not Where(state=Path("x")).is_cluster
    assert Where(namespace="n").is_cluster
    assert Where(context="c").is_cluster
    with pytest.raises(UsageError, match="give one of them"):
        _ = Where(state=Path("x"), namespace="n").is_cluster
