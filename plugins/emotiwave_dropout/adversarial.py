"""The dropout policy `adversarial`: the configurations that are worst now are trained most."""

from collections.abc import Callable

import torch
from torch import Tensor

from emotiwave_core.config.options import fraction
from emotiwave_core.errors import SettingsError
from emotiwave_core.hookspecs import hookimpl
from emotiwave_core.interfaces import DropoutPolicy, Tensors
from emotiwave_core.layers.masking import MOST_MODALITIES, count_subsets, draw_subset, keep, present_in, subset_numbers


class Adversarial(DropoutPolicy):
    """Samples configurations by their loss, in the manner of group DRO (Sagawa et al. 2020), a group a configuration.

    A sample keeps the configuration c, of the n that it can keep, with the probability
    (1 - floor) exp(L_c / temperature) / sum of exp(L / temperature) + floor / n. The first part is the q that maximises
    sum of q_c L_c + temperature × entropy(q). (Group DRO multiplies its q by exp(step size × loss) in each step, and so
    never forgets a loss; and it weighs the losses by q where this samples by it.) The second part is the exploration
    of Exp3 (Auer et al. 2002).

    L_c is the running mean of the losses of the batches in which c was trained, corrected for its start as Adam's is:
    L_c = S_c / W_c, where each such batch makes S_c <- momentum × S_c + (1 - momentum) × mean loss and W_c <- momentum
    × W_c + (1 - momentum). A configuration that was never trained counts as the worst of the others, so that it comes
    soon. Before the first batch all are equally likely.

    temperature: above 0, in the unit of the loss: a loss that is higher by this much comes e times as often. momentum:
    at least 0 and below 1; the mean is over about 1 / (1 - momentum) batches. floor: the part of the samples, at least
    0 and below 1, that draw evenly. At most 10 modalities.
    """

    sums: Tensor  # [1024] S by the number of the configuration
    weights: Tensor  # [1024] W

    def __init__(self, *, temperature: float = 0.1, momentum: float = 0.99, floor: float = 0.2) -> None:
        super().__init__()
        if not temperature > 0.0:
            raise SettingsError(f"The option temperature of adversarial must be above 0, not {temperature}.")
        fraction("adversarial", momentum=momentum, floor=floor)
        self.temperature, self.momentum, self.floor = temperature, momentum, floor
        for name in ("sums", "weights"):  # of a fixed size, so that a new one loads them before it knows the modalities
            self.register_buffer(name, torch.zeros(count_subsets(MOST_MODALITIES)))

    def forward(self, masks: Tensors, progress: Tensor) -> Tensors:
        """masks {modality: [B, T] bool}, progress [] -> masks."""
        if not self.training:
            return masks
        present = present_in(masks)
        evenly = torch.rand(len(present), 1, device=present.device) < self.floor
        return keep(masks, draw_subset(present, torch.where(evenly, 0.0, self._scores(len(masks)))))

    def _scores(self, modalities: int) -> Tensor:
        """L / temperature of each of the 2^M subsets, up to a constant: 0 for the worst."""
        sums, weights = (buffer[: count_subsets(modalities)] for buffer in (self.sums, self.weights))
        trained = weights > 0.0
        mean = torch.where(trained, sums / weights, -torch.inf)
        worst = mean[1:].max()  # the empty subset, number 0, is not a configuration
        return torch.where(trained, (mean - worst) / self.temperature, 0.0)

    def observe(self, present: Tensor, loss: Tensor) -> None:
        """present [B, M] bool, loss [B] of each sample: the running means of the configurations in it move."""
        size = count_subsets(present.shape[1])
        member = subset_numbers(present)[:, None] == torch.arange(size, device=present.device)  # [B, 2^M]
        count = member.sum(0)
        mean = torch.where(member, loss.detach()[:, None], 0.0).sum(0) / count.clamp(min=1)
        for buffer, new in ((self.sums, mean), (self.weights, 1.0)):
            moved = self.momentum * buffer[:size] + (1.0 - self.momentum) * new
            buffer[:size] = torch.where(count > 0, moved, buffer[:size])


@hookimpl
def register_dropout_policies(register: Callable[[str, type[DropoutPolicy]], None]) -> None:
    """Offer `adversarial`."""
    register("adversarial", Adversarial)
