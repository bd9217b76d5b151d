"""Processes that torchrun has started: they join into a group, and one of them speaks."""

import contextlib
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from emotiwave_core.errors import PassedOver, SettingsError

if TYPE_CHECKING:  # torch takes seconds to import, and is not needed to read a command line
    import torch

    from emotiwave_core.compute.distributed import ProcessGroup

T = TypeVar("T")
GRACE = 1.0  # seconds in which rank 0 can say what all know, and leave with its exit code


@attrs.frozen
class Processes:
    """The processes that train one model together; by itself, a process that nobody else is with."""

    group: "ProcessGroup | None" = None
    device: "torch.device | None" = None  # of this process
    job: str | None = None  # the same when torchrun starts it again

    @property
    def speaks(self) -> bool:
        """True of the one that writes to stdout and stderr."""
        return self.group is None or self.group.rank == 0

    def first(self, work: Callable[[], T]) -> T:
        """Let the first process do a piece of work, and give its result to all."""
        return work() if self.group is None else self.group.first(work)


ALONE = Processes()


@contextlib.contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the processes that torchrun has started, if it has: rank 0 speaks, and of a failure one that knows of it."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= os.environ.keys():
        yield ALONE
        return
    for name in ("RANK", "WORLD_SIZE", "MASTER_PORT"):
        if not os.environ[name].isdigit():
            raise SettingsError(f"{name} is '{os.environ[name]}' and not a number: unset it, or let torchrun set it.")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # DDP warns of every model that uses all its parameters
    from emotiwave_core.compute import distributed as parallel
    from emotiwave_core.compute.device import find_device

    warnings.filterwarnings("ignore", "Grad strides do not match")  # nor of how a convolution lays out its gradient
    if os.environ["RANK"] != "0":
        warnings.simplefilter("ignore", PassedOver)
    store = parallel.meet()
    try:
        own_device = find_device(device, int(os.environ.get("LOCAL_RANK", 0)))
        group = parallel.join(store, own_device)
        yield Processes(group, own_device, job())
        parallel.leave(group)
    except Exception as error:
        lost = parallel.is_lost(error)
        try:
            speaks = _may_speak(store, lost)
        except BaseException:  # torchrun stops this one while it waits: of a loss it can still be the one that speaks
            speaks = lost and _first_of(store)
        if not speaks:
            _hush()
        if not lost:
            raise
        raise parallel.LostError(
            "Another process of this run has gone; torchrun says which. Nothing is lost before the last whole epoch: "
            "torchrun --max-restarts starts all processes again, and --resume continues the run."
        ) from error
    except BaseException:  # Ctrl-C and SIGTERM come to all
        if os.environ["RANK"] != "0":
            _hush()
        raise


def job() -> str | None:
    """Name of this process's torchrun job: the same when torchrun starts it again. None without torchrun."""
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    return f"{socket.gethostname()} {os.getppid()}" if name == "none" else name  # "none": nobody has given one


def advice() -> str | None:
    """Sentence about a setting without which torchrun may hang as it restarts processes; None where it is set."""
    wanted = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0)) > 0
    if not wanted or os.environ.get("TORCH_DISABLE_SHARE_RDZV_TCP_STORE") == "1":
        return None
    return "Note: set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1, or torchrun may hang when it restarts a lost process."


def _may_speak(store: Any, lost: bool) -> bool:
    """True where nobody has spoken of this failure. `lost`: this process has only lost another."""
    if os.environ["RANK"] != "0":
        time.sleep(GRACE)
    return _first_of(store, unknown=os.environ["RANK"] == "0" and not lost)


def _first_of(store: Any, unknown: bool = False) -> bool:
    """True where no other process has spoken before; `unknown` where rank 0 held the store, and has gone."""
    from emotiwave_core.compute import distributed as parallel

    try:
        return parallel.speaks_first(store)
    except parallel.LostError:
        return unknown


def _hush() -> None:
    """Lead stderr nowhere: another process says it, and the exit code is still this one's."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
