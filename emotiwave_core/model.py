"""The model: standardised features -> encoders -> fusion -> head. The parts come from the registry."""

from typing import Literal

import torch
from torch import Tensor, nn

from emotiwave_core.errors import DataError, PluginError
from emotiwave_core.interfaces import DropoutPolicy, Encoded, Encoder, Fused, Fusion, Output, Tensors
from emotiwave_core.masking import present_in, rows_to_encode
from emotiwave_core.recipe import ModelSettings, Recipe
from emotiwave_core.registry import Registry

CLIP = 5.0  # deviations; what lies further out is a fault of the extractor more often than an expression


class Standardise(nn.Module):
    """Features to zero mean and unit deviation, clipped to ±5 deviations. Holds the statistics of the training fold."""

    mean: Tensor  # [F]
    scale: Tensor  # [F], 1 / deviation; 0 for a constant feature

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(in_features))
        self.register_buffer("scale", torch.ones(in_features))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., F] -> [..., F]."""
        return ((x - self.mean) * self.scale).clamp(-CLIP, CLIP)


class FusionModel(nn.Module):
    """mask -> encoders -> fusion -> head.

    Missing and dropped are one thing, a mask with no step set. With `absent = "zeros"` the masks end here instead:
    steps without data become zeros, every sequence has `steps` of them, and the parts take all of it for present.
    With `present_only` all samples of a batch that lack a modality pass its encoder as one (on a CPU).
    """

    def __init__(
        self,
        encoders: dict[str, Encoder],
        fusion: Fusion,
        policy: DropoutPolicy,
        classes: int,
        settings: ModelSettings,
        features: dict[str, int],
        steps: dict[str, int] | None = None,
        unimodal: bool = False,
        present_only: bool = True,
    ) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.fusion = fusion
        self.policy = policy
        self.scalers = nn.ModuleDict(
            {m: Standardise(width) for m, width in features.items()} if settings.standardise else {}
        )
        self.head = nn.Sequential(
            nn.Linear(fusion.out_features, settings.head),
            nn.ReLU(),
            nn.Dropout(settings.head_dropout),
            nn.Linear(settings.head, classes),
        )
        alone = encoders if unimodal else {}
        self.unimodal = nn.ModuleDict({m: nn.Linear(encoder.out_features, classes) for m, encoder in alone.items()})
        self.absent: Literal["mask", "zeros"] = settings.absent
        self.present_only = present_only
        self.features = dict(features)
        self.steps = steps or {}

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities, in the order of the columns of `present`."""
        return tuple(self.encoders)

    def forward(self, inputs: Tensors, masks: Tensors) -> Output:
        """inputs {m: [B, T, F]}, masks {m: [B, T] bool} -> Output(logits [B, C], …).

        In training the policy drops, as it does in the first step; the engine lets it draw itself, and uses `answer`.
        """
        masks = {m: masks[m] for m in self.encoders}
        if self.training:
            masks = self.policy(masks, torch.zeros(()))
        return self.answer(inputs, masks)

    def answer(self, inputs: Tensors, masks: Tensors) -> Output:
        """What it says of what the masks leave; nothing more is dropped."""
        masks = {m: masks[m] for m in self.encoders}
        return self.fuse(self.encode(inputs, masks), present_in(masks))

    def forward_both(self, inputs: Tensors, masks: Tensors, left: Tensors, whole: bool) -> tuple[Output, Output]:
        """In training: what it says of what the policy left of the masks, and of all that there was.

        `whole`: the policy left or took whole modalities only (`masking.whole_modalities`); nothing is encoded twice.
        """
        masks, left = ({m: some[m] for m in self.encoders} for some in (masks, left))
        encoded = self.encode(inputs, masks)
        complete = self.fuse(encoded, present_in(masks))
        rest = self._without(encoded, left, inputs) if whole else self.encode(inputs, left)
        return self.fuse(rest, present_in(left)), complete

    def encode(self, inputs: Tensors, masks: Tensors) -> dict[str, Encoded]:
        """Every modality in `masks` through its encoder, none knowing of the others."""
        return {m: self._encode(m, inputs[m], masks[m]) for m in self.encoders if m in masks}

    def _encode(self, modality: str, x: Tensor, mask: Tensor) -> Encoded:
        """x [B, T, F], mask [B, T] -> what the encoder makes of them."""
        encoder, rows = self.encoders[modality], rows_to_encode(mask) if self.present_only else None
        if rows is not None:
            x, mask = x[rows.encoded], mask[rows.encoded]
        one = encoder(*self.prepare(modality, x, mask))
        if not isinstance(one, Encoded):
            _wrong_type(encoder, one, "Encoded(states, pooled, mask)")
        return one if rows is None else Encoded(*(piece.index_select(0, rows.back) for piece in one))

    def prepare(self, modality: str, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """What an encoder is given: x [B, T, F] standardised and zero where masked, and the mask [B, T]."""
        if modality in self.scalers:
            x = self.scalers[modality](x)
        x = torch.where(mask.unsqueeze(-1), x, 0.0)  # an absent modality's content is never read, NaN included
        return self._padded(modality, x) if self.absent == "zeros" else (x, mask)

    def fuse(self, encoded: dict[str, Encoded], present: Tensor) -> Output:
        """encoded {m: Encoded}, present [B, M] bool -> Output."""
        seen = torch.ones_like(present) if self.absent == "zeros" else present
        fused = self.fusion(encoded, seen)
        if not isinstance(fused, Fused):
            _wrong_type(self.fusion, fused, "Fused(vector)")
        alone = None
        if self.training and self.unimodal:
            alone = torch.stack([head(encoded[m].pooled) for m, head in self.unimodal.items()], dim=1)
        return Output(self.head(fused.vector), fused.weights, fused.loss, present, alone)

    def only(
        self, kept: tuple[str, ...], encoded: dict[str, Encoded], absent: dict[str, Encoded]
    ) -> dict[str, Encoded]:
        """The encodings as if only the modalities in `kept` were there: encode once, score every configuration.

        `absent` is `encode_absent(…)`, what each encoder makes of an absent sequence.
        """
        return {m: one if m in kept else _spread(absent[m], len(one.mask)) for m, one in encoded.items()}

    def encode_absent(self, inputs: Tensors) -> dict[str, Encoded]:
        """What the encoders make of one sample in which every modality is absent.

        Its states have a single step, for padding never matters; with `absent = "zeros"` as many as those of `inputs`.
        """
        steps = 1 if self.absent == "mask" else None
        first = {m: torch.zeros_like(inputs[m][:1, :steps]) for m in self.encoders}
        return self.encode(first, {m: x.new_zeros(x.shape[:2], dtype=torch.bool) for m, x in first.items()})

    def _without(self, encoded: dict[str, Encoded], left: Tensors, inputs: Tensors) -> dict[str, Encoded]:
        """The encodings with every modality of a sample that has no step left replaced by an absent one."""
        absent = {m: _spread(_as_long(one, encoded[m]), len(left[m])) for m, one in self.encode_absent(inputs).items()}
        rows = {m: mask.any(dim=1) for m, mask in left.items()}
        return {
            m: Encoded(*(_choose(rows[m], *pair) for pair in zip(encoded[m], absent[m], strict=True))) for m in rows
        }

    def _padded(self, modality: str, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, T, F] with zeros up to the fixed number of steps, and a mask that says all of it is there."""
        x = nn.functional.pad(x, (0, 0, 0, max(self.steps.get(modality, 0) - x.shape[1], 0)))
        return x, torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)


def _wrong_type(part: nn.Module, given: object, due: str) -> None:
    raise PluginError(f"{type(part).__name__} returns {type(given).__name__} where {due} is due.")


def _spread(one: Encoded, count: int) -> Encoded:
    """The encoding of one sample, for each of `count` samples."""
    return Encoded(*(piece.expand(count, *piece.shape[1:]) for piece in one))


def _as_long(one: Encoded, like: Encoded) -> Encoded:
    """An encoding that is not longer than another, padded to its steps."""
    missing = like.mask.shape[1] - one.mask.shape[1]
    pad = nn.functional.pad
    return Encoded(pad(one.states, (0, 0, 0, missing)), one.pooled, pad(one.mask, (0, missing)))


def _choose(rows: Tensor, one: Tensor, other: Tensor) -> Tensor:
    """The rows [B] of `one`, and of `other` where they are not set."""
    return torch.where(rows.view(-1, *[1] * (one.dim() - 1)), one, other)


def assemble(
    recipe: Recipe, registry: Registry, features: dict[str, int], classes: int, steps: dict[str, int] | None = None
) -> FusionModel:
    """The model of a recipe for feature widths {modality: F}. Its weights come from torch's global generator.

    DataError for a modality's name that torch cannot use for a part of a model.
    """
    for m in features:
        if "." in m or hasattr(nn.ModuleDict(), m):
            raise DataError(f"torch has no part of a model by the name '{m}'; name the modality otherwise.")
    encoders: dict[str, Encoder] = {
        m: registry.make("encoder", recipe.encoder_of(m), width) for m, width in features.items()
    }
    for encoder in encoders.values():
        if not isinstance(getattr(encoder, "out_features", None), int):
            raise PluginError(f"{type(encoder).__name__} does not set self.out_features, the width of what it returns.")
    fusion: Fusion = registry.make(
        "fusion", recipe.fusion, {m: encoder.out_features for m, encoder in encoders.items()}
    )
    policy: DropoutPolicy = registry.make("dropout", recipe.dropout)
    unimodal = recipe.objective.unimodal > 0
    present_only = recipe.computing.present_only
    return FusionModel(encoders, fusion, policy, classes, recipe.model, features, steps, unimodal, present_only)
