"""Laws of the shorter arithmetic: it runs on every processor, and leaves torch's switches as they were."""

import threading

import pytest
import torch

from emotiwave_core.compute import device
from emotiwave_core.compute.device import autocast

CPU = torch.device("cpu")
ONEDNN = torch.backends.mkldnn


@pytest.fixture
def without_bf16_lstm(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor whose oneDNN has no LSTM of bfloat16 (one without AVX-512), as far as the program can tell."""
    monkeypatch.setattr(device, "_onednn_has_bf16_lstm", lambda: False)


def learned(precision: str) -> torch.Tensor:
    """Gradient of an LSTM's input weights, in that precision."""
    torch.manual_seed(0)
    lstm, steps = torch.nn.LSTM(4, 8, batch_first=True, bidirectional=True), torch.randn(3, 5, 4)
    with autocast(CPU, precision):
        states, _ = lstm(steps)
    states.float().square().sum().backward()
    assert lstm.weight_ih_l0.grad is not None
    return lstm.weight_ih_l0.grad


def test_an_lstm_learns_in_bfloat16_on_this_processor() -> None:
    """An LSTM trains in bfloat16 whatever the processor has: its gradient is that of float32 to its rounding."""
    torch.testing.assert_close(learned("bf16"), learned("fp32"), rtol=0.05, atol=0.02)


@pytest.mark.usefixtures("without_bf16_lstm")
def test_an_lstm_learns_in_bfloat16_without_onednn() -> None:
    """Where oneDNN has no LSTM of bfloat16 torch's own takes its place, and the same is learned."""
    torch.testing.assert_close(learned("bf16"), learned("fp32"), rtol=0.05, atol=0.02)


def fail_without_onednn() -> None:
    """An error where oneDNN is off."""
    assert not ONEDNN.enabled
    raise ValueError("an error of ours")


@pytest.mark.usefixtures("without_bf16_lstm")
def test_onednn_is_off_where_it_must_be_and_nowhere_else() -> None:
    """oneDNN is off within bfloat16 alone, until the last of several threads has left, and on again after an error."""
    with autocast(CPU, "fp32"):
        assert ONEDNN.enabled
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with autocast(CPU, "bf16"):
            inside.set()
            leave.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(60)
    with pytest.raises(ValueError, match="of ours"), autocast(CPU, "bf16"):
        fail_without_onednn()
    assert not ONEDNN.enabled
    leave.set()
    thread.join()
    assert ONEDNN.enabled


def test_trying_the_processor_draws_nothing() -> None:
    """Finding out what the processor has leaves the random numbers of a training as they were."""
    device._onednn_has_bf16_lstm.cache_clear()
    before = torch.get_rng_state()
    with autocast(CPU, "bf16"):
        pass
    assert torch.equal(before, torch.get_rng_state())
