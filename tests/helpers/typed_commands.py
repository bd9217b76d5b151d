"""Commands as a person types them, in this process: what they left on stdout and stderr, and their exit code."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from emotiwave_core.cli import exit_code_of


class Answer(NamedTuple):
    """What a command left."""

    code: int
    out: str
    err: str


Cli = Callable[..., Answer]


def typed_commands(capfd: pytest.CaptureFixture[str], *first: str) -> Cli:
    """A function that runs `emotiwave` with the words `first` and those that it is given."""

    def call(*arguments: str | Path) -> Answer:
        code = exit_code_of([*first, *map(str, arguments)])
        return Answer(code, *capfd.readouterr())

    return call
