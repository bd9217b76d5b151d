"""The encoder `mean` is a multilayer perceptron of the mean step, and of each step."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.neural_network import MLPRegressor
from torch import nn

from emotiwave_core.errors import SettingsError
from emotiwave_encoders.mean import MeanEncoder


def sklearn_twin(encoder: MeanEncoder, in_features: int) -> MLPRegressor:
    """scikit-learn's perceptron with the same weights."""
    linears = [module for module in encoder.perceptron if isinstance(module, nn.Linear)]
    twin = MLPRegressor(hidden_layer_sizes=(encoder.out_features,) * (len(linears) - 1), activation="relu")
    twin.partial_fit(np.zeros((2, in_features)), np.zeros((2, encoder.out_features)))
    twin.coefs_ = [linear.weight.detach().numpy().T for linear in linears]
    twin.intercepts_ = [linear.bias.detach().numpy() for linear in linears]
    return twin


rows_of_masks = st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4)


@settings(deadline=None, max_examples=30)
@given(rows_of_masks, st.integers(2, 4))
@torch.no_grad()
def test_it_equals_the_perceptron_of_scikit_learn(rows: list[list[bool]], layers: int) -> None:
    """For any mask, pooled is scikit-learn's perceptron of the mean step, a state that of its step; none gives zero."""
    torch.manual_seed(0)
    mask = torch.tensor(rows)
    encoder = MeanEncoder(3, width=6, layers=layers).double().eval()
    twin = sklearn_twin(encoder, 3)
    x = torch.where(mask[..., None], torch.randn(*mask.shape, 3, dtype=torch.float64), torch.nan)
    states, pooled, kept = encoder(x, mask)
    assert torch.equal(kept, mask)
    for row in range(len(mask)):
        steps = x[row, mask[row]].numpy()
        due_states, due_pooled = torch.zeros(5, 6).double(), torch.zeros(6).double()
        if len(steps):
            due_states[mask[row]] = torch.from_numpy(twin.predict(steps))
            due_pooled = torch.from_numpy(twin.predict(steps.mean(axis=0)[None])[0])
        torch.testing.assert_close(states[row], due_states, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(pooled[row], due_pooled, atol=1e-12, rtol=1e-12)


@torch.no_grad()
def test_order_does_not_count() -> None:
    """Steps in another order give the same pooled vector, and each step its own state."""
    torch.manual_seed(0)
    encoder = MeanEncoder(3, width=6).double().eval()
    x, mask = torch.randn(2, 5, 3).double(), torch.tensor([[1, 1, 1, 1, 1], [1, 0, 1, 1, 0]], dtype=torch.bool)
    order = torch.tensor([3, 0, 4, 2, 1])
    before, after = encoder(x, mask), encoder(x[:, order], mask[:, order])
    torch.testing.assert_close(after.pooled, before.pooled)
    torch.testing.assert_close(after.states, before.states[:, order])


def test_either_output_reaches_every_parameter() -> None:
    """A fusion that reads only the states, or only the pooled vector, leaves no parameter without a gradient."""
    for field in ("states", "pooled"):
        torch.manual_seed(0)
        encoder = MeanEncoder(3, width=6)
        getattr(encoder(torch.randn(4, 5, 3), torch.ones(4, 5, dtype=torch.bool)), field).sum().backward()
        assert all(p.grad is not None and p.grad.any() for p in encoder.parameters()), field


def test_dropout_is_on_the_hidden_layer_and_only_in_training() -> None:
    """Dropout zeroes hidden units in training, whereas eval() repeats itself."""
    torch.manual_seed(0)
    x, mask = torch.randn(4, 9, 5), torch.ones(4, 9, dtype=torch.bool)
    encoder = MeanEncoder(5, width=7, dropout=0.5)
    seen: list[torch.Tensor] = []
    encoder.perceptron[-1].register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    assert not torch.equal(encoder(x, mask).pooled, encoder(x, mask).pooled)
    hidden = torch.relu(encoder.perceptron[0](x))
    torch.testing.assert_close(seen[0], torch.where(seen[0] == 0.0, 0.0, 2.0 * hidden))
    assert ((seen[0] == 0.0) & (hidden > 0.0)).any()
    encoder.eval()
    assert torch.equal(encoder(x, mask).pooled, encoder(x, mask).pooled)


@pytest.mark.parametrize("options", [{"width": 0}, {"dropout": 1.0}, {"dropout": -0.1}])
def test_a_bad_option_is_named(options: dict[str, Any]) -> None:
    """An option out of its range is refused by name."""
    with pytest.raises(SettingsError, match=next(iter(options))):
        MeanEncoder(5, **options)
