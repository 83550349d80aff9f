from __future__ import annotations

from typing import Any

from gristmill.api.chunkjob import ChunkJobSpec
from gristmill.planning.plan import Plan
from gristmill.sources import make_plan


def plan_of(base: str = "/", chunks: dict[str, int] | None = None, **given: Any) -> Plan:
    """Return the plan of a spec with this input, sent through JSON as a worker gets it."""
    spec = ChunkJobSpec.model_validate(
        {"input": given, "chunks": chunks or {}, "process": {"function": "module:function"}}
    )
    return Plan.from_json(make_plan(spec, base, "spec").to_json())
