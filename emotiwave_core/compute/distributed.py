"""Several processes that train one model: torchrun starts them, and each computes its share of every batch.

They meet in a store of torchrun's (`meet`), and are then ranks 0 … size - 1 of a ProcessGroup (`join`). What is
decided is decided by rank 0 and told to the others; what is large, rows of the model's output and gradients, goes
between all.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

import attrs
import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from emotiwave_core.errors import EmotiwaveError, ResourceError

if TYPE_CHECKING:  # a torch that is built without `distributed` still trains in one process
    from torch._C._distributed_c10d import Store

T = TypeVar("T")
LONG = timedelta(days=7)  # others wait so long for what rank 0 does alone: it may pack a large data set, or draw


class LostError(ResourceError):
    """Another process has gone, and this one cannot go on without it."""


@attrs.frozen(eq=False)
class ProcessGroup:
    """The processes that train together. `SINGLE` is a process by itself, to which none of this does anything."""

    rank: int = 0
    size: int = 1
    host: Any = None  # a group of gloo for what is small, on the CPU, and may take long

    def own(self, count: int, rank: int | None = None) -> slice:
        """The samples of a batch of `count` that are this process's: all shares are within one of the same size."""
        rank = self.rank if rank is None else rank
        return slice(count * rank // self.size, count * (rank + 1) // self.size)

    def computed(self, count: int) -> slice:
        """Its own share; where that is empty, one sample that counts for nothing, so that it takes part in the sum."""
        own = self.own(count)
        return own if own.stop > own.start else slice(0, 1)

    def gather(self, pieces: Sequence[Tensor], count: int) -> list[Tensor]:
        """Rows of `computed(count)`, each [b, …], to those of all processes, [count, …].

        The own rows keep their gradient, the others have none: the gradients of all processes sum to that of one.
        """
        mine = self.own(count).stop - self.own(count).start
        widths = [piece[0].numel() for piece in pieces]
        rows = [piece[:mine].reshape(mine, width) for piece, width in zip(pieces, widths, strict=True)]
        own = torch.cat(rows, dim=1)
        padded = nn.functional.pad(own.detach(), (0, 0, 0, -(-count // self.size) - mine))
        parts = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(parts, padded)
        shares = [self.own(count, rank) for rank in range(self.size)]
        taken = [part[: share.stop - share.start] for part, share in zip(parts, shares, strict=True)]
        taken[self.rank] = own
        whole = torch.split_with_sizes(torch.cat(taken), widths, dim=1)
        return [part.reshape(count, *piece.shape[1:]) for part, piece in zip(whole, pieces, strict=True)]

    def wrap(self, module: nn.Module) -> nn.Module:
        """The module with the mean of all processes' gradients in the place of its own. All must hold the same weights.

        A parameter that no process has used keeps no gradient, as in one process.
        """
        if self.size == 1:
            return module
        wrapped = nn.parallel.DistributedDataParallel(module, find_unused_parameters=True, init_sync=False)
        wrapped.broadcast_buffers = False  # those of a policy are on the CPU; `take_over` does it once an epoch
        return wrapped

    def first(self, work: Callable[[], T]) -> T:
        """Call `work` in rank 0 and give its result to every process; an error there is one everywhere."""
        if self.size == 1:
            return work()
        told: list[Any] = [None, None]
        if self.rank == 0:
            try:
                told[0] = work()
            except Exception as error:
                self._tell([None, error if isinstance(error, EmotiwaveError) else LostError("Rank 0 has failed.")])
                raise
        result, failure = self._tell(told)
        if failure is not None:
            raise failure
        return cast(T, result)

    def in_turn(self, work: Callable[[], T]) -> T:
        """Call `work` in every process, in rank 0 before the others: it makes what they then find."""
        done: list[T] = []
        self.first(lambda: done.append(work()))
        return done[0] if done else work()

    def everyone(self, value: T) -> list[T]:
        """The values of all processes, in the order of the ranks."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.host)
        return values

    def take_over(self, *modules: nn.Module | None) -> None:
        """Rank 0's weights and buffers, in every process."""
        for module in modules:
            if module is not None and self.size > 1:
                module.load_state_dict(self.first(lambda module=module: _on_cpu(module.state_dict())))  # type: ignore[misc]

    def check_same(self, tensors: Iterable[Tensor], when: str) -> None:
        """ResourceError where these are not the same to the last bit in all processes."""
        if self.size == 1:
            return
        digests = self.everyone(_digest(tensors))
        others = [str(rank) for rank, digest in enumerate(digests) if digest != digests[0]]
        if others:
            raise ResourceError(
                f"{when} the weights of rank {', '.join(others)} are not those of rank 0: a device computes wrongly, "
                "or a plugin changes weights beside the optimiser. Resume from the last whole epoch, or in one process."
            )

    def noise(self, seed: int, epoch: int, device: torch.device) -> Callable[[], AbstractContextManager[None]]:
        """Something to enter where parts draw: a generator of this process's own, or else all would draw the same.

        The policy goes on drawing from the other one, what a single process draws. In a single process it is one.
        """
        if self.size == 1:
            return nullcontext
        number = int(np.random.SeedSequence([seed, epoch, 3, self.rank]).generate_state(1)[0])
        if device.type == "cuda":
            torch.cuda.manual_seed(number)  # there only parts draw
        state = torch.Generator().manual_seed(number).get_state()

        @contextmanager
        def own() -> Iterator[None]:
            nonlocal state
            before = torch.get_rng_state()
            torch.set_rng_state(state)
            try:
                yield
            finally:
                state = torch.get_rng_state()
                torch.set_rng_state(before)

        return own

    def _tell(self, told: list[Any]) -> list[Any]:
        dist.broadcast_object_list(told, src=0, group=self.host)
        return told


SINGLE = ProcessGroup()


def meet() -> "Store":
    """The store in which the processes of this run find each other, from the environment that torchrun sets."""
    from torch.distributed.rendezvous import rendezvous

    store, _, _ = next(rendezvous("env://"))
    return cast("Store", store)


def join(store: "Store", device: torch.device) -> ProcessGroup:
    """This process among those of the run: NCCL between GPUs, gloo between CPUs."""
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if size == 1:
        return SINGLE
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", store=store, rank=rank, world_size=size)
    return ProcessGroup(rank, size, dist.new_group(backend="gloo", timeout=LONG))


def leave(group: ProcessGroup) -> None:
    """The end of what the processes do together."""
    if group.size > 1:
        dist.destroy_process_group()


def is_lost(error: BaseException) -> bool:
    """True for an error that is another process's end: gloo and NCCL say it in words of their own."""
    if isinstance(error, LostError | dist.DistError):
        return True
    return isinstance(error, RuntimeError) and "gloo" in str(error).lower()


def speaks_first(store: "Store") -> bool:
    """True where no other process has told of a failure before this one. LostError where that cannot be known."""
    try:
        return int(store.add("emotiwave/failed", 1)) == 1
    except RuntimeError as error:
        raise LostError("The process that held the store has gone.") from error


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu() for name, tensor in tensors.items()}


def _digest(tensors: Iterable[Tensor]) -> str:
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
