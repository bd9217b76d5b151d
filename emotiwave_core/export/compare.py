"""Answers of an exported model beside those of its run: an export that answers otherwise is not written."""

from collections.abc import Callable, Iterator

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from emotiwave_core.data.corpus import Fold
from emotiwave_core.data.loading.loader import open_loader
from emotiwave_core.export.graph import DeployedModel
from emotiwave_core.interfaces import Tensors
from emotiwave_core.layers.masking import keep
from emotiwave_core.modalities import configurations
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.model.streams import join_masks, split_masks
from emotiwave_core.monitor import Monitor
from emotiwave_core.objectives import Objective
from emotiwave_core.predict.trained import TrainedRun
from emotiwave_core.runs.export_manifest import ExportComparison, QuantisationCost

Array = NDArray[np.float64]
Answers = tuple[NDArray[np.floating], NDArray[np.floating]]  # logits and answers, [..., C] each
Runner = Callable[[Tensors, Tensors], Answers]
SAMPLES = 256  # of the test fold, on which an export is compared that should differ by rounding alone
# Numbers of samples and of steps: one of each, a few, other ones in each stream, and more than were traced.
SIZES = ((1, (1, 1, 1)), (2, (3, 1, 7)), (5, (2, 90, 33)))


def generated_batches(model: FusionModel) -> Iterator[tuple[Tensors, Tensors]]:
    """Features and masks of several sizes in every configuration, also without any modality; NaN where masked."""
    generator = torch.Generator().manual_seed(0)
    for samples, steps in SIZES:
        lengths = {s: steps[place % len(steps)] for place, s in enumerate(model.streams)}
        if model.absent == "zeros":  # where a sequence of more steps than these does not occur
            lengths = {s: min(T, model.steps.get(s, T)) for s, T in lengths.items()}
        inputs = {s: torch.randn(samples, T, model.features[s], generator=generator) for s, T in lengths.items()}
        masks = {s: torch.rand(samples, T, generator=generator) < 0.7 for s, T in lengths.items()}
        for configuration in [(), *configurations(model.modalities)]:
            left = restricted(model, masks, configuration)
            yield {s: torch.where(left[s][..., None], x, torch.nan) for s, x in inputs.items()}, left


def restricted(model: FusionModel, masks: Tensors, configuration: tuple[str, ...]) -> Tensors:
    """The masks {s: [B, T]} of the streams with those of all other modalities cleared."""
    chosen = torch.tensor([modality in configuration for modality in model.modalities])
    return split_masks(keep(join_masks(masks), chosen), masks)


@torch.no_grad()
def compare_generated(runner: Runner, model: FusionModel, objective: Objective) -> ExportComparison:
    """The largest difference on generated features."""
    deployed, largest, samples = DeployedModel(model, objective).eval(), 0.0, 0
    for inputs, masks in generated_batches(model):
        logits, answers = (tensor.numpy() for tensor in deployed(inputs, masks))
        largest = max(largest, _difference(objective, runner(inputs, masks), (logits, answers)))
        samples += len(logits)
    return ExportComparison(samples, 2 ** len(model.modalities), "generated features", largest)


def _difference(objective: Objective, ours: Answers, theirs: Answers) -> float:
    """Between two pairs of logits and answers: of the answers, but of numbers in deviations, as their logits are."""
    which = 0 if objective.kind == "regression" else 1
    return float(np.nan_to_num(np.abs(ours[which] - theirs[which]), nan=np.inf).max())


@attrs.frozen(eq=False)
class FoldAnswers:
    """Answers of both to some samples of the test fold, in all K configurations."""

    trained: TrainedRun
    run: Array  # [K, N, C]
    exported: Array  # [K, N, C]
    largest_difference: float

    def comparison(self) -> ExportComparison:
        """The record of it."""
        configurations, samples, _ = self.run.shape
        return ExportComparison(samples, configurations, "test fold", self.largest_difference)

    def cost(self, bytes_unquantised: int) -> QuantisationCost:
        """The headline score of both."""
        complete, mean = self._scores(self.run)
        complete_quantised, mean_quantised = self._scores(self.exported)
        return QuantisationCost(
            score=self.trained.objective.headline.key,
            samples=self.run.shape[1],
            complete=complete,
            complete_quantised=complete_quantised,
            mean=mean,
            mean_quantised=mean_quantised,
            bytes_unquantised=bytes_unquantised,
        )

    def _scores(self, answers: Array) -> tuple[float, float]:
        """The score of the complete configuration, and the mean over all."""
        objective = self.trained.objective
        truth = objective.truth(self.trained.fold.targets)
        decided = [objective.decide(each, self.trained.thresholds) for each in answers]
        scores = [objective.headline.overall(truth, each, len(objective.classes)) for each in decided]
        return scores[-1], float(np.mean(scores))


def answer_fold(runner: Runner, trained: TrainedRun, most: int | None, monitor: Monitor) -> FoldAnswers:
    """Both models' answers to the test fold of a run in float32, or to `most` of its samples, spread over it."""
    own, fold = attrs.evolve(trained.recipe.training, precision="fp32"), trained.fold
    chosen = np.unique(
        np.linspace(0, len(fold.rows) - 1, min(most or len(fold.rows), len(fold.rows))).round().astype(int)
    )
    trained = attrs.evolve(
        trained,
        recipe=attrs.evolve(trained.recipe, training=own),
        fold=Fold(fold.name, fold.rows[chosen], fold.targets[torch.from_numpy(chosen)]),
    )
    device, model, objective = torch.device("cpu"), trained.model, trained.objective
    predictions = trained.predict(device, monitor)
    subsets, loader = configurations(trained.modalities), open_loader(trained.corpus.store, device)
    batches: list[list[Answers]] = []
    with monitor.progress("Comparing", -(-len(chosen) // own.batch_size)) as step:
        for batch in loader.batches(trained.fold.rows, trained.fold.targets, own.batch_size):
            batches.append([runner(batch.inputs, restricted(model, batch.masks, subset)) for subset in subsets])
            step()
    logits, answers = (
        np.stack([np.concatenate([batch[k][which] for batch in batches]) for k in range(len(subsets))])
        for which in (0, 1)
    )
    theirs = (predictions.logits, predictions.answers)
    largest = _difference(objective, (logits.astype(np.float64), answers.astype(np.float64)), theirs)
    return FoldAnswers(trained, predictions.answers, answers.astype(np.float64), largest)
