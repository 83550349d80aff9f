"""The errors that people see: each says what is wrong and what to do, and knows its exit code."""

from __future__ import annotations


class GristmillError(Exception):
    """Base of every error that is told to the user as a sentence, without a traceback."""

    #: exit code of the command line
    exit_code = 1


class ManifestError(GristmillError):
    """A manifest is wrong. `problems` has one line for each fault: the field's path, a colon, a sentence."""

    exit_code = 2

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class UsageError(GristmillError):
    """A command was called in a way that can't work: an unknown state folder, a chunk that does not exist."""

    exit_code = 2


class InputError(GristmillError):
    """The input can't be read as the manifest describes it: a missing file, a glob that matches nothing."""


class InputChanged(InputError):  # noqa: N818 (a condition's reason has the same name)
    """An input is no longer what the plan recorded (size, etag or time of change)."""


class CodeChanged(GristmillError):  # noqa: N818 (a condition's reason has the same name)
    """A module is no longer the one that the job has."""


class OutputError(GristmillError):
    """The output can't be written, or holds something that is not this job's."""


class PartsMissing(OutputError):  # noqa: N818
    """Staged parts that the queue counts as done are not in the output; `missing` names their intervals."""

    def __init__(self, missing: list[tuple[int, int]]) -> None:
        self.missing = missing
        super().__init__(
            f"{len(missing)} finished intervals are not in the output any more, first {missing[0]}"
        )


class LoadError(GristmillError):
    """The user's function, class or module can't be loaded; the message has the original exception."""


class QueueError(GristmillError):
    """The queue refused a call, or holds no such job."""


class JobGivenUp(QueueError):  # noqa: N818 (it is no fault)
    """A job was given up, so that nothing can be asked of it any more."""

    def __init__(self) -> None:
        super().__init__("the job was given up: nothing of it is tried again")


class ResultError(GristmillError):
    """A result can't be written as JSON; `index` is its place among the results that were encoded together."""

    _begin = "the result is not JSON"

    def __init__(self, index: int, reason: str) -> None:
        self.index = index
        self.reason = reason
        super().__init__(f"{self._begin}: {reason}")


class LargeResultError(ResultError):
    """A result is larger than what keeps it can take."""

    _begin = "the result is too large"


class ReduceError(GristmillError):
    """The reducing function raised; the message has the original exception."""
