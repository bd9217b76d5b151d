"""The encoder `bilstm` equals torch's packed bidirectional LSTM, and reads the steps that are set and no other."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from emotiwave_core.errors import SettingsError
from emotiwave_encoders.bilstm import BiLSTM

LENGTHS = torch.tensor([9, 1, 4, 6])
MASK = torch.arange(9) < LENGTHS[:, None]


def packed_twin(encoder: BiLSTM, in_features: int) -> nn.LSTM:
    """torch's own bidirectional LSTM with the same weights."""
    layers = len(encoder.forward_layers)
    twin = nn.LSTM(in_features, encoder.hidden_size, layers, batch_first=True, bidirectional=True)
    weights = {}
    for layer, (ahead, back) in enumerate(zip(encoder.forward_layers, encoder.backward_layers, strict=True)):
        for name, weight in ahead.state_dict().items():
            weights[name.replace("_l0", f"_l{layer}")] = weight
        for name, weight in back.state_dict().items():
            weights[name.replace("_l0", f"_l{layer}_reverse")] = weight
    twin.load_state_dict(weights)
    return twin


def run_packed(twin: nn.LSTM, x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """States [B, T, 2H], and the last hidden state of both directions [B, 2H]."""
    packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    states, (hidden, _) = twin(packed)
    return nn.utils.rnn.pad_packed_sequence(states, batch_first=True)[0], torch.cat([hidden[-2], hidden[-1]], dim=-1)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_it_equals_the_packed_bidirectional_lstm(layers: int) -> None:
    """States, pooled vector and all gradients are those of a packed bidirectional nn.LSTM with the same weights."""
    torch.manual_seed(0)
    encoder = BiLSTM(5, hidden_size=7, layers=layers, pooling="last")
    twin = packed_twin(encoder, 5)
    x = torch.randn(4, 9, 5)
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    encoded = encoder(ours, MASK)
    states, last = run_packed(twin, theirs, LENGTHS)
    torch.testing.assert_close(encoded.states, states, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(encoded.pooled, last, atol=1e-5, rtol=1e-5)

    weight_states, weight_last = torch.randn_like(states), torch.randn_like(last)
    ((encoded.states * weight_states).sum() + (encoded.pooled * weight_last).sum()).backward()
    ((states * weight_states).sum() + (last * weight_last).sum()).backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-5, rtol=1e-5)
    for layer in range(layers):
        for part, suffix in ((encoder.forward_layers[layer], ""), (encoder.backward_layers[layer], "_reverse")):
            for name, weight in part.named_parameters():
                due = twin.get_parameter(name.replace("_l0", f"_l{layer}{suffix}")).grad
                torch.testing.assert_close(weight.grad, due, atol=1e-5, rtol=1e-5)


def test_holes_are_cut_out_and_states_put_back() -> None:
    """A sequence with holes gives the states of the same sequence without them, each at the place of its step."""
    torch.manual_seed(0)
    encoder = BiLSTM(3, hidden_size=4, layers=2)
    mask = torch.tensor([[0, 1, 0, 1, 1, 0, 1, 0]], dtype=torch.bool)
    x = torch.randn(1, 8, 3)
    whole = encoder(x[:, mask[0]], torch.ones(1, 4, dtype=torch.bool))
    encoded = encoder(torch.where(mask[..., None], x, torch.nan), mask)
    torch.testing.assert_close(encoded.states[:, mask[0]], whole.states)
    torch.testing.assert_close(encoded.pooled, whole.pooled)
    assert not encoded.states[:, ~mask[0]].any()


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_pooling_is_what_it_says(pooling: Any) -> None:
    """Each pooling equals a loop over the steps that are set, and is zero for an empty sequence."""
    torch.manual_seed(0)
    encoder = BiLSTM(3, hidden_size=4, pooling=pooling)
    mask = torch.tensor([[1, 1, 1, 1], [0, 1, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]], dtype=torch.bool)
    states, pooled, _ = encoder(torch.randn(4, 4, 3), mask)
    for row in range(3):
        steps = states[row, mask[row]]
        due = {"last": torch.cat([steps[-1, :4], steps[0, 4:]]), "mean": steps.mean(0), "max": steps.amax(0)}[pooling]
        torch.testing.assert_close(pooled[row], due)
    assert not pooled[3].any()


def test_dropout_is_between_layers_and_only_in_training() -> None:
    """With dropout, training changes the states of two layers, and leaves those of one and of eval() alone."""
    x = torch.randn(4, 9, 5)
    for layers, changes in ((1, False), (2, True)):
        encoder = BiLSTM(5, hidden_size=7, layers=layers, dropout=0.5)
        first, second = encoder(x, MASK), encoder(x, MASK)
        assert torch.equal(first.states, second.states) is not changes
        encoder.eval()
        assert torch.equal(encoder(x, MASK).states, encoder(x, MASK).states)


@pytest.mark.parametrize(
    "options",
    [
        {"hidden_size": 0},
        {"layers": 0},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"dropout": float("nan")},
        {"pooling": "x"},
    ],
)
def test_a_bad_option_is_named(options: dict[str, Any]) -> None:
    """An option out of its range is refused by name."""
    with pytest.raises(SettingsError, match=next(iter(options))):
        BiLSTM(5, **options)
