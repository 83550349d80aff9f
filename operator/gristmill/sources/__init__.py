"""Inputs: list and cut them (`make_plan`), read the items of a chunk (`open_source`)."""

from gristmill.sources.files import File
from gristmill.sources.fresh import FreshItems
from gristmill.sources.listing import reads_folder, resolve
from gristmill.sources.planner import input_change, make_plan
from gristmill.sources.readers import Source, open_source
from gristmill.sources.text import LargeLines, Lines, reading_failure

__all__ = [
    "File",
    "FreshItems",
    "LargeLines",
    "Lines",
    "Source",
    "input_change",
    "make_plan",
    "open_source",
    "reading_failure",
    "reads_folder",
    "resolve",
]
