"""Which modules count as the code of a job, and how they are looked at."""

from __future__ import annotations

import os
import subprocess
import sys
from ast import literal_eval
from pathlib import Path

import pytest

from gristmill.worker.loaded_code import _MOST

LAZY = """
import importlib.util, sys
spec = importlib.util.find_spec("fragile")
spec.loader = importlib.util.LazyLoader(spec.loader)
sys.modules["fragile"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules["fragile"])
"""


@pytest.mark.parametrize(
    ("changed", "is_other"),
    [
        (None, False),
        ("pack/work.py", True),
        ("pack/helper.py", True),
        ("beside.py", True),
        ("pack/never_imported.py", False),
        ("lib/site-packages/installed.py", False),
        ("../elsewhere/foreign.py", False),
        ("../image/side.py", True),
    ],
)
def test_the_loaded_code_is_what_was_imported_of_the_package_and_of_the_folder(
    tmp_path: Path, changed: str | None, is_other: bool
) -> None:
    base = tmp_path / "base"
    texts = {
        "pack/work.py": "import beside, foreign, installed, lazy, side\nfrom pack import helper\ndef f(x): return x\n",
        "pack/__init__.py": "",
        "pack/helper.py": "",
        "pack/never_imported.py": "",
        "beside.py": "",
        "lib/site-packages/installed.py": "",
        "../elsewhere/foreign.py": "",
        "../elsewhere/foreign-1.dist-info/METADATA": "",
        "../image/side.py": "",
        "../elsewhere/lazy.py": LAZY,
        "../elsewhere/fragile.py": "raise ImportError",
    }
    for name, text in texts.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(text)
    script = f"""
import sys
from gristmill.worker import loaded_code, user_code
from tests.unit.test_user_code import spec
base, process = {str(base)!r}, spec({{"function": "pack.work:f"}})
code = loaded_code.LoadedCode(process, base)
user_code.load(process, base)
loaded = code.take()
assert not code.take()
print(loaded_code.code_here(loaded, process, base))
print(loaded)
"""

    def digest() -> dict[str, str]:
        path = [str(base / "lib/site-packages"), *(str(tmp_path / name) for name in ("elsewhere", "image"))]
        path += [str(Path.cwd())]
        words = [sys.executable, "-c", script]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
        done = subprocess.run(words, capture_output=True, text=True, check=True, env=env)
        here, loaded = map(literal_eval, done.stdout.splitlines())
        assert here == loaded, "what would be loaded is found without running it"
        return loaded

    first = digest()
    assert sorted(first) == ["beside.py", "pack", "pack.helper", "pack.work", "side.py"]
    if changed:
        (base / changed).write_text(texts[changed] + "# changed\n")
    assert (digest() != first) is is_other


def in_a_process(script: str, **environment: str) -> str:
    """Return what a process prints; `code_of(base)` there watches what is loaded of the job with pack.work:f."""
    head = """
import sys
from gristmill.worker import loaded_code
from tests.unit.test_user_code import spec
process = spec({"function": "pack.work:f"})

def code_of(base):
    sys.path.insert(0, base)
    return loaded_code.LoadedCode(process, base)
"""
    env = {**os.environ, "PYTHONPATH": str(Path.cwd()), **environment}
    words = [sys.executable, "-c", head + script]
    return subprocess.run(words, capture_output=True, text=True, check=True, env=env).stdout


def test_a_file_that_is_run_again_and_again_is_told_once(tmp_path: Path) -> None:
    """As a plugin is: else nothing that is loaded after so many runs would be known."""
    (tmp_path / "plugin.py").write_text("")
    (tmp_path / "late.py").write_text("")
    script = f"""
import importlib
code = code_of({str(tmp_path)!r})
import plugin
print(list(code.take()))
for _ in range({2 * _MOST}):
    importlib.reload(plugin)
print(list(code.take()))
import late
print(list(code.take()))
"""
    assert in_a_process(script).splitlines() == ["['plugin.py']", "[]", "['late.py']"]


@pytest.mark.parametrize("path", ["lib", "{folder}/link", "{folder}/nowhere:", ""])
def test_a_folder_that_is_named_by_another_path_is_the_same(tmp_path: Path, path: str) -> None:
    """As PYTHONPATH=src, an empty part of it, and a link."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "link").symlink_to("lib")
    (tmp_path / "base").symlink_to("lib")
    (tmp_path / "lib" / "helper.py").write_text("")
    folder = tmp_path if path == "lib" else tmp_path / "lib"
    script = f"""
import os
os.chdir({str(folder)!r})
os.environ["PYTHONPATH"] = {path.format(folder=tmp_path)!r}
code = code_of({str(tmp_path / "base" if not path else tmp_path / "elsewhere")!r})
sys.path.insert(0, {str(tmp_path / "lib")!r})
import helper
print(list(code.take()))
"""
    assert in_a_process(script) == "['helper.py']\n"


def test_files_that_are_no_modules_of_the_named_package_go_by_their_paths(tmp_path: Path) -> None:
    """Plugins that it calls alike, and what lies where it has led its modules to."""
    texts = {
        "__init__": "__path__.insert(0, __path__[0] + '/second')",
        "helper": "1 / 0",
        "second/helper": "",
        "plugins/one": "",
        "plugins/two": "'other'",
    }
    for name, text in texts.items():
        (tmp_path / "pack" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "pack" / f"{name}.py").write_text(text)
    script = f"""
from importlib.util import module_from_spec, spec_from_file_location
base = {str(tmp_path)!r}
code = code_of(base)
import pack.helper
for name in ("one", "two"):
    found = spec_from_file_location("pack.plugin", f"{{base}}/pack/plugins/{{name}}.py")
    found.loader.exec_module(module_from_spec(found))
loaded = code.take()
assert loaded == loaded_code.code_here(loaded, process, base)
print(*sorted(loaded))
"""
    names = ["pack", "pack/plugins/one.py", "pack/plugins/two.py", "pack/second/helper.py"]
    assert in_a_process(script).split() == names


def test_nothing_of_ours_is_seen_by_a_module_that_is_imported(tmp_path: Path) -> None:
    """A warning about its importer names that, and an error has no frames of the import."""
    (tmp_path / "old.py").write_text("import warnings\nwarnings.warn('old', stacklevel=2)\n")
    (tmp_path / "bad.py").write_text("1 / 0\n")
    script = f"""
import traceback, warnings
code = code_of({str(tmp_path)!r})
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    import old
print([warning.filename for warning in caught])
try:
    import bad
except ZeroDivisionError as error:
    print([frame.name for frame in traceback.extract_tb(error.__traceback__)])
print(sorted(code.take()))
"""
    told = ["['<string>']", "['<module>', '<module>']", "['bad.py', 'old.py']"]
    assert in_a_process(script).splitlines() == told
