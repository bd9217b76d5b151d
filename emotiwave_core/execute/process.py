"""A program in a process of its own, and a slot, in which one works at a time."""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType

from emotiwave_core.errors import ResourceError
from emotiwave_core.execute.job import Job, JobAnswer, Program, TextFile

ENOUGH = 600.0  # seconds that a program that is stopped has to keep what it is at
SAID = 4096  # bytes of stderr that are kept


@contextlib.contextmanager
def _startable() -> Iterator[None]:
    """Turn the system's refusal of a process, or of its scratch, into a ResourceError."""
    try:
        yield
    except OSError as error:
        raise ResourceError(
            f"No process can be started: {error.strerror or error}. Nothing written before is lost; give fewer --jobs, "
            "free some space for temporary files, or set TMPDIR to another folder."
        ) from error


class ProgramProcess:
    """The process of a program, which computes with one thread and ends where its parent is no more."""

    def __init__(self, program: Program, environment: Mapping[str, str] | None = None) -> None:
        """environment: variables beside those of this process. ResourceError where no process can be started."""
        self.program = program
        self.opening: str | None = None  # the answer to it
        with contextlib.ExitStack() as begun, _startable():
            self._scratch = Path(tempfile.mkdtemp(prefix="emotiwave-"))
            begun.callback(shutil.rmtree, self._scratch, ignore_errors=True)
            self._process = self._started(environment or {})
            begun.pop_all()

    def _started(self, environment: Mapping[str, str]) -> "subprocess.Popen[str]":
        program = self.program
        talks = program.opening is not None  # to the end of its input; others watch that beside their work
        command = [sys.executable, "-P", "-m", *([] if talks else ["emotiwave_core.execute.child"]), program.module]
        variables = {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1", **environment}
        with (self._scratch / "stderr").open("wb") as errors:
            return subprocess.Popen(
                [*command, *self._words()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE if talks else subprocess.DEVNULL,
                stderr=errors,
                env=os.environ | variables,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C is its parent's to answer
            )

    def _words(self) -> Sequence[str]:
        resumed = self.program.resumed
        if resumed is not None and resumed.path.exists():
            return resumed.words
        words = []
        for word in self.program.words:
            if isinstance(word, TextFile):
                path = self._scratch / word.name
                path.write_text(word.text, encoding="utf-8")
                word = str(path)
            words.append(word)
        return words

    def ask(self, line: str) -> str | None:
        """The answer to a line; None where the process has ended."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        return answer if answer.endswith("\n") else None

    def answer(self) -> JobAnswer:
        """The end of a process, for which is waited."""
        return JobAnswer(self._process.wait(), opening=self.opening, said=self._said())

    def _said(self) -> str:
        with contextlib.suppress(FileNotFoundError), (self._scratch / "stderr").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - SAID))
            return file.read().decode("utf-8", "replace")
        return ""

    def has_ended(self) -> bool:
        """True once the process is no more."""
        return self._process.poll() is not None

    def stop(self) -> None:
        """Ask the program to keep what it is at and to end; one that answers lines has nothing to keep."""
        self._process.terminate() if self.program.opening is None else self._process.kill()

    def end(self, patience: float = ENOUGH) -> None:
        """Wait for a program that was stopped, kill it where that takes too many seconds, and clear up."""
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        shutil.rmtree(self._scratch, ignore_errors=True)


class Slot:
    """A place for one job at a time. A program that answers lines stays, for the next job of the same program."""

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self.environment = environment
        self._lock = threading.Lock()  # between the thread of the jobs and one that stops it
        self._process: ProgramProcess | None = None
        self._is_stopped = False

    def __enter__(self) -> "Slot":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()
        self.end()

    def do(self, job: Job) -> JobAnswer:
        """Carry out a job. Its process's death is an answer, too."""
        if self._process is not None and self._process.program != job.program:
            self._process.stop()
            self.end()
        if (process := self._process or self._begun(job.program)) is None:
            return JobAnswer(lost="it was stopped")
        if process.opening is not None:
            line = None if job.line is None else process.ask(job.line)
            if job.line is None or line is not None:
                return JobAnswer(line=line, opening=process.opening)
        answer = process.answer()
        self.end()
        return answer

    def _begun(self, program: Program) -> ProgramProcess | None:
        """The process of a program, now; None where the slot was stopped."""
        with self._lock:
            if self._is_stopped:
                return None
            process = self._process = ProgramProcess(program, self.environment)
        if program.opening is not None:
            process.opening = process.ask(program.opening)
        return process

    def interrupt(self) -> None:
        """Ask the program at work to end. May be called by another thread."""
        with self._lock:
            if self._process is not None:
                self._process.stop()

    def stop(self) -> None:
        """Ask the program at work to end, and begin no other. May be called by another thread."""
        with self._lock:
            self._is_stopped = True
        self.interrupt()

    def end(self, patience: float = ENOUGH) -> None:
        """Wait for a program that was stopped, and clear up."""
        if (process := self._process) is not None:
            process.end(patience)
            self._process = None
