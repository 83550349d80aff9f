"""What a job requires is installed in a pod, looked for elsewhere, and asked for in words that help."""

from __future__ import annotations

import importlib
import shutil
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from tests.builders import wheel

from gristmill.errors import LoadError
from gristmill.worker.requirements import INSTALL, provide


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A requirement of a module `tiny_for_tests`, which is not installed."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("HOME", str(tmp_path))
    return wheel(tmp_path, "tiny_for_tests")


def test_a_pod_installs_it_each_time_that_it_is_not_there(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(INSTALL, "1")
    for _ in range(2):
        provide([tiny])
        found = importlib.import_module("tiny_for_tests").__file__
        assert found is not None
        assert Path(found).is_relative_to(tmp_path)
        del sys.modules["tiny_for_tests"]
        shutil.rmtree(tmp_path / ".gristmill")


def test_elsewhere_it_is_only_looked_for(tmp_path: Path, tiny: str) -> None:
    provide(["pytest", "orjson>=3"])
    with pytest.raises(LoadError, match=r"spec\.process\.pip: .* is not installed here") as caught:
        provide(["tiny_for_tests"])
    assert "-m pip install 'tiny_for_tests'` brings it" in str(caught.value)
    assert not (tmp_path / ".gristmill").exists()


@pytest.mark.parametrize("marker", ["", " ; python_version >= '3'"])
def test_elsewhere_what_has_a_url_is_looked_for_by_its_name(tmp_path: Path, tiny: str, marker: str) -> None:
    with pytest.raises(LoadError, match=r"tiny_for_tests @ file:.* is not installed here"):
        provide([tiny + marker])
    provide(
        [
            "pytest @ https://example.invalid/pytest.zip",
            "PyTest[dev]@git+https://example.invalid/pytest",
            f"{tiny} ; python_version < '3'",
        ]
    )


def test_elsewhere_what_has_no_name_is_not_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nothing/may/run")
    provide(
        [
            *("git+https://example.invalid/a", "./a", "/tmp/a", "https://example.invalid/a.whl"),
            *(
                "a-1.0.tar.gz",
                "a.tar",
                "A.WHL",
                "a.tbz",
                "a.tar.lzma",
                "a.whl[extra]",
                "a.zip ; os_name == 'nt'",
            ),
        ]
    )


@pytest.mark.parametrize("in_pod", [True, False])
def test_where_there_is_no_pip_that_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_pod: bool
) -> None:
    venv.create(tmp_path / "bare", with_pip=False, symlinks=True)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bare/bin/python"))
    if in_pod:
        monkeypatch.setenv(INSTALL, "1")
    with pytest.raises(LoadError, match="has no pip") as caught:
        provide(["pytest"])
    assert f"`{sys.executable} -m ensurepip`" in str(caught.value)
    assert "not installed" not in str(caught.value)


def test_where_the_system_owns_the_environment_another_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "EXTERNALLY-MANAGED").touch()
    monkeypatch.setattr(sys, "base_prefix", sys.prefix)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(LoadError, match="this Python belongs to the system") as caught:
        provide(["tiny_for_tests"])
    assert "-m venv`" in str(caught.value)
    assert "brings it" not in str(caught.value)
