"""Every registered part keeps the laws of its kind, with the small options that stand here for it.

A new part needs one line: an example of options with which it is checked in a second. The first example of two parts of
each kind is checked by `make test`, that of the other parts by `make full`, all other examples by `make slow`.
"""

import sys
import unittest
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from documents import ENTRIES
from policy_draws import ADVERSE_LOSSES, Kept, after_losses, by_coins, by_losses, evenly, mixture
from training import REGISTRY

from emotiwave_core.config.recipe import as_part
from emotiwave_core.parts.kinds import narrowest
from emotiwave_core.testing import (
    AugmentationContract,
    BrokenLaw,
    DropoutPolicyContract,
    EncoderContract,
    FusionContract,
    MetricContract,
    ObjectiveContract,
)
from emotiwave_core.testing.laws import Contract
from emotiwave_dropout.adversarial import Adversarial
from emotiwave_dropout.bernoulli import Bernoulli
from emotiwave_dropout.none import NoDropout

CONTRACTS: dict[str, type[Contract]] = {
    "encoder": EncoderContract,
    "fusion": FusionContract,
    "dropout": DropoutPolicyContract,
    "augmentation": AugmentationContract,
    "objective": ObjectiveContract,
    "metric": MetricContract,
}
Rates = Callable[[Kept], dict[Kept, float]]


class Example(NamedTuple):
    """Options of a part, and what a dropout policy promises with them."""

    options: Mapping[str, Any] = {}
    rates: Rates | None = None  # half way through training, of a sample of the contract: three steps in each modality
    drops: bool = True
    prepare: Callable[[Any], Any] = lambda part: part  # what has happened to it before it is checked


def of(**options: Any) -> Example:
    """An example of a part that promises no rates."""
    return Example(options)


def all_kept(present: Kept) -> dict[Kept, float]:
    """Nothing is lost."""
    return {present: 1.0}


EXAMPLES: dict[str, list[Example]] = {
    "encoder.attentive_stats": [
        of(hidden_size=6, attention_size=4),
        of(hidden_size=6, layers=1, kernel_size=1, attention_size=4),
        of(hidden_size=6, layers=3, kernel_size=4, attention_size=4),
    ],
    "encoder.bigru": [
        of(hidden_size=6, layers=2, dropout=0.3, pooling="attention"),
        of(hidden_size=6, layers=1, dropout=0.3, pooling="last"),
    ],
    "encoder.bilstm": [
        of(hidden_size=6, layers=3, dropout=0.3),
        *(of(hidden_size=6, pooling=pooling) for pooling in ("last", "mean", "max")),
    ],
    "encoder.conformer": [
        of(width=8, heads=2, kernel_size=3, stride=4, pooling="mean"),
        of(width=8, heads=2, kernel_size=3, stride=2, pooling="last"),
        of(width=8, heads=2, kernel_size=15, stride=3, pooling="max"),
        of(width=8, heads=2, kernel_size=4, stride=1, pooling="attention"),
    ],
    "encoder.hashed": [
        of(width=8, buckets=97),
        of(width=8, buckets=97, encoder={"name": "bilstm", "hidden_size": 3, "pooling": "attention"}),
        of(width=8, buckets=97, encoder={"name": "stats", "width": 5}),
    ],
    "encoder.linear": [of(width=8)],
    "encoder.mean": [of(width=8), of(width=8, layers=3)],
    "encoder.s4d": [
        *(of(width=6, state_size=4, pooling=pooling) for pooling in ("mean", "max", "attention")),
        of(width=6, state_size=4, layers=1, bidirectional=False, pooling="last"),
    ],
    "encoder.stats": [
        of(width=6),
        of(width=6, statistics=["quantiles", "change"], quantiles=[0.1, 1.0]),
        of(width=6, encoder={"name": "bilstm", "hidden_size": 3, "pooling": "attention"}),
    ],
    "encoder.tcn": [
        *(of(channels=6, levels=2, kernel=2, pooling=pooling) for pooling in ("mean", "last", "max", "attention")),
        of(channels=5),  # as many as the contract has features: no block has a convolution that matches widths
    ],
    "encoder.transformer": [
        *(of(width=8, heads=2, pooling=pooling) for pooling in ("mean", "last", "max", "attention")),
        of(width=8, heads=2, positions="learned"),
    ],
    "fusion.bottleneck": [
        of(width=8, heads=2, layers=2, bottlenecks=2, missing="learned"),
        of(width=8, heads=2, layers=2, bottlenecks=2, missing="zero"),
        of(width=8, heads=2, layers=2, bottlenecks=0, missing="zero"),
    ],
    "fusion.concat": [of(missing="learned"), of(missing="zero")],
    "fusion.context": [
        of(hidden_size=3, dropout=0.2),
        of(hidden_size=3, layers=2, fusion={"name": "gated", "width": 4}),
    ],
    "fusion.crossmodal": [
        of(width=8, heads=2, layers=1, missing="learned"),
        of(width=8, heads=2, layers=1, causal=True),
    ],
    "fusion.experts": [of(), of(hidden_size=5)],
    "fusion.gated": [of(width=5, missing="learned"), of(width=5, missing="zero")],
    "fusion.graph": [of(width=8, missing="learned"), of(width=8, missing="zero")],
    "fusion.lowrank": [
        of(width=5, rank=3, missing="learned"),
        of(width=5, rank=3, missing="zero"),
        of(width=4, rank=1),
    ],
    "fusion.mean": [of(width=5, missing="learned"), of(width=5, missing="zero")],
    "fusion.misa": [of(width=8, heads=2, missing="learned"), of(width=8, heads=2, missing="zero")],
    "fusion.moe": [
        of(width=6, missing="learned", balance=0.0),
        of(width=6, missing="zero", balance=0.0),
        of(width=6, missing="zero", balance=0.5),
    ],
    "fusion.perceiver": [
        of(latents=3, width=8, heads=2, layers=1, blocks=1, missing="learned"),
        of(latents=3, width=8, heads=2, layers=1, blocks=1, missing="zero"),
    ],
    "fusion.tensor": [of(width=3, missing="learned"), of(width=3, missing="zero")],
    "augmentation.damage": [of(p=0.9), of(p=0.5, kinds=["frozen"]), of(kinds=["noise"], deviations=3.0)],
    "augmentation.mixup": [of(alpha=1.0)],
    "augmentation.noise": [of(share=0.2), of(share=0.0, shares={"audio": 0.5})],
    "augmentation.specaugment": [of(bands=2, stretches=2, stretch=0.9), of(bands=0), of(stretches=0)],
    "augmentation.speed": [of(change=0.5)],
    "augmentation.swap": [of(p=0.5)],
    "objective.single": [of()],
    "objective.multi": [of()],
    "objective.regression": [of()],
    "objective.focal": [of(), of(gamma=0.0), of(gamma=0.5)],
    "objective.supervised_contrastive": [of(), of(weight=3.0, temperature=1.0)],
    "metric.uar": [of()],
    "metric.rmse": [of()],
    "dropout.adversarial": [
        Example(
            {"temperature": 0.2, "floor": 0.1},
            partial(by_losses, losses=ADVERSE_LOSSES, temperature=0.2, floor=0.1),
            prepare=partial(after_losses, losses=ADVERSE_LOSSES),
        ),
        Example(rates=evenly),
    ],
    "dropout.bernoulli": [
        Example(rates=partial(by_coins, p=0.3)),
        Example({"p": 0.6, "per": "batch"}, partial(by_coins, p=0.6)),
    ],
    "dropout.blocks": [Example({"rate": 0.3}, all_kept), Example({"rate": 0.95}, all_kept)],
    "dropout.frames": [
        Example({"p": 0.3}, partial(by_coins, p=0.3**3)),  # lost when all three steps are
        Example({"p": 0.85}, partial(by_coins, p=0.85**3)),
    ],
    "dropout.mixed": [
        Example(
            {"policies": [NoDropout(), Adversarial(), Bernoulli(p=0.6)], "weights": [2.0, 1.0, 5.0]},
            lambda kept: mixture((0.25, all_kept(kept)), (0.125, evenly(kept)), (0.625, by_coins(kept, 0.6))),
        ),
        Example(rates=lambda kept: mixture((0.5, evenly(kept)), (0.5, by_coins(kept, 0.3**3)))),
    ],
    "dropout.none": [Example(rates=all_kept, drops=False)],
    "dropout.scheduled": [
        Example(
            {"policy": Bernoulli(p=0.6), "start": 0.25, "end": 1.0},  # a third of the way half way through
            lambda kept: mixture((1 / 3, by_coins(kept, 0.6)), (2 / 3, all_kept(kept))),
        ),
        Example(rates=evenly),
    ],
    "dropout.uniform": [Example(rates=evenly)],
    "dropout.weighted": [
        Example({"weights": {"text": 3.0}, "other": 0.5}),
        Example(rates=evenly),
        Example({"weights": {"text": 1.0}, "other": 0.0}),
    ],
}


def contract_of(part: str, example: Example) -> type[Contract]:
    """The contract of a part's kind, for the part with an example's options."""
    kind, _, name = part.partition(".")
    part_class = REGISTRY.find(kind, name)[0]

    def make(self: Contract, *arguments: Any) -> Any:
        inside = arguments
        if kind == "encoder":
            inside = (part_class.inner_features(*arguments, example.options),)
        inner = {
            option: REGISTRY.make(kind, as_part(table), *inside)
            for option, table in example.options.items()
            if isinstance(table, dict) and "name" in table
        }
        return example.prepare(part_class(*arguments, **(dict(example.options) | inner)))

    ways: dict[str, Any] = {
        "make": make,
        "rates": lambda self, present: example.rates and example.rates(present),
        "drops": example.drops,
    }
    return type(f"Of{name.title()}", (narrowest(kind, part_class).contract_class,), ways)


SHORT = ("encoder.mean", "encoder.bilstm", "fusion.concat", "fusion.gated", "dropout.uniform", "dropout.bernoulli")


def tier(part: str, number: int) -> list[pytest.MarkDecorator]:
    """The mark of an example: none where it is in the short suite."""
    return [pytest.mark.slow] if number else [pytest.mark.full] if part not in SHORT else []


CASES = [
    pytest.param(part, example, id=f"{part}-{number}", marks=tier(part, number))
    for part, examples in EXAMPLES.items()
    for number, example in enumerate(examples)
]


@pytest.mark.usefixtures("warm_children")
@pytest.mark.parametrize(("part", "example"), CASES)
def test_it_keeps_the_laws_of_its_kind(part: str, example: Example) -> None:
    """Each law of the contract holds for the part, made with the options of the example."""
    broken = []
    for law in contract_of(part, example).laws():
        try:
            law.check()
        except BrokenLaw as error:
            broken.append(f"{law.name}: {error}")
        except unittest.SkipTest:  # it needs a GPU, or promises nothing
            continue
    assert not broken, "\n".join(broken)


@pytest.mark.full
@pytest.mark.parametrize(("part", "example"), [pytest.param(*case.values, id=case.id) for case in CASES])
def test_it_is_on_a_gpu_what_it_is_on_a_cpu(part: str, example: Example, monkeypatch: pytest.MonkeyPatch) -> None:
    """The laws about GPUs hold; where there is none they are played on the CPU, so that they are known to run."""
    contract = contract_of(part, example)
    if not any(law.name.endswith("_on_cuda") for law in contract.laws()):
        return  # a metric never sees a GPU
    if not torch.cuda.is_available():
        module = sys.modules[CONTRACTS[part.partition(".")[0]].__module__]
        monkeypatch.setattr(module, "cuda", lambda: torch.device("cpu"))
    (law,) = [law for law in contract.laws() if law.name.endswith("_on_cuda")]
    law.check()


def test_every_part_has_an_example() -> None:
    """No part of these kinds is registered without an example, and no example is of another part."""
    assert set(EXAMPLES) == {entry for entry in ENTRIES if entry.partition(".")[0] in CONTRACTS}
