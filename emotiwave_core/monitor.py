"""Progress of long work: a Monitor is passed down with the work, and decides what is shown and where."""

import contextlib
import html
import io
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TextIO

from emotiwave_core.errors import printable

REDRAW = 0.1  # seconds between two drawings of a bar in a notebook, each of which is a message to the browser


class Monitor:
    """Says nothing and shows nothing."""

    def say(self, text: str) -> None:
        """Tell a line that should be kept, such as the result of an epoch."""

    def progress(self, title: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        """Enter for a stretch of `total` steps; what it gives is to be called after each."""
        return nullcontext(lambda: None)

    def jobs(self, title: str, total: int) -> AbstractContextManager[Callable[[int, int, int], None]]:
        """Enter for `total` jobs side by side; what it gives is to be called with those done, running and failed."""
        return nullcontext(lambda done, running, failed: None)

    def keep_unsaid(self, log: Path) -> None:
        """Write into this file, from now on, the lines that can no longer be said; those before it too."""


SILENT = Monitor()


def counted(title: str, done: int, running: int, failed: int) -> str:
    """The state of jobs, for the label of a bar."""
    return f"{title}: {done} done, {running} running, {failed} failed"


class LossyFile(io.FileIO):
    """A file that drops what it cannot take: its reader or its terminal has gone, or its disk is full.

    Progress is written to one, for no work is worth less than what is said of it.
    """

    lost = 0  # writes that were dropped

    def write(self, data: Any) -> int:
        """Write some of the bytes, or drop all of them."""
        try:
            count = super().write(data)
        except OSError:
            count = None
        if count is None:  # or it would have had to wait, where it must not
            self.lost += 1
            return memoryview(data).nbytes
        return count


def lossy_stream(file: LossyFile) -> io.TextIOWrapper:
    """Text into a lossy file, line by line, in the encoding of stderr; what that does not know is written as an escape.

    With `.buffer`, as Python's own streams have it.
    """
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    return io.TextIOWrapper(io.BufferedWriter(file), encoding, errors="backslashreplace", line_buffering=True)


class TerminalMonitor(Monitor):
    """Speaks on stderr. A bar is shown on a terminal and taken away when its work is done; a pipe gets lines alone.

    What stderr cannot take any more is dropped, and nothing waits or fails for it.
    """

    def __init__(self) -> None:
        from rich.console import Console

        self._file: LossyFile | None = None
        stream: TextIO = sys.stderr
        with contextlib.suppress(OSError, ValueError, AttributeError):  # a stream that is no file, as a test has it
            self._file = LossyFile(sys.stderr.fileno(), "w", closefd=False)
            stream = lossy_stream(self._file)
        self.console = Console(file=stream, highlight=False, soft_wrap=True, force_jupyter=False)
        self._log: Path | None = None
        self._unsaid: list[str] = []
        self._shown: Any = None  # the bars that are on the terminal

    def say(self, text: str) -> None:
        """Print a line."""
        from rich.text import Text

        before = self._lost
        self.console.print(Text(printable(text)))
        if self._lost > before:
            self._unsaid.append(printable(text))
            self._write_unsaid()

    def keep_unsaid(self, log: Path) -> None:
        """Write into this file, from now on, the lines that stderr cannot take; those before it too."""
        self._log = log
        self._write_unsaid()

    @property
    def _lost(self) -> int:
        return 0 if self._file is None else self._file.lost

    def _write_unsaid(self) -> None:
        """Append to the log what waits for it; a log that cannot be written is no reason to stop either."""
        if self._log is None or not self._unsaid:
            return
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)  # in the run's own folder
        with contextlib.suppress(OSError), os.fdopen(os.open(self._log, flags, 0o666), "a") as file:
            file.writelines(f"{line}\n" for line in self._unsaid)
        self._unsaid.clear()

    def progress(self, title: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        """Show a bar with the time that is left."""
        return self._bar(title, total)

    @contextmanager
    def jobs(self, title: str, total: int) -> Iterator[Callable[[int, int, int], None]]:
        """Show a bar with what is done, running and failed, and the time that is left."""
        ended = 0
        with self._bar(counted(title, 0, 0, 0), total) as advance:
            bar = self._shown

            def show(done: int, running: int, failed: int) -> None:
                nonlocal ended
                bar.update(bar.task_ids[-1], description=counted(title, done, running, failed))
                for _ in range(done + failed - ended):
                    advance()
                ended = done + failed

            yield show

    @contextmanager
    def _bar(self, title: str, total: int) -> Iterator[Callable[[], None]]:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        if (outer := self._shown) is not None:  # a bar of work inside other work stands beneath that one's
            task = outer.add_task(title, total=total)
            try:
                yield lambda: outer.advance(task)
            finally:
                outer.remove_task(task)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as bar:
            self._shown = bar
            task = bar.add_task(title, total=total)
            try:
                yield lambda: bar.advance(task)
            finally:
                self._shown = None


class NotebookMonitor(Monitor):
    """Prints lines into the cell, and shows a bar there while work goes on.

    The bar is an HTML element that is drawn anew: it needs a kernel of IPython, and no widgets.
    """

    def say(self, text: str) -> None:
        """Print a line."""
        print(printable(text), flush=True)

    def progress(self, title: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        """Show a bar, and take it away when the work is done."""
        return self._steps(title, total)

    @contextmanager
    def _steps(self, title: str, total: int) -> Iterator[Callable[[], None]]:
        done = 0
        with self._bar(title, total) as draw:

            def advance() -> None:
                nonlocal done
                done += 1
                draw(done, title)

            yield advance

    @contextmanager
    def jobs(self, title: str, total: int) -> Iterator[Callable[[int, int, int], None]]:
        """Show a bar with what is done, running and failed, and take it away when the work is done."""
        with self._bar(counted(title, 0, 0, 0), total) as draw:
            yield lambda done, running, failed: draw(done + failed, counted(title, done, running, failed))

    @contextmanager
    def _bar(self, title: str, total: int) -> Iterator[Callable[[int, str], None]]:
        from IPython.display import HTML, display

        def drawn(done: int, label: str) -> Any:
            label = f"{html.escape(printable(label))} {done}/{total}"
            return HTML(f'<progress value="{done}" max="{max(total, 1)}"></progress> <code>{label}</code>')

        handle, last = display(drawn(0, title), display_id=True), time.monotonic()

        def draw(done: int, label: str) -> None:
            nonlocal last
            if (now := time.monotonic()) - last >= REDRAW:
                last = now
                handle.update(drawn(done, label))

        try:
            yield draw
        finally:
            handle.update(HTML(""))


def monitor_for_here() -> Monitor:
    """The monitor of a Python session: bars in a notebook and on a terminal, silence in a pipe."""
    if in_notebook():
        return NotebookMonitor()
    return TerminalMonitor() if sys.stderr is not None and sys.stderr.isatty() else SILENT


def in_notebook() -> bool:
    """True in a cell of Jupyter and its kin: IPython is at work, and its shell belongs to a kernel."""
    get_ipython = getattr(sys.modules.get("IPython"), "get_ipython", None)
    shell = None if get_ipython is None else get_ipython()
    return getattr(shell, "kernel", None) is not None
