"""Scoring: every configuration from one encoding, and files that agree with each other and with scikit-learn."""

import csv
import json
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from datasets import EMOTIONS, WIDTHS, write_csd, write_dataset
from sklearn.metrics import average_precision_score, f1_score, precision_recall_fscore_support
from training import CPU, REGISTRY, evaluate, small, start

from emotiwave_core.cli.console import print_scores
from emotiwave_core.config.recipe import ObjectiveSettings
from emotiwave_core.data.corpus import Fold, open_corpus
from emotiwave_core.data.loading.loader import open_loader
from emotiwave_core.errors import DataError, PluginError
from emotiwave_core.evaluate.bootstrap import score_interval
from emotiwave_core.evaluate.scoring import score_all
from emotiwave_core.layers.masking import keep
from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.objectives.settle import make_objective
from emotiwave_core.predict.predictions import predict
from emotiwave_core.runs.data_file import DATA
from emotiwave_core.runs.model_file import MODEL
from emotiwave_core.runs.predictions import PREDICTIONS
from emotiwave_core.runs.saved_model import load_model
from emotiwave_core.runs.scores import SCORES, NamedScore, Scores, read_scores

NAMES = [name_of(configuration) for configuration in configurations(tuple(WIDTHS))]
KINDS: dict[str, dict[str, Any]] = {
    "single": {"objective": {"kind": "single", "no_emotion": "class"}},
    "multi": {"objective": {"kind": "multi"}, "model": {"absent": "zeros"}, "data": {"max_steps": 12}},
}


@pytest.fixture(scope="module", params=KINDS)
def finished(request: pytest.FixtureRequest, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has ended, single-label and multi-label."""
    folder = tmp_path_factory.mktemp(request.param)
    start(small(**KINDS[request.param], training={"epochs": 2}), tiny, folder / "run")
    return folder / "run"


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def read(run: Path) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """Scores and predictions of a run."""
    with (run / PREDICTIONS).open(newline="") as file:
        return json.loads((run / SCORES).read_text()), list(csv.DictReader(file))


def as_matrix(texts: list[str], classes: list[str]) -> Any:
    """`happy+fear` as a row of 0 and 1."""
    return np.array([[name in text.split("+") for name in classes] for text in texts]).astype(int)


@pytest.mark.short_rows(1)
def test_a_run_is_a_folder(finished: Path) -> None:
    """A run leaves its recipe, model, last epoch, history, scores, predictions, explanation and report."""
    files = {path.name for path in finished.iterdir()}
    assert {"recipe.toml", "model.safetensors", "model.json", "last.safetensors", "history.jsonl"} <= files
    assert {"scores.json", "predictions.csv", "explanation.json", "explanations.csv", "report.html"} <= files


def test_predictions_agree_with_scores(finished: Path) -> None:
    """For every configuration, scikit-learn's scores of the rows of predictions.csv are those in scores.json."""
    scores, rows = read(finished)
    classes = scores["classes"]
    assert list(scores["configurations"]) == NAMES
    assert len(rows) == len(NAMES) * scores["samples"]
    for name, entry in scores["configurations"].items():
        some = [row for row in rows if row["configuration"] == name]
        truth, found = (as_matrix([row[key] for row in some], classes) for key in ("truth", "predicted"))
        assert entry["macro_f1"] == pytest.approx(f1_score(truth, found, average="macro", zero_division=0))
        precision, recall, f1, support = precision_recall_fscore_support(truth, found, zero_division=0)
        for c, one in enumerate(entry["classes"].values()):
            assert [one[key] for key in ("precision", "recall", "f1")] == pytest.approx(
                [precision[c], recall[c], f1[c]]
            )
            assert (one["support"], one["predicted"]) == (support[c], found[:, c].sum())
        one_answer = len({row["predicted"] for row in some}) == 1
        assert (entry["collapsed"] is not None) == one_answer


def test_intervals_and_calibration_agree_with_predictions(finished: Path) -> None:
    """From predictions.csv alone: intervals by the video of each row, the same resamples for all, and the bins."""
    scores, rows = read(finished)
    classes = scores["classes"]
    each = []
    for name, entry in scores["configurations"].items():
        some = [row for row in rows if row["configuration"] == name]
        videos = [row["id"].partition("[")[0] for row in some]
        truth, found = (as_matrix([row[key] for row in some], classes) for key in ("truth", "predicted"))
        due = score_interval(truth, found, videos, len(classes))
        assert due is not None
        assert entry["macro_f1_interval"] == pytest.approx(due.tolist())
        for c, one in enumerate(entry["classes"].values()):
            alone = score_interval(truth[:, [c]], found[:, [c]], videos, 1)
            assert alone is not None
            assert one["f1_interval"] == pytest.approx(alone.tolist())
        chances = np.array([[float(row[f"p({c})"]) for c in classes] for row in some])
        answers = chances.size if scores["objective"] == "multi" else len(some)
        assert sum(one["count"] for one in entry["calibration"]["bins"]) == answers
        known = [c for c in range(len(classes)) if truth[:, c].any()]
        precision = [average_precision_score(truth[:, c], chances[:, c]) for c in known]
        assert entry["average_precision"] == pytest.approx(np.mean(precision), abs=0.02)  # ties by rounding to 6 places
        each.append(found)
    assert scores["interval"] == {"level": 0.95, "resamples": 1000, "unit": "video", "videos": 6, "seed": 0}
    low, high = scores["mean_macro_f1_interval"]
    widest = max(np.diff(entry["macro_f1_interval"])[0] for entry in scores["configurations"].values())
    assert low <= scores["mean_macro_f1"] <= high
    assert high - low <= widest + 1e-9


def scored(
    truth: list[int],
    probabilities: Any,
    modalities: tuple[str, ...],
    videos: list[str],
    classes: tuple[str, ...] = ("happy", "sad"),
) -> Scores:
    """Scores of probabilities [K, N, C] from a run that has as much as scoring asks for."""
    trained: Any = SimpleNamespace(
        model=SimpleNamespace(modalities=modalities),
        objective=make_objective(ObjectiveSettings(), classes),
        recipe=small(),
        corpus=SimpleNamespace(
            dataset=SimpleNamespace(name="One", synthetic=False),
            store=SimpleNamespace(groups=videos, facts=SimpleNamespace(groups=None)),
        ),
        fold=Fold("test", np.arange(len(truth)), torch.tensor(truth)),
        thresholds=None,
        modalities=modalities,
        notes=["a note of the run"],
    )
    return score_all(trained, probabilities)


def test_the_mean_has_the_interval_of_the_mean() -> None:
    """All configurations meet the same resamples: those that answer alike have together the interval of one."""
    random = np.random.default_rng(0)
    truth, chances = random.integers(0, 2, 60).tolist(), random.dirichlet([1, 1], 60)
    videos = [f"v{row // 3}" for row in range(60)]
    scores = scored(truth, np.stack([chances] * 3), ("text", "audio"), videos)
    entry = scores["audio"]
    assert entry.interval is not None
    assert scores.mean_interval == pytest.approx(entry.interval)
    assert entry.interval[0] < entry.macro_f1 < entry.interval[1]
    other = scored(truth, np.stack([chances, chances, 1 - chances]), ("text", "audio"), videos).mean_interval
    assert other is not None  # two against one: a sample counts for the mean by one vote
    assert other[1] - other[0] < np.diff(entry.interval)[0]


def test_one_video_has_scores_and_no_interval(capsys: pytest.CaptureFixture[str]) -> None:
    """Where all samples are of one video, intervals are null, a note says so, and the table shows a dash."""
    scores = scored([0, 1, 1], np.eye(2)[[0, 1, 0]][None], ("text",), ["a"] * 3)
    entry = scores["text"]
    assert scores.mean_interval is entry.interval is None
    assert entry.classes["sad"].f1_interval is None
    assert scores.interval.videos == 1
    assert scores.notes[0] == "a note of the run"
    assert any("one video" in note for note in scores.notes)
    print_scores(scores)
    assert "–" in next(line for line in capsys.readouterr().out.splitlines() if line.startswith("text"))


def test_a_model_that_says_nan_is_one_sentence() -> None:
    """Probabilities that are not numbers are not scored: the error names the configuration and the command to ask."""
    said = np.array([[[0.5, 0.5], [0.2, 0.8]], [[0.5, 0.5], [np.nan, np.nan]], [[0.5, 0.5], [0.2, 0.8]]])
    with pytest.raises(PluginError, match=r"With audio the model says NaN of 1 of 2 samples.*plugins check"):
        scored([0, 1], said, ("text", "audio"), ["a", "b"])


def test_the_table_of_scores_fits_a_terminal(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """80 columns hold every configuration with its interval; guesses come last, each with a line that explains it."""
    scores, _ = read(finished)
    print_scores(read_scores(finished))
    printed = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    lines = [line for line in printed if line and not line.startswith("Note:")]
    assert all(len(line) <= 80 for line in lines)
    for name, entry in scores["configurations"].items():
        low, high = entry["macro_f1_interval"]
        line = next(line for line in lines if line.split()[:1] == [name])
        assert line.split()[1:3] == [f"{entry['macro_f1']:.3f}", f"{low:.3f}–{high:.3f}"]
    low, high = scores["mean_macro_f1_interval"]
    mean = next(line for line in lines if line.startswith("mean"))
    assert mean.split() == ["mean", f"{scores['mean_macro_f1']:.3f}", f"{low:.3f}–{high:.3f}"]
    macro, weighted = (f"{scores['constant'][key]:.3f}" for key in ("macro_f1", "weighted_accuracy"))
    drawn = [] if scores["objective"] == "multi" else [["drawn", "at", "random", f"{1 / len(scores['classes']):.3f}"]]
    due = [["constant", "guess", macro, weighted], *drawn]
    table, legend = lines[: -len(due)], lines[-len(due) :]
    assert [line.split() for line in table[-len(due) :]] == due
    meanings = ["the best that one answer for every sample reaches", "classes drawn by their frequency, on average"]
    assert legend == [
        f"{name}: {meaning}"
        for name, meaning in zip(["constant guess", "drawn at random"][: len(due)], meanings, strict=False)
    ]


def test_predictions_are_the_test_fold(finished: Path, tiny: Path) -> None:
    """Every configuration has every sample of the test fold once, with its interval and its true emotions."""
    scores, rows = read(finished)
    videos = json.loads((tiny / "folds.json").read_text())["test"]
    due = []
    for video in videos:
        for k, (start_of, end) in enumerate(((0.0, 2.0), (2.0, 4.0))):
            due.append((f"{video}[{k}]", start_of, end, EMOTIONS[(2 * int(video[1:]) + k) % 6]))
    for name in NAMES:
        some = [row for row in rows if row["configuration"] == name]
        assert [(row["id"], float(row["start"]), float(row["end"]), row["truth"]) for row in some] == due
    assert scores["fold"] == "test"


def test_decisions_follow_probabilities(finished: Path) -> None:
    """Single: the largest probability of a distribution. Multi: those above the threshold tuned on validation."""
    scores, rows = read(finished)
    about = json.loads((finished / MODEL).read_text())
    assert scores["thresholds"] == about["thresholds"]
    classes = scores["classes"]
    for row in rows:
        chances = np.array([float(row[f"p({name})"]) for name in classes])
        assert ((chances >= 0) & (chances <= 1)).all()
        if scores["objective"] == "single":
            assert chances.sum() == pytest.approx(1.0, abs=1e-5)
            assert chances[classes.index(row["predicted"])] == chances.max()
        else:
            for name, chance in zip(classes, chances, strict=True):
                if abs(chance - scores["thresholds"][name]) > 1e-6:
                    assert (name in row["predicted"].split("+")) == (chance > scores["thresholds"][name])


def test_drops_mean_and_worst(finished: Path) -> None:
    """Drops are against the complete configuration; the mean and the worst are of all."""
    scores, _ = read(finished)
    each = {name: entry["macro_f1"] for name, entry in scores["configurations"].items()}
    complete = each["text+audio+visual"]
    assert scores["complete"] == {"configuration": "text+audio+visual", "macro_f1": complete}
    assert scores["mean_macro_f1"] == pytest.approx(sum(each.values()) / 7)
    assert scores["worst"]["macro_f1"] == min(each.values()) == each[scores["worst"]["configuration"]]
    for name, entry in scores["configurations"].items():
        assert entry["absolute_drop"] == pytest.approx(complete - each[name])
        assert entry["relative_drop"] == pytest.approx(1 - each[name] / complete)


@pytest.mark.short_rows(1)
def test_scoring_twice_gives_the_same(run: Path) -> None:
    """Scores and predictions do not change, and nothing in the run does unless it is asked for."""
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    scores = evaluate(run)
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before
    assert scores.to_dict() == json.loads(before[SCORES])
    assert read_scores(run) == scores
    assert evaluate(run, write=True) == scores
    for name in (SCORES, PREDICTIONS, DATA):
        assert (run / name).read_bytes() == before[name]


@pytest.mark.short_rows(1)
def test_other_folds_can_be_scored(run: Path) -> None:
    """A fold by name, or all samples of the data set."""
    assert {fold: evaluate(run, fold=fold).samples for fold in ("train", "valid", "test", "all")} == {
        "train": 24,
        "valid": 12,
        "test": 12,
        "all": 48,
    }


@pytest.mark.short_rows(1)
def test_prediction_equals_the_plain_way(run: Path, tiny: Path) -> None:
    """A prediction is that of a forward pass with the masks of the others cleared, whatever the batch size."""
    model, objective, recipe, _, _ = load_model(run, REGISTRY)
    corpus = open_corpus(tiny, recipe.data)
    fold = corpus.fold("all", objective)
    for encoder in model.encoders.values():  # encoders that make something of nothing
        encoder.register_forward_hook(lambda _, __, encoded: encoded._replace(pooled=encoded.pooled + 1))
    once = predict(model, objective, open_loader(corpus.store, CPU), fold, batch_size=48)
    for place, row in enumerate(fold.rows.tolist()):
        x = {m: corpus.store.sequence(m, row)[None] for m in WIDTHS}
        masks = {m: torch.ones(1, len(one[0]), dtype=torch.bool) for m, one in x.items()}
        inputs = {m: torch.nn.functional.pad(one, (0, 0, 0, 1)) for m, one in x.items()}  # T >= 1 where it is missing
        masks = {m: torch.nn.functional.pad(mask, (0, 1)) for m, mask in masks.items()}
        for k, kept in enumerate(configurations(model.modalities)):
            columns = torch.tensor([m in kept for m in model.modalities])
            with torch.inference_mode():
                due = model(inputs, keep(masks, columns)).logits
            np.testing.assert_allclose(once.logits[k, place], due[0], atol=5e-6)
            np.testing.assert_allclose(once.answers[k, place], objective.answers(due)[0], atol=2e-6)
        with torch.inference_mode():
            due = model(inputs, {m: torch.zeros_like(mask) for m, mask in masks.items()}).logits[0]
        np.testing.assert_allclose(once.nothing, due, atol=5e-6)
        if place == 20:  # some of each missing modality are among the first
            break
    others = predict(model, objective, open_loader(corpus.store, CPU), fold, batch_size=5)
    for whole, pieces in zip(once, others, strict=True):
        np.testing.assert_allclose(whole, pieces, atol=5e-6)


def test_each_modality_is_encoded_once(run: Path, tiny: Path) -> None:
    """Scoring seven configurations calls each encoder once a batch for the samples and once for the absent sequence."""
    model, objective, recipe, _, _ = load_model(run, REGISTRY)
    corpus = open_corpus(tiny, recipe.data)
    calls: Counter[tuple[str, bool]] = Counter()
    for m, encoder in model.encoders.items():
        encoder.register_forward_hook(lambda _, given, __, m=m: calls.update([(m, len(given[0]) > 1)]))
    predict(model, objective, open_loader(corpus.store, CPU), corpus.fold("test", objective), batch_size=4)
    assert calls == {(m, many): 3 for m in WIDTHS for many in (True, False)}  # 12 samples in batches of 4


def edited(tmp_path: Path, old: str, new: str) -> Path:
    """The tiny data set with other words in its dataset.toml."""
    (tmp_path / "other").mkdir()
    folder = write_dataset(tmp_path / "other", seed=1)
    text = (folder / "dataset.toml").read_text()
    assert old in text
    (folder / "dataset.toml").write_text(text.replace(old, new))
    return folder


@pytest.mark.short_rows(1)
def test_other_data_of_the_same_form_can_be_scored(run: Path, tmp_path: Path) -> None:
    """Another data set gives its own name and scores; the run stays as it is."""
    before = (run / SCORES).read_bytes()
    scores = evaluate(run, data=edited(tmp_path, "Tiny", "Other"), fold="all")
    assert (scores.dataset, scores.samples, scores.fold) == ("Other", 48, "all")
    assert (run / SCORES).read_bytes() == before


@pytest.mark.short_rows(1)
def test_data_of_other_widths_is_refused(run: Path, tmp_path: Path) -> None:
    """Features of another width are named in one sentence."""
    folder = edited(tmp_path, "Tiny", "Wide")
    write_csd(folder / "audio.csd", {"v00": (np.zeros((9, 7), dtype=np.float32), [[k, k + 1] for k in range(9)])})
    with pytest.raises(DataError, match=r"'audio': 4.*Wide has.*'audio': 7"):
        evaluate(run, data=folder)


@pytest.mark.short_rows(1)
def test_data_without_a_modality_are_scored_on_what_is_there(run: Path, tmp_path: Path) -> None:
    """The configurations of the modalities that are there have the scores of the whole data set, and no other is."""
    (tmp_path / "whole").mkdir()
    whole = evaluate(run, data=write_dataset(tmp_path / "whole", seed=1))
    part = evaluate(run, data=edited(tmp_path, 'visual = "visual.csd"\n', 'pose = "visual.csd"\n'))
    assert list(part) == ["text", "audio", "text+audio"]
    assert part.modalities == ["text", "audio"]
    assert part.samples == whole.samples  # each sample has text or audio
    for name in part:
        assert part[name].metrics == pytest.approx(whole[name].metrics)
    notes = " ".join(part.notes)
    assert "does not know 'pose', which is left out" in notes
    assert "has no 'visual', which is absent in every sample" in notes


def test_every_sample_is_scored_without_folds(run: Path, tmp_path: Path) -> None:
    """`all` needs no split: two videos cannot be split, and are scored."""
    folder = edited(tmp_path, '[folds]\nfile = "folds.json"', "")
    for name in ("text", "audio", "visual", "labels"):
        with h5py.File(folder / f"{name}.csd", "a") as file:
            data = file["anything/data"]
            for video in list(data):
                if video not in ("v00", "v01"):
                    del data[video]
    assert evaluate(run, data=folder, fold="all").samples == 4
    with pytest.raises(DataError, match="2 videos cannot be split"):
        evaluate(run, data=folder, fold="test")


@pytest.mark.short_rows(1)
@pytest.mark.parametrize(("old", "new"), [('"disgust", "fear"', '"fear", "disgust"'), (', "fear"', "")])
def test_data_of_other_emotions_is_refused(run: Path, tmp_path: Path, old: str, new: str) -> None:
    """Other emotions, or the same in another order, are named in one sentence."""
    with pytest.raises(DataError, match="knows the emotions happy, sad, anger, surprise, disgust, fear, but Tiny has"):
        evaluate(run, data=edited(tmp_path, old, new))


@pytest.mark.parametrize("damage", ["{", "[]", "null", '{"samples": 3}'])
def test_a_run_whose_data_is_not_known_is_one_sentence(run: Path, damage: str) -> None:
    """Where data.json is damaged, the error names it and the way out."""
    (run / DATA).write_text(damage)
    with pytest.raises(DataError, match=r"data\.json is damaged.*--data"):
        evaluate(run)


def test_collapse_and_empty_classes_are_noted() -> None:
    """A configuration that says one class only is marked, and a class without samples is spoken of."""
    truth = [0, 1, 1, 0]
    right, always = np.eye(3)[truth], np.eye(3)[[1, 1, 1, 1]]
    classes = ("happy", "sad", "fear")
    scores = scored(truth, np.stack([right, always, right]), ("text", "audio"), list("abcd"), classes)
    assert {name: scores[name].collapsed for name in scores} == {
        "text": None,
        "audio": "every sample is predicted 'sad'",
        "text+audio": None,
    }
    assert scores.notes[1:] == ["No sample of fear in this fold: its F1 counts as 0 in every macro-F1."]
    assert scores.worst == NamedScore("audio", pytest.approx(2 / 9))
    assert scores["audio"].relative_drop == pytest.approx(2 / 3)


def test_nothing_to_drop_from_is_not_a_division_by_zero() -> None:
    """Where the complete configuration scores 0, there is no relative drop."""
    wrong = np.eye(2)[[1, 0]]
    scores = scored([0, 1], wrong[None], ("text",), ["a", "b"])
    assert scores["text"].relative_drop is None
    assert scores["text"].absolute_drop == 0.0


def test_a_run_whose_data_have_gone_says_so(run: Path) -> None:
    """The sentence names where they were, or the file that is missing, and the way out."""
    known = json.loads((run / "data.json").read_text())
    (run / "data.json").write_text(json.dumps(known | {"folder": str(run / "gone")}))
    with pytest.raises(DataError, match=r"were in .*gone, which is not there: give their folder by --data\.$"):
        evaluate(run)
    (run / "data.json").unlink()
    with pytest.raises(DataError, match=r"data\.json is missing: give the folder of a run, or --data\.$"):
        evaluate(run)
