"""The model: absent content is never read, one encoding serves every configuration, features are standardised."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import WIDTHS
from models import CROSSMODAL, some_batch, some_model
from torch import Tensor, nn
from training import REGISTRY, small

from emotiwave_core.config.recipe import Recipe
from emotiwave_core.data.corpus import open_corpus
from emotiwave_core.errors import DataError
from emotiwave_core.interfaces import DropoutPolicy, Encoded, Encoder, Fused, Fusion, Tensors
from emotiwave_core.layers.masking import keep, present_in
from emotiwave_core.layers.standardise import Standardise
from emotiwave_core.modalities import configurations
from emotiwave_core.model.assemble import assemble
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.objectives.settle import make_objective
from emotiwave_core.train.loop import fit_statistics
from emotiwave_core.train.run import build
from emotiwave_dropout.none import NoDropout
from emotiwave_fusions.concat import Concat
from emotiwave_fusions.crossmodal import CrossModal


@pytest.mark.parametrize("fusion", ["concat", CROSSMODAL], ids=["concat", "crossmodal"])
@pytest.mark.parametrize("absent", ["mask", "zeros"])
@torch.inference_mode()
def test_encoding_once_equals_clearing_masks(absent: str, fusion: Any) -> None:
    """For every configuration the fused encodings give the logits of a forward pass with the other masks cleared."""
    model, (inputs, masks) = some_model(fusion=fusion, model={"absent": absent}), some_batch()
    encoded, nothing = model.encode(inputs, masks), model.encode_absent(inputs)
    for kept in configurations(model.modalities):
        columns = torch.tensor([m in kept for m in model.modalities])
        plain = model(inputs, keep(masks, columns))
        once = model.fuse(model.restrict(kept, encoded, nothing), present_in(masks) & columns)
        torch.testing.assert_close(once.logits, plain.logits, atol=1e-6, rtol=1e-6)
        assert torch.equal(once.present, plain.present)


class Cutting(Encoder):
    """An encoder whose T' is the longest sequence of the batch, as `pad_packed_sequence` leaves it."""

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.out_features = 8
        self.linear = nn.Linear(in_features, 8)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        """Linear states of the first T' steps."""
        longest = max(int(mask.any(dim=0).nonzero().max()) + 1 if mask.any() else 1, 1)
        states = torch.where(mask[..., None], self.linear(x), 0.0)[:, :longest]
        pooled = states.sum(dim=1) + torch.where(mask.any(dim=1, keepdim=True), 0.0, 7.0)
        return Encoded(states, pooled, mask[:, :longest])


@pytest.mark.parametrize("fusion", [Concat, CrossModal])
@torch.inference_mode()
def test_encoding_once_allows_encoders_that_cut(fusion: Any) -> None:
    """The same holds for an encoder that returns fewer steps for a batch of shorter sequences."""
    torch.manual_seed(0)
    encoders: dict[str, Encoder] = {m: Cutting(F) for m, F in WIDTHS.items()}
    made = fusion(dict.fromkeys(WIDTHS, 8))
    model = FusionModel(
        encoders, made, NoDropout(), 6, WIDTHS, Recipe.from_table({"model": {"standardise": False}}, "The test's")
    ).eval()
    inputs, masks = some_batch()
    encoded, nothing = model.encode(inputs, masks), model.encode_absent(inputs)
    for kept in configurations(model.modalities):
        columns = torch.tensor([m in kept for m in model.modalities])
        plain = model(inputs, keep(masks, columns)).logits
        once = model.fuse(model.restrict(kept, encoded, nothing), present_in(masks) & columns).logits
        torch.testing.assert_close(once, plain, atol=1e-6, rtol=1e-6)


@pytest.mark.short_rows(6)
@pytest.mark.parametrize("content", [torch.nan, torch.inf, -torch.inf, 1e30])
@pytest.mark.parametrize("fusion", ["concat", CROSSMODAL], ids=["concat", "crossmodal"])
@pytest.mark.parametrize("absent", ["mask", "zeros"])
def test_masked_content_is_never_read(absent: str, fusion: Any, content: float) -> None:
    """Whatever stands in masked steps and absent modalities, logits and gradients are the same to the last bit."""
    model = some_model(fusion=fusion, model={"absent": absent})
    results = []
    for filling in (0.0, content):
        model.zero_grad()
        logits = model(*some_batch(filling)).logits
        logits.sum().backward()
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        results.append([logits.detach(), *(gradient.clone() for gradient in gradients)])
    assert all(torch.isfinite(tensor).all() for tensor in results[1])
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


@torch.inference_mode()
def test_absent_is_not_all_zeros() -> None:
    """With masks, an absent modality and one of zeros differ; with `absent = "zeros"` they are the same."""
    for absent, same in (("mask", False), ("zeros", True)):
        model, (inputs, masks) = some_model(model={"absent": absent, "standardise": False}), some_batch()
        zeros = inputs | {"text": torch.zeros_like(inputs["text"])}
        gone = masks | {"text": torch.zeros_like(masks["text"])}
        all_there = masks | {"text": torch.ones_like(masks["text"])}
        assert torch.allclose(model(zeros, all_there).logits, model(inputs, gone).logits, atol=1e-6) == same


class Recording(DropoutPolicy):
    """Takes the first modality of every sample and records what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Tensors] = []

    def forward(self, masks: Tensors, progress: Tensor) -> Tensors:
        """Clear the first modality."""
        self.given.append(masks)
        return keep(masks, torch.tensor([False, True, True]))


class Plain(Fusion):
    """The sum of the pooled vectors, with a loss and weights of its own."""

    def __init__(self, in_features: dict[str, int]) -> None:
        super().__init__()
        self.out_features = next(iter(in_features.values()))

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        """The sum."""
        return Fused(
            torch.stack([one.pooled for one in encoded.values()]).sum(dim=0), present.float(), present.float().sum()
        )


def policy_model() -> tuple[FusionModel, Recording]:
    """A model with the policy above."""
    torch.manual_seed(0)
    policy, encoders = Recording(), {m: Cutting(F) for m, F in WIDTHS.items()}
    recipe = Recipe.from_table({"model": {"standardise": False, "head_dropout": 0.0}}, "The test's")
    return FusionModel(dict(encoders), Plain(dict.fromkeys(WIDTHS, 8)), policy, 6, WIDTHS, recipe), policy


def test_the_policy_drops_in_training_only() -> None:
    """Training is what eval makes of the policy's masks; eval does not ask the policy."""
    model, policy = policy_model()
    inputs, masks = some_batch()
    model.eval()(inputs, masks)
    assert policy.given == []
    trained = model.train()(inputs, masks)
    assert all(torch.equal(policy.given[0][m], masks[m]) for m in masks)
    dropped = keep(masks, torch.tensor([False, True, True]))
    assert torch.equal(trained.logits, model.eval()(inputs, dropped).logits)
    assert torch.equal(trained.present, present_in(dropped))


def test_the_fusion_s_weights_and_loss_are_handed_on() -> None:
    """Weights and loss of the fusion stand in the output, made of what the policy left."""
    model, _ = policy_model()
    output = model.train()(*some_batch())
    assert output.weights is not None
    assert torch.equal(output.weights, output.present.float())
    assert output.loss == output.present.sum()


@torch.inference_mode()
def test_modalities_go_by_name() -> None:
    """The order of the modalities in a batch does not matter."""
    model, (inputs, masks) = some_model(fusion=CROSSMODAL), some_batch()
    turned = model(dict(reversed(inputs.items())), dict(reversed(masks.items())))
    assert torch.equal(turned.logits, model(inputs, masks).logits)
    assert torch.equal(turned.present, model(inputs, masks).present)


def test_the_head_is_the_notebook_s() -> None:
    """Unless a recipe says otherwise: a linear layer to 128, ReLU, dropout 0.3 and a linear layer to the classes."""
    model = assemble(REGISTRY.resolve(Recipe()), WIDTHS, 6)
    first, relu, dropout, last = model.head
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    assert isinstance(dropout, nn.Dropout)
    assert (first.in_features, first.out_features) == (768, 128)
    assert isinstance(relu, nn.ReLU)
    assert dropout.p == 0.3
    assert (last.in_features, last.out_features) == (128, 6)


@pytest.mark.parametrize(
    "widths", [{"text": 7}, {"a": 3, "b": 2048}, {"text": 768, "audio": 768, "visual": 2048, "d": 1}]
)
def test_the_paper_recipe_takes_any_features(widths: dict[str, int]) -> None:
    """The cross-modal transformer with segments, uniform dropout and sigmoids fits any modalities of any width."""
    recipe = Recipe.from_table(REGISTRY.recipe("paper"), "paper")
    assert (recipe.fusion.name, recipe.dropout.name, recipe.data.unit) == ("crossmodal", "uniform", "segment")
    assert recipe.objective.kind == "multi"
    model = assemble(REGISTRY.resolve(recipe), widths, 6).eval()
    inputs = {m: torch.randn(2, 3, F) for m, F in widths.items()}
    masks = {m: torch.ones(2, 3, dtype=torch.bool) for m in widths}
    assert model(inputs, masks).logits.shape == (2, 6)


@pytest.mark.parametrize("name", ["face.au", "keys", "train"])
def test_a_name_that_torch_cannot_use_is_refused(name: str) -> None:
    """A modality that cannot be a part of a torch module is named in one sentence."""
    with pytest.raises(DataError, match=f"'{name}'"):
        assemble(REGISTRY.resolve(small()), {name: 3}, 6)


def test_standardisation_is_numpy_s_over_the_training_fold(tiny: Path) -> None:
    """Mean and deviation are numpy's over all steps of the training fold, and ±5 is the most."""
    corpus = open_corpus(tiny, small().data)
    model = build(REGISTRY.resolve(small()), corpus, make_objective(small().objective, corpus.store.targets))
    fit_statistics(model, corpus, corpus.fold("train", make_objective(small().objective, corpus.store.targets)))
    videos = set(corpus.folds.train)
    for m, scaler in model.scalers.items():
        rows = [row for row, video in enumerate(corpus.store.videos) if video in videos]
        steps = np.concatenate([corpus.store.sequence(m, row).numpy() for row in rows]).astype(np.float64)
        x = np.random.default_rng(0).normal(scale=4.0, size=(50, WIDTHS[m]))
        due = np.clip((x - steps.mean(axis=0)) / steps.std(axis=0), -5, 5)
        found = scaler(torch.from_numpy(x).float()).numpy()
        np.testing.assert_allclose(found, due, atol=1e-4)
        assert (np.abs(found) == 5).any()


def test_a_constant_feature_says_nothing() -> None:
    """A scale of 0 turns whatever stands there into 0."""
    scaler = Standardise(2)
    scaler.scale[1] = 0.0
    assert scaler(torch.tensor([[1.0, 1e20]])).tolist() == [[1.0, 0.0]]


def test_standardisation_is_held_in_the_model_or_absent() -> None:
    """On: the statistics are in the state dict and change the logits. Off: nothing of it is there."""
    on, off = some_model(), some_model(model={"standardise": False})
    names = {f"scalers.{m}.{name}" for m in WIDTHS for name in ("mean", "scale")}
    assert names <= set(on.state_dict())
    assert not any(name.startswith("scalers") for name in off.state_dict())
    inputs, masks = some_batch()
    before = on(inputs, masks).logits
    missing, unexpected = on.load_state_dict(
        {name: torch.zeros_like(on.state_dict()[name]) for name in names}, strict=False
    )
    assert not unexpected
    assert not torch.equal(on(inputs, masks).logits, before)
    assert set(missing) == set(off.state_dict())


@pytest.mark.parametrize("absent", ["mask", "zeros"])
def test_standardised_absence_is_still_zero(absent: str) -> None:
    """An encoder is given zeros where nothing is, though the mean of the features is not zero."""
    every = {"present_only": False}
    model, (inputs, masks) = some_model(model={"absent": absent}, computing=every), some_batch(3.0)
    given: dict[str, Tensor] = {}
    for m, encoder in model.encoders.items():
        encoder.register_forward_pre_hook(lambda _, arguments, m=m: given.update({m: arguments[0]}))
    model(inputs, masks)
    for m, mask in masks.items():
        steps = mask.shape[1]
        assert not given[m][:, :steps][~mask].any()
        assert not given[m][:, steps:].any()
        assert given[m].shape[1] == (12 if absent == "zeros" else steps)


@pytest.mark.short_rows(3)
@pytest.mark.parametrize("absent", ["mask", "zeros"])
@pytest.mark.parametrize("lacking", [[], [1], [0, 2, 4], [0, 1, 2, 3, 4]], ids=str)
def test_absent_samples_as_one_change_nothing(absent: str, lacking: list[int]) -> None:
    """Encoding all samples without a modality as one gives the predictions and gradients of encoding each of them."""
    found = []
    for present_only in (True, False):
        model = some_model(fusion=CROSSMODAL, model={"absent": absent}, computing={"present_only": present_only})
        inputs, masks = some_batch()
        masks["audio"][lacking] = False
        given: list[int] = []
        model.encoders["audio"].register_forward_pre_hook(lambda _, x, given=given: given.append(len(x[0])))
        model.eval()
        logits = model.forward_masked(inputs, masks).logits
        logits.square().sum().backward()
        found.append((logits, [weight.grad for weight in model.parameters() if weight.grad is not None]))
        whole = len(masks["audio"])
        once = int((~masks["audio"].any(dim=1)).any())
        assert given == [int(masks["audio"].any(dim=1).sum()) + once if present_only else whole]
    (logits, gradients), (plain, due) = found
    torch.testing.assert_close(logits, plain, atol=1e-6, rtol=1e-5)
    for gradient, other in zip(gradients, due, strict=True):
        torch.testing.assert_close(gradient, other, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("absent", ["mask", "zeros"])
@pytest.mark.parametrize("fusion", ["concat", CROSSMODAL, {"name": "context", "fusion": "concat"}], ids=str)
@torch.inference_mode()
def test_modalities_are_asked_alone_in_one_pass(absent: str, fusion: Any) -> None:
    """The logits of each modality alone are those of a batch that has nothing else, also among the same neighbours."""
    model, (inputs, masks) = some_model(fusion=fusion, model={"absent": absent}), some_batch()
    videos = torch.tensor([0, 0, 0, 1, 1, 2]) if model.neighbours is not None else None
    encoded, present = model.encode(inputs, masks), model.present(masks)
    asked = ["visual", "text"]
    found = model.fuse_alone(asked, encoded, present, model.encode_nothing(present.device), videos)
    for modality, logits in zip(asked, found, strict=True):
        alone = {m: mask if m == modality else torch.zeros_like(mask) for m, mask in masks.items()}
        due = model.forward_masked(inputs, alone, videos).logits
        torch.testing.assert_close(logits, due, atol=1e-6, rtol=1e-5)
