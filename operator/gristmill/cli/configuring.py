"""`gristmill config`: the nodes of a configuration tree, for people, scripts and GitOps."""

from __future__ import annotations

import asyncio
import base64
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from gristmill.cli.located import located
from gristmill.cli.text import count, print_json, print_text, write_bytes

if TYPE_CHECKING:
    from gristmill.coordination.nodes import Node
    from gristmill.coordination.sync import ConfigTree

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Read, write and watch the nodes of a configuration tree: ConfigMaps of the current kube context and "
    "namespace, or of the Valkey of --url (GRISTMILL_COORDINATION).",
)

#: the tree where none is named
_DEFAULT = "config"

_Tree = Annotated[str, typer.Option("--tree", metavar="NAME", help="The tree.")]
Url = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="A Valkey: redis://HOST:PORT, unix://PATH.")
]
_Namespace = Annotated[str | None, typer.Option("-n", "--namespace", metavar="NS", help="In this namespace.")]
_Context = Annotated[
    str | None, typer.Option("--context", metavar="CONTEXT", help="On the cluster of this context.")
]
_Path = Annotated[str, typer.Argument(metavar="[PATH]", help="A path, as /db/host.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Version = Annotated[
    int | None, typer.Option("--version", metavar="V", help="Only where it is at this version; 0: not there.")
]


@contextmanager
def _orderly() -> Iterator[None]:
    """Have SIGTERM and SIGHUP end what is done as Ctrl-C does: so does what it has started, as a login's plugin."""

    def end(number: int, _: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    numbers = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) is signal.SIG_DFL]
    for number in numbers:  # (not those that are ignored, as by `nohup`)
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


@dataclass(frozen=True)
class _Where:
    """What was said of where a tree is."""

    tree: str
    url: str | None
    namespace: str | None
    context: str | None

    @contextmanager
    def open(self) -> Iterator[ConfigTree]:
        """Give the tree."""
        from gristmill.coordination import connect

        with _orderly(), connect(self.url, namespace=self.namespace, context=self.context) as client:
            yield client.tree(self.tree)

    def delete(self, paths: Sequence[str]) -> None:
        """Delete nodes, and nothing that is below them."""
        with _orderly():
            asyncio.run(self._delete(paths))

    async def _delete(self, paths: Sequence[str]) -> None:
        from gristmill.coordination.connecting import open_store
        from gristmill.coordination.errors import Missing
        from gristmill.coordination.names import node_name
        from gristmill.coordination.port import Kind

        store = await open_store(self.url, self.namespace, self.context)
        try:
            for path in paths:
                with suppress(Missing):
                    await store.delete(Kind.NODE, node_name(self.tree, path))
        finally:
            await store.close()


#: options of every command
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "tree": (_Tree, _DEFAULT),
    "url": (Url, None),
    "namespace": (_Namespace, None),
    "context": (_Context, None),
}


_command = located(app, _OPTIONS, _Where)


@_command
def get(
    where: _Where, path: Annotated[str, typer.Argument(help="A path, as /db/host.")], as_json: _Json = False
) -> None:
    """Print the value of a node; exit code 1 where there is none."""
    from gristmill.coordination.errors import Missing

    with where.open() as tree:
        node = tree.get(path)
    if node is None:
        raise Missing(f"{path} is not there; `gristmill config ls -r` lists what is")
    if as_json:
        print_json(_told(node))
        return
    write_bytes(node.value)
    if sys.stdout.isatty() and not node.value.endswith(b"\n"):
        write_bytes(b"\n")


@_command
def set_(
    where: _Where,
    path: Annotated[str, typer.Argument(help="A path, as /db/host.")],
    value: Annotated[str, typer.Argument(help="The value; - reads it from standard input.")],
    version: _Version = None,
) -> None:
    """Give a node a value; make it where there is none. Prints its version."""
    data: str | bytes = sys.stdin.buffer.read() if value == "-" else value
    with where.open() as tree:
        print(tree.set(path, data, version=version).version)


@_command
def ls(
    where: _Where,
    path: _Path = "/",
    recursive: Annotated[bool, typer.Option("-r", "--recursive", help="All that is below, too.")] = False,
    as_json: _Json = False,
) -> None:
    """List what is below a path."""
    with where.open() as tree:
        if as_json:
            for node in tree.walk(path):
                print_json(_told(node))
            return
        for line in [node.path for node in tree.walk(path)] if recursive else tree.children(path):
            print_text(f"{line}\n")


@_command
def rm(
    where: _Where,
    path: Annotated[str, typer.Argument(help="A path, as /db/host.")],
    recursive: Annotated[bool, typer.Option("-r", "--recursive", help="All that is below, too.")] = False,
    version: _Version = None,
) -> None:
    """Delete a node."""
    from gristmill.coordination.errors import NotEmpty

    with where.open() as tree:
        try:
            tree.delete(path, version=version, recursive=recursive)
        except NotEmpty:
            raise NotEmpty(f"{path} has nodes below it: --recursive deletes them, too") from None


@_command
def watch(
    where: _Where,
    path: _Path = "/",
    depth: Annotated[str, typer.Option(help="node, children or subtree.")] = "subtree",
    as_json: _Json = False,
) -> None:
    """Print what there is, and then what happens, until Ctrl-C."""
    from gristmill.coordination.nodes import Event
    from gristmill.coordination.watching import Depth
    from gristmill.errors import UsageError

    if depth not in tuple(Depth):
        raise UsageError(f"--depth {depth}: it is {', '.join(Depth)}")
    with where.open() as tree, tree.watch(path, depth) as events:
        for event in events:
            if isinstance(event, Event):
                line: Any = {"event": str(event.kind), **_told(event.node)}
                text = f"{event.kind}  {event.path}  {event.node.value.decode(errors='replace')}"
            else:
                line = {"event": "resync", "version": event.version}
                text = "resync  (changes may have been missed; what follows leads to what there is)"
            if as_json:
                print_json(line)
            else:
                print_text(f"{text}\n")


@_command
def export(where: _Where, path: _Path = "/") -> None:
    """Print the nodes of a subtree as YAML: paths and values."""
    from gristmill.cli.tree_yaml import written

    with where.open() as tree:
        nodes = tree.walk(path)
    print_text(written({node.path: node.value for node in nodes if not node.ephemeral}))


@_command
def import_(
    where: _Where,
    file: Annotated[Path, typer.Argument(help="What `export` printed; - reads standard input.")],
    prune: Annotated[bool, typer.Option(help="Delete the nodes that are not in it.")] = False,
) -> None:
    """Give nodes the values of a file; what has its value already stays as it is."""
    from gristmill.cli.tree_yaml import read
    from gristmill.errors import UsageError

    wanted = read(file)
    if prune and not wanted:
        raise UsageError(f"{file} is empty: `gristmill config rm -r /` deletes the whole tree")
    with where.open() as tree:
        changed = [
            path for path, data in wanted.items() if (node := tree.get(path)) is None or node.value != data
        ]
        for path in changed:
            tree.set(path, wanted[path])
        others = tree.walk() if prune else ()
        gone = [node.path for node in others if node.path not in wanted and not node.ephemeral]
    if gone:
        where.delete(gone)
    print(
        f"{count(len(changed), 'node')} changed, {count(len(gone), 'node')} deleted, of {count(len(wanted), 'node')}"
    )


def _told(node: Node) -> dict[str, Any]:
    """Return a node as JSON has it, which has no bytes."""
    from gristmill.coordination.errors import BadValue

    try:
        value = {"value": node.text}
    except BadValue:
        value = {"base64": base64.b64encode(node.value).decode()}
    return {"path": node.path, **value, "version": node.version, "ephemeral": node.ephemeral}
