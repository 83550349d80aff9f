"""Outputs: results as JSON lines, staged parts, final blocks, the manifest; and reading them back."""

from gristmill.sinks.drafts import discard_drafts_of
from gristmill.sinks.encoding import (
    NO_VALUE,
    decode,
    decode_value,
    encode,
    encode_value,
    iter_batches,
    json_combine,
    through_json,
)
from gristmill.sinks.folder import load_plan, remove_output, save_plan
from gristmill.sinks.known_code import keep_code, known_code
from gristmill.sinks.manifest import Manifest, is_intact, read_manifest, read_results
from gristmill.sinks.recovery import Recovered
from gristmill.sinks.sink import Finished, Sink, open_sink
from gristmill.sinks.writer import PartWriter, Written

__all__ = [
    "NO_VALUE",
    "Finished",
    "Manifest",
    "PartWriter",
    "Recovered",
    "Sink",
    "Written",
    "decode",
    "decode_value",
    "discard_drafts_of",
    "encode",
    "encode_value",
    "is_intact",
    "iter_batches",
    "json_combine",
    "keep_code",
    "known_code",
    "load_plan",
    "open_sink",
    "read_manifest",
    "read_results",
    "remove_output",
    "save_plan",
    "through_json",
]
