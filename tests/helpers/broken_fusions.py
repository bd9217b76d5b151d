"""A sound fusion, and fusions with one defect each: `breaks` names exactly the laws that it breaks."""
# ruff: noqa: D101, D102 -- the name of a broken plugin says what is wrong with it

import random
from pathlib import Path

import torch
from torch import Tensor, nn

from emotiwave_core.interfaces import (
    AnsweringFusion,
    ContextFusion,
    Encoded,
    Fused,
    Fusion,
    OutputSpace,
    ParameterGroup,
)
from emotiwave_core.layers.sequence import masked_mean, zero_masked
from emotiwave_core.layers.videos import video_sequences


class SoundFusion(Fusion):
    """Breaks no law; the broken ones differ from it in one place."""

    breaks: tuple[str, ...] = ()

    def __init__(self, in_features: dict[str, int], *, width: int = 4) -> None:
        super().__init__()
        self.out_features = width
        self.linears = nn.ModuleList(nn.Linear(features, width) for features in in_features.values())

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        parts = [
            self.read(linear, part, present[:, column, None])
            for column, (linear, part) in enumerate(zip(self.linears, encoded.values(), strict=True))
        ]
        vector = torch.stack(parts).sum(dim=0)
        weights = present / present.sum(dim=1, keepdim=True).clamp(min=1)
        return Fused(vector, weights, vector.square().mean())

    def read(self, linear: nn.Module, part: Encoded, here: Tensor) -> Tensor:
        content = torch.where(here, part.pooled + masked_mean(part.states, part.mask), 0.0)
        return torch.where(here, torch.tanh(linear(content)), 0.0)


class NotAFusion(nn.Module):
    breaks = ("is_a_fusion",)

    def __init__(self, in_features: dict[str, int]) -> None:
        super().__init__()
        self.fusion = SoundFusion(in_features)
        self.out_features = self.fusion.out_features

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        fused: Fused = self.fusion(encoded, present)
        return fused


class DoubleVector(SoundFusion):
    breaks = ("returns_shapes_and_types",)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        fused = super().forward(encoded, present)
        return fused._replace(vector=fused.vector.double())


class LossOfEachSample(SoundFusion):
    breaks = ("returns_shapes_and_types",)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        fused = super().forward(encoded, present)
        return fused._replace(loss=fused.vector.square().mean(dim=1))


class WeighsTheAbsent(SoundFusion):
    breaks = ("weights_are_shares",)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        return super().forward(encoded, present)._replace(weights=torch.full(present.shape, 1.0 / present.shape[1]))


class WeightsThatDoNotSumToOne(SoundFusion):
    breaks = ("weights_are_shares",)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        return super().forward(encoded, present)._replace(weights=present.float())


class LossIsNaN(SoundFusion):
    breaks = ("loss_is_finite",)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        return super().forward(encoded, present)._replace(loss=torch.tensor(torch.nan) if self.training else None)


class ReadsTheAbsent(SoundFusion):
    breaks = ("absent_content_does_not_matter",)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        fused = super().forward(encoded, present)
        first = next(iter(encoded.values())).pooled.detach().sum(dim=1, keepdim=True)
        return fused._replace(vector=fused.vector + torch.where(present[:, :1], 0.0, first))


class MultipliesByPresence(SoundFusion):
    breaks = ("absent_content_does_not_matter", "absent_content_does_not_reach_gradients")  # NaN * 0 is NaN both ways

    def read(self, linear: nn.Module, part: Encoded, here: Tensor) -> Tensor:
        return torch.tanh(linear(part.pooled)) * here


class ReadsPaddedStates(SoundFusion):
    breaks = ("padding_content_does_not_matter",)

    def read(self, linear: nn.Module, part: Encoded, here: Tensor) -> Tensor:
        padding = zero_masked(part.states, ~part.mask & here).sum(dim=(1, 2))
        return super().read(linear, part, here) + padding[:, None]


class MeanOverAllStates(SoundFusion):
    breaks = ("padding_length_does_not_matter",)

    def read(self, linear: nn.Module, part: Encoded, here: Tensor) -> Tensor:
        mean = zero_masked(part.states, part.mask).mean(dim=1)
        return super().read(linear, part._replace(pooled=mean), here)


class HidesTheAbsentAfterwards(SoundFusion):
    breaks = ("absent_content_does_not_reach_gradients",)

    def read(self, linear: nn.Module, part: Encoded, here: Tensor) -> Tensor:
        return torch.where(here, torch.tanh(linear(part.pooled)), 0.0)


class HidesANormAfterwards(SoundFusion):
    breaks = ("absent_content_does_not_reach_gradients", "no_modality_is_finite")  # the root of 0 has no gradient

    def read(self, linear: nn.Module, part: Encoded, here: Tensor) -> Tensor:
        length = part.pooled.square().sum(dim=1, keepdim=True).sqrt()
        return super().read(linear, part, here) + torch.where(here, length, 0.0)


class DividesByPresence(SoundFusion):
    breaks = ("no_modality_is_finite",)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        return super().forward(encoded, present)._replace(weights=present / present.sum(dim=1, keepdim=True))


class PositionsOfStatesEnd(SoundFusion):
    breaks = ("any_number_of_steps",)

    def read(self, linear: nn.Module, part: Encoded, here: Tensor) -> Tensor:
        position = torch.linspace(0.0, 1.0, 512, device=here.device)[: part.mask.shape[1]]
        return super().read(linear, part._replace(states=part.states + position[:, None]), here)


class SqueezesTheVector(SoundFusion):
    breaks = ("batch_of_one",)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        fused = super().forward(encoded, present)
        return fused._replace(vector=fused.vector.squeeze())


class CentresVectors(SoundFusion):
    breaks = ("samples_do_not_mix",)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        fused = super().forward(encoded, present)
        return fused._replace(vector=fused.vector - fused.vector.mean(dim=0))


class CentresVectorsInTraining(SoundFusion):
    breaks = ("samples_do_not_mix",)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        fused = super().forward(encoded, present)
        return fused._replace(vector=fused.vector - self.training * fused.vector.mean(dim=0))


class NormalisesVectors(SoundFusion):
    breaks = ("samples_do_not_mix", "batch_of_one", "loss_is_finite")  # it refuses one sample in train()

    def __init__(self, in_features: dict[str, int]) -> None:
        super().__init__(in_features)
        self.norm = nn.BatchNorm1d(self.out_features)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        fused = super().forward(encoded, present)
        return fused._replace(vector=self.norm(fused.vector))


class LossOfTheSpread(SoundFusion):
    breaks = ("loss_is_finite",)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        fused = super().forward(encoded, present)
        squares = (fused.vector - fused.vector.mean(dim=0)).square().sum()
        return fused._replace(loss=squares / (len(present) - 1) if self.training else None)


class WeighsPaddedStatesInTraining(SoundFusion):
    breaks = ("padding_length_does_not_matter",)

    def read(self, linear: nn.Module, part: Encoded, here: Tensor) -> Tensor:
        if not self.training:
            return super().read(linear, part, here)
        states = zero_masked(part.states, part.mask)
        weights = states.sum(dim=2).softmax(dim=1)
        return super().read(linear, part._replace(pooled=(weights[..., None] * states).sum(dim=1)), here)


class ReadsPaddedStatesInTraining(ReadsPaddedStates):
    breaks = ("padding_content_does_not_matter",)

    def read(self, linear: nn.Module, part: Encoded, here: Tensor) -> Tensor:
        return super().read(linear, part, here) if self.training else SoundFusion.read(self, linear, part, here)


class ReadsTheAbsentInTraining(ReadsTheAbsent):
    breaks = ("absent_content_does_not_matter",)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        return super().forward(encoded, present) if self.training else SoundFusion.forward(self, encoded, present)


class SingleStatesApart(SoundFusion):
    breaks = ("any_number_of_steps",)

    def read(self, linear: nn.Module, part: Encoded, here: Tensor) -> Tensor:
        came = super().read(linear, part, here)
        return 2.0 * came if part.mask.shape[1] == 1 else came


class ReadsTheFirst512States(SoundFusion):
    breaks = ("reads_all_states",)

    def read(self, linear: nn.Module, part: Encoded, here: Tensor) -> Tensor:
        return super().read(linear, part._replace(states=part.states[:, :512], mask=part.mask[:, :512]), here)


class CountsToTheLastState(SoundFusion):
    breaks = ("reads_all_states",)

    def read(self, linear: nn.Module, part: Encoded, here: Tensor) -> Tensor:
        last = (part.mask.sum(dim=1) - 1).clamp(min=0)
        state = zero_masked(part.states, part.mask)[torch.arange(len(last)), last]
        return super().read(linear, part._replace(states=state[:, None], mask=here), here)


class ReadsThreeOfFour(SoundFusion):
    breaks = ("every_modality_is_read",)

    def read(self, linear: nn.Module, part: Encoded, here: Tensor) -> Tensor:
        return super().read(linear, part, here) * (linear not in self.linears[3:])


class ReadsNothingOfOneAlone(SoundFusion):
    breaks = ("every_modality_is_read",)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        fused = super().forward(encoded, present)
        several = present.sum(dim=1, keepdim=True) > 1
        return fused._replace(vector=torch.where(several, fused.vector, fused.vector.detach()))


class GatesByWhatIsDetached(SoundFusion):
    breaks = ("no_gradient_is_cut",)

    def read(self, linear: nn.Module, part: Encoded, here: Tensor) -> Tensor:
        gate = torch.where(here, part.pooled, 0.0).detach().mean(dim=1, keepdim=True).sigmoid()
        return gate * super().read(linear, part._replace(pooled=torch.zeros_like(part.pooled)), here)


class ReadsThePlaceInTheBatch(SoundFusion):
    breaks = ("batch_order_does_not_matter",)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        fused = super().forward(encoded, present)
        return fused._replace(vector=fused.vector + torch.arange(len(present), device=present.device)[:, None])


class RandomFusion(SoundFusion):
    breaks = ("deterministic_in_eval",)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        fused = super().forward(encoded, present)
        return fused._replace(vector=fused.vector * (1.0 + torch.rand(()).item()))


class FusionDrawsFromPython(SoundFusion):
    breaks = ("seed_repeats_it",)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        fused = super().forward(encoded, present)
        return fused._replace(vector=fused.vector + (random.random() if self.training else 0.0))


class FusionDrawsFromItsOwn(SoundFusion):
    breaks = ("seed_repeats_it",)

    def __init__(self, in_features: dict[str, int]) -> None:
        super().__init__(in_features)
        self.generator = torch.Generator().manual_seed(0)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        fused = super().forward(encoded, present)
        noise = torch.randn(fused.vector.shape, generator=self.generator)
        return fused._replace(vector=fused.vector + 0.1 * self.training * noise)


class FusionCountsItsCalls(SoundFusion):
    # a run that resumes begins with no call
    breaks = ("seed_repeats_it", "state_dict_round_trip", "keeps_nothing_beside_its_buffers")

    def __init__(self, in_features: dict[str, int]) -> None:
        super().__init__(in_features)
        self.calls = 0

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        fused = super().forward(encoded, present)
        self.calls += self.training
        return fused._replace(vector=fused.vector * (1.0 + 0.1 * self.calls))


class FusionCountsInABuffer(SoundFusion):
    breaks = ()

    def __init__(self, in_features: dict[str, int]) -> None:
        super().__init__(in_features)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        fused = super().forward(encoded, present)
        self.calls += self.training
        return fused._replace(vector=fused.vector * (1.0 + 0.1 * self.calls.item()))


class EmptiesTheDict(SoundFusion):
    breaks = ("does_not_change_its_input",)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        fused = super().forward(encoded, present)
        encoded.clear()
        return fused


class MarksAllPresent(SoundFusion):
    breaks = ("does_not_change_its_input",)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        fused = super().forward(encoded, present.clone())
        present.fill_(True)
        return fused


class UnusedInFusion(SoundFusion):
    breaks = ("every_parameter_learns",)

    def __init__(self, in_features: dict[str, int]) -> None:
        super().__init__(in_features)
        self.spare = nn.Parameter(torch.zeros(3))


class FusionForgetsItsScale(SoundFusion):
    breaks = ("state_dict_round_trip",)

    def __init__(self, in_features: dict[str, int]) -> None:
        super().__init__(in_features)
        self.scale = 1.0 + torch.rand(()).item()

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        fused = super().forward(encoded, present)
        return fused._replace(vector=fused.vector * self.scale)


class ThreeOnly(SoundFusion):
    breaks = ("any_number_of_modalities",)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        _text, _audio, _visual = encoded.values()
        return super().forward(encoded, present)


class WritesVectorsIntoFloat32(SoundFusion):
    breaks = ("runs_in_bfloat16_autocast",)

    def read(self, linear: nn.Module, part: Encoded, here: Tensor) -> Tensor:
        out = part.pooled.new_zeros(len(here), self.out_features)
        out[here[:, 0]] = linear(part.pooled[here[:, 0]])
        return out


class FusionSubtractsLargeNumbers(SoundFusion):
    breaks = ("runs_in_bfloat16_autocast",)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        large = {m: part._replace(pooled=(part.pooled + 300.0) - 300.0) for m, part in encoded.items()}
        return super().forward(large, present)


class AnyFusionOptions(SoundFusion):
    breaks = ("options_are_explicit",)

    def __init__(self, in_features: dict[str, int], **options: int) -> None:
        super().__init__(in_features, **options)


class FusionDefaultOfAnotherType(SoundFusion):
    breaks = ("options_survive_a_recipe",)

    def __init__(self, in_features: dict[str, int], *, scales: list[int] = (1, 2)) -> None:  # type: ignore[assignment]
        super().__init__(in_features)


class FusionSeeds(SoundFusion):
    breaks = ("seeds_nothing",)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        random.seed(0)
        return super().forward(encoded, present)


class FusionStaysOnTheCPU(SoundFusion):
    breaks = ("same_on_cuda",)

    def read(self, linear: nn.Module, part: Encoded, here: Tensor) -> Tensor:
        return super().read(linear, part, here) + torch.zeros(self.out_features)


class GroupsAStranger(SoundFusion):
    breaks = ("parameter_groups_are_its_own",)

    def parameter_groups(self) -> list[ParameterGroup]:
        return [ParameterGroup([nn.Parameter(torch.zeros(2))])]


class LogitsOfNoAnswer(SoundFusion):
    breaks = ("returns_shapes_and_types",)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        fused = super().forward(encoded, present)
        return fused._replace(logits=fused.vector[:, :4])


class SoundAnswer(AnsweringFusion):
    """A sound fusion that answers itself."""

    breaks: tuple[str, ...] = ()

    def __init__(self, in_features: dict[str, int], *, width: int = 4) -> None:
        super().__init__()
        self.fusion = SoundFusion(in_features, width=width)
        self.out_features = width

    def make_heads(self, space: OutputSpace) -> None:
        self.head = nn.Linear(self.out_features, space.size)
        self.register_buffer("prior", torch.zeros(space.size))

    def take_prior(self, prior: Tensor) -> None:
        self.prior.copy_(prior)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        fused: Fused = self.fusion(encoded, present)
        return fused._replace(logits=self.head(fused.vector) + self.prior)


class AnswersNothing(SoundAnswer):
    breaks = ("returns_shapes_and_types", "every_parameter_learns")

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        return super().forward(encoded, present)._replace(logits=None)


class OddsOfASoftmax(SoundAnswer):
    breaks = ("answers_every_kind",)

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        fused = super().forward(encoded, present)
        if self.space == OutputSpace("multi", 4):
            fused = fused._replace(logits=fused.logits.softmax(dim=-1).sub(1.0).log())
        return fused


class KeepsThePriorAside(SoundAnswer):
    breaks = ("prior_is_kept",)

    def take_prior(self, prior: Tensor) -> None:
        self.__dict__["prior"] = prior


class SoundContext(ContextFusion):
    """A sound fusion that sees neighbours: to its vector it adds the others of the video."""

    breaks: tuple[str, ...] = ()

    def __init__(self, in_features: dict[str, int], *, width: int = 4) -> None:
        super().__init__()
        self.fusion = SoundFusion(in_features, width=width)
        self.out_features = width

    def forward(self, encoded: dict[str, Encoded], present: Tensor, videos: Tensor | None = None) -> Fused:
        fused: Fused = self.fusion(encoded, present)
        return fused._replace(vector=fused.vector + self.others(fused.vector, videos))

    def others(self, x: Tensor, videos: Tensor | None) -> Tensor:
        places = video_sequences(videos, len(x), x.device)
        whole = zero_masked(places.sequences(x), places.mask).sum(dim=1, keepdim=True)
        return 0.5 * (places.samples(whole.expand(-1, places.mask.shape[1], -1)) - x)


class SeesTheWholeBatch(SoundContext):
    breaks = ("videos_do_not_mix",)

    def others(self, x: Tensor, videos: Tensor | None) -> Tensor:
        alone = videos is None or len(videos.unique()) == len(videos)
        return super().others(x, videos if alone else torch.zeros(len(x), dtype=torch.int64))


class CentresVideosInTraining(SoundContext):
    breaks = ("videos_do_not_mix",)

    def others(self, x: Tensor, videos: Tensor | None) -> Tensor:
        seen = super().others(x, videos)
        return seen - seen.mean(dim=0) if self.training else seen


class IsAnotherWithoutVideos(SoundContext):
    breaks = ("alone_is_a_video_of_one",)

    def others(self, x: Tensor, videos: Tensor | None) -> Tensor:
        return 0.1 * x if videos is None else super().others(x, videos)


class SeesNoNeighbours(SoundContext):
    breaks = ("neighbours_are_read",)

    def others(self, x: Tensor, videos: Tensor | None) -> Tensor:
        return torch.zeros_like(x)


class MultipliesItsNeighbours(SoundContext):
    breaks = ("absent_content_of_neighbours_does_not_matter",)

    def forward(self, encoded: dict[str, Encoded], present: Tensor, videos: Tensor | None = None) -> Fused:
        fused = super().forward(encoded, present, videos)
        if videos is None or len(videos.unique()) == len(videos):
            return fused
        first = next(iter(encoded.values())).pooled * present[:, :1]
        return fused._replace(vector=fused.vector + self.others(first, videos).sum(dim=1, keepdim=True))


class ReadsWhenMade(SoundFusion):
    breaks = ("constructing_reads_nothing",)

    def __init__(self, in_features: dict[str, int]) -> None:
        super().__init__(in_features)
        (Path(__file__).parents[2] / "pyproject.toml").read_bytes()


class GrowsWhenInitialised(SoundFusion):
    breaks = ("initialise_changes_numbers_alone", "state_dict_round_trip")  # a new one has no place for it

    def initialise(self) -> None:
        self.register_parameter("spare", nn.Parameter(torch.zeros(2), requires_grad=False))


class FreezesWhenInitialised(SoundFusion):
    breaks = ("initialise_changes_numbers_alone",)

    def initialise(self) -> None:
        next(self.parameters()).requires_grad_(False)


class RemembersWhatItRead(SoundFusion):
    breaks = ("state_dict_round_trip",)

    def initialise(self) -> None:
        self.scale = 3.0

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        came = super().forward(encoded, present)
        return came._replace(vector=came.vector * getattr(self, "scale", 1.0))


class StartsFromOnes(SoundFusion):
    breaks = ()

    def initialise(self) -> list[Path]:
        nn.init.ones_(next(self.parameters()))
        return [Path(__file__)]


class HasNoCheckpointHere(SoundFusion):
    breaks = ()

    def initialise(self) -> list[Path]:
        raise FileNotFoundError("no weights")


class LoadsNothing(SoundFusion):
    breaks = ("initialise_reads_what_it_says",)

    def initialise(self) -> list[Path]:
        self.load_state_dict({"backbone.weight": torch.ones(2)}, strict=False)
        return [Path(__file__)]


class FusionCountsItsBatches(SoundFusion):
    breaks = ("keeps_nothing_beside_its_buffers",)
    batches = 0

    def forward(self, encoded: dict[str, Encoded], present: Tensor) -> Fused:
        self.batches += 1
        fused = super().forward(encoded, present)
        return fused._replace(vector=fused.vector * (1.0 if self.batches < 10_000 else 0.5))
