"""The server as a process: its port, its signals, and its exit codes."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
import httpx
from documents import block, text_of
from served import sample

import emotiwave as ew
from emotiwave_core.cli import exit_code_of
from emotiwave_core.errors import PackageNotHere
from emotiwave_core.serve import check_packages

PATIENCE = 300.0


class Running:
    """`emotiwave serve` at a free port."""

    def __init__(self, run: Path, *flags: str, code: str = "pass") -> None:
        before = (
            f"import os, sys; print(os.getpid(), file=sys.stderr); {code}; from emotiwave_core.cli import main; main()"
        )
        command = [sys.executable, "-c", before, "serve", str(run), "--port", "0", "--device", "cpu", *flags]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.pid = int(self.process.stderr.readline())  # a launcher may stand before it
        self.said = [self.process.stderr.readline()]
        found = re.search(r"http://[\d.]+:(\d+)/", self.said[0])
        assert found, self.said
        self.port = int(found[1])
        self.address = found[0]
        threading.Thread(target=self._read, args=(self.process.stderr,), daemon=True).start()
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.address}health").status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError("the server does not answer")

    def _read(self, stream: IO[str]) -> None:
        self.said += list(stream)

    def stop(self, number: int) -> int:
        """Its exit code after a signal."""
        os.kill(self.pid, number)
        return self.process.wait(PATIENCE)


@contextlib.contextmanager
def running(run: ew.Run, *flags: str, code: str = "pass") -> Iterator[Running]:
    """A server as a process, which is killed at the end."""
    server = Running(run.folder, *flags, code=code)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()


SLOWLY = (  # each prediction but the first, which loads the model, takes a second
    "import time, emotiwave_core.predict.predictor as p; f = p.Predictor.predict_arrays; seen = []; "
    "p.Predictor.predict_arrays = lambda *a: (seen.append(1), len(seen) > 1 and time.sleep(1), f(*a))[2]"
)


@pytest.mark.usefixtures("warm_children")
def test_sigterm_answers_what_was_accepted(run: ew.Run) -> None:
    """After SIGTERM what was accepted is answered, something new is refused, and the exit code is 143."""
    with running(run, code=SLOWLY) as server:
        answers: list[int] = []

        def ask() -> None:
            answers.append(httpx.post(f"{server.address}predict", json=sample(), timeout=PATIENCE).status_code)

        first = threading.Thread(target=ask)
        first.start()
        deadline = time.monotonic() + PATIENCE
        while "emotiwave_waiting_samples 1.0" not in httpx.get(f"{server.address}metrics").text:
            assert time.monotonic() < deadline
        os.kill(server.pid, signal.SIGTERM)
        refused = 0
        with contextlib.suppress(httpx.TransportError):  # it may have ended already
            while refused != 503 and time.monotonic() < deadline:
                refused = httpx.get(f"{server.address}model").status_code
        first.join(PATIENCE)
        assert answers == [200]
        assert refused == 503
        assert server.process.wait(PATIENCE) == 143
        assert server.said[1:] == ["Terminated.\n"]


@pytest.mark.usefixtures("warm_children")
@pytest.mark.slow
def test_ctrl_c_ends_it_and_a_taken_port_is_told(run: ew.Run) -> None:
    """Ctrl-C is exit code 130 and one word; a port that is taken is exit code 5 and a sentence."""
    with running(run) as server:
        command = [sys.executable, "-m", "emotiwave_core.cli", "serve", str(run.folder), "--port", str(server.port)]
        other = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE)
        assert (other.returncode, other.stdout) == (5, "")
        assert other.stderr.startswith(
            f"Error: Port {server.port} of 127.0.0.1 cannot be taken (Address already in use)"
        )
        assert server.stop(signal.SIGINT) == 130
        assert server.said[-1] == "Stopped.\n"


@pytest.mark.usefixtures("warm_children")
@pytest.mark.slow
def test_a_second_signal_ends_it_at_once(run: ew.Run) -> None:
    """A server that waits for an answer is ended by one more signal."""
    with running(run, code=SLOWLY.replace("time.sleep(1)", "time.sleep(600)")) as server:
        threading.Thread(target=_ignored, args=(f"{server.address}predict",), daemon=True).start()
        while "emotiwave_waiting_samples 1.0" not in httpx.get(f"{server.address}metrics").text:
            time.sleep(0.05)
        os.kill(server.pid, signal.SIGTERM)
        time.sleep(0.5)
        assert server.process.poll() is None
        assert server.stop(signal.SIGTERM) == 143


def _ignored(address: str) -> None:
    with contextlib.suppress(httpx.TransportError):
        httpx.post(address, json=sample(), timeout=PATIENCE)


@pytest.mark.usefixtures("warm_children")
@pytest.mark.slow
def test_a_real_socket_keeps_the_limits(run: ew.Run) -> None:
    """Over TCP a body that lies about its length or never ends is cut off, and the server goes on."""
    with running(run) as server:
        address = ("127.0.0.1", server.port)
        head = b"POST /predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        with socket.create_connection(address, PATIENCE) as endless:
            endless.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
            piece = b"10000\r\n" + b"1" * 65536 + b"\r\n"
            with contextlib.suppress(OSError):
                for _ in range(400):
                    endless.sendall(piece)
            with contextlib.suppress(OSError):
                assert b" 413 " in endless.recv(4096)
        with socket.create_connection(address, PATIENCE) as short:
            short.sendall(head + b"Content-Length: 100\r\n\r\n{}")
        with socket.create_connection(address, PATIENCE) as junk:
            junk.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
            assert b"400" in junk.recv(4096)
        assert httpx.post(f"{server.address}predict", json=sample()).status_code == 200
        assert server.stop(signal.SIGTERM) == 143
        assert server.said[1:] == ["Terminated.\n"]


def test_what_cannot_be_served_is_told(run: ew.Run, capsys: pytest.CaptureFixture[str]) -> None:
    """A host without a token and a folder without a model are one sentence each, and their exit codes."""
    assert exit_code_of(["serve", str(run.folder), "--host", "0.0.0.0"]) == 2
    assert "so they need a token: set EMOTIWAVE_TOKEN or --token" in capsys.readouterr().err
    assert exit_code_of(["serve", str(run.folder.parent)]) == 3
    assert "holds no trained model" in capsys.readouterr().err
    assert exit_code_of(["serve", str(run.folder), "--host", "no.such.host.invalid", "--token", "x" * 20]) == 2
    assert "There is no host" in capsys.readouterr().err


def test_without_the_extra_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the packages are not installed, one sentence has the line that installs them."""
    monkeypatch.setattr("emotiwave_core.serve.PACKAGES", ("fastapi", "no_such_package"))
    with pytest.raises(PackageNotHere, match=re.escape('no_such_package, which is not installed: pip install "emo')):
        check_packages()


@pytest.mark.usefixtures("warm_children")
@pytest.mark.slow
def test_the_client_of_the_guide_runs(run: ew.Run, capsys: pytest.CaptureFixture[str]) -> None:
    """The client of docs/serve.md runs as it stands, at another port."""
    client = block(text_of("docs/serve.md"), "import httpx")
    with running(run) as server:
        exec(client.replace("http://127.0.0.1:8000", server.address), {})
    assert "['text', 'visual']" in capsys.readouterr().out
