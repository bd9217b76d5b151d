"""The decoder of media files: a process of its own that `decode_child` is, asked and waited for."""

import contextlib
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emotiwave_core.errors import DataError, PackageNotHere
from emotiwave_core.interfaces import Frame

SECONDS = 120.0  # without a word of the decoder
MOST_HEADER = 1 << 16  # bytes
READ = 1 << 20  # bytes at a time


class Decoder:
    """Decodes files in child processes, one for each pass that goes on at the same time; they are kept and used again.

    DataError for a file that cannot be used, in one sentence; PackageNotHere where PyAV is not installed.
    """

    def __init__(self) -> None:
        if importlib.util.find_spec("av") is None:
            raise PackageNotHere(
                'Recordings are decoded by PyAV, which is not installed: pip install "emotiwave[media]"'
            )
        self._idle: list[_Child] = []

    def facts(self, path: Path) -> dict[str, Any]:
        """The facts that a file tells of itself."""
        ((header, _),) = self._ask(path, {"ask": "facts"}, [])  # to its end, so that the process can be asked again
        return dict(header["facts"])

    def sound(self, path: Path, rate: int, problems: list[str]) -> Iterator[NDArray[np.float32]]:
        """Blocks of one second; see `decode_child.sound_blocks`. `problems` grow with what is wrong."""
        for _, content in self._ask(path, {"ask": "sound", "rate": rate}, problems):
            yield np.frombuffer(content, np.float32)

    def frames(self, path: Path, rate: float, problems: list[str]) -> Iterator[Frame]:
        """Pictures `rate` times a second; see `decode_child.pictures`."""
        for header, content in self._ask(path, {"ask": "pictures", "rate": rate}, problems):
            picture = np.frombuffer(content, np.uint8).reshape(header["shape"])
            yield Frame(float(header["start"]), float(header["end"]), picture)

    def _ask(
        self, path: Path, request: dict[str, Any], problems: list[str]
    ) -> Iterator[tuple[dict[str, Any], bytes | bytearray]]:
        if not path.is_file():
            raise DataError(f"{path}: there is no such file.")
        child = self._idle.pop() if self._idle else _Child()
        is_done = False
        try:
            child.write({**request, "path": str(path.absolute())})
            while True:
                header, content = child.read(path)
                if refusal := header.get("refused"):
                    is_done = True
                    raise DataError(f"{path} {refusal}.")
                if header.get("done"):
                    is_done = True
                    problems += header["problems"]
                    return
                yield header, content
        finally:
            self._idle.append(child) if is_done else child.end()

    def close(self) -> None:
        """End the processes that wait."""
        while self._idle:
            self._idle.pop().end()

    def __enter__(self) -> "Decoder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Child:
    """One process that decodes."""

    def __init__(self) -> None:
        command = [sys.executable, "-P", "-m", "emotiwave_core.extract.decode_child"]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is the parent's to answer, and its forks end with it
        )
        self._held = bytearray()

    def write(self, request: dict[str, Any]) -> None:
        """Send a request."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the answer will be that it has ended
            self.process.stdin.write(json.dumps(request).encode() + b"\n")

    def read(self, path: Path) -> tuple[dict[str, Any], bytes]:
        """The next message. DataError where the process has died of the file, or says nothing for too long."""
        while (end := self._held.find(b"\n")) < 0:
            self._more(path)
            if len(self._held) > MOST_HEADER and b"\n" not in self._held[:MOST_HEADER]:
                raise DataError(f"{path} cannot be decoded: the decoder's answer makes no sense.")
        header = json.loads(bytes(self._held[:end]))
        size = int(header["bytes"])
        del self._held[: end + 1]
        while len(self._held) < size:
            self._more(path)
        content = bytes(self._held[:size])
        del self._held[:size]
        return header, content

    def _more(self, path: Path) -> None:
        stdout = self.process.stdout
        assert stdout is not None
        if not select.select([stdout], [], [], SECONDS)[0]:
            raise DataError(f"{path} cannot be decoded: its decoder has said nothing for {SECONDS:.0f} s.")
        read = os.read(stdout.fileno(), READ)
        if not read:
            code = self.process.wait()
            reason = f"exit code {code}"
            if code > 128:
                with contextlib.suppress(ValueError):
                    reason = signal.Signals(code - 128).name
            raise DataError(f"{path} cannot be decoded: its decoder has crashed ({reason}), so the file is damaged.")
        self._held += read

    def end(self) -> None:
        """End the process and its forks."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
