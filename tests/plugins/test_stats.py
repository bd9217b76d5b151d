"""The encoder `stats` computes NumPy's statistics over the steps that are set, alone or beside another encoder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor
from training import REGISTRY, small, start
from typed_commands import exit_code_of

from emotiwave_core.config.flags import parse_part
from emotiwave_core.config.recipe import Part, as_part, part_table, read_recipe
from emotiwave_core.errors import SettingsError
from emotiwave_core.runs.folder import RECIPE
from emotiwave_core.runs.model_file import read_model_file
from emotiwave_core.runs.saved_model import load_model
from emotiwave_encoders.bilstm import BiLSTM
from emotiwave_encoders.stats import StatisticsPooling, sort_steps

pytestmark = pytest.mark.full
MASKS = torch.tensor(
    [[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [0, 1, 0, 1, 1, 0], [0, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]],
    dtype=torch.bool,
)


def sequences() -> Tensor:
    """x [5, 6, 3], full of numbers that nobody should read where MASKS are not set."""
    torch.manual_seed(0)
    return torch.where(MASKS[..., None], torch.randn(5, 6, 3), torch.nan)


def by_numpy(x: NDArray[np.float64], mask: NDArray[np.bool_], quantiles: list[float]) -> NDArray[np.float64]:
    """All statistics of one sequence x [T, F], in the order in which the encoder has them."""
    steps = x[mask]
    if not len(steps):
        return np.zeros((4 + len(quantiles)) * x.shape[1])
    pairs = [np.abs(x[t] - x[t - 1]) for t in range(1, len(x)) if mask[t] and mask[t - 1]]
    return np.concatenate(
        [
            steps.mean(axis=0),
            steps.std(axis=0),
            *(np.quantile(steps, q, axis=0) for q in quantiles),
            np.ptp(steps, axis=0),
            np.mean(pairs, axis=0) if pairs else np.zeros(x.shape[1]),
        ]
    )


@pytest.mark.parametrize("quantiles", [[0.25, 0.5, 0.75], [0.0, 0.1, 1.0]])
@torch.no_grad()
def test_the_statistics_are_numpy_s(quantiles: list[float]) -> None:
    """Every statistic equals NumPy's over the steps that are set, and the pooled vector is the network's of them."""
    encoder, x = StatisticsPooling(3, width=4, quantiles=quantiles).eval(), sequences()
    due = torch.tensor(
        np.stack([by_numpy(row.double().numpy(), mask.numpy(), quantiles) for row, mask in zip(x, MASKS, strict=True)])
    ).float()
    states, pooled, mask = encoder(x, MASKS)
    expected = torch.where(MASKS.any(1, keepdim=True), encoder.network(due), 0.0)
    torch.testing.assert_close(pooled, expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(states[:, 0], pooled)
    assert mask.tolist() == [[True], [True], [True], [True], [False]]


def test_steps_are_sorted_alike_with_and_without_a_gradient() -> None:
    """NumPy's order of the steps is torch's to the bit, ties and extremes included, and a gradient goes through."""
    x = torch.randn(4, 50, 7).round(decimals=1)
    x[0, :3] = torch.tensor([torch.finfo(torch.float32).max, -torch.finfo(torch.float32).max, 0.0])[:, None]
    learned = x.clone().requires_grad_()
    assert torch.equal(sort_steps(x), sort_steps(learned))
    assert torch.equal(sort_steps(x.double()), sort_steps(x).double())
    sort_steps(learned).sum().backward()
    assert learned.grad is not None
    assert bool((learned.grad == 1).all())


@torch.no_grad()
def test_some_statistics_alone() -> None:
    """With some of them the network reads those alone, in the order in which they are named."""
    encoder = StatisticsPooling(3, width=4, statistics=["range", "mean"]).eval()
    x = sequences()[:1]
    due = torch.cat([x[0].amax(0) - x[0].amin(0), x[0].mean(0)])
    torch.testing.assert_close(encoder(x, MASKS[:1]).pooled[0], encoder.network(due))


def test_a_constant_has_a_finite_slope() -> None:
    """The deviation of a constant is 0, and so is its slope."""
    x = torch.ones(1, 4, 3, requires_grad=True)
    StatisticsPooling(3, width=4)(x, torch.ones(1, 4, dtype=torch.bool)).pooled.sum().backward()
    assert x.grad is not None
    assert bool(x.grad.isfinite().all())


@torch.no_grad()
def test_beside_another_encoder_it_adds() -> None:
    """Its pooled vector is the other's plus that of the statistics, and the states are the other's."""
    inner = BiLSTM(3, hidden_size=2, pooling="attention")
    beside, x = StatisticsPooling(3, width=4, encoder=inner).eval(), sequences()
    alone, own = inner(x, MASKS), beside(x, MASKS)
    assert torch.equal(own.states, alone.states)
    assert torch.equal(own.mask, alone.mask)
    assert not torch.equal(own.pooled[:4], alone.pooled[:4])
    assert torch.equal(own.pooled[4], alone.pooled[4])
    for parameter in beside.network[-1].parameters():
        parameter.zero_()
    assert torch.equal(beside(x, MASKS).pooled, alone.pooled)
    assert torch.equal(beside.attention_over_steps(x, MASKS), inner.attention_over_steps(x, MASKS))


def test_a_recipe_names_an_encoder_inside_an_encoder(tiny: Path, tmp_path: Path) -> None:
    """As a flag or a table, by its name or with options; the run's recipe writes it out and can be run again."""
    made = REGISTRY.make("encoder", as_part(parse_part("stats:encoder=bilstm")), 3)
    assert isinstance(made.encoder, BiLSTM)
    assert made.out_features == 256
    part = as_part(parse_part('stats:width=4,encoder={name="bilstm",hidden_size=2}'))
    recipe = small(encoder=part_table(part), training={"epochs": 1})
    start(recipe, tiny, tmp_path / "run")
    table = read_recipe(tmp_path / "run" / RECIPE)
    assert table["encoder"]["encoder"]["hidden_size"] == 2
    assert table["encoder"]["encoder"]["pooling"] == "mean"
    assert REGISTRY.complete("encoder", as_part(table["encoder"])).options == as_part(table["encoder"]).options
    names = [(part.kind, part.name) for part in read_model_file(tmp_path / "run").plugins]
    saved = load_model(tmp_path / "run", REGISTRY)
    assert saved.changes == []
    assert all(isinstance(encoder.encoder, BiLSTM) for encoder in saved.model.encoders.values())
    assert names.count(("encoder", "stats")) == names.count(("encoder", "bilstm")) == 3


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("stats:encoder=bilstn", "no encoder 'bilstn'.*bilstm"),
        ("stats:encoder={name='bilstm',hiden=3}", "'bilstm' has no option 'hiden'"),
        ("stats:encoder=bilstm:layers=2", "'bilstm:layers=2' is no name: options stand beside it"),
        ("stats:encoder=3", "option 'encoder': 3 is not the name of a part"),
        ("stats:statistics=['mean','median']", "'median' is not one of"),
        ("stats:statistics=[]", "statistics of stats must name each statistic once"),
        ("stats:statistics=['mean','mean']", "statistics of stats must name each statistic once"),
        ("stats:quantiles=[1.5]", "quantiles of stats must be numbers from 0 to 1"),
        ("stats:width=0", "width of stats must be at least 1"),
    ],
)
def test_a_bad_option_is_named(flag: str, sentence: str) -> None:
    """An option that is wrong is refused by name, that of an inner encoder too."""
    with pytest.raises(SettingsError, match=sentence):
        REGISTRY.make("encoder", as_part(parse_part(flag)), 3)


def test_the_command_says_it_in_one_sentence(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A wrong inner encoder ends the command with a sentence and exit code 2."""
    assert exit_code_of(["run", "--encoder", "stats:encoder=concat", "--out", str(tmp_path / "run")]) == 2
    said = capfd.readouterr().err.strip()
    assert "no encoder 'concat'" in " ".join(said.split())
    assert not (tmp_path / "run").exists()


def test_another_kind_inside_is_refused(tmp_path: Path) -> None:
    """An encoder may hold an encoder or a dropout policy; a fusion inside it is refused with a sentence."""
    from emotiwave_core.errors import PluginError
    from emotiwave_core.interfaces import Encoder, Fusion

    class Holds(Encoder):
        """Would hold a fusion."""

        def __init__(self, in_features: int, *, inside: Fusion | None = None) -> None:
            super().__init__()

        def forward(self, x: Tensor, mask: Tensor) -> Any:
            """Nothing."""

    with pytest.raises(PluginError, match=r"option 'inside' for a part of the kind fusion: it can hold an? encoder"):
        REGISTRY.with_options("encoder", Part("holds"), Holds, "a test")


class SeenBatches:
    """Batches that can be gone through again."""

    def __init__(self, *batches: tuple[Tensor, Tensor]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return iter(self.batches)


@torch.no_grad()
def test_the_statistics_are_standardised_over_the_training_fold() -> None:
    """`fit` takes mean and deviation of each statistic over all samples with a step, in batches of any size."""
    encoder, x = StatisticsPooling(3, width=4).eval(), sequences()
    encoder.fit(SeenBatches((x[:2], MASKS[:2]), (x[2:], MASKS[2:])))
    quartiles = [0.25, 0.5, 0.75]
    rows = np.stack(
        [by_numpy(row.double().numpy(), mask.numpy(), quartiles) for row, mask in zip(x, MASKS, strict=True)]
    )
    own, deviation = rows[:4], rows[:4].std(axis=0)
    z = np.where(deviation > 1e-9, (rows - own.mean(axis=0)) / np.maximum(deviation, 1e-9), 0.0)
    due = encoder.network(torch.from_numpy(z).float())
    assert torch.allclose(encoder(x, MASKS).pooled[:4], due[:4], atol=1e-4)
    assert not encoder(x, MASKS).pooled[4].any()


def test_a_run_fits_the_encoder_before_its_first_step(tiny: Path, tmp_path: Path) -> None:
    """The scale in the weights is that of the training fold, in the encoder beside another one too, and not touched."""
    start(
        small(encoder={"name": "stats", "width": 4, "encoder": {"name": "bilstm", "hidden_size": 3}}),
        tiny,
        tmp_path / "run",
    )
    model = load_model(tmp_path / "run", REGISTRY).model
    for encoder in model.encoders.values():
        assert isinstance(encoder, StatisticsPooling)
        assert encoder.scaler.mean.any()
        assert not torch.equal(encoder.scaler.scale, torch.ones_like(encoder.scaler.scale))
