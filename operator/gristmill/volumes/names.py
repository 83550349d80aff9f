"""Which names files and volumes may have, and at which keys of the storage things are: readers and cleaners must agree.

Names are kept as they are given, byte for byte: two ways to write an umlaut are two names, as on Linux.
"""

from __future__ import annotations

import re
import secrets
import unicodedata

from gristmill.volumes.errors import BadName

#: folders of a volume's root
NAMES, CONTENT, TRASH, DOOMED, DRAFTS, LOCKS = "names", "content", "trash", "doomed", "drafts", "locks"
#: what was put anew, of storages where that can't be written over what is there
HOLDS = "holds"

#: bytes of a part of a name: what file systems take
MOST_PART_BYTES = 255
#: bytes of a whole name: with its folder it fits into the 1,024 of an object store's key
MOST_BYTES = 900

_VOLUME = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_DIGEST = re.compile(r"[0-9a-f]{64}")


def check_name(path: str) -> str:
    """Return the name of a file, as `reports/2026 May.csv`. BadName where it can't be one."""
    if not path:
        raise BadName("the name is empty: give the file one, as reports/may.csv")
    if path.startswith("/"):
        raise BadName(f"{path!r} begins with a slash: names begin at the volume, write {path.lstrip('/')!r}")
    if path.endswith("/"):
        raise BadName(f"{path!r} ends with a slash, so it names a folder: add the file's name")
    return check_folder(path)


def check_folder(path: str) -> str:
    """Return the name of a folder; "" is all of the volume. BadName where it can't be one."""
    if not path:
        return path
    try:
        length = len(path.encode())
    except UnicodeEncodeError:
        raise BadName(f"{path!r} is not Unicode: rename the file so that its name is UTF-8") from None
    if length > MOST_BYTES:
        raise BadName(f"{path!r} has {length:,} bytes: a name has at most {MOST_BYTES}, folders and all")
    if "\\" in path:
        raise BadName(
            f"{path!r} has a backslash, which some storages take for a slash: write / or another character"
        )
    for part in path.split("/"):
        if part in ("", ".", ".."):
            wrong = "an empty part" if not part else f"the part {part!r}"
            raise BadName(f"{path!r} has {wrong}: write the name without")
        if len(part.encode()) > MOST_PART_BYTES:
            raise BadName(
                f"{part!r} has {len(part.encode())} bytes: a part of a name has at most {MOST_PART_BYTES}"
            )
        for character in part:
            if unicodedata.category(character) == "Cc":
                raise BadName(f"{path!r} has the control character {character!r}: take it out")
    return path


def check_volume(name: str) -> str:
    """Return the name of a volume. BadName where it is none."""
    if not _VOLUME.fullmatch(name):
        raise BadName(
            f"{name!r} is no name of a volume: up to 63 of a-z, 0-9 and -, with neither end a -; "
            "write volume://NAME/path"
        )
    return name


def check_digest(digest: str) -> str:
    """Return a digest. BadName where it is none."""
    if not _DIGEST.fullmatch(digest):
        raise BadName(f"{digest!r} is no digest: a sha256 has 64 of 0-9 and a-f")
    return digest


def name_key(path: str) -> str:
    """Return where the record of a name is, or the folder of names."""
    return f"{NAMES}/{path}" if path else NAMES


def content_key(sha256: str) -> str:
    """Return where content is; 256 folders keep each of them small."""
    return f"{CONTENT}/{sha256[:2]}/{sha256}"


def heap_name(now: float) -> str:
    """Return a name for what is set aside now, in seconds by the storage's clock."""
    return f"{int(now):012}-{secrets.token_hex(4)}"


def trash_key(heap: str, sha256: str) -> str:
    """Return where content is that was set aside: in one folder, as a full disk has no room for more."""
    return f"{TRASH}/{sha256}-{heap}"


def digest_of(key: str) -> str:
    """Return the digest of content that is set aside, or held."""
    return key.split("/")[1].partition("-")[0]


def heap_time(key: str) -> float:
    """Return when content was set aside, in seconds by the storage's clock."""
    number = key.split("/")[1].partition("-")[2].partition("-")[0]
    return float(number) if number.isdecimal() else 0.0


def hold_key(sha256: str) -> str:
    """Return where it is said that content was put anew which was there; each says it for itself."""
    return f"{HOLDS}/{sha256}-{secrets.token_hex(8)}"
