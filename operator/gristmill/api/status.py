"""How far a ChunkJob is: written by whoever runs it, read by people and programs, ignored in a manifest."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, Field

from gristmill.api.rules import Model
from gristmill.api.scalars import Tally

#: letters that the message of a condition may have
MESSAGE_LETTERS = 32_768
Text = Annotated[str, Field(max_length=MESSAGE_LETTERS)]


class Condition(Model):
    """One thing that is so, is not so, or isn't known, and why; as in batch/v1."""

    type: Annotated[str, Field(max_length=316)]
    status: Literal["True", "False", "Unknown"]
    reason: Annotated[str, Field(max_length=1024)]
    message: Text = ""
    observed_generation: Tally | None = None
    last_transition_time: AwareDatetime


class ChunkCounts(Model):
    """Chunks, by what became of them."""

    total: Tally | None = Field(None, description="Unknown until the input is planned.")
    running: Tally = 0
    succeeded: Tally = 0
    failed: Tally = 0
    retried: Tally = Field(0, description="Attempts beyond the first.")


class ItemCounts(Model):
    """Items, by what became of them."""

    total: Tally | None = Field(None, description="Unknown where only reading tells.")
    succeeded: Tally = 0
    failed: Tally = 0


class ChunkJobStatus(Model):
    """How far the job is."""

    state: Annotated[str, Field(max_length=64)] = Field(
        "", description="One word for people; programs read conditions."
    )
    conditions: list[Condition] = Field(default_factory=list, max_length=20)
    chunks: ChunkCounts | None = None
    items: ItemCounts | None = None
    rate_per_second: Annotated[float, Field(ge=0)] | None = Field(
        None, description="Chunks done in a second."
    )
    eta_seconds: Tally | None = Field(None, description="Seconds until the end, at this rate.")
    workers: Tally | None = Field(None, description="Workers that are alive.")
    start_time: AwareDatetime | None = None
    completion_time: AwareDatetime | None = None
    output: Text | None = Field(None, description="Where the results are.")
    output_digest: Text | None = Field(None, description="sha256 of the output's manifest.")
    plan_digest: Text | None = Field(None, description="sha256 of the plan, which never changes.")
