"""The names in an output folder, in one place: writers, readers and cleaners must agree on them."""

from __future__ import annotations

import re

FOLDER = "_gristmill"
PLAN = f"{FOLDER}/plan.json"
MANIFEST = f"{FOLDER}/manifest.json"
RESULT = "result.json"
PARTS = f"{FOLDER}/parts"
BLOCKS = f"{FOLDER}/blocks"
VALUES = f"{FOLDER}/values"
TEMPORARY = f"{FOLDER}/tmp"
CODE = f"{FOLDER}/code"

_OURS = re.compile(r"part-\d{5,}\.jsonl|chunk-\d{12,}\.[A-Za-z0-9._-]+|result\.json")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


def is_output(name: str) -> bool:
    """Whether a file of the output folder has a name that only a job's output has."""
    return _OURS.fullmatch(name) is not None


def block_file(block: int) -> str:
    """Return the name of a final block of JSON lines."""
    return f"part-{block:05d}.jsonl"


def value_file(block: int) -> str:
    """Return the name of a final block's value in a reduction."""
    return f"{VALUES}/{block:05d}.json"


def chunk_file(chunk: int, extension: str) -> str:
    """Return the name of a chunk's file in the format `files`."""
    return f"chunk-{chunk:012d}.{extension}"


def sidecar(block: int) -> str:
    """Return the name of the file that says that a block is complete."""
    return f"{BLOCKS}/{block:05d}.json"


def code_file(digest: str) -> str:
    """Return the name of a file that tells what code was loaded."""
    return f"{CODE}/{digest}.json"


def parts_folder(block: int) -> str:
    """Return the folder of a block's staged parts."""
    return f"{PARTS}/{block:05d}"


def part_file(block: int, position: str, nonce: str) -> str:
    """Return the name of a staged part; a nonce is used once, so no two attempts share a name."""
    return f"{parts_folder(block)}/{position}-{_UNSAFE.sub('_', nonce)}.part"


def block_of(name: str) -> int:
    """Return the block of a staged part or of a sidecar by its name; -1 where it is neither's."""
    digits = name.removeprefix(f"{PARTS}/").removeprefix(f"{BLOCKS}/").partition("/")[0].removesuffix(".json")
    return int(digits) if digits.isdecimal() else -1
