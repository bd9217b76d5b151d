"""The model: standardised features -> encoders -> fusion -> head."""

from typing import Literal, cast

import torch
from torch import Tensor, nn

from emotiwave_core.config.recipe import Recipe
from emotiwave_core.errors import DataError, PluginError
from emotiwave_core.interfaces import DropoutPolicy, Encoded, Encoder, Fusion, Output, Tensors
from emotiwave_core.layers.masking import present_in, rows_to_encode, whole_modalities
from emotiwave_core.model.terms import needs_heads
from emotiwave_core.parts import interface_check as returned
from emotiwave_core.parts.guard import check_snapshot, snapshot
from emotiwave_core.parts.resolved import ResolvedPart, ResolvedParts

CLIP = 5.0  # deviations; what lies further out is a fault of the extractor more often than an expression


class Standardise(nn.Module):
    """Features to zero mean and unit deviation, clipped to ±5 deviations. Holds the statistics of the training fold."""

    mean: Tensor  # [F]
    scale: Tensor  # [F], 1 / deviation; 0 for a constant feature

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(in_features))
        self.register_buffer("scale", torch.ones(in_features))

    def fit(self, mean: Tensor, scale: Tensor) -> None:
        """Take the statistics [F]. A constant feature has no mean: x - mean may be infinite, and NaN times its 0."""
        self.mean.copy_(torch.where(scale > 0, mean, 0.0))
        self.scale.copy_(scale)

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
        features: dict[str, int],
        recipe: Recipe,
    ) -> None:
        super().__init__()
        settings = recipe.model
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
        alone = encoders if needs_heads(recipe.objective) else {}
        self.unimodal = nn.ModuleDict({m: nn.Linear(encoder.out_features, classes) for m, encoder in alone.items()})
        self.absent: Literal["mask", "zeros"] = settings.absent
        self.present_only = recipe.computing.present_only
        self.features = dict(features)
        self.steps: dict[str, int] = {}  # of every sequence, where absent ones are zeros
        self.names: dict[nn.Module, str] = {}  # of the parts, in errors
        self.plugins: list[ResolvedPart] = []  # its parts and those inside them

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities, in the order of the columns of `present`."""
        return tuple(self.encoders)

    def forward(self, inputs: Tensors, masks: Tensors) -> Output:
        """inputs {m: [B, T, F]}, masks {m: [B, T] bool} -> Output(logits [B, C], …).

        In training the policy drops, as it does in the first step; the training loop lets it draw and uses
        `forward_masked`.
        """
        masks = {m: masks[m] for m in self.encoders}
        if self.training:
            masks = self.policy(masks, torch.zeros(()))
        return self.forward_masked(inputs, masks)

    def forward_masked(self, inputs: Tensors, masks: Tensors) -> Output:
        """The output of what the masks leave; the policy drops nothing more."""
        masks = {m: masks[m] for m in self.encoders}
        return self.fuse(self.encode(inputs, masks), present_in(masks))

    def drop(self, masks: Tensors, progress: Tensor) -> tuple[Tensors, bool]:
        """The masks {m: [B, T] bool} after the policy, and True where it took whole modalities only."""
        who, before, written = self._who(self.policy), snapshot(), returned.versions(masks.values())
        left = returned.check_policy_masks(who, masks, self.policy(masks, progress))
        check_snapshot(before, who)
        returned.check_unwritten(who, masks.values(), written)
        whole = whole_modalities(masks, left)
        if not whole:  # else each mask has been found to be empty or as it was
            returned.check_only_clears(who, masks, left)
        return left, whole

    def forward_both(self, inputs: Tensors, masks: Tensors, left: Tensors, whole: bool) -> tuple[Output, Output]:
        """The outputs in training: of what the policy left of the masks, and of all that there was.

        `whole`: the policy left or took whole modalities only (`masking.whole_modalities`); nothing is encoded twice.
        """
        masks, left = ({m: by_modality[m] for m in self.encoders} for by_modality in (masks, left))
        encoded = self.encode(inputs, masks)
        complete = self.fuse(encoded, present_in(masks))
        rest = self._without(encoded, left, inputs) if whole else self.encode(inputs, left)
        return self.fuse(rest, present_in(left)), complete

    def encode(self, inputs: Tensors, masks: Tensors) -> dict[str, Encoded]:
        """Every modality in `masks` through its encoder, none knowing of the others."""
        return {m: self._encode(m, inputs[m], masks[m]) for m in self.encoders if m in masks}

    def _encode(self, modality: str, x: Tensor, mask: Tensor) -> Encoded:
        """x [B, T, F], mask [B, T] -> Encoded."""
        encoder, rows = self.encoders[modality], rows_to_encode(mask) if self.present_only else None
        if rows is not None:
            x, mask = x[rows.encoded], mask[rows.encoded]
        x, mask = self.prepare(modality, x, mask)
        who, before, written = self._who(encoder), snapshot(), returned.versions([mask])
        encoded = returned.check_encoded(who, cast(Encoder, encoder), encoder(x, mask), x)
        check_snapshot(before, who)
        returned.check_unwritten(who, [mask], written)
        return encoded if rows is None else Encoded(*(tensor.index_select(0, rows.back) for tensor in encoded))

    def prepare(self, modality: str, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The input of an encoder: x [B, T, F] standardised and zero where masked, and the mask [B, T]."""
        if modality in self.scalers:
            x = self.scalers[modality](x)
        x = torch.where(mask.unsqueeze(-1), x, 0.0)  # an absent modality's content is never read, NaN included
        return self._padded(modality, x) if self.absent == "zeros" else (x, mask)

    def fuse(self, encoded: dict[str, Encoded], present: Tensor) -> Output:
        """encoded {m: Encoded}, present [B, M] bool -> Output."""
        seen = torch.ones_like(present) if self.absent == "zeros" else present
        who, before = self._who(self.fusion), snapshot()
        like = next(iter(encoded.values())).pooled
        fused = returned.check_fused(who, self.fusion, self.fusion(encoded, seen), like, seen.shape[1])
        check_snapshot(before, who)
        alone = None
        if self.training and self.unimodal:
            alone = torch.stack([head(encoded[m].pooled) for m, head in self.unimodal.items()], dim=1)
        return Output(self.head(fused.vector), fused.weights, fused.loss, present, alone)

    def restrict(
        self, configuration: tuple[str, ...], encoded: dict[str, Encoded], absent: dict[str, Encoded]
    ) -> dict[str, Encoded]:
        """The encodings as if only the modalities of a configuration were there: encode once, score all of them.

        `absent` is `encode_absent(…)`, the encoding of an absent sequence.
        """
        return {
            m: encoding if m in configuration else _repeat(absent[m], len(encoding.mask))
            for m, encoding in encoded.items()
        }

    def encode_absent(self, inputs: Tensors) -> dict[str, Encoded]:
        """The encodings of one sample in which every modality is absent.

        Its states have a single step, for padding never matters; with `absent = "zeros"` as many as those of `inputs`.
        """
        steps = 1 if self.absent == "mask" else None
        first = {m: torch.zeros_like(inputs[m][:1, :steps]) for m in self.encoders}
        return self.encode(first, {m: x.new_zeros(x.shape[:2], dtype=torch.bool) for m, x in first.items()})

    def _who(self, part: nn.Module) -> str:
        return self.names.get(part) or f"The part {type(part).__name__}"

    def _without(self, encoded: dict[str, Encoded], left: Tensors, inputs: Tensors) -> dict[str, Encoded]:
        """The encodings with every modality of a sample that has no step left replaced by an absent one."""
        absent = {
            m: _repeat(_pad_like(encoding, encoded[m]), len(left[m]))
            for m, encoding in self.encode_absent(inputs).items()
        }
        rows = {m: mask.any(dim=1) for m, mask in left.items()}
        return {
            m: Encoded(*(_where_rows(rows[m], *pair) for pair in zip(encoded[m], absent[m], strict=True))) for m in rows
        }

    def _padded(self, modality: str, x: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, T, F] with zeros up to the fixed number of steps, and a mask that says all of it is there."""
        x = nn.functional.pad(x, (0, 0, 0, max(self.steps.get(modality, 0) - x.shape[1], 0)))
        return x, torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)


def _repeat(encoded: Encoded, count: int) -> Encoded:
    """The encoding of one sample, for each of `count` samples."""
    return Encoded(*(tensor.expand(count, *tensor.shape[1:]) for tensor in encoded))


def _pad_like(encoded: Encoded, like: Encoded) -> Encoded:
    """An encoding that is not longer than another, padded to its steps."""
    missing = like.mask.shape[1] - encoded.mask.shape[1]
    pad = nn.functional.pad
    return Encoded(pad(encoded.states, (0, 0, 0, missing)), encoded.pooled, pad(encoded.mask, (0, missing)))


def _where_rows(rows: Tensor, tensor: Tensor, other: Tensor) -> Tensor:
    """The rows [B] of `tensor`, and of `other` where they are not set."""
    return torch.where(rows.view(-1, *[1] * (tensor.dim() - 1)), tensor, other)


def assemble(
    parts: ResolvedParts, features: dict[str, int], classes: int, steps: dict[str, int] | None = None
) -> FusionModel:
    """The model of a recipe's parts for feature widths {modality: F}. Its weights come from torch's global generator.

    DataError for a modality's name that torch cannot use for a part of a model.
    """
    for m in features:
        if "." in m or hasattr(nn.ModuleDict(), m):
            raise DataError(f"torch has no part of a model by the name '{m}'; name the modality otherwise.")
    encoders: dict[str, Encoder] = {m: parts.encoder_of(m).make(width) for m, width in features.items()}
    widths = {m: _width(encoder) for m, encoder in encoders.items()}
    fusion: Fusion = parts.fusion.make(widths)
    _width(fusion)
    policy: DropoutPolicy = parts.dropout.make()
    model = FusionModel(encoders, fusion, policy, classes, features, parts.recipe)
    model.steps = steps or {}
    model.names = {encoder: parts.encoder_of(m).who for m, encoder in encoders.items()}
    model.names |= {fusion: parts.fusion.who, policy: parts.dropout.who}
    model.plugins = [part for part, _ in parts.used_by(features)]
    return model


def _width(part: Encoder | Fusion) -> int:
    if not isinstance(getattr(part, "out_features", None), int):
        raise PluginError(f"{type(part).__name__} does not set self.out_features, the width of what it returns.")
    return part.out_features
