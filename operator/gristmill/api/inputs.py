"""Where the items of a job come from, and how they are cut into chunks."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from gristmill.api.rules import Model, Rule, at_most_one, exactly_one
from gristmill.api.scalars import MAX_ITEMS, Bytes, Count, Encoding, Number, Url, between

MAX_INLINE_ITEMS = 100_000


class RangeInput(Model):
    """Whole numbers, as Python's range counts them."""

    start: Number = Field(0, description="The first number.")
    stop: Number = Field(description="The numbers end before this one.")
    step: Number = Field(1, description="The difference between two numbers; not 0.")

    rules = (
        Rule("must not be 0", "self.step != 0", lambda spec: spec.step != 0, at="step"),
        Rule(
            f"must have at most {MAX_ITEMS} numbers; use a larger step",
            "self.step == 0 || "
            f"(self.stop - self.start + self.step - (self.step > 0 ? 1 : -1)) / self.step <= {MAX_ITEMS}",
            lambda spec: spec.step == 0 or spec.count <= MAX_ITEMS,
        ),
    )

    @property
    def count(self) -> int:
        """How many numbers there are (`len(range(…))` can't say it beyond 2^63)."""
        return max(0, -((self.start - self.stop) // self.step))


class LinesInput(Model):
    """The lines of text files, each an item, without its line end."""

    url: Url = Field(description="URL, path or glob of the files.")
    encoding: Encoding = Field("utf-8", description="The text's encoding.")


class FilesInput(Model):
    """Whole files, each an item."""

    url: Url = Field(description="URL, path or glob of the files.")


class InputSpec(Model):
    """Where the items come from: exactly one of its fields."""

    items: list[Any] | None = Field(
        None, max_length=MAX_INLINE_ITEMS, description="The items themselves: any JSON values."
    )
    range: RangeInput | None = Field(None, description="Whole numbers.")
    lines: LinesInput | None = Field(None, description="Lines of text.")
    files: FilesInput | None = Field(None, description="Whole files.")

    rules = (
        # CEL does not see a list of any values, so the API server counts the fields in other words
        replace(exactly_one("items", "range", "lines", "files"), cel=""),
    )
    model_config = ConfigDict(json_schema_extra={"minProperties": 1, "maxProperties": 1})


class ChunksSpec(Model):
    """How the input is cut: at most one of its fields; without any, Gristmill chooses."""

    size: Count | None = Field(None, description="Items in a chunk; not for lines.")
    bytes: Annotated[Bytes, between("1", "1Ti")] | None = Field(
        None, description="Bytes of text in a chunk, such as 8Mi; for lines only."
    )
    count: Count | None = Field(None, description="The number of chunks.")

    rules = (at_most_one("size", "bytes", "count"),)
