"""Puts the text to count into `data`: Python's own standard library, about 30 MB that every machine has."""

import shutil
import sysconfig
from pathlib import Path

SOURCE = Path(sysconfig.get_path("stdlib"))
TARGET = Path(__file__).parent / "data"


def prepare(target: Path = TARGET) -> None:
    """Copy the library's Python files to a folder, unless it is there."""
    if target.exists():
        return
    draft = target.with_name(f"{target.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    for path in sorted(SOURCE.rglob("*.py")):
        place = path.relative_to(SOURCE)
        if "site-packages" not in place.parts and path.is_file():
            copy = draft / place
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    draft.rename(target)


if __name__ == "__main__":
    prepare()
