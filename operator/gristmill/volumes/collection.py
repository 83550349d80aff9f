"""Collecting content that no name points at; never what a writer is about to name.

1. Content that was put `grace` seconds ago or earlier, and that no name points at, is set aside: moved to a heap of the
   trash, which is what one collection has set aside.
2. *After that* the names are read again. Set-aside content that one points at by now goes back.
3. What is of a heap that is `grace` seconds old, and no name points at, or is in its place as well, is removed.

A writer does the opposite: it writes a name, and after that sees that the content is in its place, or puts it back from
the trash (`naming`). Let W be the writing of the name and M the move to the trash. Where W comes before M, the names
read after M show it, and the content goes back; where M comes before W, the writer finds it set aside, and puts it back
itself. Where it was removed before that, the writer's call fails, and acknowledges nothing; that needs a writer that
stood still for `grace` between putting and naming. Readers look into the trash, too.

All times are the storage's own: ages are differences of what it says, so no clock of a writer or a collector counts.
Killed anywhere, a collection leaves content in its place or in the trash, and the next one goes on. Two at once do no
harm: each has a heap of its own, and removes only what lay in a heap before it read the names. Where moving is copying
and removing, one that stands still between the two must not do so for `grace` while another collects.

Where a move gives two keys the same bytes for a moment (`Backend.move_seconds`), what is to be removed could at that
moment be on its way back. So it is moved first to where no writer looks for it, and removed when every move that had
begun before has ended: then its bytes are seen to be those of another key, or are nobody's.
"""

from __future__ import annotations

import errno
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from gristmill.volumes import blocks
from gristmill.volumes.errors import Damaged, StorageFailed
from gristmill.volumes.names import CONTENT, DOOMED, DRAFTS, TRASH, content_key, heap_name, trash_key
from gristmill.volumes.naming import Names
from gristmill.volumes.port import Backend, Entry

#: seconds that content without a name is kept, and then lies in the trash
GRACE_SECONDS = 3600.0
_DIGEST_LENGTH = 64


@dataclass(frozen=True, slots=True)
class Collected:
    """What a collection did: contents and bytes set aside, removed, put back; drafts removed."""

    aside: int = 0
    aside_bytes: int = 0
    removed: int = 0
    removed_bytes: int = 0
    restored: int = 0
    drafts: int = 0


def collect(
    backend: Backend, grace: float = GRACE_SECONDS, tell: Callable[[str], None] | None = None
) -> Collected:
    """Set aside and remove what no name points at; `grace` in seconds. `tell` is told what is being done.

    Damaged where a name can't be read: nobody knows what it points at, so nothing is collected then.
    """
    say = tell or (lambda text: None)
    now = backend.now()
    say("looking at what is in the trash")
    trash = dict(backend.walk(TRASH))
    say("looking at the content")
    old = {entry.name: entry for _, entry in backend.walk(CONTENT) if now - entry.modified >= grace}
    aside = aside_bytes = 0
    if old:
        say("reading the names")
        named = _named(backend)
        heap = heap_name(backend.now())
        for sha256, entry in old.items():
            key = trash_key(heap, sha256)
            try:
                moved = sha256 not in named and backend.move(content_key(sha256), key)
            except StorageFailed as error:
                if error.errno != errno.ENOSPC or not trash:
                    raise
                break  # (a full disk has no room for a longer trash: what is in it makes some)
            if moved:
                aside += 1
                aside_bytes += entry.bytes
                trash[key] = entry
    doomed = dict(backend.walk(DOOMED)) if backend.move_seconds else {}
    restored = 0
    if trash:
        say("reading the names again")
        named, now = _named(backend), backend.now()
    due: dict[str, Entry] = {}
    for key, entry in trash.items():
        sha256 = key[-_DIGEST_LENGTH:]
        if sha256 in named and backend.stat(content_key(sha256)) is None:
            restored += backend.move(key, content_key(sha256))
        elif now - _since(key) >= grace:
            due[key] = entry
    if backend.move_seconds:
        for key, entry in due.items():
            to = f"{DOOMED}{key.removeprefix(TRASH)}"
            if backend.move(key, to):
                doomed[to] = entry
        if doomed:
            say("waiting until nothing is being moved")
            time.sleep(backend.move_seconds)
    removed = _remove(backend, doomed or due, [*trash, *doomed])
    drafts = 0
    for entry in backend.list(DRAFTS):
        if not entry.is_folder and now - entry.modified >= grace:
            key = f"{DRAFTS}/{entry.name}"
            with suppress(StorageFailed):  # (one that can't be read now waits for the next collection)
                drafts += backend.delete(key, *_places_of(backend, key, entry.bytes))
    removed_bytes = sum(entry.bytes for entry in removed)
    return Collected(aside, aside_bytes, len(removed), removed_bytes, restored, drafts)


def _remove(backend: Backend, due: dict[str, Entry], aside: Iterable[str]) -> list[Entry]:
    """Remove content, and return what was there. `aside`: all keys at which moves may have left the same bytes."""
    twins: defaultdict[str, set[str]] = defaultdict(set)
    for key in aside:
        twins[key[-_DIGEST_LENGTH:]].add(key)
    removed = []
    for key, entry in due.items():
        sha256 = key[-_DIGEST_LENGTH:]
        if backend.delete(key, content_key(sha256), *twins[sha256] - {key}):
            removed.append(entry)
    return removed


def _named(backend: Backend) -> set[str]:
    """Return the digests of all content that names point at."""
    named = set()
    for path, record in Names(backend).read_all():
        if isinstance(record, Damaged):
            raise StorageFailed(
                f"nothing is collected while a name can't be read: {record}; or remove {path}"
            )
        if record.inline is None:
            named.add(record.sha256)
    return named


def _places_of(backend: Backend, key: str, length: int) -> list[str]:
    """Return the key that a whole draft was to be moved to; none where it is not whole."""
    size = blocks.size_in(length)
    sha256 = ""
    if size >= 0:
        with suppress(FileNotFoundError):
            sha256 = blocks.digest_in(backend.read(key, size, length))
    return [content_key(sha256)] if sha256 else []


def _since(key: str) -> float:
    """Return when a heap was begun, by the storage's clock."""
    number = key.split("/")[1].partition("-")[0]
    return float(number) if number.isdecimal() else 0.0
