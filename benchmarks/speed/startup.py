"""Time until the commands answer, as whole processes."""

import subprocess
import sys
from collections.abc import Callable

from speed.table import Row, medians


def measure() -> list[Row]:
    """`emotiwave --help`, `plugins` and the help of a command, against bare imports."""
    cli = ("-m", "emotiwave_core.cli")
    found = medians(
        {
            "click": process("-c", "import click"),
            "torch": process("-c", "import torch"),
            "help": process(*cli, "--help"),
            "run": process(*cli, "run", "--help"),
            "again": process(*cli, "plugins", "--again"),
            "plugins": process(*cli, "plugins"),
        }
    )
    click, torch = ("import click", found["click"]), ("import torch", found["torch"])
    return [
        Row("start-up", "emotiwave --help", found["help"], "s", *click, "<= 1.5"),
        Row("start-up", "emotiwave run --help", found["run"], "s", *click),
        Row("start-up", "emotiwave plugins", found["plugins"], "s", *torch, "<= 1"),
        Row("start-up", "emotiwave plugins --again", found["again"], "s", *torch, note="every part loaded anew"),
    ]


def process(*arguments: str) -> Callable[[], object]:
    """A Python with these arguments, from start to end."""
    return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
