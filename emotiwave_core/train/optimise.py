"""The learning rate of a step, and the moving average of the weights."""

import math

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from emotiwave_core.config.recipe import TrainingSettings
from emotiwave_core.layers.parameters import TrainedHow, trained_how
from emotiwave_core.model.fusion_model import FusionModel

WARM_UP, START, END = 0.3, 1 / 25, 1 / 25 / 1e4  # of torch.optim.lr_scheduler.OneCycleLR


def learning_rate(settings: TrainingSettings, step: int, steps: int) -> float:
    """The learning rate of a step, 0 … steps - 1 of the whole training.

    "one-cycle" (Smith and Topin 2018) rises from 1/25 of it to all of it in the first 30 % of the steps and falls to
    next to nothing, both along half a cosine. It depends on the number of the step alone, so that a run can be resumed.
    """
    if settings.schedule == "constant":
        return settings.learning_rate
    top = WARM_UP * steps - 1
    if step <= top:
        return settings.learning_rate * _anneal(START, 1.0, step / top)
    return settings.learning_rate * _anneal(1.0, END, (step - top) / (steps - 1 - top))


def _anneal(start: float, end: float, way: float) -> float:
    """From start to end along half a cosine."""
    return end + (start - end) / 2 * (1 + math.cos(math.pi * way))


def make_optimiser(model: FusionModel, settings: TrainingSettings) -> torch.optim.AdamW:
    """AdamW (Loshchilov and Hutter 2019) over the parameters of a model, fused where their types allow it.

    Its groups are those of `training.decayed` and of the parts (`LearnedPart.parameter_groups`), each with the `factor`
    of its learning rate. What a part freezes is in none, and gets no gradient. PluginError for a part's wrong groups.
    """
    model.check_parameter_groups()
    groups: dict[TrainedHow, list[nn.Parameter]] = {}
    for parameter, how in trained_how(model, settings.decayed == "all").items():
        if how.learning_rate:
            groups.setdefault(how, []).append(parameter)
        else:
            parameter.requires_grad_(False)
    return torch.optim.AdamW(
        [
            {"params": parameters, "weight_decay": settings.weight_decay * how.decays, "factor": how.learning_rate}
            for how, parameters in groups.items()
        ],
        lr=settings.learning_rate,
        fused=all(weight.is_floating_point() for weight in model.parameters()),  # it takes no complex ones
    )


def set_learning_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    """Give every group of parameters its learning rate: a factor of `rate`."""
    for group in optimiser.param_groups:
        group["lr"] = rate * group["factor"]


def moving_average(model: FusionModel, decay: float) -> AveragedModel:
    """A copy whose weights follow those of the model: average ← decay · average + (1 - decay) · weights."""
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
    for part in average.modules():
        if isinstance(part, nn.RNNBase):
            part.flatten_parameters()  # copied one by one, which cuDNN would mend at every call
    return average
