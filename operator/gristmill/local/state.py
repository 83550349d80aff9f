"""The state folder of a run: everything that a later `gristmill run` needs to go on.

job.json      what is run: manifest, the queue's name for the job, epoch; written before all else
status.json   the status as the runner saw it last; in the end, the final one
queue/        Valkey's append-only files and log, and its socket
output/       the output, where the manifest names no other place
logs/         what the user's code printed, JSON lines
runner.lock   held by the process that runs the job, with its process id and start; a dead process holds no lock
keeper.lock   the same for the keeper
reader.lock   held by a process that looks at a run which has stopped (see `turns`)
keeper.log    what went wrong below the runner
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from gristmill.errors import GristmillError, UsageError
from gristmill.local.copies import keep_from_copies
from gristmill.local.processes import start_of

if TYPE_CHECKING:
    from gristmill.protocol.job import JobContext

#: seconds that a look at who holds a lock may take
_GLANCE_SECONDS = 0.001
#: seconds after which a process that has taken a lock must have said which it is
_SAYS_SECONDS = 1.0
#: the folder of all state folders, below the current one
HOME = Path(".gristmill")


@dataclass(frozen=True)
class StoredJob:
    """What job.json holds."""

    #: the job's name in the queue; a run that starts afresh gets another
    uid: str
    #: rises each time the queue has lost its memory
    epoch: int
    #: the fields of `JobContext`
    context: dict[str, Any]
    #: the queue had it once: if it has it no more, it has lost its memory
    started: bool = False
    #: it is run again: the queue must be told parameters that may have changed, and try what has failed
    renewed: bool = False
    #: and the manifest's `suspend` has changed: it overrides what was commanded since
    suspend_changed: bool = False

    @classmethod
    def of(cls, context: JobContext) -> StoredJob:
        """Return a new job."""
        return cls(secrets.token_hex(8), 1, asdict(context))

    def job_context(self) -> JobContext:
        """Return the context as a value (imports the models)."""
        from gristmill.protocol.job import JobContext

        return JobContext(**self.context)

    @property
    def spec(self) -> dict[str, Any]:
        """The spec, as the manifest has it."""
        spec: dict[str, Any] = self.context["manifest"]["spec"]
        return spec

    @property
    def name(self) -> str:
        """The job's name."""
        return str(self.context["manifest"]["metadata"]["name"])

    @property
    def output(self) -> str:
        """The absolute URL of the output, or "" where the queue keeps the results."""
        return str(self.context["output"])

    @property
    def durable(self) -> bool:
        """Whether a commit is on the disk before it counts."""
        return self.spec.get("durability") == "always"


class State:
    """A state folder, whether it is there yet or not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self.queue = self.folder / "queue"
        self.output = self.folder / "output"
        self.logs = self.folder / "logs"
        self.keeper_log = self.folder / "keeper.log"
        self.runner_lock = Lock(self.folder / "runner.lock")
        self.keeper_lock = Lock(self.folder / "keeper.lock")
        self.reader_lock = Lock(self.folder / "reader.lock")
        self._job = self.folder / "job.json"
        self._status = self.folder / "status.json"

    def load(self) -> StoredJob | None:
        """Return the job, or None when the folder holds none."""
        data = _read(self._job)
        if data is None:
            return None
        try:
            return StoredJob(**{**data, "context": self._located(data["context"])})
        except (TypeError, KeyError) as error:
            raise _unreadable(self._job, "it is not what a run writes") from error

    def job(self) -> StoredJob:
        """Return the job, or raise UsageError."""
        stored = self.load()
        if stored is None:
            raise UsageError(f"{shown(self.folder)} holds no run")
        return stored

    def save(self, job: StoredJob) -> None:
        """Write job.json."""
        data = asdict(job)
        _write(self._job, {**data, "context": self._movable(data["context"])}, durable=True)

    @property
    def has_queue(self) -> bool:
        """Whether the queue's log is there."""
        return any(self.queue.glob("*/*.manifest"))

    def final_status(self) -> dict[str, Any] | None:
        """Return the status that the run ended with, or None."""
        status = self.last_status()
        return status if status and status["completionTime"] else None

    def last_status(self) -> dict[str, Any] | None:
        """Return the status that was noted last, or None."""
        status = _read(self._status)
        try:
            return self._located(status) if status else None
        except (TypeError, KeyError) as error:
            raise _unreadable(self._status, "it is not what a run writes") from error

    def save_status(self, status: dict[str, Any] | None) -> None:
        """Note a status, or (None) that there is none."""
        if status is None:
            self._status.unlink(missing_ok=True)
        else:
            _write(self._status, self._movable(status))

    def _movable(self, told: dict[str, Any]) -> dict[str, Any]:
        """Return what is written: the folder may be moved, so its own output is no absolute path there."""
        return {**told, "output": self.output.name} if told["output"] == str(self.output) else told

    def _located(self, told: dict[str, Any]) -> dict[str, Any]:
        """Return what `_movable` was given, at the place where the folder is now."""
        return {**told, "output": str(self.output)} if told["output"] == self.output.name else told

    def make(self) -> None:
        """Make the folder, if it is not there. UsageError where it can't be, or is one of other files."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            names = {entry.name for entry in self.folder.iterdir()} - {"lost+found"}
        except OSError as error:
            raise UsageError(f"{shown(self.folder)} can't be a state folder: {error.strerror}") from error
        # (every run writes its lock before all else, while a job.json may be anybody's)
        if names and self.runner_lock.path.name not in names:
            raise UsageError(
                f"{shown(self.folder)} holds files that no run left there ({min(names)}): "
                "a run needs a folder of its own, choose another --state"
            )

    def clear(self) -> None:
        """Remove what runs have left, but for the locks."""
        for folder in (self.queue, self.output, self.logs):
            if folder.is_symlink():
                folder.unlink()
            elif folder.exists():
                shutil.rmtree(folder)
        for file in (self._job, self._status, self.keeper_log):
            file.unlink(missing_ok=True)


class Lock:
    """A file that one process at a time holds; the system takes it back from a dead one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = -1

    def take(self) -> int:
        """Take it and return 0, or return the process that holds it. UsageError where it can't be written."""
        while True:
            try:
                handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise self._unwritable(error) from error
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                os.close(handle)
            if holder := self.holder():
                return holder
            time.sleep(_GLANCE_SECONDS)  # (what was in the way was another's `holder`)
        try:
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()} {start_of(os.getpid())}".rstrip().encode(), 0)
        except OSError as error:
            os.close(handle)
            raise self._unwritable(error) from error
        self._handle = handle
        keep_from_copies(self)
        return 0

    def holder(self) -> int:
        """Return the process that holds it, 0 when none does. UsageError when it does not say which it is."""
        try:
            handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return 0
        until = time.monotonic() + _SAYS_SECONDS
        try:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BlockingIOError:
                    if pid := _named(os.pread(handle, 100, 0))[0]:
                        return pid
                else:
                    return 0
                if time.monotonic() > until:
                    raise UsageError(
                        f"{shown(self.path)} is held by a process that may be frozen, for it does not say its number "
                        f"there; `fuser {shown(self.path)}` finds it: wake it or end it, and try again"
                    )
                time.sleep(_GLANCE_SECONDS)  # (who has just taken it has not yet said so)
        finally:
            os.close(handle)

    def last_holder(self) -> tuple[int, str]:
        """Return the process that took it last, alive or not, and its start ("": not known); 0 when none did."""
        try:
            return _named(self.path.read_bytes())
        except FileNotFoundError:
            return 0, ""

    def _unwritable(self, error: OSError) -> UsageError:
        return UsageError(
            f"{shown(self.path)} can't be written: {error.strerror}; to run a job, or to ask the queue of one, mend "
            "that, or copy the folder to where you may write"
        )

    @property
    def is_there(self) -> bool:
        """Whether the file that is held is still where it was, so that others find it."""
        try:
            return self._handle >= 0 and os.path.samestat(os.fstat(self._handle), os.stat(self.path))
        except FileNotFoundError:
            return False

    def leave(self) -> None:
        """See `copies.Held`: the lock is free when the last copy of its descriptor is closed."""
        self.release()

    def release(self) -> None:
        """Give it back."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1


def _named(text: bytes) -> tuple[int, str]:
    """Return the process that a lock names, and its start; 0 and "" where none is named."""
    pid, _, start = text.decode(errors="replace").partition(" ")
    return (int(pid), start) if pid.isdecimal() else (0, "")


def find(name: str | None, folder: Path | None) -> State:
    """Return the state folder of an earlier run: `folder` or `name`, or the only one here.

    A folder that is not there is looked for by its name below `.gristmill`.
    """
    if folder is None and name is not None:
        folder = HOME / name
    if folder is not None and not folder.exists() and (HOME / folder).is_dir():
        folder = HOME / folder
    if folder is None:
        names = sorted(path.parent.name for path in HOME.glob("*/job.json"))
        if len(names) != 1:
            known = (
                f"name one of {', '.join(names)}" if names else "there is none in .gristmill/ here; name one"
            )
            raise UsageError(f"which run? {known}, or give --state DIR")
        folder = HOME / names[0]
    state = State(folder)
    state.job()
    return state


def shown(path: Path) -> str:
    """Return a path as people want to read it: relative where that is shorter."""
    with suppress(ValueError):
        return str(path.relative_to(Path.cwd())) or "."
    return str(path)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        data: dict[str, Any] = orjson.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise _unreadable(path, str(error)) from error
    return data


def _unreadable(path: Path, why: str) -> UsageError:
    return UsageError(f"{path} can't be read: {why}; `gristmill run --fresh` starts anew")


def _write(path: Path, value: dict[str, Any], *, durable: bool = False) -> None:
    """Write a file whole or not at all; `durable`: also where the machine stops."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as file:
            file.write(orjson.dumps(value))
            if durable:
                file.flush()
                os.fsync(file.fileno())
        draft.replace(path)
    except OSError as error:
        with suppress(OSError):
            draft.unlink()
        raise GristmillError(
            f"{path} can't be written: {error.strerror}; mend that, and the same `gristmill run` goes on"
        ) from error
