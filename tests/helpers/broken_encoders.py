"""A sound encoder, and encoders with one defect each: `breaks` names exactly the laws that it breaks."""
# ruff: noqa: D101, D102, D103 -- the name of a broken plugin says what is wrong with it

import functools
import random
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from emotiwave_core.interfaces import Encoded, Encoder, ParameterGroup
from emotiwave_core.layers.sequence import masked_mean, masked_softmax, zero_masked


class SoundEncoder(Encoder):
    """Breaks no law; the broken ones differ from it in one place."""

    breaks: tuple[str, ...] = ()

    def __init__(self, in_features: int, *, width: int = 4) -> None:
        super().__init__()
        self.out_features = width
        self.linear = nn.Linear(in_features, width)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        states = zero_masked(torch.tanh(self.linear(zero_masked(x, mask))), mask)
        return Encoded(states, masked_mean(states, mask), mask)


class NotAnEncoder(nn.Module):
    breaks = ("is_an_encoder",)

    def __init__(self, in_features: int) -> None:
        super().__init__()
        self.encoder = SoundEncoder(in_features)
        self.out_features = self.encoder.out_features

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded: Encoded = self.encoder(x, mask)
        return encoded


class TooWide(SoundEncoder):
    breaks = ("returns_shapes_and_types",)

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features)
        self.out_features += 1


class DoublePrecision(SoundEncoder):
    breaks = ("returns_shapes_and_types",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        return encoded._replace(pooled=encoded.pooled.double())


class ReturnsATuple(SoundEncoder):
    breaks = ("returns_shapes_and_types",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        return tuple(super().forward(x, mask))  # type: ignore[return-value]


class StatesOfPadding(SoundEncoder):
    breaks = ("masked_states_are_zero",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        states = self.linear(zero_masked(x, mask))
        return Encoded(states, masked_mean(states, mask), mask)


class AlwaysAStep(SoundEncoder):
    breaks = ("mask_tells_empty_rows",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        first = torch.arange(mask.shape[1], device=mask.device) == 0
        return super().forward(x, mask)._replace(mask=mask | (first & ~mask.any(dim=1, keepdim=True)))


class MeanOverAllSteps(SoundEncoder):
    breaks = ("padding_length_does_not_matter",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        return encoded._replace(pooled=encoded.states.mean(dim=1))


def before_a_set_step(mask: Tensor) -> Tensor:
    return mask.flip(1).cumsum(1).flip(1) > 0


class ReadsPadding(SoundEncoder):
    breaks = ("padding_content_does_not_matter",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        padding = ~before_a_set_step(mask) & mask.any(dim=1, keepdim=True)
        return encoded._replace(pooled=encoded.pooled + zero_masked(x, padding).sum(dim=(1, 2))[:, None])


class ReadsHoles(SoundEncoder):
    breaks = ("hole_content_does_not_matter",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        holes = before_a_set_step(mask) & ~mask
        return encoded._replace(pooled=encoded.pooled + zero_masked(x, holes).sum(dim=(1, 2))[:, None])


class UsesLengthsOnly(SoundEncoder):
    breaks = (
        "hole_content_does_not_matter",
        "masked_content_does_not_reach_gradients",
    )  # both read what is in the holes

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        inside = before_a_set_step(mask)
        states = torch.tanh(self.linear(zero_masked(x, inside)))
        return Encoded(zero_masked(states, mask), masked_mean(states, inside), mask)


class HidesAfterwards(SoundEncoder):
    breaks = ("masked_content_does_not_reach_gradients",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        states = zero_masked(torch.tanh(self.linear(x)), mask)
        return Encoded(states, masked_mean(states, mask), mask)


class Multiplies(SoundEncoder):
    breaks = (
        "padding_content_does_not_matter",
        "hole_content_does_not_matter",
        "masked_content_does_not_reach_gradients",
        "empty_sequence_is_finite",
    )  # NaN * 0 is NaN wherever a step is masked

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        states = torch.tanh(self.linear(x)) * mask[..., None]
        return Encoded(states, states.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1), mask)


class MeanOverNothing(SoundEncoder):
    breaks = ("empty_sequence_is_finite",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        return encoded._replace(pooled=encoded.states.sum(dim=1) / mask.sum(dim=1, keepdim=True))


class HidesSoftmaxOverNothing(SoundEncoder):
    breaks = ("empty_sequence_is_finite",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        scores = self.linear(zero_masked(x, mask)).sum(dim=2)
        shares = (scores + torch.where(mask, 0.0, -torch.inf)).softmax(dim=1)
        shares = torch.where(mask.any(dim=1, keepdim=True), shares, 0.0)
        return encoded._replace(pooled=(encoded.states * shares[..., None]).sum(dim=1))


class Packs(SoundEncoder):
    breaks = ("empty_sequence_is_finite", "mask_tells_empty_rows")  # it raises wherever a sequence is empty

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        nn.utils.rnn.pack_padded_sequence(x, mask.sum(dim=1).cpu(), batch_first=True, enforce_sorted=False)
        return super().forward(x, mask)


class ComparesNeighbours(SoundEncoder):
    breaks = ("any_number_of_steps",)  # there is no largest of nothing

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        steps = torch.where((mask[:, 1:] & mask[:, :-1])[..., None], encoded.states.diff(dim=1), 0.0)
        return encoded._replace(pooled=encoded.pooled + steps.amax(dim=1).clamp(min=0.0))


class PositionsEnd(SoundEncoder):
    breaks = ("any_number_of_steps",)

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features)
        self.register_buffer("positions", torch.linspace(0.0, 1.0, 512))

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        states = zero_masked(encoded.states + self.positions[: x.shape[1], None], mask)
        return encoded._replace(states=states)


class Squeezes(SoundEncoder):
    breaks = ("batch_of_one",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        return encoded._replace(pooled=encoded.pooled.squeeze())


class CentresTheBatch(SoundEncoder):
    breaks = ("samples_do_not_mix",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        return encoded._replace(pooled=encoded.pooled - encoded.pooled.mean(dim=0))


class CentresInTraining(SoundEncoder):
    breaks = ("samples_do_not_mix",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        return encoded._replace(pooled=encoded.pooled - self.training * encoded.pooled.mean(dim=0))


class MixesSamples(SoundEncoder):
    breaks = ("samples_do_not_mix",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        partner = torch.randperm(len(x)) if self.training else torch.arange(len(x))
        return encoded._replace(pooled=0.7 * encoded.pooled + 0.3 * encoded.pooled[partner])


class NormalisesTheBatch(SoundEncoder):
    breaks = (
        "samples_do_not_mix",
        "batch_of_one",
        "any_number_of_steps",
    )  # it refuses one sample in train()

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features)
        self.norm = nn.BatchNorm1d(self.out_features)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        return encoded._replace(pooled=self.norm(encoded.pooled))


class NormalisesValidSteps(SoundEncoder):
    breaks = ("samples_do_not_mix",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        states, _, _ = super().forward(x, mask)
        if self.training:
            states = zero_masked(states - masked_mean(states.flatten(0, 1)[None], mask.flatten()[None]), mask)
        return Encoded(states, masked_mean(states, mask), mask)


class NormalisesAllSteps(SoundEncoder):
    breaks = ("padding_length_does_not_matter",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        states, _, _ = super().forward(x, mask)
        if self.training:
            states = zero_masked(states - states.mean(dim=1, keepdim=True), mask)
        return Encoded(states, masked_mean(states, mask), mask)


class WeighsPaddingInTraining(SoundEncoder):
    breaks = ("padding_length_does_not_matter",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        scores = encoded.states.sum(dim=2)
        weights = scores.softmax(dim=1) if self.training else masked_softmax(scores, mask)
        return encoded._replace(pooled=(weights[..., None] * encoded.states).sum(dim=1))


class SingleStepsApart(SoundEncoder):
    breaks = ("any_number_of_steps",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        return encoded._replace(pooled=2.0 * encoded.pooled) if x.shape[1] == 1 else encoded


class NoiseOnPadding(SoundEncoder):
    breaks = ("masked_states_are_zero",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        noise = 0.1 * self.training * torch.randn_like(encoded.states)
        return encoded._replace(states=encoded.states + noise)


class ReadsPaddingInTraining(ReadsPadding):
    breaks = ("padding_content_does_not_matter",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        return super().forward(x, mask) if self.training else SoundEncoder.forward(self, x, mask)


class OrderInTraining(SoundEncoder):
    breaks = ("batch_order_does_not_matter",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        return encoded._replace(pooled=encoded.pooled + self.training * torch.arange(len(x))[:, None])


class FailsInTraining(SoundEncoder):
    breaks = ("batch_of_one",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        if self.training and len(x) == 1 and x.shape[1] > 1:
            raise ValueError("two samples at least")
        return super().forward(x, mask)


class ReadsTheFirst512(SoundEncoder):
    breaks = ("reads_all_of_a_long_sequence",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        return super().forward(x[:, :512], mask[:, :512])


class PoolsTheFirst512(SoundEncoder):
    breaks = ("reads_all_of_a_long_sequence",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        return encoded._replace(pooled=masked_mean(encoded.states[:, :512], mask[:, :512]))


class DetachesSingleSteps(SoundEncoder):
    breaks = ("every_row_is_read",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        several = mask.sum(dim=1, keepdim=True) > 1
        return encoded._replace(pooled=torch.where(several, encoded.pooled, encoded.pooled.detach()))


class CountsToTheLastState(SoundEncoder):
    breaks = ("every_row_is_read",)  # the state there may be a masked one

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        last = (mask.sum(dim=1) - 1).clamp(min=0)
        return encoded._replace(pooled=encoded.states[torch.arange(len(x)), last])


class CountsToTheLastStep(SoundEncoder):
    breaks = ("every_row_is_read",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        last = (mask.sum(dim=1) - 1).clamp(min=0)
        first = encoded.states[torch.arange(len(x)), before_a_set_step(mask).int().argmin(1)]
        return encoded._replace(pooled=encoded.states.cumsum(dim=1)[torch.arange(len(x)), last] + 0.0 * first)


class TruncatesTheGradient(SoundEncoder):
    breaks = ("no_gradient_is_cut",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        before = encoded.states.detach().cumsum(dim=1) - encoded.states.detach()
        return encoded._replace(states=zero_masked(encoded.states + before, mask))


class AttendsToPadding(SoundEncoder):
    breaks = ("attention_is_a_share_of_steps",)

    def attention_over_steps(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.linear(zero_masked(x, mask))[..., 0].softmax(dim=1)


class AttendsToMoreThanAll(SoundEncoder):
    breaks = ("attention_is_a_share_of_steps",)

    def attention_over_steps(self, x: Tensor, mask: Tensor) -> Tensor:
        return 0.5 * mask.float()


class AttendsToStates(SoundEncoder):
    breaks = ("attention_is_a_share_of_steps",)

    def attention_over_steps(self, x: Tensor, mask: Tensor) -> Tensor:
        return masked_softmax(self.linear(zero_masked(x, mask))[..., 0], mask)[:, ::2]


class AttendsToNaN(SoundEncoder):
    breaks = ("attention_is_a_share_of_steps",)

    def attention_over_steps(self, x: Tensor, mask: Tensor) -> Tensor:
        return mask * x[..., 0].abs() / (mask * x[..., 0].abs()).sum(dim=1, keepdim=True).clamp(min=1e-6)


class RunsOverTheBatch(SoundEncoder):
    breaks = ("samples_do_not_mix", "batch_order_does_not_matter")  # a recurrence over the batch has an order

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        return encoded._replace(pooled=encoded.pooled.cumsum(dim=0))


class ReadsThePlace(SoundEncoder):
    breaks = ("batch_order_does_not_matter",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        return encoded._replace(pooled=encoded.pooled + torch.arange(len(x), device=x.device)[:, None])


class RandomInEval(SoundEncoder):
    breaks = ("deterministic_in_eval",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        return encoded._replace(pooled=encoded.pooled * (1.0 + torch.rand(()).item()))


class DrawsFromPython(SoundEncoder):
    breaks = ("seed_repeats_it",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        return encoded._replace(pooled=encoded.pooled + (random.random() if self.training else 0.0))


class DrawsFromItsOwn(SoundEncoder):
    breaks = ("seed_repeats_it",)

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features)
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        noise = torch.randn(encoded.pooled.shape, generator=self.generator)
        return encoded._replace(pooled=encoded.pooled + 0.1 * self.training * noise)


class CountsItsCalls(SoundEncoder):
    # a run that resumes begins with no call
    breaks = ("seed_repeats_it", "state_dict_round_trip", "keeps_nothing_beside_its_buffers")

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features)
        self.calls = 0

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        self.calls += self.training
        return encoded._replace(pooled=encoded.pooled * (1.0 + 0.1 * self.calls))


class CountsInABuffer(SoundEncoder):
    breaks = ()

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        if self.training:
            self.calls = self.calls + 1.0
        return encoded._replace(pooled=encoded.pooled * (1.0 + 0.1 * self.calls))


class CountsInABufferThatIsNotSaved(CountsInABuffer):
    breaks = ("state_dict_round_trip",)

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features)
        self.register_buffer("calls", torch.zeros(()), persistent=False)


class DropsElsewhere(SoundEncoder):
    breaks = ()

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        return encoded._replace(pooled=nn.functional.dropout(encoded.pooled, 0.5, self.training))


class ClearsInPlace(SoundEncoder):
    breaks = ("does_not_change_its_input",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        return super().forward(x.masked_fill_(~mask[..., None], 0.0), mask)


class Unused(SoundEncoder):
    breaks = ("every_parameter_learns",)

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features)
        self.spare = nn.Linear(2, 2)


class HoldsAFrozenOne(SoundEncoder):
    breaks = ()

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features)
        self.frozen = nn.Linear(in_features, in_features).requires_grad_(False)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        with torch.no_grad():
            seen = self.frozen(zero_masked(x, mask))
        return super().forward(seen, mask)


class ReadsNothing(SoundEncoder):
    breaks = ("every_row_is_read",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        return super().forward(torch.ones_like(x), mask)


class Detaches(SoundEncoder):
    breaks = ("every_parameter_learns",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        return Encoded(encoded.states.detach(), encoded.pooled.detach(), mask)


class ForgetsItsScale(SoundEncoder):
    breaks = ("state_dict_round_trip",)

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features)
        self.scale = 1.0 + torch.rand(()).item()

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        return encoded._replace(pooled=encoded.pooled * self.scale)


class WritesIntoFloat32(SoundEncoder):
    breaks = ("runs_in_bfloat16_autocast",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        states = x.new_zeros(*mask.shape, self.out_features)
        states[mask] = self.linear(x[mask])
        return Encoded(states, masked_mean(states, mask), mask)


class SubtractsLargeNumbers(SoundEncoder):
    breaks = ("runs_in_bfloat16_autocast",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        return encoded._replace(pooled=(encoded.pooled + 100.0) - 100.0)


class AnyOptions(SoundEncoder):
    breaks = ("options_are_explicit",)

    def __init__(self, in_features: int, **options: Any) -> None:
        super().__init__(in_features, **options)


class AnyArguments(SoundEncoder):
    breaks = ("options_are_explicit",)

    def __init__(self, in_features: int, *options: int) -> None:
        super().__init__(in_features)


class PositionalOption(SoundEncoder):
    breaks = ("options_are_explicit",)

    def __init__(self, in_features: int, width: int = 4) -> None:
        super().__init__(in_features, width=width)


class OptionWithoutType(SoundEncoder):
    breaks = ("options_are_explicit",)

    def __init__(self, in_features: int, *, width=4) -> None:  # type: ignore[no-untyped-def]
        super().__init__(in_features, width=width)


class OptionOfStrangeType(SoundEncoder):
    breaks = ("options_are_explicit",)

    def __init__(self, in_features: int, *, activation: Callable[[Tensor], Tensor] = torch.tanh) -> None:
        super().__init__(in_features)


class DefaultOfAnotherType(SoundEncoder):
    breaks = ("options_survive_a_recipe",)

    def __init__(self, in_features: int, *, width: int = 4.0) -> None:  # type: ignore[assignment]
        super().__init__(in_features, width=int(width))


class DefaultIsInfinite(SoundEncoder):
    breaks = ("options_survive_a_recipe",)

    def __init__(self, in_features: int, *, limit: float = float("inf")) -> None:
        super().__init__(in_features)


class Seeds(SoundEncoder):
    breaks = ("seeds_nothing",)

    def __init__(self, in_features: int) -> None:
        torch.manual_seed(0)
        super().__init__(in_features)


class StaysOnTheCPU(SoundEncoder):
    breaks = ("same_on_cuda",)

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        encoded = super().forward(x, mask)
        return encoded._replace(pooled=encoded.pooled + torch.zeros(self.out_features))


class GroupsAStranger(SoundEncoder):
    breaks = ("parameter_groups_are_its_own",)

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup([nn.Parameter(torch.zeros(2))])]


class ReadsWhenMade(SoundEncoder):
    breaks = ("constructing_reads_nothing",)

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features)
        (Path(__file__).parents[2] / "pyproject.toml").read_bytes()


class GrowsWhenInitialised(SoundEncoder):
    breaks = ("initialise_changes_numbers_alone", "state_dict_round_trip")  # a new one has no place for it

    def initialise(self) -> None:
        self.register_parameter("spare", nn.Parameter(torch.zeros(2), requires_grad=False))


class FreezesWhenInitialised(SoundEncoder):
    breaks = ("initialise_changes_numbers_alone",)

    def initialise(self) -> None:
        next(self.parameters()).requires_grad_(False)


class RemembersWhatItRead(SoundEncoder):
    breaks = ("state_dict_round_trip",)

    def initialise(self) -> None:
        self.scale = 3.0

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        came = super().forward(x, mask)
        return came._replace(pooled=came.pooled * getattr(self, "scale", 1.0))


class StartsFromOnes(SoundEncoder):
    breaks = ()

    def initialise(self) -> list[Path]:
        nn.init.ones_(next(self.parameters()))
        return [Path(__file__)]


class HasNoCheckpointHere(SoundEncoder):
    breaks = ()

    def initialise(self) -> list[Path]:
        raise FileNotFoundError("no weights")


class KeepsTheFoldFromTheInnerOne(SoundEncoder):
    breaks = ("fit_reaches_an_encoder_inside",)

    def __init__(self, in_features: int, *, width: int = 4, encoder: Encoder | None = None) -> None:
        super().__init__(in_features, width=width)
        self.encoder = encoder


class ShowsTheInnerOneAGenerator(KeepsTheFoldFromTheInnerOne):
    breaks = ("fit_reaches_an_encoder_inside",)

    def fit(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        if self.encoder is not None:
            whole = iter(batches)
            list(whole)  # for itself
            self.encoder.fit(whole)


class PassesTheFoldOn(KeepsTheFoldFromTheInnerOne):
    breaks = ()

    def fit(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        if self.encoder is not None:
            self.encoder.fit(batches)


class ReadsSafetensorsWhenMade(SoundEncoder):
    breaks = ("constructing_reads_nothing",)

    def __init__(self, in_features: int) -> None:
        super().__init__(in_features)
        load_file(Path(_folder().name, "weights.safetensors"))


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory()
    save_file({"weight": torch.ones(1)}, Path(folder.name, "weights.safetensors"))
    return folder


class LoadsNothing(SoundEncoder):
    breaks = ("initialise_reads_what_it_says",)

    def initialise(self) -> list[Path]:
        self.load_state_dict({"backbone.weight": torch.ones(2)}, strict=False)
        return [Path(__file__)]


class ReadsAndTellsNobody(SoundEncoder):
    breaks = ("initialise_reads_what_it_says",)

    def initialise(self) -> None:
        nn.init.constant_(next(self.parameters()), len((Path(__file__).parents[2] / "pyproject.toml").read_bytes()))


class FitsAnAttribute(SoundEncoder):
    breaks = ("state_dict_round_trip", "keeps_nothing_beside_its_buffers")
    centre: Tensor | float = 0.0

    def fit(self, batches: Iterable[tuple[Tensor, Tensor]]) -> None:
        means = [masked_mean(zero_masked(x, mask), mask)[mask.any(dim=1)] for x, mask in batches]
        self.centre = torch.cat(means).mean()

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        return super().forward(x - self.centre, mask)


class CountsItsBatches(SoundEncoder):
    breaks = ("keeps_nothing_beside_its_buffers",)
    batches = 0

    def forward(self, x: Tensor, mask: Tensor) -> Encoded:
        self.batches += 1
        encoded = super().forward(x, mask)
        return encoded._replace(pooled=encoded.pooled * (1.0 if self.batches < 10_000 else 0.5))
