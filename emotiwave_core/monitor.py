"""Progress of long work: a Monitor is passed down with the work, and decides what is shown and where."""

import html
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from emotiwave_core.errors import printable

REDRAW = 0.1  # seconds between two drawings of a bar in a notebook, each of which is a message to the browser


class Monitor:
    """Says nothing and shows nothing."""

    def say(self, text: str) -> None:
        """Tell a line that should be kept, such as the result of an epoch."""

    def progress(self, title: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        """Enter for a stretch of `total` steps; what it gives is to be called after each."""
        return nullcontext(lambda: None)


SILENT = Monitor()


class TerminalMonitor(Monitor):
    """Speaks on stderr. A bar is shown on a terminal and taken away when its work is done; a pipe gets lines alone."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(stderr=True, highlight=False, soft_wrap=True, force_jupyter=False)

    def say(self, text: str) -> None:
        """Print a line."""
        from rich.text import Text

        self.console.print(Text(printable(text)))

    def progress(self, title: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        """Show a bar with the time that is left."""
        return self._bar(title, total)

    @contextmanager
    def _bar(self, title: str, total: int) -> Iterator[Callable[[], None]]:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=self.console, transient=True, disable=not self.console.is_terminal) as bar:
            task = bar.add_task(title, total=total)
            yield lambda: bar.advance(task)


class NotebookMonitor(Monitor):
    """Prints lines into the cell, and shows a bar there while work goes on.

    The bar is an HTML element that is drawn anew: it needs a kernel of IPython, and no widgets.
    """

    def say(self, text: str) -> None:
        """Print a line."""
        print(printable(text), flush=True)

    def progress(self, title: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        """Show a bar, and take it away when the work is done."""
        return self._bar(title, total)

    @contextmanager
    def _bar(self, title: str, total: int) -> Iterator[Callable[[], None]]:
        from IPython.display import HTML, display

        def drawn(done: int) -> Any:
            label = f"{html.escape(printable(title))} {done}/{total}"
            return HTML(f'<progress value="{done}" max="{max(total, 1)}"></progress> <code>{label}</code>')

        handle, done, last = display(drawn(0), display_id=True), 0, time.monotonic()

        def advance() -> None:
            nonlocal done, last
            done += 1
            if (now := time.monotonic()) - last >= REDRAW:
                last = now
                handle.update(drawn(done))

        try:
            yield advance
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
