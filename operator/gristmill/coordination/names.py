"""Which names there may be, and which object has a node's path: pure, and the same in every process."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

from gristmill.coordination.errors import BadName

#: what is a name of an object of Kubernetes; of a tree, which is the first word of its nodes' names
_OBJECT = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_OBJECT_LETTERS = 253
_LABEL_LETTERS = 63
#: bytes that a path may have
_PATH_BYTES = 1024
#: letters of a path that are shown in the name of an object, and of its digest that make it unlike all others
_SHOWN, _DIGEST = 100, 20


def check_text(what: str, given: str) -> str:
    """Return a name of whatever. BadName where it is no text."""
    if not isinstance(given, str):
        raise BadName(
            f"{what} {given!r:.300}: it must be text (str), and is of type {type(given).__name__}: "
            "give its name, or decode it"
        )
    return given


def check_lock(name: str) -> str:
    """Return the name of a lock. BadName where it can't be that of a Lease."""
    if len(check_text("lock", name)) > _OBJECT_LETTERS or not _OBJECT.fullmatch(name):
        raise BadName(
            f"lock {name[:300]!r}: a name has small letters, digits, '-' and '.', begins and ends with a letter "
            f"or digit, and has at most {_OBJECT_LETTERS} letters"
        )
    return name


def check_tree(name: str) -> str:
    """Return the name of a tree. BadName where it can't begin the names of its nodes."""
    if len(check_text("tree", name)) > _LABEL_LETTERS or "--" in name or not _LABEL.fullmatch(name):
        raise BadName(
            f"tree {name[:300]!r}: a name has small letters, digits and single '-', begins and ends with a letter "
            f"or digit, and has at most {_LABEL_LETTERS} letters"
        )
    return name


def check_namespace(name: str) -> str:
    """Return the name of a namespace of a cluster. BadName where it can't be one."""
    if len(check_text("namespace", name)) > _LABEL_LETTERS or not _LABEL.fullmatch(name):
        raise BadName(
            f"namespace {name[:300]!r}: a name has small letters, digits and '-', begins and ends with a letter or "
            f"digit, and has at most {_LABEL_LETTERS} letters"
        )
    return name


def check_path(path: str) -> str:
    """Return a path. BadName where it is none."""
    return _check_path(check_text("path", path))


@lru_cache(maxsize=100_000)
def _check_path(path: str) -> str:
    words = path.split("/")
    if not path.startswith("/") or (not all(words[1:]) and path != "/"):
        raise BadName(
            f"path {path[:300]!r}: it begins with '/', has no '//', and ends with none, as in /db/host"
        )
    if any(word in (".", "..") for word in words) or not path.isprintable():
        raise BadName(
            f"path {path[:300]!r}: it has no '.' or '..' between two '/', and no letters that can't be printed"
        )
    if len(path.encode()) > _PATH_BYTES:
        raise BadName(f"path {path[:50]!r}...: it has {len(path.encode())} bytes, and may have {_PATH_BYTES}")
    return path


@lru_cache(maxsize=100_000)
def node_name(tree: str, path: str) -> str:
    """Return the name of the object that a node is: readable where the path is, and another for each path."""
    words = path.split("/")[1:] if path != "/" else []
    name = ".".join([tree, *words])
    clean = all(_LABEL.fullmatch(word) and len(word) <= _LABEL_LETTERS and "--" not in word for word in words)
    if clean and len(name) <= _OBJECT_LETTERS:
        return name
    shown = re.sub(r"[^a-z0-9]+", "-", path.lower())[:_SHOWN].strip("-")
    digest = hashlib.sha256(path.encode()).hexdigest()[:_DIGEST]
    return f"{tree}.{shown or 'x'}--{digest}"


def session_name(tree: str, key: str) -> str:
    """Return the name of a session's object."""
    return f"{tree}--{key}"


def parent_of(path: str) -> str | None:
    """Return the path above, or None of the root."""
    return None if path == "/" else path.rpartition("/")[0] or "/"


def is_below(path: str, top: str) -> bool:
    """Whether a path is in the subtree of another, which it is itself, too."""
    return path == top or path.startswith(top.rstrip("/") + "/")
