"""What code has made an output, kept beside it: who goes on with nothing else compares that with what is loaded there.

Each process writes what it has loaded before it publishes anything: digests by name of a module, as one file for one
set. Where other code was accepted, both are there.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping

import orjson

from gristmill.errors import OutputError
from gristmill.sinks import layout
from gristmill.sinks.store import Store, open_store


def known_code(url: str) -> dict[str, set[str]]:
    """Return the digests by module of all code that an output was made with. OutputError."""
    store = open_store(url)
    found: defaultdict[str, set[str]] = defaultdict(set)
    names = sorted(store.list(layout.CODE))
    for name, data in zip(names, store.read_many(names), strict=True):
        try:
            for module, digest in orjson.loads(data or b"{}").items():
                found[module].add(digest)
        except (ValueError, AttributeError) as error:
            raise OutputError(f"{store.url}/{name} does not tell what code was loaded: {error}") from error
    return dict(found)


def keep_code(store: Store, code: Mapping[str, str]) -> None:
    """Have it known that an output is made with this code. OutputError."""
    data = orjson.dumps(code, option=orjson.OPT_SORT_KEYS)
    name = layout.code_file(hashlib.sha256(data).hexdigest()[:16])
    if store.size(name) is None:
        draft = store.draft()
        try:
            draft.write(data)
            store.publish(draft, name)
        finally:
            draft.discard()
