"""An item of the input `files`: a name that can open itself, and is plain text wherever it travels."""

from __future__ import annotations

from typing import Any


class File(str):
    """The URL or the local path of a file: a `str`, so it prints, compares and becomes JSON as its name."""

    __slots__ = ()

    def open(self, mode: str = "rb", **options: Any) -> Any:
        """Return a file object, as `open` (local) or `fsspec.open` (URL) makes it; use it in a `with`."""
        if "://" not in self:
            return open(self, mode, **options)
        import fsspec

        return fsspec.open(str(self), mode, **options).open()

    def read_bytes(self) -> bytes:
        """Return the content."""
        with self.open("rb") as file:
            return bytes(file.read())

    def read_text(self, encoding: str = "utf-8") -> str:
        """Return the content as text."""
        return self.read_bytes().decode(encoding)
