"""A program that ends where its parent is no more: `python -m emotiwave_core.execute.child MODULE WORDS…`.

Its stdin is a pipe of the parent, which says nothing: where it ends, however the parent died, so does the program, by
SIGTERM, at which a training keeps its step, and soon by SIGKILL. So no run goes on unseen while another worker takes
it up.
"""

import os
import runpy
import signal
import sys
import threading
import time

GRACE = 2.0  # seconds; a worker that takes its job up needs more to start


def _watch(pipe: int) -> None:
    while os.read(pipe, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Run the module with its words."""
    pipe = os.dup(0)  # what the program itself reads is empty
    with open(os.devnull) as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)
    threading.Thread(target=_watch, args=(pipe,), daemon=True).start()
    sys.argv = sys.argv[1:]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
