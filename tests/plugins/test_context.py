"""The fusion `context`, and what it asks of the engine: the segments of a video in one batch, whoever reads it."""

import itertools
import signal
import warnings
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from datasets import WIDTHS, write_dialogue
from killed_runs import outcome
from models import some_batch, some_model
from torch import nn
from training import CPU, REGISTRY, resume, small, start

import emotiwave as ew
from emotiwave_core.cli import exit_code_of
from emotiwave_core.data.corpus import all_samples
from emotiwave_core.data.loading.loader import open_loader
from emotiwave_core.data.loading.plan import neighbour_notes, plan_batches
from emotiwave_core.data.store.memory import ArraySample
from emotiwave_core.errors import Notice, SettingsError
from emotiwave_core.explain.attribution import explain
from emotiwave_core.explain.occlusion import occlude
from emotiwave_core.explain.recording import Segment, predict_segments
from emotiwave_core.explain.shares import shares_of
from emotiwave_core.interfaces import Encoded
from emotiwave_core.predict.predictions import predict
from emotiwave_core.predict.predictor import open_predictor
from emotiwave_core.predict.trained import TrainedRun, open_trained_run, restrict_to_sample
from emotiwave_core.runs.data_file import read_data
from emotiwave_core.train.step import LossWatch
from emotiwave_fusions.concat import Concat
from emotiwave_fusions.context import Context

CONTEXT = {"fusion": {"name": "context", "hidden_size": 8, "dropout": 0.0}}


@pytest.fixture(scope="module")
def dialogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in which a segment shows the emotion of the one after it."""
    return write_dialogue(tmp_path_factory.mktemp("dialogue") / "data")


@pytest.fixture(scope="module")
def run(dialogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of `context`."""
    folder = tmp_path_factory.mktemp("context") / "run"
    start(small(**CONTEXT, encoder={"name": "mean", "width": 8}, training={"epochs": 16}), dialogue, folder)
    return folder


@pytest.fixture
def trained(run: Path) -> TrainedRun:
    """That run on its test fold."""
    return open_trained_run(run, REGISTRY)


def encodings(samples: int, present: torch.Tensor) -> dict[str, Encoded]:
    """Random encodings of three modalities, of two states each."""
    each = {}
    for column, (name, width) in enumerate(WIDTHS.items()):
        mask = present[:, column, None].expand(samples, 2)
        each[name] = Encoded(torch.randn(samples, 2, width), torch.randn(samples, width), mask)
    return each


@pytest.mark.full
def test_it_is_an_lstm_over_the_segments_of_each_video() -> None:
    """The vector is the inner one beside torch's own bidirectional LSTM over those of the video, run alone."""
    torch.manual_seed(0)
    fusion = Context(WIDTHS, hidden_size=5, layers=2).eval()
    present = torch.rand(9, 3) < 0.7
    encoded, videos = encodings(9, present), torch.tensor([7, 7, 7, 7, 2, 3, 3, 3, 0])
    width = fusion.fusion.out_features
    theirs = nn.LSTM(width, 5, num_layers=2, bidirectional=True, batch_first=True)
    weights = {}
    for layer, suffix in itertools.product((0, 1), ("", "_reverse")):
        own = (fusion.lstm.backward_layers if suffix else fusion.lstm.forward_layers)[layer]
        for name, weight in own.named_parameters():
            weights[name.replace("_l0", f"_l{layer}{suffix}")] = weight
    theirs.load_state_dict(weights)
    with torch.no_grad():
        inner = fusion.fusion(encoded, present).vector
        vector = fusion(encoded, present, videos).vector
        for video in videos.unique():
            states, _ = theirs(inner[videos == video][None])
            expected = torch.cat([inner[videos == video], states[0]], dim=1)
            torch.testing.assert_close(vector[videos == video], expected)


@pytest.mark.full
def test_it_learns_what_only_neighbours_show(dialogue: Path, run: Path, tmp_path: Path) -> None:
    """Where a segment shows the emotion of the next, `context` is right of all but the first, and `concat` guesses."""
    start(small(encoder={"name": "mean", "width": 8}, training={"epochs": 16}), dialogue, tmp_path / "concat")
    with_context, without = (ew.open_run(folder).evaluate() for folder in (run, tmp_path / "concat"))
    assert with_context.configurations["text+audio+visual"].score > 0.85
    assert without.configurations["text+audio+visual"].score < 0.7


@pytest.mark.full
def test_a_batch_holds_whole_videos(dialogue: Path, trained: TrainedRun) -> None:
    """Every plan of whole videos has each sample once, no video in two batches, its samples in time."""
    store = trained.corpus.store
    rows = np.sort(np.random.default_rng(0).permutation(len(store))[:150])
    for size in (1, 6, 16, 1000):
        counts = set()
        for seed in range(4):
            order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
            plan = plan_batches(store, rows, size, order, neighbours="video")
            counts.add(len(plan))
            batches = [rows[places.numpy()] for places in torch.split(plan.order, plan.sizes)]
            np.testing.assert_array_equal(np.sort(np.concatenate(batches)), rows)
            videos = [{store.videos[row] for row in batch} for batch in batches]
            assert sum(map(len, videos)) == len(set.union(*videos))
            for batch in batches:
                for _, own in itertools.groupby(batch, key=lambda row: store.videos[row]):
                    starts = store.intervals[list(own), 0]
                    assert bool((starts.diff() > 0).all())
            torch.testing.assert_close(plan.restored(torch.cat([torch.from_numpy(b) for b in batches])).numpy(), rows)
            assert torch.equal(plan.after(2).order, plan.order[sum(plan.sizes[:2]) :])
        assert len(counts) == 1


def in_batches_of(size: int, trained: TrainedRun) -> TrainedRun:
    """The run, read in batches of another size."""
    settings = attrs.evolve(trained.recipe.training, batch_size=size)
    return attrs.evolve(trained, recipe=attrs.evolve(trained.recipe, training=settings))


@pytest.mark.full
def test_predictions_do_not_depend_on_the_batches(trained: TrainedRun) -> None:
    """Batches of any size give the same logits of every sample, in the order of the fold."""
    few, many = (in_batches_of(size, trained).predict(CPU) for size in (1, 64))
    np.testing.assert_allclose(few.logits, many.logits, atol=1e-5)
    np.testing.assert_array_equal(few.present, many.present)


@pytest.mark.full
def test_an_answer_depends_on_its_video_and_no_other(trained: TrainedRun) -> None:
    """A video predicted by itself has the answers that it has in the fold; a segment by itself has not."""
    whole, store = trained.predict(CPU), trained.corpus.store
    video, n = restrict_to_sample(trained, store.ids[trained.fold.rows[3]])
    assert {store.videos[row] for row in video.fold.rows} == {store.videos[trained.fold.rows[3]]}
    assert video.fold.rows[n] == trained.fold.rows[3]
    own = np.isin(trained.fold.rows, video.fold.rows)
    np.testing.assert_allclose(video.predict(CPU).logits, whole.logits[:, own], atol=1e-5)
    fold = trained.fold
    alone = attrs.evolve(trained, fold=fold._replace(rows=fold.rows[3:4], targets=fold.targets[3:4])).predict(CPU)
    assert np.abs(alone.logits[:, 0] - whole.logits[:, 3]).max() > 0.1


@pytest.mark.full
def test_a_policy_draws_once_for_a_video() -> None:
    """The policy loses a modality of all samples of a video or of none, and of other videos as it may."""
    model = some_model(**CONTEXT, dropout={"name": "bernoulli", "p": 0.5}).train()
    videos = torch.tensor([5, 5, 5, 1, 1, 9])
    masks = {m: torch.ones(6, 4, dtype=torch.bool) for m in WIDTHS}
    kept = []
    for _ in range(40):
        left, whole = model.drop(masks, torch.tensor(0.5), videos)
        assert whole
        kept.append(model.present(left))
        for number in videos.unique():
            assert len(kept[-1][videos == number].unique(dim=0)) == 1
    drawn = torch.stack(kept)
    assert bool((drawn[:, 0] != drawn[:, 3]).any())
    assert bool(drawn.any(dim=2).all())


@pytest.mark.full
def test_steps_are_dropped_where_they_were() -> None:
    """A policy that loses steps clears some of the steps that samples have, and leaves every video one."""
    model = some_model(**CONTEXT, dropout={"name": "frames", "p": 0.6}).train()
    _, masks = some_batch()
    left, whole = model.drop(masks, torch.tensor(0.5), torch.tensor([0, 0, 2, 2, 2, 4]))
    assert not whole
    assert all(not bool((left[m] & ~masks[m]).any()) for m in masks)
    assert any(bool((left[m] != masks[m]).any()) for m in masks)


@pytest.mark.full
def test_shapley_values_of_a_sample_sum_to_its_answer(run: Path, trained: TrainedRun) -> None:
    """They sum from the class frequencies to what is predicted, of samples too that lack what their neighbours have."""
    predictions = trained.predict(CPU)
    explanation = explain(trained, predictions)
    assert not explanation.present.all()
    sums = explanation.coalitions[0] + explanation.shapley.sum(axis=0)
    np.testing.assert_allclose(sums, predictions.answers[-1], atol=1e-6)
    predictor, store = open_predictor(run, REGISTRY, CPU), trained.corpus.store
    everything = all_samples(store)
    answers = [one for _, own in predictor.predict_store(store) for one in own]
    data = read_data(run)
    for answer, share in zip(answers, shares_of(predictor, store, everything, data), strict=True):
        assert sum(share.shapley.values()) + 0.5 == pytest.approx(answer.probabilities[share.explained], abs=1e-5)


@pytest.mark.full
def test_a_moment_is_taken_from_its_sample_alone(trained: TrainedRun) -> None:
    """What a stretch takes away is what the model says without it, the neighbours whole."""
    store, fold = trained.corpus.store, trained.fold
    row = int(fold.rows[8])
    moments = occlude(trained, row, lambda logits: logits[:, 0], CPU, [])
    plain = predict_logits(trained, None)
    number = list(fold.rows).index(row)
    for window, moment in enumerate(moments["audio"]):
        changed = predict_logits(trained, (row, window))
        assert moment.occlusion == pytest.approx(float(plain[number] - changed[number]), abs=1e-5)
    assert len(moments["audio"]) == 4
    assert any(abs(moment.occlusion) > 1e-3 for moment in moments["audio"])
    assert store.has("audio")[row]


def predict_logits(trained: TrainedRun, cut: tuple[int, int] | None) -> np.ndarray[Any, Any]:
    """The logits [N] of class 0 of the fold, without one step of audio of one sample."""
    model, store, fold = trained.model, trained.corpus.store, trained.fold
    plan = plan_batches(store, fold.rows, len(fold.rows), neighbours="video")
    [batch] = plan.batches(open_loader(store, CPU), fold.rows, fold.targets)
    masks = {name: mask.clone() for name, mask in batch.masks.items()}
    if cut is not None:
        masks["audio"][list(batch.rows).index(cut[0]), cut[1]] = False
    with torch.inference_mode():
        return plan.restored(model.forward_masked(batch.inputs, masks, batch.videos).logits[:, 0]).numpy()


@pytest.mark.full
def test_a_recording_has_neighbours_and_single_samples_are_told_to_have_none(run: Path) -> None:
    """Segments of one recording are predicted as a video of them; samples of arrays each alone, which a note says."""
    predictor = open_predictor(run, REGISTRY, CPU)
    random = np.random.default_rng(0)
    samples = [
        ArraySample({m: random.normal(size=(4, width)) for m, width in WIDTHS.items()}, interval=(2.0 * n, 2.0 * n + 2))
        for n in range(5)
    ]
    empty = ArraySample({m: np.zeros((4, width)) for m, width in WIDTHS.items()}, interval=(10.0, 12.0))
    segments = [Segment(*(one.interval or (0.0, 0.0)), one, "", {}) for one in [*samples, empty]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        *told, nothing = predict_segments(predictor, segments, read_data(run))
    assert (nothing.has_evidence, nothing.decided, set(nothing.missing)) == (False, (), set(WIDTHS))
    together = [one.probabilities for one in told]
    with pytest.warns(Notice, match="here each sample is alone"):
        alone = [one.probabilities for one in predictor.predict_arrays(samples)]
    store = predictor.store_of(samples, one_video=True)
    predictions = predict(
        predictor.model, predictor.objective, open_loader(store, CPU), all_samples(store), batch_size=2
    )
    np.testing.assert_allclose([list(one.values()) for one in together], predictions.answers[-1], atol=1e-6)
    assert np.abs(np.array([list(one.values()) for one in alone]) - predictions.answers[-1]).max() > 1e-3


@pytest.mark.full
def test_a_run_stopped_in_an_epoch_ends_as_one_that_was_not(dialogue: Path, tmp_path: Path) -> None:
    """The rest of an epoch has the batches that were left of it."""
    recipe = small(**CONTEXT, encoder={"name": "mean", "width": 4}, training={"epochs": 2, "batch_size": 24})
    start(recipe, dialogue, tmp_path / "whole")
    inner, seen = LossWatch.step, [0]

    def step(watch: LossWatch, *arguments: Any) -> None:
        seen[0] += 1
        if seen[0] == 3:
            signal.raise_signal(signal.SIGINT)
        inner(watch, *arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LossWatch, "step", step)
        with pytest.raises(KeyboardInterrupt):
            start(recipe, dialogue, tmp_path / "run")
    resume(tmp_path / "run")
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


@pytest.mark.full
@pytest.mark.parametrize(
    ("tables", "what"),
    [
        ({"computing": {"auto_batch": True}}, "computing.auto_batch"),
        ({"training": {"buckets": 4}}, "training.buckets above 1"),
        ({"augmentation": [{"name": "mixup"}]}, "The augmentation mixup"),
        ({"fusion": {"name": "context", "fusion": {"name": "context"}}}, "has a Context inside"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_would_cut_or_mix_videos_is_refused(
    dialogue: Path, tmp_path: Path, tables: dict[str, Any], what: str
) -> None:
    """Before anything is trained one sentence says what does not go with a fusion that sees neighbours."""
    with pytest.raises(SettingsError, match=what) as caught:
        start(small(**(CONTEXT | tables)), dialogue, tmp_path / "run")
    assert str(caught.value).count(". ") == 0


@pytest.mark.full
def test_commands_that_see_single_samples_refuse_it(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An export and a server end with exit code 2 and a sentence, and leave nothing behind."""
    for command in ("export", "serve"):
        assert exit_code_of([command, str(run)]) == 2
        assert "does not go with the fusion 'context'" in capfd.readouterr().err
    assert [path.name for path in run.parent.iterdir()] == ["run"]


@pytest.mark.full
def test_a_data_set_without_neighbours_is_told(
    dialogue: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Where every video is one sample, a run says that its fusion sees no neighbours."""
    command = ["run", "--data", str(dialogue), "--fusion", "context", "--encoder", "mean:width=4", "--out"]
    flags = ["--set", "data.unit=video", "--set", "training.epochs=1", "--device", "cpu"]
    assert exit_code_of([*command, str(tmp_path / "run"), *flags]) == 0
    assert "each video of Dialogue is one sample: the run's fusion sees no neighbours." in capfd.readouterr().err


def test_its_inner_fusion_is_concat() -> None:
    """As it comes it stands around `concat`, whose vector it keeps first."""
    fusion = Context(WIDTHS, hidden_size=3)
    assert isinstance(fusion.fusion, Concat)
    assert fusion.out_features == sum(WIDTHS.values()) + 6


@pytest.mark.full
def test_neighbours_may_be_the_samples_of_a_group(dialogue: Path, trained: TrainedRun) -> None:
    """With "group" a plan has whole groups, videos by the numbers in their names; data that tell none are named."""
    names = [f"dia{row // 12}_utt{(7 * row) % 12}" for row in range(len(trained.corpus.store))]
    facts = attrs.evolve(
        trained.corpus.store.facts, videos=tuple(names), groups=tuple(name.partition("_")[0] for name in names)
    )
    store = attrs.evolve(trained.corpus.store, facts=facts)
    rows = np.arange(len(store))
    plan = plan_batches(store, rows, 24, torch.randperm(len(rows)), neighbours="group")
    assert plan.sizes == [24] * 10
    assert plan.videos is not None
    ordered = [names[row] for row in plan.order]
    for first in range(0, len(rows), 12):
        [group] = {name.partition("_")[0] for name in ordered[first : first + 12]}
        assert ordered[first : first + 12] == [f"{group}_utt{number}" for number in range(12)]
        assert len(set(plan.videos[plan.order[first : first + 12].numpy()])) == 1
    assert len(set(plan.videos.tolist())) == 20
    alone = plan_batches(store, rows, 24, neighbours="video")
    assert alone.sizes == [24] * 10
    assert alone.videos is not None
    assert len(set(alone.videos.tolist())) == len(rows)
    model = some_model(fusion={"name": "context", "neighbours": "group"})
    assert model.neighbours == "group"
    assert neighbour_notes(store, "video") == [
        "each video of Dialogue is one sample: the run's fusion sees no neighbours."
    ]
    assert neighbour_notes(store, model.neighbours) == []
    assert neighbour_notes(trained.corpus.store, "video") == []
    [note] = neighbour_notes(trained.corpus.store, "group")
    assert "does not tell groups" in note
