"""From a job's spec to its plan: list the input, choose the cuts, read none of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gristmill.errors import InputError
from gristmill.planning.cuts import cut_files
from gristmill.planning.plan import Plan, block_height
from gristmill.sources.access import FileTable
from gristmill.sources.listing import list_files, resolve
from gristmill.sources.readers import DECOMPRESS

if TYPE_CHECKING:  # pydantic costs a worker a tenth of a second
    from gristmill.api.chunkjob import ChunkJobSpec
    from gristmill.api.inputs import ChunksSpec, LinesInput

#: without `chunks`, items are cut into at most this many chunks
_DEFAULT_CHUNKS = 1_000_000


def make_plan(spec: ChunkJobSpec, base: str, work_digest: str) -> Plan:
    """Make the plan of a ChunkJob's `spec`; relative paths start at the folder `base`.

    Items and files go into chunks of `chunks.size`, or of the size that makes at most `chunks.count` of them;
    lines into chunks of `chunks.bytes`, or into exactly `chunks.count` where there are as many bytes.
    InputError when the input is not there or can't be cut.
    """
    given = spec.input
    chunks: int
    items: int | None
    if given.range is not None:
        bounds = given.range
        items = bounds.count
        size = _chunk_size(spec.chunks, items, -(-items // _DEFAULT_CHUNKS))
        source = {
            "kind": "range",
            "start": bounds.start,
            "stop": bounds.stop,
            "step": bounds.step,
            "size": size,
        }
        chunks = -(-items // size)
    elif given.items is not None:
        items = len(given.items)
        size = _chunk_size(spec.chunks, items, -(-items // _DEFAULT_CHUNKS))
        source = {"kind": "items", "items": list(given.items), "size": size}
        chunks = -(-items // size)
    elif given.files is not None:
        table = FileTable.of(list_files(given.files.url, base))
        items = len(table)
        size = _chunk_size(spec.chunks, items, 1)
        source = {"kind": "files", "table": table.to_json(), "size": size}
        chunks = -(-items // size)
    else:
        assert given.lines is not None, "a spec has exactly one input"
        source, chunks = _plan_lines(given.lines, spec.chunks, base)
        items = None
    return Plan(work_digest, source, chunks, items, block_height(chunks))


def input_change(spec: ChunkJobSpec, base: str, plan: Plan, output: str) -> str:
    """Say what of the input is no longer as it was planned, by listing it again; "" when nothing is.

    The output may be in the folder that is the input: what has come there is not meant.
    """
    given = spec.input.files or spec.input.lines
    if given is None:
        return ""
    own = f"{resolve(output, base).rstrip('/')}/" if output else ""
    try:
        entries = [e for e in list_files(given.url, base) if not (own and e.name.startswith(own))]
    except InputError as error:
        return str(error)
    table, former = FileTable.of(entries).to_json(), plan.source["table"]
    if {**table, "prefix": ""} == {**former, "prefix": ""}:  # (all of it may have been moved)
        return ""
    now, then = FileTable.from_json(table).marks(), FileTable.from_json(former).marks()
    then = {name: mark for name, mark in then.items() if not (own and name.startswith(own))}
    if now == then:
        return ""
    name = min(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
    return f"{name} {'is new' if name not in then else 'is gone' if name not in now else 'has changed'}"


def _plan_lines(given: LinesInput, cuts: ChunksSpec, base: str) -> tuple[dict[str, Any], int]:
    entries = list_files(given.url, base)
    for entry in entries:
        if entry.name.lower().endswith((".zst", ".zip")):
            raise InputError(f"{entry.name} can't be read as lines; use plain text, .gz, .bz2 or .xz")
    whole = [not entry.ranged or entry.name.lower().endswith(tuple(DECOMPRESS)) for entry in entries]
    runs = cut_files([entry.size or 0 for entry in entries], whole, cuts.bytes, cuts.count)
    source = {
        "kind": "lines",
        "table": FileTable.of(entries).to_json(),
        "runs": [list(run) for run in runs],
        "encoding": given.encoding,
    }
    return source, sum(run.chunks for run in runs)


def _chunk_size(chunks: ChunksSpec, items: int, default: int) -> int:
    if chunks.size:
        return chunks.size
    return max(1, -(-items // chunks.count) if chunks.count else default)
