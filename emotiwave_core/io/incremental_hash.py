"""Hashing a file in a thread, close behind the work that reads or writes it."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from emotiwave_core.errors import DataError

BLOCK = 1 << 18  # bytes that are hashed at a time
WORTH_A_TURN = 1 << 22  # bytes


class IncrementalHash:
    """The SHA-256 of a file that is still being written, or read: another thread hashes as far as it is told.

    So the bytes are taken from the system's cache while they are there, not from the disk later. Use it as a context
    manager, which waits for the thread.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, path.open("rb", buffering=0)
        self._hash, self._block = hashlib.sha256(), bytearray(BLOCK)
        self._place = self._told = 0
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> "IncrementalHash":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)
        self._file.close()

    def reach(self, end: int) -> None:
        """Hash up to this byte, where that is worth a turn of the thread: nothing before it will change any more."""
        if end - self._told >= WORTH_A_TURN:
            self._told = end
            self._thread.submit(self._follow, end)  # what fails here fails again in `finish`

    def finish(self, size: int) -> str:
        """The SHA-256 of the file, of so many bytes, as hex. DataError where it has fewer."""
        self._thread.submit(self._follow, size).result()
        return self._hash.hexdigest()

    def _follow(self, end: int) -> None:
        with memoryview(self._block) as block:
            while self._place < end:
                count = self._file.readinto(block[: min(BLOCK, end - self._place)])
                if not count:
                    raise DataError(f"{self._path} has become shorter while it was read.")
                self._hash.update(block[:count])
                self._place += count
