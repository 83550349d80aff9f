"""The items of a manifest: whoever reads one may change it, and the next who reads it must not see that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import orjson


class FreshItems(Sequence[Any]):
    """JSON values, each made anew whenever it is asked for. A slice is `FreshItems` too."""

    __slots__ = ("_texts",)

    def __init__(self, texts: Sequence[bytes]) -> None:
        self._texts = texts

    @classmethod
    def of(cls, values: Sequence[Any]) -> FreshItems:
        """Return such items of values."""
        return cls([orjson.dumps(value) for value in values])

    def __repr__(self) -> str:
        return repr(list(self))

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, index: int) -> Any: ...

    @overload
    def __getitem__(self, index: slice) -> FreshItems: ...

    def __getitem__(self, index: int | slice) -> Any:
        return (
            FreshItems(self._texts[index]) if isinstance(index, slice) else orjson.loads(self._texts[index])
        )
