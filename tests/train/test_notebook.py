"""The recipe `notebook` is a plain torch model and loop: same logits, same gradients, same weights after training."""

import itertools
import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from datasets import WIDTHS, write_dataset
from torch import Tensor, nn
from training import CPU, REGISTRY, edit_csd

from emotiwave_core.compute.device import seed_everything
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.data.corpus import open_corpus
from emotiwave_core.data.loading.batch import epoch_order
from emotiwave_core.data.loading.loader import open_loader
from emotiwave_core.model.assemble import assemble
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.objectives.settle import make_objective
from emotiwave_core.train.checkpoint import BegunEpoch
from emotiwave_core.train.loop import train_epoch
from emotiwave_core.train.optimise import make_optimiser
from emotiwave_core.train.run import build
from emotiwave_core.train.step import TrainingSetup

STEPS, P = 300, 0.3
NOTEBOOK = Recipe.from_table(REGISTRY.recipe("notebook"), "notebook")
LENGTHS = {"text": [12, 7, 0, 40, 3], "audio": [300, 0, 12, 300, 1], "visual": [5, 300, 33, 0, 2]}


class Plain(nn.Module):
    """The notebook's model, of torch's own modules: x [B, 300, F] with zeros where there is nothing, no masks."""

    def __init__(self, widths: dict[str, int], classes: int) -> None:
        super().__init__()
        self.lstms = nn.ModuleList(nn.LSTM(F, 128, batch_first=True, bidirectional=True) for F in widths.values())
        self.head = nn.Sequential(nn.Linear(768, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, classes))

    def forward(self, inputs: list[Tensor]) -> Tensor:
        """inputs M x [B, 300, F] -> logits [B, C]."""
        if self.training:
            coins = torch.rand(1, len(inputs))[0]
            inputs = [x if coin < 1 - P else torch.zeros_like(x) for x, coin in zip(inputs, coins, strict=True)]
        last = []
        for lstm, x in zip(self.lstms, inputs, strict=True):
            _, (hidden, _) = lstm(x)
            last += [hidden[0], hidden[1]]
        logits: Tensor = self.head(torch.cat(last, dim=1))
        return logits


def plain_names(model: FusionModel) -> dict[str, str]:
    """The name in our model of each parameter of the plain one."""
    names = {}
    for number, m in enumerate(model.modalities):
        for kind, layer in itertools.product(("weight_ih", "weight_hh", "bias_ih", "bias_hh"), ("forward", "backward")):
            suffix = "_reverse" if layer == "backward" else ""
            names[f"lstms.{number}.{kind}_l0{suffix}"] = f"encoders.{m}.{layer}_layers.0.{kind}_l0"
    return names | {f"head.{place}": f"head.{place}" for place in ("0.weight", "0.bias", "3.weight", "3.bias")}


def twin_of(model: FusionModel) -> Plain:
    """A plain model with the same weights, and with no parameter beside them on either side."""
    plain = Plain(model.features, 6)
    names = plain_names(model)
    assert set(names.values()) == set(dict(model.named_parameters()))
    plain.load_state_dict({name: model.get_parameter(ours).detach().clone() for name, ours in names.items()})
    return plain


def seed_that_drops(dropped: set[int]) -> int:
    """The first seed whose three coins drop just these modalities."""
    for seed in itertools.count():
        coins = torch.rand(3, generator=torch.Generator().manual_seed(seed))
        if {int(place) for place in (coins >= 1 - P).nonzero()} == dropped:
            return seed
    raise AssertionError


def models_and_batch() -> tuple[FusionModel, Plain, dict[str, Tensor], dict[str, Tensor], list[Tensor]]:
    """Ours and the plain model; a batch with padded and missing modalities for ours (NaN there) and as zeros."""
    torch.manual_seed(3)
    model = assemble(REGISTRY.resolve(NOTEBOOK), WIDTHS, 6, dict.fromkeys(WIDTHS, STEPS))
    masks = {m: torch.arange(max(some)) < torch.tensor(some)[:, None] for m, some in LENGTHS.items()}
    inputs = {
        m: torch.where(masks[m][..., None], torch.randn(*masks[m].shape, F), torch.nan) for m, F in WIDTHS.items()
    }
    zeros = [nn.functional.pad(x.nan_to_num(0.0), (0, 0, 0, STEPS - x.shape[1])) for x in inputs.values()]
    return model, twin_of(model), inputs, masks, zeros


@pytest.mark.short_rows(2)
@pytest.mark.parametrize("dropped", [None, set(), {1}, {0, 2}, {0, 1, 2}], ids=str)
def test_logits_and_gradients_are_those_of_a_plain_torch_model(dropped: set[int] | None) -> None:
    """In eval and in training, whatever the coins drop: the same logits, loss and gradients to 1e-5."""
    model, plain, inputs, masks, zeros = models_and_batch()
    model.train(dropped is not None)
    plain.train(dropped is not None)
    seed = seed_that_drops(dropped or set())
    torch.manual_seed(seed)
    ours = model(inputs, masks).logits
    torch.manual_seed(seed)
    theirs = plain(zeros)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)

    labels = torch.tensor([0, 5, 2, 2, 4])
    make_objective(NOTEBOOK.objective, tuple("abcdef")).losses(ours, labels)[0].backward()  # type: ignore[no-untyped-call]
    nn.CrossEntropyLoss()(theirs, labels).backward()
    for name, ours_is in plain_names(model).items():
        torch.testing.assert_close(
            model.get_parameter(ours_is).grad, plain.get_parameter(name).grad, atol=1e-5, rtol=1e-5
        )


def test_the_output_says_what_the_coins_left() -> None:
    """`present` has the modalities that are there and were not dropped."""
    model, _, inputs, masks, _ = models_and_batch()
    torch.manual_seed(seed_that_drops({1}))
    there = torch.tensor([[length > 0 for length in some] for some in LENGTHS.values()]).T
    assert model.train()(inputs, masks).present.tolist() == (there & torch.tensor([True, False, True])).tolist()


def plain_data(folder: Path, fold: str) -> tuple[list[Tensor], Tensor]:
    """Complete videos of a fold read with h5py alone: M x [N, 300, F] padded with zeros, and the strongest emotion."""
    files = {m: h5py.File(folder / f"{m}.csd")["anything/data"] for m in (*WIDTHS, "labels")}
    videos = [v for v in json.loads((folder / "folds.json").read_text())[fold] if all(v in files[m] for m in WIDTHS)]
    inputs = []
    for m, width in WIDTHS.items():
        x = np.zeros((len(videos), STEPS, width), dtype=np.float32)
        for row, video in enumerate(videos):
            steps = files[m][video]["features"][:STEPS]
            x[row, : len(steps)] = steps
        inputs.append(torch.from_numpy(x))
    labels = [files["labels"][video]["features"][:, 1:].mean(axis=0).argmax() for video in videos]
    return inputs, torch.tensor(labels)


@pytest.mark.full
def test_an_epoch_of_training_is_that_of_a_plain_loop(tmp_path: Path) -> None:
    """From the files to the weights after an epoch: AdamW, clipping at 1.0, coins, head dropout, batches of 16."""
    folder = write_dataset(tmp_path, videos=48)
    for m in WIDTHS:  # features so large that gradients are clipped
        edit_csd(folder / f"{m}.csd", lambda _, features: 20 * features)
    corpus = open_corpus(folder, NOTEBOOK.data)
    objective = make_objective(NOTEBOOK.objective, corpus.store.targets)
    torch.manual_seed(0)
    model = build(REGISTRY.resolve(NOTEBOOK), corpus, objective)
    plain = twin_of(model)
    training = corpus.fold("train", objective)
    optimiser = make_optimiser(model, NOTEBOOK.training)
    seed_everything(0, 1)
    setup = TrainingSetup(model, objective, NOTEBOOK, open_loader(corpus.store, CPU))
    loss = train_epoch(setup, training, optimiser, BegunEpoch(1))

    inputs, labels = plain_data(folder, "train")
    assert len(labels) == 21  # three of the 24 videos lack a modality
    optimiser = torch.optim.AdamW(plain.parameters(), lr=1e-4, weight_decay=1e-2)
    seed_everything(0, 1)
    losses, norms = [], []
    for rows in epoch_order(len(labels), 0, 1).split(16):
        optimiser.zero_grad()
        batch = nn.CrossEntropyLoss()(plain.train()([x[rows] for x in inputs]), labels[rows])
        batch.backward()
        norms.append(float(nn.utils.clip_grad_norm_(plain.parameters(), 1.0)))
        optimiser.step()
        losses.append(float(batch.detach()))
    assert len(losses) == 2
    assert max(norms) > 1.0  # the clipping is at work
    assert loss == pytest.approx(np.sum(losses), abs=2e-5)
    for name, ours in plain_names(model).items():
        torch.testing.assert_close(model.get_parameter(ours), plain.get_parameter(name), atol=2e-6, rtol=1e-5)


def test_the_settings_are_the_notebook_s() -> None:
    """Every number of the description stands in the recipe."""
    table = NOTEBOOK.to_table()
    assert table["encoder"] == {"name": "bilstm", "hidden_size": 128, "layers": 1, "pooling": "last"}
    assert table["fusion"] == {"name": "concat"}
    assert table["dropout"] == {"name": "bernoulli", "p": 0.3, "per": "batch", "allow_empty": True}
    assert table["model"] == {
        "standardise": False,
        "absent": "zeros",
        "head": 128,
        "members": 1,
        "head_dropout": 0.3,
        "on_alarm": "warn",
    }
    objective = {key: value for key, value in table["objective"].items() if value}
    assert objective == {"kind": "single", "no_emotion": "first"}
    assert (table["data"]["unit"], table["data"]["max_steps"], table["data"]["complete_only"]) == ("video", 300, True)
    training = table["training"]
    assert (training["learning_rate"], training["weight_decay"], training["clip"]) == (1e-4, 1e-2, 1.0)
    assert training["decayed"] == "all"
    assert (training["batch_size"], training["epochs"], training["select"]) == (16, 50, "complete")
