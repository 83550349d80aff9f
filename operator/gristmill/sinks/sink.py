"""The output of a job: parts while it runs, final blocks as they get complete, the manifest at the end.

Order is everything: a file is complete before it has its name, a block before its sidecar, all blocks before
the manifest; what is replaced or left over is removed after that which takes its place is there. So whatever
dies between two steps, the next attempt finds either the old state or the new one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from gristmill.errors import OutputError, PartsMissing
from gristmill.planning.cover import tile
from gristmill.planning.plan import Plan
from gristmill.planning.reduction import TreeFold
from gristmill.planning.values import DeadLetter
from gristmill.sinks import layout
from gristmill.sinks.assembly import assemble_files, assemble_lines, assemble_value
from gristmill.sinks.drafts import Draft
from gristmill.sinks.encoding import encode_value, encoded_combine
from gristmill.sinks.folder import plan_in
from gristmill.sinks.manifest import Entry, Manifest, output_digest
from gristmill.sinks.parts import footer, read_parts
from gristmill.sinks.recovery import Recovered, recover
from gristmill.sinks.sidecars import Sidecar, of_files, positions
from gristmill.sinks.store import Store, open_store
from gristmill.sinks.writer import PartWriter, Payload, Written

#: values of blocks that are read together, so that not all need be in memory
_VALUES_AT_ONCE = 16

Combine = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Finished:
    """A complete output: its digest, results, bytes, and number of final files."""

    digest: str
    items: int
    bytes: int
    files: int


class Sink:
    """Writes a job's output folder; see the module. All methods can be repeated, and raise OutputError."""

    def __init__(self, store: Store, kind: str, extension: str, plan: Plan, combine: Combine | None) -> None:
        self.store = store
        self.plan = plan
        self.chunks = plan.chunks
        self.combine = combine
        self._kind = "value" if combine else kind
        self._extension = extension

    def begin(self, block: int, start: int, nonce: str) -> PartWriter:
        """Begin a part of a block at the chunk `start`; `nonce` is the lease's."""
        return PartWriter(self, block, self.plan.block_range(block), start, nonce)

    def write_fragment(
        self,
        chunk: int,
        low: int,
        high: int,
        total: int,
        payload: bytes,
        items: int,
        nonce: str,
    ) -> Written:
        """Stage the results of items [low, high) of a split chunk of `total` items: JSON lines, or one value."""
        block = chunk >> self.plan.block_height
        segment = [chunk, chunk + 1, low, high, 0, len(payload), items]
        name = layout.part_file(block, f"{chunk:012d}-{low:012d}", nonce)
        with self._draft() as draft:
            draft.write(payload)
            draft.write(footer(self.plan.digest, [segment], len(payload), total))
            self.store.publish(draft, name)
        return Written(False, items, len(payload))

    def assemble(
        self, block: int, dead: Sequence[DeadLetter] = (), fragments: Mapping[int, int] | None = None
    ) -> Written:
        """Make the final block of staged parts, without dead items; `fragments`: sizes of split chunks.

        PartsMissing names the chunks that are not there. A block that is complete already is left as it is.
        """
        start, stop = self.plan.block_range(block)
        dead = sorted((d for d in dead if start <= d.chunk < stop), key=lambda d: (d.chunk, d.item))
        found = self._sidecar(block)
        if found is None or found.positions != positions(dead):
            try:
                with self._draft() as draft:
                    assembled = self._assembled(draft, block, dead, fragments)
                    found = self._publish(block, assembled, dead, fragments or {})
            except OutputError:
                # another may have assembled it meanwhile, and removed the parts
                found = self._sidecar(block)
                if found is None or found.positions != positions(dead):
                    raise
        if not dead:
            self.store.remove(layout.parts_folder(block))
        return Written(True, found.items, found.size)

    def finish(self, dead_total: int) -> Finished:
        """Write the manifest, and remove what is not the output's. `dead_total`: the number of dead letters.

        PartsMissing names the blocks that are not complete.
        """
        self._keep_plan()
        sidecars = self._all_sidecars()
        known = sum(len(sidecar.dead) for sidecar in sidecars)
        if known != dead_total:
            raise OutputError(
                f"{self.store.url}: the blocks speak of {known} dead items, the job of {dead_total}"
            )
        entries = [Entry(s.name, s.size, s.sha256, s.items, s.positions) for s in sidecars]
        if self._kind == "value":
            entries = [self._write_result(sidecars)]
        manifest = Manifest(
            plan=self.plan.digest,
            kind=self._kind,
            blocks=self.plan.blocks,
            items=sum(entry.items for entry in entries),
            size=sum(entry.size for entry in entries),
            files=sum(len(s.files or ()) for s in sidecars) if self._kind == "files" else len(entries),
            dead=known,
            entries=entries,
            digest=output_digest(entries),
        )
        data = manifest.to_json()
        if self.store.read(layout.MANIFEST) != data:
            self._write(layout.MANIFEST, data)
        self._remove_losers(sidecars, manifest)
        return Finished(manifest.digest, manifest.items, manifest.size, manifest.files)

    def _keep_plan(self) -> None:
        """Have the plan in the folder, for who goes on from there: somebody may have removed it meanwhile."""
        found = plan_in(self.store)
        if found is None:
            with self._draft() as draft:
                draft.write(self.plan.to_json())
                self.store.claim(draft, layout.PLAN)
            found = plan_in(self.store)
        if found is None or found.digest != self.plan.digest:
            raise OutputError(
                f"{self.store.url} has the plan of another job, which was begun there meanwhile"
            )

    def remove_staged(self) -> None:
        """Remove parts, and what was being written; what is complete stays."""
        self.store.remove(layout.PARTS)
        self.store.remove(layout.TEMPORARY)

    def recover(self) -> Recovered:
        """Tell what of the job is in the folder, for a queue that knows nothing of it."""
        return recover(self.store, self.plan, self.store.list(self._blocks_folder))

    def chunk_file(self, chunk: int) -> str:
        """Return the name of a chunk's file in the format `files`."""
        return layout.chunk_file(chunk, self._extension)

    def publish_direct(self, block: int, payload: Payload) -> Written | None:
        """Make a whole block visible, unless it is there already; used by PartWriter.

        None, and nothing is done, where it is there with dead items: only the queue knows whether they were opened
        again, or this is a late writer. The results are to be staged, and who assembles the block decides.
        """
        found = self._sidecar(block)
        if found is None:
            found = self._publish(block, payload, [], {})
        return None if found.dead else Written(True, found.items, found.size)

    def publish_part(
        self, block: int, start: int, nonce: str, payload: Payload, segments: list[Any]
    ) -> Written:
        """Make a staged part visible; used by PartWriter."""
        self._publish_pending(payload)
        payload.draft.write(footer(self.plan.digest, segments, payload.size))
        self.store.publish(payload.draft, layout.part_file(block, f"{start:012d}", nonce))
        return Written(False, payload.items, payload.size)

    def _assembled(
        self, draft: Draft, block: int, dead: Sequence[DeadLetter], fragments: Mapping[int, int] | None
    ) -> Payload:
        files = list(self.store.list(layout.parts_folder(block)).items())
        placed = [
            (part.name, s) for part in read_parts(self.store, files, self.plan.digest) for s in part.segments
        ]
        tiling = tile([s for _, s in placed], *self.plan.block_range(block), positions(dead), fragments)
        if tiling.missing:
            raise PartsMissing(tiling.missing)
        chosen = [placed[index] for index in tiling.chosen]
        if self.combine:
            return assemble_value(self.store, draft, chosen, self.combine)
        if self._kind == "files":
            return assemble_files(self.store, draft, chosen, self.chunk_file)
        return assemble_lines(self.store, draft, chosen)

    def _publish(
        self, block: int, payload: Payload, dead: Sequence[DeadLetter], fragments: Mapping[int, int]
    ) -> Sidecar:
        split = sorted((c, fragments[c]) for c in {letter.chunk for letter in dead} if c in fragments)
        if self._kind == "files":
            start, stop = self.plan.block_range(block)
            size, digest = of_files(payload.files)
            sidecar = Sidecar(
                block,
                f"chunks-{start:012d}-{stop:012d}",
                size,
                digest,
                payload.items,
                [*dead],
                payload.files,
                split,
            )
        else:
            name = layout.value_file(block) if self.combine else layout.block_file(block)
            sidecar = Sidecar(block, name, payload.size, payload.sha256, payload.items, [*dead], None, split)
        if self.store.read(layout.sidecar(block)) is not None:
            # the old block goes: first what vouches for it
            self.store.remove(layout.MANIFEST)
            self.store.remove(layout.sidecar(block))
        self._publish_pending(payload)
        if self._kind != "files":
            self.store.publish(payload.draft, sidecar.name)
        self._write(layout.sidecar(block), sidecar.to_json(self.plan.digest))
        return sidecar

    def _publish_pending(self, payload: Payload) -> None:
        for draft, name in payload.pending:
            self.store.publish(draft, name)

    def _sidecar(self, block: int) -> Sidecar | None:
        """Return the sidecar of a block that is complete."""
        found = Sidecar.from_json(self.store.read(layout.sidecar(block)), self.plan.digest)
        return found if found and found.is_whole(self.store.size) else None

    @property
    def _blocks_folder(self) -> str:
        return layout.VALUES if self._kind == "value" else ""

    def _all_sidecars(self) -> list[Sidecar]:
        contents = self.store.read_many([layout.sidecar(block) for block in range(self.plan.blocks)])
        sizes = self.store.list(self._blocks_folder)
        sidecars = []
        missing = []
        for block, data in enumerate(contents):
            found = Sidecar.from_json(data, self.plan.digest)
            if found and found.is_whole(sizes.get):
                sidecars.append(found)
            else:
                missing.append(self.plan.block_range(block))
        if missing:
            raise PartsMissing(missing)
        return sidecars

    def _write_result(self, sidecars: Sequence[Sidecar]) -> Entry:
        assert self.combine, "only a reduction has a result"
        if len(sidecars) == 1:
            data = self.store.read(sidecars[0].name) or encode_value(None)
        else:
            data = self._folded(sidecars, self.combine)
        data += b"\n"
        self._write(layout.RESULT, data)
        dead = [position for s in sidecars for position in s.positions]
        return Entry(
            layout.RESULT, len(data), hashlib.sha256(data).hexdigest(), sum(s.items for s in sidecars), dead
        )

    def _folded(self, sidecars: Sequence[Sidecar], combine: Callable[[Any, Any], Any]) -> bytes:
        fold = TreeFold(encoded_combine(combine))
        for first in range(0, len(sidecars), _VALUES_AT_ONCE):
            some = sidecars[first : first + _VALUES_AT_ONCE]
            for sidecar, value in zip(some, self.store.read_many([s.name for s in some]), strict=True):
                if value:
                    fold.push(sidecar.block, value)
        found, value = fold.result()
        return bytes(value) if found else encode_value(None)

    def _remove_losers(self, sidecars: Sequence[Sidecar], manifest: Manifest) -> None:
        keep = {entry.name for entry in manifest.entries} | {
            file["name"] for s in sidecars for file in s.files or ()
        }
        for name in self.store.list():
            if layout.is_output(name) and name not in keep:
                self.store.remove(name)
        unclean = {s.block for s in sidecars if s.dead}
        if unclean:
            staged = {layout.block_of(name) for name in self.store.list(layout.PARTS, deep=True)}
            for block in staged - unclean:
                self.store.remove(layout.parts_folder(block))
        else:
            self.store.remove(layout.PARTS)
        self.store.remove(layout.TEMPORARY)

    def _write(self, name: str, data: bytes) -> None:
        with self._draft() as draft:
            draft.write(data)
            self.store.publish(draft, name)

    @contextmanager
    def _draft(self) -> Iterator[Draft]:
        draft = self.store.draft()
        try:
            yield draft
        finally:
            draft.discard()


def open_sink(
    url: str, kind: str, extension: str, plan: Plan, combine: Combine | None = None, *, durable: bool = False
) -> Sink:
    """Return the sink of an output folder (absolute path or URL) for results as `kind`: jsonl or files.

    `combine` makes it a reduction; `durable`: local files are on the disk before they are visible.
    """
    return Sink(open_store(url, durable), kind, extension, plan, combine)
