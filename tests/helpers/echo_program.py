"""A program of a few words, for tests of executors: it says, fails, dies, waits or answers lines, as it is told."""

import os
import signal
import sys
import time
from pathlib import Path


def act(words: list[str]) -> None:
    """say FILE TEXT · fail SENTENCE · die FILE (once, if FILE is not there) · wait FILE (until SIGTERM; once)."""
    if words[0] == "say":
        Path(words[1]).write_text(" ".join([*words[2:], Path(words[-1]).read_text() if words[-1][0] == "/" else ""]))
    elif words[0] == "fail":
        sys.exit(f"something\nError: {words[1]}")
    elif words[0] == "die":
        if not Path(words[1]).exists():
            Path(words[1]).touch()
            os.kill(os.getpid(), signal.SIGKILL)
    elif words[0] == "wait" and not Path(words[1]).exists():
        signal.signal(signal.SIGTERM, lambda *_: (Path(words[1]).write_text("kept"), sys.exit(143)))
        Path(words[1]).write_text("begun")
        while True:
            time.sleep(0.05)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        act(sys.argv[1:])
    else:
        for line in sys.stdin:
            if line == "die\n":
                os.kill(os.getpid(), signal.SIGKILL)
            print(f"{os.getpid()} {line}", end="", flush=True)
