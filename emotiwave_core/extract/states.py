"""The layers of a transformer whose states an extractor gives."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from emotiwave_core.errors import SettingsError


def width_of(model: Any, layers: Sequence[int] | None) -> int:
    """Features of the states of these layers side by side. SettingsError where the model has no such layer."""
    most = int(model.config.num_hidden_layers)
    if layers is not None and (not layers or len(set(layers)) < len(layers) or not all(0 <= n <= most for n in layers)):
        raise SettingsError(
            f"The option layers is {list(layers)}, but the model has {most}: name each once, from 1 to {most}, or 0 "
            "for what the first reads."
        )
    return int(model.config.hidden_size) * (1 if layers is None else len(layers))


def states_of(model: Any, layers: Sequence[int] | None, **inputs: Tensor) -> Tensor:
    """The states [T, F] of one input after each of these layers, side by side; None is the model's last states.

    Layer 0 is what the first one reads. Layers in the middle often tell more of an emotion than the last (Pepino et al.
    2021 weigh them all).
    """
    output = model(**inputs, output_hidden_states=layers is not None)
    if layers is None:
        last: Tensor = output.last_hidden_state
        return last[0]
    return torch.cat([output.hidden_states[number][0] for number in layers], dim=-1)
