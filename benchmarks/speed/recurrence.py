"""The encoders' forward and backward against bare LSTM kernels of the same shapes, one for each direction."""

import torch
from torch import Tensor, nn

import emotiwave as ew
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.parts.registry import load_registry
from speed.corpus import WIDTHS
from speed.machine import waiter
from speed.table import Row, medians

BATCH, STEPS, HIDDEN = 16, 300, 128


def measure(device: torch.device, batch: int = BATCH, steps: int = STEPS) -> list[Row]:
    """All three encoders of the recipe `notebook`, sequences of full and of mixed length; how far the limit is."""
    registry = load_registry()
    part = Recipe.from_table(ew.recipes()["notebook"], "The benchmark").encoder_of("*")
    encoders = {m: registry.make("encoder", part, F).to(device) for m, F in WIDTHS.items()}
    bare = {m: [nn.LSTM(F, HIDDEN, device=device) for _ in range(2)] for m, F in WIDTHS.items()}
    x = {m: torch.randn(batch, steps, F, device=device) for m, F in WIDTHS.items()}
    turned = {m: one.transpose(0, 1).contiguous() for m, one in x.items()}
    lengths = torch.randint(steps // 3, steps + 1, (batch,), device=device)
    masks = {
        "full": torch.ones(batch, steps, dtype=torch.bool, device=device),
        "mixed": torch.arange(steps, device=device) < lengths[:, None],
    }

    def floor() -> None:
        _backward([lstm(turned[m])[1][0] for m in WIDTHS for lstm in bare[m]])

    def ours(mask: Tensor) -> None:
        _backward([encoders[m](x[m], mask).pooled for m in WIDTHS])

    works = {"floor": floor} | {name: lambda mask=mask: ours(mask) for name, mask in masks.items()}
    found = medians(works, settle=waiter(device))
    base = found["floor"] * 1e3
    rows = [
        Row("recurrence", f"{name} sequences", found[name] * 1e3, "ms", "six bare LSTMs", base, "<= 1.2")
        for name in masks
    ]
    done = gigaflops(batch, steps)
    reached, peak = done / found["floor"], measured_peak(device)
    note = f"{done:.1f} GFLOP in {base:.1f} ms; the peak is of {peak[0]}"
    return [*rows, Row("recurrence", "six bare LSTMs", reached, "GFLOP/s", "peak", peak[1], note=note)]


def gigaflops(batch: int, steps: int) -> float:
    """Multiplications and additions of six one-way LSTMs, forward and backward.

    A step is a product of [B, F + H] with [F + H, 4H], 2 B (F + H) 4H operations. Backward has two such products, of
    the gradient with the weights and with the input; of the first layer's input itself none is wanted.
    """
    recurrent, inputs = 3 * HIDDEN, [2 * F for F in WIDTHS.values()]
    return sum(2 * 2 * batch * steps * 4 * HIDDEN * (recurrent + F) for F in inputs) / 1e9


def measured_peak(device: torch.device) -> tuple[str, float]:
    """The fastest large float32 product or convolution of this machine in GFLOP/s, and which it is."""
    size, width, side = 2048, 256, 56
    a, b = torch.randn(size, size, device=device), torch.randn(size, size, device=device)
    picture, kernel = torch.randn(8, width, side, side, device=device), torch.randn(width, width, 3, 3, device=device)
    works = {
        "a product of 2048 x 2048": lambda: a @ b,
        "a convolution": lambda: nn.functional.conv2d(picture, kernel, padding=1),
    }
    flops = [2 * size**3, 2 * 8 * side**2 * 9 * width**2]
    with torch.inference_mode():
        found = medians(works, settle=waiter(device))
    rates = {name: flop / found[name] / 1e9 for name, flop in zip(works, flops, strict=True)}
    return max(rates.items(), key=lambda item: item[1])


def _backward(vectors: list[Tensor]) -> None:
    torch.stack([vector.sum() for vector in vectors]).sum().backward()
