"""Locks between processes, by files that only the system releases: that of a killed process is gone with it.

And folders that are held by such a lock: whoever writes into one notices that it is no longer the one that was taken.
"""

import contextlib
import errno
import os
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from emotiwave_core.errors import Notice, ResourceError
from emotiwave_core.monitor import SILENT, Monitor

WITHOUT_LOCKS = {errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOLCK, errno.EINVAL}  # some NFS and FUSE
PATIENCE = 2.0  # seconds of waiting, after which it is said
LONGEST = 6 * 3600.0  # seconds that another process may take for what it alone is to do
POLL = 0.05  # seconds

_HELD: dict[Path, tuple[int, str]] = {}  # of each folder that this process holds: its open lock file, and that name


class BusyError(Exception):
    """Another process holds the lock."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of this file. BusyError where another process does; a warning where there are no locks."""
    lock = FileLock(path, timeout=0, fallback_to_soft=False)  # a soft lock is the file itself, which a kill leaves
    try:
        lock.acquire()
    except Timeout as error:
        raise BusyError(f"{path} is locked by another process.") from error
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        warnings.warn(
            f"The file system of {path.parent} has no locks ({error.strerror}): nothing keeps two processes from "
            "writing there at the same time; start one at a time.",
            Notice,
            stacklevel=3,
        )
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def waiting_for(path: Path, what: str, monitor: Monitor = SILENT) -> Iterator[None]:
    """Hold the lock of this file as soon as no other process does; `what` that one does is said where it takes long.

    ResourceError where it does not end within hours.
    """
    began, told = time.monotonic(), False
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(locked(path))
                break
            except BusyError as error:
                waited = time.monotonic() - began
                if waited > LONGEST:
                    raise ResourceError(
                        f"Another process {what} ({path} is locked) and has not ended for {LONGEST / 3600:.0f} hours: "
                        "stop it, or set EMOTIWAVE_CACHE to another folder."
                    ) from error
            if not told and waited > PATIENCE:
                told = True
                monitor.say(f"Waiting for another process, which {what} ({path} is locked).")
            time.sleep(POLL)
        yield


@contextlib.contextmanager
def holding(folder: Path, lock: str) -> Iterator[None]:
    """Hold a folder by the lock of a file in it: what is written into it meanwhile goes through `check_held`."""
    place, key = folder / lock, folder.absolute()
    with locked(place):
        number = os.open(place, os.O_RDONLY | os.O_CREAT, 0o644)  # open, so that no other file gets its inode
        _HELD[key] = (number, lock)
        try:
            yield
        finally:
            del _HELD[key]
            os.close(number)


def check_held(path: Path) -> None:
    """ResourceError where a path lies in a folder that this process holds no longer: it was removed, or moved away."""
    if not _HELD:
        return
    path = path.absolute()
    for folder in (path, *path.parents):
        if folder in _HELD and not _is_same(_HELD[folder][0], folder / _HELD[folder][1]):
            raise ResourceError(
                f"{folder} is no longer the folder of this run: while it was at work the folder was removed or another "
                "was put in its place. Nothing is written into it; start the run again with another --out."
            )


def _is_same(number: int, path: Path) -> bool:
    """True where the name still belongs to the open file."""
    try:
        return os.path.samestat(os.fstat(number), path.stat())
    except OSError:
        return False
