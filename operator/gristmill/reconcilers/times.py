"""Times as Kubernetes writes them."""

from __future__ import annotations

from datetime import UTC, datetime


def seconds_of(text: str | None) -> float | None:
    """Return unix seconds of an RFC 3339 time."""
    return datetime.fromisoformat(text).timestamp() if text else None


def text_of(seconds: float) -> str:
    """Return unix seconds as an RFC 3339 time, to the second."""
    return datetime.fromtimestamp(int(seconds), UTC).isoformat().replace("+00:00", "Z")
