"""Collecting content that no name points at; never what a writer is about to name.

1. Content that was put `grace` seconds ago or earlier, and that no name points at, is set aside: moved to a heap of the
   trash, which is what one collection has set aside.
2. *After that* the names are read again. Set-aside content that one points at by now goes back, if it is whole.
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
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from gristmill.volumes import blocks
from gristmill.volumes.errors import Damaged, StorageFailed
from gristmill.volumes.names import (
    CONTENT,
    DOOMED,
    DRAFTS,
    HOLDS,
    TRASH,
    content_key,
    digest_of,
    heap_name,
    heap_time,
    trash_key,
)
from gristmill.volumes.naming import Names
from gristmill.volumes.port import Backend, Entry
from gristmill.volumes.reading import whole_aside

#: seconds that content without a name is kept, and then lies in the trash
GRACE_SECONDS = 3600.0


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
        named = _named(backend, grace)
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
        named, now = _named(backend, grace), backend.now()
    due: dict[str, Entry] = {}
    for key, entry in trash.items():
        sha256 = digest_of(key)
        if sha256 in named and backend.stat(content_key(sha256)) is None:
            whole = whole_aside(backend, sha256, blocks.size_in(entry.bytes))
            restored += whole is not None and backend.move(whole, content_key(sha256))
        elif now - heap_time(key) >= grace:
            due[key] = entry
    if backend.move_seconds:
        for key, entry in due.items():
            to = f"{DOOMED}{key.removeprefix(TRASH)}"
            if backend.move(key, to):
                doomed[to] = entry
        due = doomed
        if due:
            say("waiting until nothing is being moved")
            time.sleep(backend.move_seconds)
    removed = _remove(backend, {key: digest_of(key) for key in due})
    for key, entry in backend.walk(HOLDS):
        if now - entry.modified >= grace:
            backend.delete(key)
    old_drafts = {}
    for entry in backend.list(DRAFTS):
        if not entry.is_folder and now - entry.modified >= grace:
            key = f"{DRAFTS}/{entry.name}"
            with suppress(StorageFailed):  # (one that can't be read now waits for the next collection)
                old_drafts[key] = _digest_in(backend, key, entry.bytes)
    drafts = len(_remove(backend, old_drafts))
    removed_bytes = sum(due[key].bytes for key in removed)
    return Collected(aside, aside_bytes, len(removed), removed_bytes, restored, drafts)


def _remove(backend: Backend, due: dict[str, str]) -> list[str]:
    """Remove objects at keys, which have content of these digests ("": of none); return the keys that were there.

    After a half move others may have the same bytes. All that are aside are listed, and then looked at, before what is
    in its place: so one that comes back from there is seen. And they are listed once more: where one has come from
    there meanwhile, the object waits for the next collection. A round removes one object of each content.
    """
    if not backend.move_seconds:
        return [key for key in due if backend.delete(key)]
    removed, left = [], due
    while left:
        one_of_each = {sha256 or key: key for key, sha256 in left.items()}
        now = {key: left[key] for key in one_of_each.values()}
        left = {key: sha256 for key, sha256 in left.items() if key not in now}
        aside, shared = _aside(backend), {}
        for key, sha256 in now.items():
            others = sorted(aside[sha256] - {key})
            shared[key] = bool(sha256) and backend.shares(key, *others, content_key(sha256))
        aside_now = _aside(backend)
        for key, sha256 in now.items():
            if aside_now[sha256] <= aside[sha256] and backend.delete(key, leave_bytes=shared[key]):
                removed.append(key)
    return removed


def _aside(backend: Backend) -> defaultdict[str, set[str]]:
    """Return the keys at which content is set aside, by its digest."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for folder in (TRASH, DOOMED):
        for key, _ in backend.walk(folder):
            found[digest_of(key)].add(key)
    return found


def _named(backend: Backend, grace: float) -> set[str]:
    """Return the digests of all content that names point at, or that was put anew less than `grace` seconds ago."""
    now, named = backend.now(), set()
    for key, entry in backend.walk(HOLDS):
        if now - entry.modified < grace:
            named.add(digest_of(key))
    for path, record in Names(backend).read_all():
        if isinstance(record, Damaged):
            raise StorageFailed(
                f"nothing is collected while a name can't be read: {record}; or remove {path}"
            )
        if record.inline is None:
            named.add(record.sha256)
    return named


def _digest_in(backend: Backend, key: str, length: int) -> str:
    """Return the digest of a draft's content; "" where it is not whole."""
    size = blocks.size_in(length)
    with suppress(FileNotFoundError):
        return blocks.digest_in(backend.read(key, size, length)) if size >= 0 else ""
    return ""
