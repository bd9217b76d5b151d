"""A trained run that was opened on a fold of a data set, its own or another."""

import difflib
from pathlib import Path

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from emotiwave_core.compute.memory import retry_smaller_batches
from emotiwave_core.config.recipe import OnAlarm, Recipe
from emotiwave_core.data.corpus import Corpus, Fold, open_corpus
from emotiwave_core.data.folds import FOLDS
from emotiwave_core.data.loading.loader import open_loader
from emotiwave_core.data.loading.plan import neighbour_notes, videos_of
from emotiwave_core.data.loading.speakers import relative_to_speakers, speaker_notes
from emotiwave_core.errors import DataError, SettingsError, choices
from emotiwave_core.io.untrusted import is_file, is_folder
from emotiwave_core.modalities import streams_of
from emotiwave_core.model.attribute_errors import attribute_errors
from emotiwave_core.model.fusion_model import FusionModel
from emotiwave_core.monitor import SILENT, Monitor
from emotiwave_core.objectives import Objective
from emotiwave_core.objectives.settle import KINDS_FOR
from emotiwave_core.parts.registry import Registry
from emotiwave_core.parts.resolved import ResolvedParts
from emotiwave_core.predict.inputs import check_inputs
from emotiwave_core.predict.predictions import Predictions, predict
from emotiwave_core.runs.data_file import read_data, read_data_folder
from emotiwave_core.runs.model_file import Agreements, Calibrations, ModelFile
from emotiwave_core.runs.saved_model import SavedModel, load_model, reload_model


@attrs.frozen(eq=False)
class TrainedRun:
    """A run's model in eval(), and the samples to predict."""

    run: Path
    model: FusionModel
    objective: Objective
    recipe: Recipe
    corpus: Corpus
    fold: Fold
    thresholds: NDArray[np.float64] | None  # [C], tuned on the validation fold of a multi-label run
    modalities: tuple[str, ...]  # those of the model that the data set has, in the model's order
    notes: list[str]  # what must be known of the samples
    calibration: Calibrations | None = None  # of each configuration, of a single-label run
    agreement: Agreements | None = None  # of each pair of modalities that agree

    def predict(self, device: torch.device, monitor: Monitor = SILENT) -> Predictions:
        """Predict every sample of the fold in every configuration."""
        training, model, loader = self.recipe.training, self.model.to(device), open_loader(self.corpus.store, device)

        def in_batches_of(size: int) -> Predictions:
            return predict(
                model,
                self.objective,
                loader,
                self.fold,
                modalities=self.modalities,
                batch_size=size,
                precision=training.precision,
                monitor=monitor,
            )

        with attribute_errors(self.model):
            return retry_smaller_batches(in_batches_of, training.batch_size, self.recipe, "scoring", monitor)


def open_trained_run(
    run: Path,
    registry: Registry,
    monitor: Monitor = SILENT,
    *,
    data: Path | None = None,
    fold: str = "test",
    on_alarm: OnAlarm | None = None,
) -> TrainedRun:
    """Open a run on a fold of its own data set, or of the one in `data`. on_alarm: in the place of the recipe's.

    SettingsError where the training has not ended and the test fold is asked for; DataError where a file is damaged or
    the data are not what the run was trained on.
    """
    loaded = load_model(run, registry)
    loaded.model.set_alarm(on_alarm)
    features = None if data is None else loaded.description.features
    split = data is None or fold != "all"
    corpus = open_corpus(data or _own_folder(run), loaded.recipe.data, monitor, features=features, split=split)
    if data is None:
        check_unchanged(run, corpus)
        known = read_data(run)
        if fold in ("test", "all") and not (known and known.trained):
            raise SettingsError(
                f"The training in {run} has not ended, and the test fold is not read before: "
                f"emotiwave run --resume {run}."
            )
    return _opened(run, loaded, corpus, fold)


def reopen_trained_run(run: Path, parts: ResolvedParts, corpus: Corpus) -> TrainedRun:
    """Open a run on the test fold, at the end of its training with these parts on this corpus."""
    return _opened(run, reload_model(run, parts), corpus, "test")


def _opened(run: Path, loaded: SavedModel, corpus: Corpus, fold: str) -> TrainedRun:
    model, objective, recipe, description, changes = loaded
    _check_fits(description, corpus)
    if objective.kind not in KINDS_FOR[corpus.store.facts.label_kind]:
        raise DataError(
            f"{run} is a {objective.kind} run, and the labels of {corpus.dataset.name} are "
            f"{corpus.store.facts.label_kind}: say what they mean by `kind` under [labels] in its dataset.toml."
        )
    tuned = description.thresholds
    thresholds = None if tuned is None else np.array([tuned[name] for name in objective.classes])
    samples = corpus.fold(fold, objective)
    notes = [*changes, *corpus.dataset.notes, *corpus.warnings(), *_trained_on(run, description, corpus, samples)]
    modalities = tuple(m for m in model.modalities if streams_of(m, corpus.dataset.modalities))
    notes += speaker_notes(corpus.store, corpus.dataset.base, recipe)
    notes += neighbour_notes(corpus.store, model.neighbours)
    store = corpus.store.with_tokens(model.tokens)
    store = relative_to_speakers(store, corpus.dataset.base, recipe, model.statistics)
    corpus = attrs.evolve(corpus, store=store)
    return TrainedRun(
        run,
        model,
        objective,
        recipe,
        corpus,
        samples,
        thresholds,
        modalities,
        notes,
        description.calibration,
        description.agreement,
    )


def _own_folder(run: Path) -> Path:
    """The folder of a run's own data; DataError where it is no longer there."""
    folder = read_data_folder(run)
    if not (is_folder(folder) or is_file(folder)):
        raise DataError(f"The data of {run} were in {folder}, which is not there: give their folder by --data.")
    return folder


def check_unchanged(run: Path, corpus: Corpus) -> None:
    """DataError where the run's own files or folds are not what they were: test videos may have been trained on."""
    before, now = read_data(run), corpus.facts()
    if before is None:
        return
    for changed, what in (
        (before.sources != now.sources, "The files"),
        (before.folds_sha256 != now.folds_sha256, "The folds"),
        (
            before.meaning not in ({}, now.meaning),
            "The meaning of the files or of the labels (dataset.toml), or the enrolment",
        ),
    ):
        if changed:
            raise DataError(f"{what} of {now.folder} have changed since {run} was started; start a new run.")


def _trained_on(run: Path, description: ModelFile, corpus: Corpus, fold: Fold) -> list[str]:
    """A note that samples of the fold were trained on, where the data are those of the training, in any folder."""
    try:
        known = read_data(run)
    except DataError:
        return []  # it is not known
    if known is None or set(description.data.sources.values()) != set(corpus.store.facts.sources.values()):
        return []
    if known.folds_sha256 != corpus.folds.sha256:
        return [f"{run} was trained on these files in other folds: some of the samples may be from its training."]
    folds = ["train"] if description.refit is None else ["train", "valid"]
    count = int(np.isin(fold.rows, np.concatenate([corpus.rows(name) for name in folds])).sum())
    return [f"{count} of the {len(fold.rows)} samples are those that {run} was trained on."] if count else []


def _check_fits(description: ModelFile, corpus: Corpus) -> None:
    """DataError where the data set is not of the form that the model was trained on."""
    if corpus.store.features != description.features:
        raise DataError(
            f"The model reads features {description.features}, but {corpus.dataset.name} has {corpus.store.features}: "
            "use a data set with the same modalities and widths."
        )
    check_inputs(description.data.inputs, corpus.store.facts)
    if list(corpus.store.targets) != description.targets:
        raise DataError(
            f"The model knows the emotions {', '.join(description.targets)}, but {corpus.dataset.name} has "
            f"{', '.join(corpus.store.targets)}; set `targets` under [labels] in its dataset.toml."
        )


def restrict_to_sample(trained: TrainedRun, sample: str) -> tuple[TrainedRun, int]:
    """The run with as few samples of its fold as decide on one of them, and its place among these.

    It is alone, or with its video where the fusion sees neighbours. SettingsError where the fold has none of this id.
    """
    store, fold = trained.corpus.store, trained.fold
    numbers = {store.ids[row]: n for n, row in enumerate(fold.rows)}
    if sample not in numbers:
        raise SettingsError(_not_in(trained, sample, list(numbers)))
    chosen, n = [numbers[sample]], numbers[sample]
    if trained.model.neighbours is not None:
        videos = videos_of(store, trained.model.neighbours)
        chosen = [number for number, row in enumerate(fold.rows) if videos[row] == videos[fold.rows[n]]]
    few = attrs.evolve(trained, fold=Fold(fold.name, fold.rows[chosen], fold.targets[chosen]))
    return few, chosen.index(n)


def _not_in(trained: TrainedRun, sample: str, ids: list[str]) -> str:
    """The reason that a fold has no sample of this id, and what may have been meant."""
    corpus, fold = trained.corpus, trained.fold.name
    if sample not in corpus.store.ids:
        near = difflib.get_close_matches(sample, ids, n=3)
        own = fold == "test" and str(read_data_folder(trained.run)) == corpus.facts().folder
        listed = "; predictions.csv has all" if own else ""  # of the run's own test fold alone
        hint = choices(sample, near) if near else f" Its {len(ids)} ids are like '{ids[0]}'{listed}."
        return f"The fold '{fold}' has no sample '{sample}'.{hint}"
    row = corpus.store.ids.index(sample)
    if row in corpus.rows(fold):
        return f"The sample '{sample}' has no emotion, and the run leaves such samples out (objective.no_emotion)."
    its_fold = next((name for name in FOLDS if row in corpus.rows(name)), "all")
    return f"The sample '{sample}' is not in the fold '{fold}': --fold {its_fold}."
