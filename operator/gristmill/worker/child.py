"""A child process: loads the user's code once, then runs the leases that its supervisor sends.

Two threads: one reads messages, and the input of what comes next; the other runs the user's function and nothing else.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from gristmill.api.names import Reason
from gristmill.errors import GristmillError, InputChanged, LoadError, OutputError
from gristmill.planning.plan import Plan
from gristmill.planning.values import Lease
from gristmill.protocol.job import JobContext
from gristmill.sinks import Sink, keep_code
from gristmill.sources import open_source
from gristmill.worker import chores, forks, user_code
from gristmill.worker.capture import TaggedOutput
from gristmill.worker.channel import Channel
from gristmill.worker.chores import Failures
from gristmill.worker.compute import Computer, Work
from gristmill.worker.failpoints import reach
from gristmill.worker.limits import die_with_parent, limit_memory
from gristmill.worker.loaded_code import LoadedCode, check_code
from gristmill.worker.marker import Marker
from gristmill.worker.outputs import FilesForm, LinesForm, Output, PartsOutput, QueueOutput, ValueForm
from gristmill.worker.read_ahead import ReadAhead


def child_main(
    channel: Channel, printed: int, marker: Marker, context: JobContext, worker: str, loads: bool
) -> None:
    """Run until the channel ends. `printed` is the descriptor that takes what user code prints. Never returns."""
    code = 1
    try:
        _settle_in(printed)
        Child(channel, marker, context, worker).serve(loads)
        code = 0
    except ConnectionError:
        pass  # the supervisor is gone
    except BaseException:
        os.write(2, traceback.format_exc().encode("utf-8", "replace"))
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
        os._exit(code)


def _settle_in(printed: int) -> None:
    forks.settle()
    die_with_parent()
    os.setpgid(0, 0)  # so that what user code forks can be ended with it
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.dup2(printed, 1)
    os.dup2(printed, 2)
    os.close(printed)
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    faulthandler.enable(file=2, all_threads=False)


class Child:
    """The state of a child; see the module."""

    def __init__(self, channel: Channel, marker: Marker, context: JobContext, worker: str) -> None:
        self._channel = channel
        self._marker = marker
        self._context = context
        self._worker = worker
        self._code: LoadedCode | None = None
        #: of that, what the output does not know yet
        self._unkept: dict[str, str] = {}
        self._confirmed = threading.Event()
        self._is_left = False
        self._computer: Computer | None = None
        self._sink: Sink | None = None
        self._ahead: ReadAhead | None = None
        self._outputs = [
            TaggedOutput(name, descriptor, self._current_chunk)
            for name, descriptor in (("stdout", 1), ("stderr", 2))
        ]
        self._messages: SimpleQueue[list[Any] | None] = SimpleQueue()
        self._function: Callable[[Any], Any]
        self._combine: Callable[[Any, Any], Any] | None = None
        #: why the code is not loaded; "" when it is
        self._unloaded = "it is not loaded to clean up"

    def serve(self, loads: bool) -> None:
        """Load the code, if it `loads`, then handle messages one after the other.

        Where it can't be loaded, that is told when it is needed: to clean up, it isn't, and must not be in the way.
        """
        sys.stdout, sys.stderr = (output.text() for output in self._outputs)
        spec = self._context.job.spec
        if spec.process.memory_bytes:
            limit_memory(spec.process.memory_bytes)
        if loads:
            self._code = LoadedCode(spec, self._context.base)
            try:
                self._function, combine = user_code.load(spec, self._context.base)
                self._combine = self._confirming(forks.ending_copies(combine)) if combine else None
                self._unloaded = ""
            except LoadError as error:
                self._code = None  # (whoever mends it loads other code)
                self._unloaded = str(error)
            forks.end_copy()
        self._unkept = self._code.take() if self._code else {}
        self._channel.send("ready", self._unkept)
        reach("child.started")
        threading.Thread(target=self._receive, name="messages", daemon=True).start()
        while (message := self._messages.get()) is not None:
            self._handle(message)

    def _confirm(self) -> None:
        """Tell what was loaded since, and wait until the job is known to have it: nothing may be kept of other code."""
        if self._code and (code := self._code.take()):
            self._confirmed.clear()
            with self._marker.paused():
                self._channel.send("code", code)
                self._confirmed.wait()
            if self._is_left:
                raise ConnectionError
            self._unkept |= code
            self._keep_code()

    def _keep_code(self) -> None:
        """Have the output know what was loaded, before it gets what that makes. CodeChanged, OutputError."""
        if self._sink and self._unkept:
            check_code(self._context, self._unkept)
            keep_code(self._sink.store, self._unkept)
            self._unkept = {}

    def _confirming(self, combine: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        def confirmed(left: Any, right: Any) -> Any:
            value = combine(left, right)
            self._confirm()
            return value

        return confirmed

    def _receive(self) -> None:
        while (message := self._channel.receive()) is not None:
            if message[0] == "code_taken":
                self._confirmed.set()
                continue
            if self._ahead and message[0] == "lease":
                self._ahead.hint(Lease(*message[1:]).start)
            self._messages.put(message)
        self._is_left = True
        self._confirmed.set()
        self._messages.put(None)

    def _handle(self, message: list[Any]) -> None:
        match message:
            case ["plan", data]:
                self._take_plan(Plan.from_json(data))
            case ["chore", nonce, "clean", failures]:
                self._chore(nonce, "clean", Failures.from_wire(failures))
            case _ if self._unloaded:
                self._channel.send("job_failed", Reason.LOAD_FAILED, self._unloaded)
            case ["lease", *fields]:
                self._run(Lease(*fields))
            case ["chore", nonce, name, failures]:
                self._chore(nonce, name, Failures.from_wire(failures))

    def _take_plan(self, plan: Plan) -> None:
        context, spec = self._context, self._context.job.spec
        if context.output:
            self._sink = chores.sink_of(context, plan, self._combine)
        if self._unloaded:
            return
        source = open_source(plan)
        read = source.read
        if source.does_io:
            self._ahead = ReadAhead(source.read)
            read = self._ahead.take
        output: Output
        if self._sink:
            lines = spec.output is None or spec.output.format == "jsonl"
            form = ValueForm(self._combine) if self._combine else LinesForm() if lines else FilesForm()
            output = PartsOutput(self._sink, plan, form)
        else:
            output = QueueOutput()
        work = Work(
            function=self._function,
            each_item=spec.process.each == "item",
            final=frozenset(spec.retry.final_exceptions),
            attempts=spec.retry.attempts,
            source=source,
            read=read,
        )
        self._computer = Computer(
            work, output, self._marker, self._worker, self._channel.send_all, self._confirm
        )

    def _run(self, lease: Lease) -> None:
        assert self._computer is not None
        if self._ahead:
            self._ahead.until = lease.stop
        try:
            self._keep_code()
            self._computer.run(lease, more=not self._messages.empty())
        except InputChanged as error:
            self._channel.send("job_failed", "InputChanged", str(error))
        except OutputError as error:
            self._channel.send("storage_failed", lease.nonce, str(error))
        except GristmillError as error:
            self._channel.send("job_failed", type(error).__name__, str(error))
        else:
            return
        finally:
            for output in self._outputs:
                output.flush_rest()
        self._marker.idle()

    def _chore(self, nonce: str, name: str, failures: Failures) -> None:
        if self._computer:
            self._computer.send()
        reach("child.chore")
        try:
            if name == "plan":
                data = chores.plan_job(self._context, self._combine, self._unkept)
            elif name == "clean":
                data = chores.clean(self._need_sink())
            else:
                self._keep_code()  # (these call the reduce function)
                if name == "finish":
                    data = chores.finish(self._need_sink(), failures.total)
                else:
                    data = chores.assemble(self._need_sink(), chores.block_of(name), failures)
        except Exception as error:
            failure = chores.failure_of(error, name)
            self._channel.send(
                "chore_failed", nonce, failure.reason, failure.message, failure.final, failure.missing
            )
            return
        reach("child.chore_done")
        self._channel.send("chore_done", nonce, data)

    def _need_sink(self) -> Sink:
        if self._sink is None:
            raise OutputError("the job has no output to assemble")
        return self._sink

    def _current_chunk(self) -> int:
        return self._computer.current_chunk() if self._computer else -1
