"""Files that are stored once for each content, verified when they are read, over any storage; `volume://` for fsspec.

`open_volume(NAME)` gives the files of a volume, `open_store(URL)` those of any folder or URL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gristmill.volumes.places import open_store as open_store
    from gristmill.volumes.places import open_volume as open_volume

__all__ = ["open_store", "open_volume"]


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    from gristmill.volumes import places

    return getattr(places, name)
