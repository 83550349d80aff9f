"""`gristmill.run`: its keeper is started before the imports that check the manifest, and both take a while."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gristmill.errors import UsageError
from gristmill.local.spawn import started_ahead

if TYPE_CHECKING:
    from gristmill.api.chunkjob import ChunkJob
    from gristmill.client.run import Run


def run(
    job: str | Path | dict[str, Any] | ChunkJob,
    workers: int | None = None,
    state: str | Path | None = None,
    *,
    fresh: bool = False,
    accept_code: bool = False,
) -> Run:
    """Run a job here and return its handle at once; `Run.results()` and `Run.wait()` wait.

    `job` is a path, a text, a dict or a model of a manifest. `state` is the folder that lets a later call go
    on where this one stopped; without it the run is kept in a temporary folder, and results that have no
    output URL can be fetched once. `fresh` begins anew; `accept_code` goes on although the function's code
    has changed.
    """
    with started_ahead():
        from gristmill.local import runner
        from gristmill.local.state import State

        if state is not None and (not isinstance(state, str | Path) or not str(state)):
            raise UsageError(f"state: must be the path of a folder, got {state!r}")
        manifest, base = runner.load(job)
        if state is None:
            return runner.start_temporary(manifest, base, workers, fresh, accept_code)
        return runner.start(manifest, base, State(Path(state)), workers, fresh=fresh, accept_code=accept_code)
