"""Commands that all have the same options for where something is: what these say comes first, as one value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import Parameter, Signature, signature
from typing import Any, get_type_hints

import typer

Command = Callable[..., None]


def located(
    app: typer.Typer, options: Mapping[str, tuple[Any, Any]], where: Callable[..., Any]
) -> Callable[[Command], Command]:
    """Return what makes a command of a function. `options` are types and defaults, which `where` takes by name."""

    def make(call: Command) -> Command:
        def command(**said: Any) -> None:
            place = where(**{name: said.pop(name) for name in options})
            call(place, **said)

        hints = get_type_hints(call, include_extras=True)
        own = [one.replace(annotation=hints[name]) for name, one in signature(call).parameters.items()][1:]
        kinds = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kind)
            for name, (kind, default) in options.items()
        ]
        command.__signature__ = Signature([*own, *kinds])  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in (*own, *kinds)}
        command.__doc__ = call.__doc__
        app.command(name=call.__name__.rstrip("_"))(command)
        return call

    return make
