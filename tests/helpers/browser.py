"""A real Chromium without a window, driven over a pipe with the standard library alone.

`--remote-debugging-pipe`: commands go to its file descriptor 3 and come from 4, JSON with a NUL after each.
"""

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run", "--no-default-browser-check",
    "--disable-extensions", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--mute-audio", "--hide-scrollbars", "--force-color-profile=srgb",
)  # fmt: skip
KEYS = {"Tab": (9, ""), "Enter": (13, "\r"), " ": (32, " "), "ArrowDown": (40, "")}


class Browser:
    """One page in one browser. `problems` holds what the page did wrong, `requests` every address it asked for."""

    def __init__(self, inbound: int, outbound: int, patience: float = 300.0) -> None:
        self.inbound, self.outbound, self.patience = inbound, outbound, patience
        self.buffer, self.last, self.session = b"", 0, ""
        self.events: list[dict[str, Any]] = []
        self.problems: list[str] = []
        self.requests: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **params: Any) -> Any:
        """One command and its result; AssertionError for what the browser refuses."""
        self.last += 1
        message = {"id": self.last, "method": method, "params": params} | (
            {"sessionId": self.session} if self.session else {}
        )
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.outbound, data) :]
        wanted, deadline = self.last, time.monotonic() + self.patience
        while True:
            answer = self._next(deadline)
            if answer.get("id") == wanted:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._note(answer)

    def open(self, address: str) -> None:
        """Go to an address and wait until it is loaded; forget what earlier pages did."""
        self.events.clear()
        self.problems.clear()
        self.requests.clear()
        self.send("Page.navigate", url="about:blank")  # a change of the fragment alone would load nothing
        self._wait("Page.loadEventFired")
        self.events.clear()
        self.requests.clear()
        self.send("Page.navigate", url=address)
        self._wait("Page.loadEventFired")

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def click(self, selector: str) -> None:
        """Press and release the mouse in the middle of an element."""
        place = f"(e => {{ e.scrollIntoView({{block: 'center'}}); const r = e.getBoundingClientRect(); \
            return [r.x + r.width / 2, r.y + r.height / 2]; }})(document.querySelector({json.dumps(selector)}))"
        x, y = self.run(place)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press and release a key where the focus is."""
        code, text = KEYS[key]
        about = {"key": key, "code": "Space" if key == " " else key, "windowsVirtualKeyCode": code}
        self.send("Input.dispatchKeyEvent", type="keyDown" if text else "rawKeyDown", text=text, **about)
        self.send("Input.dispatchKeyEvent", type="keyUp", **about)

    def type(self, text: str) -> None:
        """Type text where the focus is."""
        self.send("Input.insertText", text=text)

    def _wait(self, method: str) -> None:
        deadline = time.monotonic() + self.patience
        while not any(event["method"] == method for event in self.events):
            self._note(self._next(deadline))

    def _next(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.inbound], [], [], max(deadline - time.monotonic(), 0))
            assert ready, "the browser did not answer in time"
            more = os.read(self.inbound, 1 << 16)
            assert more, "the browser went away"
            self.buffer += more
        message, _, self.buffer = self.buffer.partition(b"\0")
        found: dict[str, Any] = json.loads(message)
        return found

    def _note(self, event: dict[str, Any]) -> None:
        self.events.append(event)
        method, params = event["method"], event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"]))
        elif method in ("Runtime.consoleAPICalled", "Log.entryAdded"):
            self.problems.append(json.dumps(params))
        elif method in ("Page.javascriptDialogOpening", "Target.targetCreated", "Page.windowOpen"):
            self.problems.append(method)


@contextlib.contextmanager
def chromium(patience: float = 300.0, flags: Sequence[str] = ()) -> Iterator[Browser]:
    """A browser with a profile of its own, killed with its children at the end. Without one, the test is skipped."""
    program = next((path for path in map(shutil.which, NAMES) if path), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is on the PATH")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        root = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        arguments = [program, *FLAGS, *flags, *root, f"--user-data-dir={profile}", "about:blank"]
        theirs_in, ours_out = os.pipe()
        ours_in, theirs_out = os.pipe()
        # 3 and 4 may be taken by these very pipes: moved out of the way before they are put there.
        moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (theirs_in, theirs_out)]
        actions = [
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, moved[0], 3),
            (os.POSIX_SPAWN_DUP2, moved[1], 4),
        ]
        child = os.posix_spawn(program, arguments, os.environ | {"HOME": profile}, file_actions=actions, setpgroup=0)
        for end in (theirs_in, theirs_out, *moved):
            os.close(end)
        try:
            yield Browser(ours_in, ours_out, patience)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(ours_in)
            os.close(ours_out)
