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
"""

from __future__ import annotations

import errno
import secrets
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from gristmill.volumes import blocks
from gristmill.volumes.errors import Damaged, StorageFailed
from gristmill.volumes.names import CONTENT, DRAFTS, TRASH, content_key, trash_key
from gristmill.volumes.naming import Names
from gristmill.volumes.port import Backend

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
        heap = f"{int(backend.now()):012}-{secrets.token_hex(4)}"
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
    removed = removed_bytes = restored = 0
    if trash:
        say("reading the names again")
        named, now = _named(backend), backend.now()
    heaps: defaultdict[str, set[str]] = defaultdict(set)
    for key in trash:
        heaps[key[-_DIGEST_LENGTH:]].add(key)
    for key, entry in trash.items():
        place = content_key(sha256 := key[-_DIGEST_LENGTH:])
        if sha256 in named and backend.stat(place) is None:
            restored += backend.move(key, place)
        elif now - _since(key) >= grace and backend.delete(key, place, *heaps[sha256] - {key}):
            removed += 1
            removed_bytes += entry.bytes
    drafts = 0
    for entry in backend.list(DRAFTS):
        if not entry.is_folder and now - entry.modified >= grace:
            key = f"{DRAFTS}/{entry.name}"
            with suppress(StorageFailed):  # (one that can't be read now waits for the next collection)
                drafts += backend.delete(key, *_places_of(backend, key, entry.bytes))
    return Collected(aside, aside_bytes, removed, removed_bytes, restored, drafts)


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
