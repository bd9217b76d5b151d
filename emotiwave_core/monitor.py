"""How long work is heard of: one object is passed down, and what it does with the words is the caller's affair."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext


class Monitor:
    """Says nothing and shows nothing. The command line has one that speaks (`emotiwave_core.cli.console`)."""

    def say(self, text: str) -> None:
        """A line that should be kept, such as the result of an epoch."""

    def progress(self, title: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        """Enter for a stretch of `total` steps; what it gives is to be called after each."""
        return nullcontext(lambda: None)


SILENT = Monitor()
