"""The encoder `bigru` equals torch's packed bidirectional GRU, and reads the steps that are set and no other."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from emotiwave_core.errors import SettingsError
from emotiwave_core.layers.pooling import Pooling
from emotiwave_encoders.bigru import BiGRU

LENGTHS = torch.tensor([9, 1, 4, 6])
MASK = torch.arange(9) < LENGTHS[:, None]


def packed_twin(encoder: BiGRU, in_features: int) -> nn.GRU:
    """torch's own bidirectional GRU with the same weights."""
    twin = nn.GRU(in_features, encoder.hidden_size, len(encoder.forward_layers), batch_first=True, bidirectional=True)
    twin.load_state_dict({name: parameter.detach() for name, parameter in twin_names(encoder).items()})
    return twin


def twin_names(encoder: BiGRU) -> dict[str, nn.Parameter]:
    """The encoder's parameters of the recurrence by the names that torch's bidirectional GRU has for them."""
    return {
        name.replace("_l0", f"_l{layer}{suffix}"): parameter
        for layers, suffix in ((encoder.forward_layers, ""), (encoder.backward_layers, "_reverse"))
        for layer, part in enumerate(layers)
        for name, parameter in part.named_parameters()
    }


def run_packed(twin: nn.GRU, x: Tensor) -> tuple[Tensor, Tensor]:
    """States [B, T, 2H], and the last hidden state of both directions [B, 2H]."""
    states, hidden = twin(pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False))
    return pad_packed_sequence(states, batch_first=True)[0], torch.cat([hidden[-2], hidden[-1]], dim=-1)


@pytest.mark.parametrize("layers", [1, 2])
def test_it_equals_the_packed_bidirectional_gru(layers: int) -> None:
    """States, pooled vector and all gradients are those of a packed bidirectional nn.GRU with the same weights."""
    torch.manual_seed(0)
    encoder = BiGRU(5, hidden_size=7, layers=layers, pooling="last").double()
    twin = packed_twin(encoder, 5).double()
    x = torch.randn(4, 9, 5).double()
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    encoded = encoder(torch.where(MASK[..., None], ours, torch.nan), MASK)
    states, last = run_packed(twin, theirs)
    torch.testing.assert_close(encoded.states, states)
    torch.testing.assert_close(encoded.pooled, last)

    weight_states, weight_last = torch.randn_like(states), torch.randn_like(last)
    ((encoded.states * weight_states).sum() + (encoded.pooled * weight_last).sum()).backward()
    ((states * weight_states).sum() + (last * weight_last).sum()).backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
    for name, parameter in twin_names(encoder).items():
        torch.testing.assert_close(parameter.grad, twin.get_parameter(name).grad)


@torch.no_grad()
def test_holes_are_cut_out_and_states_put_back() -> None:
    """A sequence with holes gives the states of the same sequence without them, each at the place of its step."""
    torch.manual_seed(0)
    mask = torch.tensor([[0, 1, 0, 1, 1, 0, 1, 0]], dtype=torch.bool)
    x = torch.randn(1, 8, 3)
    for pooling in ("last", "mean", "max", "attention"):
        encoder = BiGRU(3, hidden_size=4, layers=2, pooling=pooling)
        whole = encoder(x[:, mask[0]], torch.ones(1, 4, dtype=torch.bool))
        encoded = encoder(torch.where(mask[..., None], x, torch.nan), mask)
        torch.testing.assert_close(encoded.states[:, mask[0]], whole.states)
        torch.testing.assert_close(encoded.pooled, whole.pooled)
        assert not encoded.states[:, ~mask[0]].any()


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
def test_an_empty_sequence_pools_to_zero(pooling: Pooling) -> None:
    """A row without a step has zero states and a zero pooled vector, beside a row that has neither."""
    torch.manual_seed(0)
    mask = torch.tensor([[0, 0, 0], [1, 1, 0]], dtype=torch.bool)
    states, pooled, _ = BiGRU(3, hidden_size=4, pooling=pooling)(torch.randn(2, 3, 3), mask)
    assert not states[0].any()
    assert not pooled[0].any()
    assert pooled[1].all()


def test_dropout_is_between_layers_and_only_in_training() -> None:
    """With dropout, training changes the states of two layers, and leaves those of one and of eval() alone."""
    x = torch.randn(4, 9, 5)
    for layers, changes in ((1, False), (2, True)):
        encoder = BiGRU(5, hidden_size=7, layers=layers, dropout=0.5)
        assert torch.equal(encoder(x, MASK).states, encoder(x, MASK).states) is not changes
        encoder.eval()
        assert torch.equal(encoder(x, MASK).states, encoder(x, MASK).states)


@torch.no_grad()
def test_the_cell_equals_its_equations() -> None:
    """Each direction equals a loop over r, z and n of torch.nn.GRU, the reset gate taken after the product."""
    torch.manual_seed(0)
    encoder = BiGRU(3, hidden_size=4).double()
    x = torch.randn(1, 6, 3).double()
    states = encoder(x, torch.ones(1, 6, dtype=torch.bool)).states[0]
    for layers, half, order in (
        (encoder.forward_layers, slice(0, 4), range(6)),
        (encoder.backward_layers, slice(4, 8), reversed(range(6))),
    ):
        weights = dict(layers[0].named_parameters())
        h = torch.zeros(4).double()
        for t in order:
            given = (weights["weight_ih_l0"] @ x[0, t] + weights["bias_ih_l0"]).split(4)
            held = (weights["weight_hh_l0"] @ h + weights["bias_hh_l0"]).split(4)
            r, z = torch.sigmoid(given[0] + held[0]), torch.sigmoid(given[1] + held[1])
            h = (1.0 - z) * torch.tanh(given[2] + r * held[2]) + z * h
            torch.testing.assert_close(states[t, half], h)


@pytest.mark.parametrize(
    "options", [{"hidden_size": 0}, {"layers": 0}, {"dropout": 1.0}, {"dropout": -0.1}, {"pooling": "x"}]
)
def test_a_bad_option_is_named(options: dict[str, Any]) -> None:
    """An option out of its range is refused by name, and the sentence names the encoder."""
    with pytest.raises(SettingsError, match=f"{next(iter(options))} of bigru"):
        BiGRU(5, **options)
