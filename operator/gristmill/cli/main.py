"""The commands and their arguments. What one needs is imported when it runs, so that help comes at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from gristmill.cli import configuring, storing
from gristmill.errors import GristmillError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Run one function over a mountain of data, in chunks, and lose nothing. "
    "A job that is named is the run with a state folder here (.gristmill/NAME), else the ChunkJob of the current "
    "kube context and namespace; -n and --context always mean a cluster, --state always means here.",
)

app.add_typer(configuring.app, name="config")
app.add_typer(storing.app, name="volume")

_Name = Annotated[str | None, typer.Argument(help="The job's name; not needed where there is one run only.")]
_StateFolder = Annotated[Path | None, typer.Option("--state", metavar="DIR", help="The run's state folder.")]
_Namespace = Annotated[
    str | None, typer.Option("-n", "--namespace", metavar="NS", help="On a cluster, in this namespace.")
]
_Context = Annotated[
    str | None, typer.Option("--context", metavar="CONTEXT", help="On the cluster of this kube context.")
]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_NamedChunk = Annotated[
    list[str],
    typer.Argument(metavar="[NAME] CHUNK", help="The job, as for `get`, and the number of a chunk."),
]


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="A manifest: a ChunkJob as YAML or JSON.")],
    workers: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Workers to start; by default one a processor.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option("--state", metavar="DIR", help="State folder; .gristmill/NAME by default.")
    ] = None,
    fresh: Annotated[bool, typer.Option(help="Forget what an earlier run did, and begin anew.")] = False,
    accept_code: Annotated[
        bool, typer.Option("--accept-code", help="Go on although the function's code has changed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the final status as JSON.")] = False,
) -> None:
    """Run a job here, or go on with one that was interrupted."""
    from gristmill.cli.running import run_job

    raise typer.Exit(run_job(file, workers, state, fresh=fresh, accept_code=accept_code, as_json=as_json))


@app.command()
def validate(files: Annotated[list[Path], typer.Argument(help="Manifests.")], as_json: _Json = False) -> None:
    """Check manifests; nothing is started."""
    from gristmill.cli.checking import check_files

    raise typer.Exit(check_files(files, as_json=as_json))


@app.command()
def submit(
    file: Annotated[Path, typer.Argument(help="A manifest: a ChunkJob as YAML or JSON.")],
    namespace: _Namespace = None,
    context: _Context = None,
    wait: Annotated[bool, typer.Option("--wait", help="Show the job until it ends.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the status as JSON.")] = False,
) -> None:
    """Run a job on a cluster: make it there, or change the one of its name."""
    from gristmill.cli.places import Where
    from gristmill.cli.submitting import submit as submit_job

    raise typer.Exit(submit_job(file, Where(None, namespace, context), wait=wait, as_json=as_json))


@app.command()
def get(
    name: _Name = None,
    state: _StateFolder = None,
    namespace: _Namespace = None,
    context: _Context = None,
    as_json: _Json = False,
) -> None:
    """Show how far a run is; or list the jobs of a cluster."""
    from gristmill.cli.looking import get_status
    from gristmill.cli.places import Where

    get_status(name, Where(state, namespace, context), as_json=as_json)


@app.command()
def top(
    name: _Name = None,
    state: _StateFolder = None,
    namespace: _Namespace = None,
    context: _Context = None,
    once: Annotated[bool, typer.Option(help="Show it once, not live.")] = False,
    as_json: _Json = False,
) -> None:
    """Show a run and its workers, live."""
    from gristmill.cli.looking import watch
    from gristmill.cli.places import Where

    watch(name, Where(state, namespace, context), once=once, as_json=as_json)


@app.command()
def logs(
    name: _Name = None,
    state: _StateFolder = None,
    namespace: _Namespace = None,
    context: _Context = None,
    chunk: Annotated[int | None, typer.Option(min=0, help="Only what this chunk printed.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on while the run does.")] = False,
    as_json: _Json = False,
) -> None:
    """Show what the user's code printed."""
    from gristmill.cli.places import Where
    from gristmill.cli.printing import print_logs

    print_logs(name, Where(state, namespace, context), chunk, follow=follow, as_json=as_json)


@app.command()
def results(
    name: _Name = None,
    state: _StateFolder = None,
    namespace: _Namespace = None,
    context: _Context = None,
    take: Annotated[
        bool,
        typer.Option(
            "--take", help="As they are made, once: what is printed is dropped in the cluster's queue."
        ),
    ] = False,
) -> None:
    """Print the results as JSON lines, in input order."""
    from gristmill.cli.places import Where
    from gristmill.cli.printing import print_results

    print_results(name, Where(state, namespace, context), take=take)


@app.command()
def failures(
    name: _Name = None,
    state: _StateFolder = None,
    namespace: _Namespace = None,
    context: _Context = None,
    as_json: _Json = False,
) -> None:
    """Show the dead letters: what was given up, and why."""
    from gristmill.cli.explaining import print_failures
    from gristmill.cli.places import Where

    print_failures(name, Where(state, namespace, context), as_json=as_json)


@app.command()
def retry(
    chunks: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME] [CHUNK]...",
            help="The job, as for `get`; and CHUNK or CHUNK:ITEM, all dead letters if none is named.",
        ),
    ] = None,
    state: _StateFolder = None,
    namespace: _Namespace = None,
    context: _Context = None,
    as_json: _Json = False,
) -> None:
    """Open dead letters again, so that they are run once more, and with them a job that has failed."""
    from gristmill.cli.places import Where
    from gristmill.cli.steering import retry_letters

    retry_letters(chunks or [], Where(state, namespace, context), as_json=as_json)


@app.command()
def suspend(
    name: _Name = None,
    state: _StateFolder = None,
    namespace: _Namespace = None,
    context: _Context = None,
    as_json: _Json = False,
) -> None:
    """Start no chunk any more; what runs is finished."""
    from gristmill.cli.places import Where
    from gristmill.cli.steering import set_suspended

    set_suspended(name, Where(state, namespace, context), suspended=True, as_json=as_json)


@app.command()
def resume(
    name: _Name = None,
    state: _StateFolder = None,
    namespace: _Namespace = None,
    context: _Context = None,
    as_json: _Json = False,
) -> None:
    """Go on after suspend."""
    from gristmill.cli.places import Where
    from gristmill.cli.steering import set_suspended

    set_suspended(name, Where(state, namespace, context), suspended=False, as_json=as_json)


@app.command()
def why(
    chunk: _NamedChunk,
    state: _StateFolder = None,
    namespace: _Namespace = None,
    context: _Context = None,
    as_json: _Json = False,
) -> None:
    """Tell what happened to a chunk: each lease, each refused commit, each failure."""
    from gristmill.cli.explaining import print_history
    from gristmill.cli.places import Where

    print_history(chunk, Where(state, namespace, context), as_json=as_json)


@app.command()
def repro(
    chunk: _NamedChunk,
    item: Annotated[int | None, typer.Option(min=0, help="Only this item of the chunk.")] = None,
    state: _StateFolder = None,
    namespace: _Namespace = None,
    context: _Context = None,
    pdb: Annotated[bool, typer.Option("--pdb", help="Open the debugger where it fails.")] = False,
) -> None:
    """Run a chunk here, in this process, with the same input; or the item of it that failed."""
    from gristmill.cli.places import Where
    from gristmill.cli.repeating import repeat_chunk

    raise typer.Exit(repeat_chunk(chunk, item, Where(state, namespace, context), debug=pdb))


@app.command()
def lock(
    name: Annotated[str, typer.Argument(help="The lock's name.")],
    command: Annotated[
        list[str], typer.Argument(metavar="-- COMMAND", help="The command and its arguments.")
    ],
    timeout: Annotated[
        float | None,
        typer.Option(min=0, metavar="S", help="Give up after so many seconds, with exit code 75."),
    ] = None,
    seconds: Annotated[
        int, typer.Option(min=1, max=3600, metavar="S", help="For how long others wait where this dies.")
    ] = 15,
    url: configuring.Url = None,
    namespace: _Namespace = None,
    context: _Context = None,
) -> None:
    """Run a command while a lock is held, and not longer: it is ended where the lock is lost (exit code 76).

    The lock is given up when the command ends; what that leaves in the background runs on without it.
    """
    from gristmill.cli.locking import run_locked

    code = run_locked(
        name, command, timeout=timeout, seconds=seconds, url=url, namespace=namespace, context=context
    )
    raise typer.Exit(code)


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as version_of

    print(version_of("gristmill"))


def _drop_output() -> None:
    """Let what can't be written go to nowhere, or the interpreter would try again when it ends."""
    handle = os.open(os.devnull, os.O_WRONLY)
    os.dup2(handle, sys.stdout.fileno())
    os.close(handle)


def main() -> NoReturn:
    """Run the command line; an error that people can do something about is told without a traceback."""
    from gristmill.cli.places import IS_PLUGIN

    try:
        try:
            app(prog_name="kubectl gristmill" if IS_PLUGIN else "gristmill")
        finally:
            sys.stdout.flush()
    except GristmillError as error:
        for line in str(error).splitlines():
            print(f"error: {line}", file=sys.stderr)
        sys.exit(error.exit_code)
    except OSError as error:
        _drop_output()
        if not isinstance(error, BrokenPipeError):
            where = f"{error.filename}: " if error.filename else ""
            print(f"error: {where}{error.strerror or error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(0)
