"""`emotiwave run` under torchrun: several processes with one voice."""

import contextlib
import os
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from emotiwave_core.errors import PassedOver

if TYPE_CHECKING:  # torch takes seconds to import, and is not needed to read a command line
    import torch

    from emotiwave_core.engine.parallel import World

T = TypeVar("T")
GRACE = 1.0  # seconds in which rank 0 can say what all know, and leave with its exit code


@attrs.frozen
class Processes:
    """What `joined` gives: by itself, a process that nobody else is with."""

    world: "World | None" = None
    device: "torch.device | None" = None

    @property
    def speaks(self) -> bool:
        """Whether this is the one that is heard."""
        return self.world is None or self.world.rank == 0

    def first(self, work: Callable[[], T]) -> T:
        """What the first process makes of it, for all."""
        return work() if self.world is None else self.world.first(work)


@contextlib.contextmanager
def joined(device: str) -> Iterator[Processes]:
    """The processes that torchrun has started, as one: rank 0 speaks, and of a failure one of those that know of it."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys():
        yield Processes()
        return
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # DDP warns of every model that uses all its parameters
    from emotiwave_core.engine import parallel
    from emotiwave_core.engine.device import find_device

    warnings.filterwarnings("ignore", "Grad strides do not match")  # nor of how a convolution lays out its gradient
    if os.environ["RANK"] != "0":
        warnings.simplefilter("ignore", PassedOver)
    store = parallel.meet()
    try:
        chosen = find_device(device, int(os.environ.get("LOCAL_RANK", 0)))
        world = parallel.join(store, chosen)
        yield Processes(world, chosen)
        parallel.leave(world)
    except Exception as error:
        lost = parallel.is_lost(error)
        if not _may_speak(store, lost):
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


def restarts() -> int:
    """How often torchrun has started these processes again."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))


def advice() -> str | None:
    """A setting without which torchrun may hang as it starts the processes again."""
    wanted = int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", 0)) > 0
    if not wanted or os.environ.get("TORCH_DISABLE_SHARE_RDZV_TCP_STORE") == "1":
        return None
    return "Note: set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1, or torchrun may hang when it restarts a lost process."


def _may_speak(store: Any, lost: bool) -> bool:
    """Whether nobody has spoken of this failure. `lost` is that of a process that has only lost another."""
    from emotiwave_core.engine import parallel

    if os.environ["RANK"] != "0":
        time.sleep(GRACE)
    try:
        return parallel.speaks_first(store)
    except parallel.LostError:
        return not lost


def _hush() -> None:
    """Lead stderr nowhere: another process says it, and the exit code is still this one's."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
