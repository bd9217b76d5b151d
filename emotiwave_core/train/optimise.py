"""The learning rate of a step, and the moving average of the weights."""

import math

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from emotiwave_core.config.recipe import TrainingSettings
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
    """AdamW (Loshchilov and Hutter 2019) over all parameters of a model, fused where their types allow it."""
    return torch.optim.AdamW(
        model.parameters(),
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=all(weight.is_floating_point() for weight in model.parameters()),  # it takes no complex ones
    )


def moving_average(model: FusionModel, decay: float) -> AveragedModel:
    """A copy whose weights follow those of the model: average ← decay · average + (1 - decay) · weights."""
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
    for part in average.modules():
        if isinstance(part, nn.RNNBase):
            part.flatten_parameters()  # copied one by one, which cuDNN would mend at every call
    return average
