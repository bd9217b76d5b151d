"""The dropout policy `scheduled`: another policy, ramped up over training."""

from collections.abc import Callable

import torch
from torch import Tensor

from emotiwave_core.errors import SettingsError
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import DropoutPolicy, Tensors
from emotiwave_dropout.uniform import Uniform


class Scheduled(DropoutPolicy):
    """A curriculum (Bengio et al. 2009): complete samples first, and more and more of them with something lost.

    Each sample is handed to another policy with the probability (progress - start) / (end - start), kept within 0 and
    1, and else keeps all it has.

    policy: the other policy, `uniform` if none is given. start, end: the parts of training, 0 <= start < end <= 1, up
    to which no sample and from which every sample is handed over.
    """

    def __init__(self, *, policy: DropoutPolicy | None = None, start: float = 0.0, end: float = 0.5) -> None:
        super().__init__()
        if not 0.0 <= start < end <= 1.0:
            raise SettingsError(
                f"The options start and end of scheduled must be 0 <= start < end <= 1, not {start} and {end}."
            )
        self.policy = Uniform() if policy is None else policy
        self.start, self.end = start, end

    def forward(self, masks: Tensors, progress: Tensor) -> Tensors:
        """masks {modality: [B, T] bool}, progress [] -> masks."""
        if not self.training:
            return masks
        dropped = self.policy(masks, progress)
        first = next(iter(masks.values()))
        ramp = (progress - self.start) / (self.end - self.start)  # below 0 is never, above 1 always
        handed = torch.rand(len(first), 1, device=first.device) < ramp
        return {name: torch.where(handed, dropped[name], mask) for name, mask in masks.items()}

    def observe(self, present: Tensor, loss: Tensor) -> None:
        """present [B, M] bool, loss [B] of each sample: passed on to the other policy."""
        self.policy.observe(present, loss)


@hookimpl
def register_dropout_policies(register: Callable[[str, type[DropoutPolicy]], None]) -> None:
    """Offer `scheduled`."""
    register("scheduled", Scheduled)
