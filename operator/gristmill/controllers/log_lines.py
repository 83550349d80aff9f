"""What the operator logs: a line of JSON for each message, whatever is in it."""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime


class _Lines(logging.Formatter):
    """Makes one line of a message, and of the traceback that comes with it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line = {
            "time": at.replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def begin() -> None:
    """Log to stderr what is of the level GRISTMILL_LOG (INFO), or above."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines())
    logging.basicConfig(level=os.environ.get("GRISTMILL_LOG", "INFO"), handlers=[handler])
    logging.getLogger("kopf").setLevel(logging.WARNING)
