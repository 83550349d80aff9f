"""The commands and their arguments. What one needs is imported when it runs, so that help comes at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from gristmill.errors import GristmillError

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Run one function over a mountain of data, in chunks, and lose nothing.",
)

_Name = Annotated[str | None, typer.Argument(help="The job's name; not needed where there is one run only.")]
_StateFolder = Annotated[Path | None, typer.Option("--state", metavar="DIR", help="The run's state folder.")]
_Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_Chunk = Annotated[int, typer.Argument(help="The number of a chunk.", min=0)]


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
def get(name: _Name = None, state: _StateFolder = None, as_json: _Json = False) -> None:
    """Show how far a run is."""
    from gristmill.cli.looking import get_status

    get_status(name, state, as_json=as_json)


@app.command()
def top(
    name: _Name = None,
    state: _StateFolder = None,
    once: Annotated[bool, typer.Option(help="Show it once, not live.")] = False,
    as_json: _Json = False,
) -> None:
    """Show a run and its workers, live."""
    from gristmill.cli.looking import watch

    watch(name, state, once=once, as_json=as_json)


@app.command()
def logs(
    name: _Name = None,
    state: _StateFolder = None,
    chunk: Annotated[int | None, typer.Option(min=0, help="Only what this chunk printed.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on while the run does.")] = False,
    as_json: _Json = False,
) -> None:
    """Show what the user's code printed."""
    from gristmill.cli.printing import print_logs

    print_logs(name, state, chunk, follow=follow, as_json=as_json)


@app.command()
def results(name: _Name = None, state: _StateFolder = None) -> None:
    """Print the results as JSON lines, in input order."""
    from gristmill.cli.printing import print_results

    print_results(name, state)


@app.command()
def failures(name: _Name = None, state: _StateFolder = None, as_json: _Json = False) -> None:
    """Show the dead letters: what was given up, and why."""
    from gristmill.cli.explaining import print_failures

    print_failures(name, state, as_json=as_json)


@app.command()
def retry(
    chunks: Annotated[
        list[str] | None, typer.Argument(help="CHUNK or CHUNK:ITEM; all dead letters if none is named.")
    ] = None,
    state: _StateFolder = None,
    as_json: _Json = False,
) -> None:
    """Open dead letters again, so that they are run once more."""
    from gristmill.cli.steering import retry_letters

    retry_letters(chunks or [], state, as_json=as_json)


@app.command()
def suspend(name: _Name = None, state: _StateFolder = None, as_json: _Json = False) -> None:
    """Start no chunk any more; what runs is finished."""
    from gristmill.cli.steering import set_suspended

    set_suspended(name, state, suspended=True, as_json=as_json)


@app.command()
def resume(name: _Name = None, state: _StateFolder = None, as_json: _Json = False) -> None:
    """Go on after suspend."""
    from gristmill.cli.steering import set_suspended

    set_suspended(name, state, suspended=False, as_json=as_json)


@app.command()
def why(chunk: _Chunk, state: _StateFolder = None, as_json: _Json = False) -> None:
    """Tell what happened to a chunk: each lease, each refused commit, each failure."""
    from gristmill.cli.explaining import print_history

    print_history(chunk, state, as_json=as_json)


@app.command()
def repro(
    chunk: _Chunk,
    item: Annotated[int | None, typer.Option(min=0, help="Only this item of the chunk.")] = None,
    state: _StateFolder = None,
    pdb: Annotated[bool, typer.Option("--pdb", help="Open the debugger where it fails.")] = False,
) -> None:
    """Run a chunk here, in this process, with the same input; or the item of it that failed."""
    from gristmill.cli.repeating import repeat_chunk

    raise typer.Exit(repeat_chunk(chunk, item, state, debug=pdb))


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
    try:
        try:
            app(prog_name="gristmill")
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
