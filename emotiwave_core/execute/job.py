"""Jobs: programs that work in processes of their own, wherever an executor starts them, and what comes of them."""

import signal
from pathlib import Path
from typing import Any

import attrs
from attrs.validators import instance_of, optional

STOPPING = (1, 2, 15)  # SIGHUP, SIGINT and SIGTERM, at which a program keeps its step and leaves with 128 more


@attrs.frozen
class TextFile:
    """A file that a program reads. It is written where the program runs, and its path stands among the words."""

    name: str
    text: str


@attrs.frozen
class Resumed:
    """The words of a program that goes on: they are taken where this path is there already."""

    path: Path
    words: tuple[str, ...]


@attrs.frozen
class Program:
    """A module that runs as a program. With an opening it answers that line, and each further one, by a line."""

    module: str
    words: tuple[str | TextFile, ...] = ()
    resumed: Resumed | None = None
    opening: str | None = None


@attrs.frozen
class Job:
    """A program that runs once, or a line that one answers. Its name is that of no other job."""

    name: str
    program: Program
    line: str | None = None  # of a program with an opening; None: its opening alone
    retries: int = 0  # how often it is begun anew where its process was killed


@attrs.frozen
class JobAnswer:
    """The answer of a job, or the end of its process."""

    code: int | None = attrs.field(
        default=None, validator=optional(instance_of(int))
    )  # the exit code of its process, negative where a signal ended it; None where it goes on
    line: str | None = attrs.field(default=None, validator=optional(instance_of(str)))  # what it answered
    opening: str | None = attrs.field(default=None, validator=optional(instance_of(str)))  # and to the opening
    said: str = attrs.field(default="", validator=instance_of(str))  # the end of its stderr
    lost: str = attrs.field(default="", validator=instance_of(str))  # why the worker that had the job is no more
    unfit: str = attrs.field(default="", validator=instance_of(str))  # why the worker that had the job can do none

    @property
    def sentence(self) -> str:
        """The reason why a job has failed: the sentence that its process ended with, or its last line."""
        lines = [line for line in self.said.splitlines() if line.strip()]
        told = next((line for line in reversed(lines) if line.startswith("Error: ")), lines[-1] if lines else "")
        return told.removeprefix("Error: ") or f"it ended with exit code {self.code}"

    @property
    def killed(self) -> str:
        """The signal that ended its process, which may have kept its step first; empty where none did."""
        code = self.code or 0
        number = -code if code < 0 else code - 128 if code - 128 in STOPPING else 0
        if not number:
            return ""
        return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON can hold it."""
        return attrs.asdict(self)
