"""The dropout policy `mixed`: each sample goes to one of several policies."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from emotiwave_core.errors import SettingsError
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import DropoutPolicy, Tensors
from emotiwave_dropout.frames import Frames
from emotiwave_dropout.uniform import Uniform


class Mixed(DropoutPolicy):
    """A fixed mixture of policies: what a sample loses is drawn by one of them, chosen at random for each sample.

    policies: the policies, `uniform` and `frames` if none are given. weights: how often each is chosen, relative to the
    others and in their order; all alike if none are given. Every policy observes all samples.
    """

    def __init__(self, *, policies: list[DropoutPolicy] | None = None, weights: list[float] | None = None) -> None:
        super().__init__()
        if policies is None:
            policies = [Uniform(), Frames()]
        if not policies:
            raise SettingsError("The option policies of mixed needs one policy at least.")
        if weights is None:
            weights = [1.0] * len(policies)
        if len(weights) != len(policies):
            raise SettingsError(
                f"The option weights of mixed needs a weight for each of {len(policies)} policies, not {len(weights)}."
            )
        if not all(0.0 <= weight < math.inf for weight in weights) or not any(weights):
            raise SettingsError(f"The option weights of mixed takes weights from 0 upwards, not all 0, not {weights}.")
        self.policies = nn.ModuleList(policies)
        self.weights = [weight / max(weights) for weight in weights]

    def forward(self, masks: Tensors, progress: Tensor) -> Tensors:
        """masks {modality: [B, T] bool}, progress [] -> masks."""
        if not self.training:
            return masks
        first = next(iter(masks.values()))
        weights = torch.tensor(self.weights, device=first.device)
        chosen = torch.multinomial(weights.expand(len(first), -1), 1)  # [B, 1]
        after = masks
        for number, policy in enumerate(self.policies):
            dropped = policy(masks, progress)
            after = {name: torch.where(chosen == number, dropped[name], mask) for name, mask in after.items()}
        return after

    def observe(self, present: Tensor, loss: Tensor) -> None:
        """present [B, M] bool, loss [B] of each sample: passed on to every policy."""
        for policy in self.policies:
            assert isinstance(policy, DropoutPolicy)
            policy.observe(present, loss)


@hookimpl
def register_dropout_policies(register: Callable[[str, type[DropoutPolicy]], None]) -> None:
    """Offer `mixed`."""
    register("mixed", Mixed)
