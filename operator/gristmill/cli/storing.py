"""`gristmill volume`: files of a volume, for people and scripts."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gristmill.cli.located import located
from gristmill.cli.places import VolumeWhere
from gristmill.cli.text import count, print_json, size

if TYPE_CHECKING:
    from gristmill.cli.tally import Tally
    from gristmill.volumes.store import ContentStore, File, Stored
    from gristmill.volumes.verification import Finding

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Files of a volume, volume://NAME/path: stored once for the same content, and verified when they are read. "
    "Here, a volume is a folder in .gristmill/volumes, or where GRISTMILL_VOLUMES says; with --cluster, -n or "
    "--context it is a FileVolume of a cluster.",
)

_Url = Annotated[str, typer.Argument(metavar="volume://NAME/path", help="A file or folder of a volume.")]
_Volume = Annotated[str, typer.Argument(metavar="volume://NAME", help="A volume.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Namespace = Annotated[
    str | None, typer.Option("-n", "--namespace", metavar="NS", help="On a cluster, in this namespace.")
]
_Context = Annotated[
    str | None, typer.Option("--context", metavar="CONTEXT", help="On the cluster of this kube context.")
]
_Cluster = Annotated[bool, typer.Option("--cluster", help="On the cluster of the current kube context.")]
_OPTIONS: dict[str, tuple[Any, Any]] = {
    "namespace": (_Namespace, None),
    "context": (_Context, None),
    "cluster": (_Cluster, False),
}
_Recursive = Annotated[bool, typer.Option("-r", "--recursive", help="All that is below, too.")]

_command = located(app, _OPTIONS, VolumeWhere)


@_command
def put(
    where: VolumeWhere,
    source: Annotated[str, typer.Argument(help="A file or folder; - is standard input.")],
    url: Annotated[
        str,
        typer.Argument(
            metavar="volume://NAME/path", help="Its name; where it ends with /, a folder to put it into."
        ),
    ],
    as_json: _Json = False,
) -> None:
    """Put a file, or a folder with all in it."""
    from gristmill.cli.copying import put as put_files

    _summarise(put_files(source, url, _teller(as_json), where.open), url, as_json)


@_command
def get(
    where: VolumeWhere,
    url: _Url,
    target: Annotated[
        str,
        typer.Argument(help="Where; where it ends with /, a folder to put it into; - is standard output."),
    ],
    as_json: _Json = False,
) -> None:
    """Write a file, or a folder with all in it, here; verified."""
    from gristmill.cli.copying import get as get_files

    tally = get_files(url, target, _teller(as_json), where.open)
    if target != "-":
        _summarise(tally, target, as_json)


@_command
def ls(
    where: VolumeWhere,
    url: _Url,
    recursive: _Recursive = False,
    as_json: _Json = False,
) -> None:
    """List a folder."""
    volume, store, path = _opened(url, where)
    found = store.stat(path)
    files = [found] if not found.is_folder else sorted(_below(store, path, recursive), key=lambda f: f.path)
    for file in files:
        if as_json:
            print_json(_told(volume, file))
        elif file.is_folder:
            print(f"{'':>15}  {'':16}  {file.path}/")
        else:
            when = datetime.fromtimestamp(file.modified).strftime("%Y-%m-%d %H:%M")
            print(f"{file.size:>15,}  {when}  {file.path}")


@_command
def stat(
    where: VolumeWhere,
    url: _Url,
    as_json: _Json = False,
) -> None:
    """Show what is known of a file; how much is in a folder."""
    volume, store, path = _opened(url, where)
    file = store.stat(path)
    told = _told(volume, file)
    if file.is_folder:
        sizes = [one.size for one in store.walk(path)]
        told |= {"files": len(sizes), "bytes": sum(sizes)}
    if as_json:
        print_json(told)
        return
    told.pop("folder", None)
    for key, value in told.items():
        print(f"{key:<10} {f'{value:,}' if isinstance(value, int) else value}")


@_command
def rm(
    where: VolumeWhere,
    url: _Url,
    recursive: _Recursive = False,
    as_json: _Json = False,
) -> None:
    """Remove files; what they take is free after `gc`."""
    from gristmill.errors import UsageError
    from gristmill.volumes.errors import NotThere
    from gristmill.volumes.parallel import in_parallel

    _, store, path = _opened(url, where)
    is_folder = store.is_folder(path)
    if is_folder and not recursive:
        raise UsageError(f"{url} is a folder: -r removes all that is in it")
    # (no record is read, so that damaged ones can be removed)
    files = [name for name, _ in store.names.walk(path)] if is_folder else [path]

    def remove(name: str) -> None:
        with suppress(NotThere):  # (somebody else was faster)
            store.remove(name)

    in_parallel(remove, files)
    if as_json:
        print_json({"files": len(files)})
    else:
        print(f"{count(len(files), 'file')} removed")


@_command
def verify(
    where: VolumeWhere,
    url: _Url,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Put again what is right in one copy and damaged in another."),
    ] = False,
    as_json: _Json = False,
) -> None:
    """Read all blocks of all files, and tell what is damaged or missing (exit code 1)."""
    from gristmill.cli.tally import Tally
    from gristmill.volumes.verification import verify as verify_files

    _, store, path = _opened(url, where)
    store.is_folder(path)  # (NotThere)
    problems = mended = 0

    def found(finding: Finding) -> None:
        nonlocal problems, mended
        problems += finding.kind != "mended"
        mended += finding.kind == "mended"
        if as_json:
            print_json(asdict(finding))
        else:
            print(f"{finding.kind:<8} {finding.path}: {finding.reason}", flush=True)

    with Tally("verify") as tally:
        verified = verify_files(store.backend, found, tally.add, path, repair=repair)
    if as_json:
        print_json({**asdict(verified), "problems": problems, "mended": mended})
    else:
        what = "what was read" if verified.unreached else "all"
        outcome = count(problems, "problem") if problems else f"{what} is as it was written"
        outcome = f"{mended:,} mended, {outcome}" if mended else outcome
        print(f"{count(verified.names, 'file')}, {size(verified.bytes)} read: {outcome}")
        if verified.unreached:
            print(
                f"not all copies were looked at, verify again: no answer from {', '.join(verified.unreached)}"
            )
    if problems or verified.unreached:
        raise typer.Exit(1)


@_command
def gc(
    where: VolumeWhere,
    url: _Volume,
    grace: Annotated[
        float,
        typer.Option(
            min=0, metavar="S", help="Seconds that content without a name is kept, and then in the trash."
        ),
    ] = 3600,
    as_json: _Json = False,
) -> None:
    """Set aside content that no name points at, and remove what was set aside before."""
    from gristmill.cli.tally import Tally
    from gristmill.errors import UsageError
    from gristmill.volumes.collection import collect

    _, store, path = _opened(url, where)
    if path:
        raise UsageError(f"{url} names a part of a volume, and content is of all of it: leave out /{path}")
    store.stat("")
    with Tally("gc") as tally:
        done = collect(store.backend, grace, tally.say)
    if as_json:
        print_json(asdict(done))
        return
    print(
        f"{count(done.removed, 'content')} removed ({size(done.removed_bytes)}), "
        f"{done.aside:,} set aside ({size(done.aside_bytes)}), {done.restored:,} put back"
    )


def _opened(url: str, where: VolumeWhere) -> tuple[str, ContentStore, str]:
    """Return a volume's name, its files, and the path that is meant. BadName."""
    from gristmill.volumes.places import split

    volume, path = split(url)
    return volume, where.open(volume), path.rstrip("/")


def _below(store: ContentStore, path: str, recursive: bool) -> list[File]:
    return list(store.walk(path)) if recursive else store.list(path)


def _told(volume: str, file: File) -> dict[str, Any]:
    told: dict[str, Any] = {"url": f"volume://{volume}/{file.path}"}
    if file.is_folder:
        return {**told, "folder": True}
    told["bytes"] = file.size
    if file.sha256:
        told["sha256"] = file.sha256
    told["modified"] = datetime.fromtimestamp(file.modified, UTC).isoformat(timespec="milliseconds")
    return told


def _teller(as_json: bool) -> Any:
    def tell(url: str, here: str, stored: Stored) -> None:
        if as_json:
            print_json({"url": url, "path": here, "bytes": stored.size, "sha256": stored.sha256})

    return tell


def _summarise(tally: Tally, where: str, as_json: bool) -> None:
    if not as_json:
        print(f"{where}: {count(tally.files, 'file')}, {size(tally.bytes)}")
    sys.stdout.flush()
