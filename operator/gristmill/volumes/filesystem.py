"""`volume://NAME/path` for fsspec, and so for pandas, pyarrow, and everything else that reads and writes through it.

A folder is there while a file is in it, as on object stores: making one makes nothing.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from fsspec.callbacks import DEFAULT_CALLBACK
from fsspec.spec import AbstractFileSystem

from gristmill.volumes.blocks import BLOCK_BYTES, Bytes
from gristmill.volumes.errors import BadName, Damaged, NotSupported, NotThere, StorageFailed, Taken
from gristmill.volumes.names import check_volume
from gristmill.volumes.parallel import in_parallel
from gristmill.volumes.places import PROTOCOL, open_volume
from gristmill.volumes.store import ContentStore, File, FileWriter


class VolumeFileSystem(AbstractFileSystem):  # type: ignore[misc]  # (fsspec has no types)
    """The files of all volumes; a path begins with the volume's name. `GRISTMILL_VOLUMES` says where they are."""

    protocol = PROTOCOL
    root_marker = ""

    def ls(self, path: str, detail: bool = True, **more: Any) -> list[Any]:
        """Return what is in a folder. FileNotFoundError where there is no such folder."""
        store, volume, inner = self._split(path)
        files = store.list(inner)
        if not files:
            found = store.stat(inner)
            files = [found] if not found.is_folder else []
        return (
            [_info(volume, file) for file in files] if detail else [f"{volume}/{file.path}" for file in files]
        )

    def walk(
        self,
        path: str,
        maxdepth: int | None = None,
        topdown: bool = True,
        on_error: Any = "omit",
        **more: Any,
    ) -> Iterator[Any]:
        """Yield folders with what is in them. What can't be listed is raised: fsspec would leave it out."""
        yield from super().walk(path, maxdepth, topdown, _refuse if on_error == "omit" else on_error, **more)

    def info(self, path: str, **more: Any) -> dict[str, Any]:
        """Return what is known of a file or folder; `sha256` of a file. FileNotFoundError."""
        store, volume, inner = self._split(path)
        return _info(volume, store.stat(inner))

    def exists(self, path: str, **more: Any) -> bool:
        """Return whether a file or folder is there. What can't be looked at is raised: fsspec would say no."""
        return self._is_folder(path) is not None

    def isfile(self, path: str) -> bool:
        """Return whether a file is there; as `exists`."""
        return self._is_folder(path) is False

    def isdir(self, path: str) -> bool:
        """Return whether a folder is there; as `exists`."""
        return self._is_folder(path) is True

    def _is_folder(self, path: str) -> bool | None:
        """Return whether what is there is a folder; None where nothing is, or can be."""
        try:
            store, _, inner = self._split(path)
            return store.is_folder(inner)
        except (NotThere, BadName):
            return None

    def modified(self, path: str) -> datetime:
        """Return when a name was written, by the storage's clock."""
        return datetime.fromtimestamp(self.info(path).get("mtime", 0), UTC)

    def open(self, path: str, mode: str = "rb", **said: Any) -> Any:
        """Open a file: `rb`, `wb`, `xb`, or text. A `with` block that is left by an error names nothing."""
        if "b" in mode:
            return super().open(path, mode, **said)
        keys = ("encoding", "errors", "newline")
        text = {key: said.pop(key) for key in keys if key in said}
        return _Text(super().open(path, f"{mode.replace('t', '')}b", **said), **text)

    def mkdir(self, path: str, create_parents: bool = True, **more: Any) -> None:
        """See that a folder can be: FileExistsError where there is one, or a file."""
        self.makedirs(path)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        """See that a folder can be: FileExistsError where there is a file, or it is there and must not be."""
        store, _, inner = self._split(path)
        try:
            found = store.stat(inner)
        except NotThere:
            return
        if not (found.is_folder and exist_ok):
            raise Taken(f"{path} is there already, as a {'folder' if found.is_folder else 'file'}")

    def rmdir(self, path: str) -> None:
        """See that a folder is empty, and so not there."""
        store, _, inner = self._split(path)
        if store.list(inner):
            failed = StorageFailed(f"{path} is not empty: remove its files first, or with recursive=True")
            failed.errno = errno.ENOTEMPTY
            raise failed

    def rm(self, path: str | list[str], recursive: bool = False, maxdepth: int | None = None) -> None:
        """Remove files; with `recursive`, folders. FileNotFoundError, IsADirectoryError."""
        if not recursive or maxdepth is not None:
            paths = self.expand_path(path, recursive=recursive, maxdepth=maxdepth)
            in_parallel(self._rm_below if recursive else self.rm_file, paths)
            return
        for root in self.expand_path(path):
            store, volume, inner = self._split(root)
            below = [f"{volume}/{name}" for name, _ in store.names.walk(inner)]  # (no record is read)
            if not below:
                with suppress(Damaged):
                    store.stat(inner)
            in_parallel(self._rm_below, below or [root])

    def _rm_below(self, path: str) -> None:
        store, _, inner = self._split(path)
        if inner and not self.isdir(path):
            with suppress(
                NotThere
            ):  # (it is a folder of which the last file is gone, or somebody else was faster)
                store.remove(inner)

    def rm_file(self, path: str) -> None:
        """Remove a file. FileNotFoundError, IsADirectoryError."""
        store, _, inner = self._split(path)
        if not inner or self.isdir(path):
            raise IsADirectoryError(errno.EISDIR, "it is a folder: remove it with recursive=True", path)
        store.remove(inner)

    def mv(
        self, path1: Any, path2: Any, recursive: bool = False, maxdepth: int | None = None, **more: Any
    ) -> None:
        """Move files; with `recursive`, folders. What is there already stays; BadName below what is moved."""
        if isinstance(path2, str) and not path2.endswith("/"):
            path2 = self._strip_protocol(path2)
            if isinstance(path1, str) and self._strip_protocol(path1) == path2:
                self.info(path2)
                return
        found: list[tuple[str, str]] = []
        self.copy(path1, path2, recursive=recursive, maxdepth=maxdepth, on_error="raise", found=found)
        if not found:
            raise IsADirectoryError(errno.EISDIR, "it is a folder: move it with recursive=True", path1)
        pairs = [(self._strip_protocol(source), self._strip_protocol(target)) for source, target in found]
        for source, target in pairs:
            if target.startswith(f"{source}/"):
                raise BadName(f"{target} is below {source}, which is to be moved: choose another target")
        pairs = [(source, target) for source, target in pairs if source != target]
        for source, target in pairs:
            self.cp_file(source, target)
        in_parallel(self._rm_below, {source for source, _ in pairs} - {target for _, target in pairs})

    def cp_file(
        self, path1: str, path2: str, found: list[tuple[str, str]] | None = None, **more: Any
    ) -> None:
        """Copy a file: within a volume it is one more name for the same content.

        With `found` nothing is copied: what would be is added to it.
        """
        if found is not None:
            found.append((path1, path2))
            return
        store, volume, inner = self._split(path1)
        to_store, to_volume, to_inner = self._split(path2)
        if self.isdir(path1):
            return
        if volume == to_volume:
            store.copy(inner, to_inner)
        else:
            with store.open(inner) as file:
                to_store.save(to_inner, file)

    def pipe_file(self, path: str, value: Bytes, mode: str = "overwrite", **more: Any) -> None:
        """Write a file. FileExistsError where it is there and the mode is `create`; TypeError where it is not bytes."""
        if not isinstance(value, bytes):
            value = memoryview(value).tobytes()
        store, _, inner = self._split(path)
        store.save(inner, value, new=mode == "create")

    def pipe(self, path: str | dict[str, Bytes], value: Bytes | None = None, **more: Any) -> None:
        """Write a file, or many at once."""
        if isinstance(path, str):
            path = {path: b"" if value is None else value}
        in_parallel(lambda item: self.pipe_file(item[0], item[1], **more), path.items())

    def put_file(
        self,
        lpath: str,
        rpath: str,
        callback: Any = DEFAULT_CALLBACK,
        mode: str = "overwrite",
        **more: Any,
    ) -> None:
        """Write a file from one of this machine; as `pipe_file`."""
        if os.path.isdir(lpath):
            return
        store, _, inner = self._split(rpath)
        with open(lpath, "rb") as file, store.create(inner, new=mode == "create") as writer:
            callback.set_size(os.fstat(file.fileno()).st_size)
            while data := file.read(BLOCK_BYTES):
                writer.write(data)
                callback.relative_update(len(data))
            writer.commit()

    def _open(self, path: str, mode: str = "rb", *args: Any, autocommit: bool = True, **more: Any) -> Any:
        store, _, inner = self._split(path)
        if mode == "rb":
            return store.open(inner)
        if mode in ("wb", "xb"):
            return WrittenFile(store.create(inner, new=mode == "xb"), path, mode, autocommit)
        raise NotSupported(
            f"{path} can't be opened with mode {mode!r}: what was written is never changed; read it, "
            "and write it anew with 'wb'"
        )

    def _split(self, path: str) -> tuple[ContentStore, str, str]:
        volume, _, inner = self._strip_protocol(path).partition("/")
        if not volume:
            raise BadName("name a volume: volume://NAME/path")
        return open_volume(check_volume(volume)), volume, inner


class WrittenFile(io.RawIOBase):
    """A file that is open for writing: named when it is closed, not where a `with` block is left by an error."""

    def __init__(self, writer: FileWriter, name: str, mode: str, autocommit: bool) -> None:
        self.name = name
        self.mode = mode
        self._writer = writer
        self._autocommit = autocommit

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.discard()
        self.close()

    def __del__(self) -> None:
        self.discard()  # (the base would close it, and so name what somebody gave up)

    def writable(self) -> bool:
        """Whether it can be written: yes."""
        return True

    def write(self, data: Any, /) -> int:
        """Append bytes, and return how many."""
        if self.closed:
            raise ValueError(f"{self.name} is closed")
        return self._writer.write(data)

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._writer.size

    def close(self) -> None:
        """Name what was written, unless a transaction does that later."""
        if self.closed:
            return
        try:
            if self._autocommit:
                self.commit()
        finally:
            super().close()

    def commit(self) -> None:
        """Name what was written."""
        try:
            self._writer.commit()
        finally:
            self.discard()

    def discard(self) -> None:
        """Forget what was written."""
        self._autocommit = False
        self._writer.discard()


class _Text(io.TextIOWrapper):
    """Text over a file of a volume; where a `with` block is left by an error, nothing is named."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        buffer: object = self.buffer
        if kind is not None and isinstance(buffer, WrittenFile):
            buffer.discard()
        self.close()


def _refuse(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _info(volume: str, file: File) -> dict[str, Any]:
    name = f"{volume}/{file.path}".rstrip("/")
    if file.is_folder:
        return {"name": name, "size": 0, "type": "directory"}
    told = {"name": name, "size": file.size, "type": "file", "mtime": file.modified}
    return {**told, "sha256": file.sha256, "ETag": file.sha256} if file.sha256 else told
