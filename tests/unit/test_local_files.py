"""Which files a local path means: none is left out in silence."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gristmill.errors import InputError
from gristmill.local.state import HOME
from gristmill.sources.listing import list_files


def _make(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\n")


def _refuse(monkeypatch: pytest.MonkeyPatch, folder: str, error: OSError) -> None:
    """Have an error for whoever looks into a folder, of which the end of the path is given."""
    scan = os.scandir

    def scandir(path: str) -> object:
        if Path(path).match(folder):
            error.filename = path
            raise error
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)


def _names(url: str, folder: Path) -> list[str]:
    return [os.path.relpath(entry.name, folder) for entry in list_files(url, str(folder))]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("in", ["in/a.txt", "in/b.csv", "in/sub/c.txt", "in/sub/deep/d.txt"]),
        ("in/*.txt", ["in/a.txt"]),
        ("in/*", ["in/a.txt", "in/b.csv"]),
        ("in/*/*.txt", ["in/.hidden/x.txt", "in/sub/c.txt"]),
        ("in/**/*.txt", ["in/.hidden/x.txt", "in/a.txt", "in/sub/c.txt", "in/sub/deep/d.txt"]),
        ("in/s?b/c.txt", ["in/sub/c.txt"]),
        ("i[n]/b.*", ["in/b.csv"]),
        ("in/a.txt", ["in/a.txt"]),
    ],
)
def test_a_file_a_folder_or_a_glob(tmp_path: Path, url: str, expected: list[str]) -> None:
    _make(
        tmp_path, "in/a.txt", "in/b.csv", "in/sub/c.txt", "in/sub/deep/d.txt", "in/.hidden/x.txt", "out/e.txt"
    )
    assert _names(url, tmp_path) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("**/*.txt", ["a.txt", "in/b.txt"]),
        ("*/*/output/*.txt", []),
        ("in/*", ["in/b.txt"]),
        (f"{HOME}/*/output/*.txt", [f"{HOME}/job/output/c.txt"]),
        (f"*/{HOME}/job/**", [f"in/{HOME}/job/output/d.txt"]),
        (f"**/{HOME}/**/d.txt", [f"in/{HOME}/job/output/d.txt"]),
    ],
)
def test_globs_do_not_look_into_what_runs_keep_unless_they_name_it(
    tmp_path: Path, url: str, expected: list[str]
) -> None:
    _make(tmp_path, "a.txt", "in/b.txt", f"{HOME}/job/output/c.txt", f"in/{HOME}/job/output/d.txt")
    if expected:
        assert _names(url, tmp_path) == expected
    else:
        with pytest.raises(InputError, match="matches no file"):
            list_files(url, str(tmp_path))


def test_the_manifests_folder_may_look_like_a_glob(tmp_path: Path) -> None:
    _make(tmp_path, "g[1]/d1.txt", "g1/d2.txt")
    assert _names("*.txt", tmp_path / "g[1]") == ["d1.txt"]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("in", ["in/2026/d.txt"]),
        ("in/**/*.txt", ["in/2026/d.txt"]),
        ("in/*/*.txt", ["in/2026/d.txt"]),
        ("in/latest", ["in/latest/d.txt"]),
        ("in/latest/*", ["in/latest/d.txt"]),
        ("in/2026/back/latest/d.txt", ["in/2026/back/latest/d.txt"]),
    ],
)
def test_links_to_folders_are_followed_where_the_url_names_them(
    tmp_path: Path, url: str, expected: list[str]
) -> None:
    _make(tmp_path, "in/2026/d.txt")
    (tmp_path / "in" / "latest").symlink_to("2026")
    (tmp_path / "in" / "2026" / "back").symlink_to("..")
    assert _names(url, tmp_path) == expected


@pytest.mark.parametrize("url", ["in", "in/*.txt", "in/**"])
def test_a_link_that_leads_nowhere_is_named(tmp_path: Path, url: str) -> None:
    _make(tmp_path, "in/a.txt")
    (tmp_path / "in" / "b.txt").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"in/b\.txt is a link that leads nowhere"):
        list_files(url, str(tmp_path))


def test_what_is_no_file_is_left_out(tmp_path: Path) -> None:
    _make(tmp_path, "in/a.txt")
    os.mkfifo(tmp_path / "in" / "pipe")
    assert _names("in", tmp_path) == ["in/a.txt"]


@pytest.mark.parametrize(
    ("url", "closed"),
    [
        ("in", "in/sub"),
        ("in", "in"),
        ("in/**/*.txt", "in/sub"),
        ("in/*/*.txt", "in/sub"),
        ("in/sub/c.txt", "in"),
    ],
)
def test_a_folder_that_can_not_be_looked_into_is_named(
    tmp_path: Path, url: str, closed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """(As for whoever is not root: root may look into everything.)"""
    _make(tmp_path, "in/a.txt", "in/sub/c.txt")
    stat = os.stat

    def status(path: str, **words: bool) -> os.stat_result:
        if tmp_path / closed in Path(path).parents:
            raise PermissionError(13, "Permission denied", str(tmp_path / closed))
        return stat(path, **words)

    _refuse(monkeypatch, closed, PermissionError(13, "Permission denied"))
    monkeypatch.setattr(os, "stat", status)
    with pytest.raises(InputError, match=f"{closed} can't be listed: Permission denied"):
        list_files(url, str(tmp_path))


@pytest.mark.parametrize("url", ["*.txt", "in/run-*/*.txt", "in/run-*/**/*.txt"])
def test_what_a_glob_can_not_match_is_not_looked_into(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _make(tmp_path, "a.txt", "in/run-1/b.txt", "in/private/c.txt", "private/d.txt")
    (tmp_path / "loop").symlink_to("loop")
    _refuse(monkeypatch, "private", PermissionError(13, "Permission denied"))
    assert _names(url, tmp_path) == (["a.txt"] if url == "*.txt" else ["in/run-1/b.txt"])


def test_a_folder_that_is_removed_meanwhile_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _make(tmp_path, "in/a.txt", "in/sub/b.txt")
    _refuse(monkeypatch, "sub", FileNotFoundError(2, "No such file or directory"))
    assert _names("in", tmp_path) == ["in/a.txt"]
