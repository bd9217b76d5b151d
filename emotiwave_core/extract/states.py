"""The layer of a transformer whose states an extractor gives."""

from typing import Any

from torch import Tensor

from emotiwave_core.errors import SettingsError


def check_layer(layer: int | None, model: Any) -> None:
    """SettingsError where a model has no such layer."""
    layers = int(model.config.num_hidden_layers)
    if layer is not None and not 0 <= layer <= layers:
        raise SettingsError(
            f"The option layer is {layer}, but the model has {layers}: 1 to {layers}, or 0 for what the first reads."
        )


def states_of(model: Any, layer: int | None, **inputs: Tensor) -> Tensor:
    """The states [T, F] of one input after a layer: 0 is what the first one reads, None the model's last states.

    Layers in the middle often tell more of an emotion than the last (Pepino et al. 2021 weigh them all).
    """
    output = model(**inputs, output_hidden_states=layer is not None)
    states: Tensor = output.last_hidden_state if layer is None else output.hidden_states[layer]
    return states[0]
