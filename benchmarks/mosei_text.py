"""Real CMU-MOSEI text, multi-label: F1 of each emotion beside the best constant guess and TF-IDF with regression.

    OMP_NUM_THREADS=1 python benchmarks/mosei_text.py DIR --out FOLDER

DIR holds CMU_MOSEI_GloVe100.csd, CMU_MOSEI_TimestampedWords.csd, CMU_MOSEI_Labels.csd and a folds.json whose `test` is
the official test fold; its `train` and `valid` together are the official validation fold. What is finished is not
repeated. In order:

1. Every candidate is trained five times inside the official validation fold (four fifths of its videos; the last fifth
   chooses epoch and thresholds). The one with the best mean macro-F1 there is `chosen`. No test fold is read.
2. `official`: `default`, `chosen` and the recipes `strong` and `resilient` are trained in the same five ways, and each
   of the five models is scored once on the official test fold: the means of the five scores.
3. `five folds`: both folds together, split in five by video; each is once the test fold, the one after it chooses epoch
   and thresholds, the other three are for training. All test samples are scored together.

The regression reads the words of the same segments (one- and two-word TF-IDF). It trains on all that is not test, with
thresholds from a cross-validation by video inside it. The intervals are 95 % by bootstrap over videos.
"""

import csv
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import tomli_w
from choose import train, validation
from numpy.typing import NDArray

from emotiwave_core.compare.jobs import Runs, carry_out_runs
from emotiwave_core.compare.plan import PlannedRun, row_of, run_folder
from emotiwave_core.config.flags import override
from emotiwave_core.config.recipe import Recipe
from emotiwave_core.data.corpus import Corpus, open_corpus
from emotiwave_core.data.dataset import EMOTIONS
from emotiwave_core.data.folds import read_lists
from emotiwave_core.data.formats.csd import CsdFile
from emotiwave_core.data.formats.reader import split_key
from emotiwave_core.data.prepare.segments import cut
from emotiwave_core.evaluate.baselines import baselines
from emotiwave_core.evaluate.bootstrap import percentiles, resampled_scores
from emotiwave_core.evaluate.calibration import calibration
from emotiwave_core.execute.executor import Execution
from emotiwave_core.io.atomic import write_json, write_text
from emotiwave_core.metrics import Outcomes, compute_metrics
from emotiwave_core.metrics.decisions import tune_thresholds
from emotiwave_core.monitor import TerminalMonitor
from emotiwave_core.objectives.settle import make_objective
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.runs.schema import converter
from emotiwave_core.runs.scores import Baselines

PARTS = range(5)
ALL = ("objective.kind=multi", "training.patience=3")  # of every candidate; the best epochs are the first few
UNWEIGHTED = "objective.class_weights=false"
CANDIDATES = {
    "default": (),
    "max": ("encoder={name='bilstm',pooling='max'}",),
    "mean": ("encoder=mean",),
    "attentive_stats": ("encoder=attentive_stats",),
    "unweighted": (UNWEIGHTED,),
    "asymmetric": (UNWEIGHTED, "objective.asymmetric={}"),
    "mean_asymmetric": ("encoder=mean", UNWEIGHTED, "objective.asymmetric={}"),
    "mean_slow": ("encoder={name='mean',dropout=0.3}", "model.head_dropout=0.5", "training.learning_rate=3e-4"),
    "max_slow": ("encoder={name='bilstm',pooling='max'}", "model.head_dropout=0.5", "training.learning_rate=3e-4"),
}
RECIPES = ("strong", "resilient")  # as they are, which were chosen on other data: rows beside the candidates
METRICS = ("macro_f1", "micro_f1", "weighted_f1", "weighted_accuracy", "average_precision")


class Answers(NamedTuple):
    """Decisions of one way of training about N samples."""

    videos: list[str]  # [N]
    truth: NDArray[np.int64]  # [N, C]
    decided: NDArray[np.int64]  # [N, C]
    probabilities: NDArray[np.float64]  # [N, C]


def lay_out(data: Path, folder: Path) -> None:
    """A data set of the same files with folds of its own: official0.json … official4.json, and cv.json."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "name": "CMU-MOSEI text",
        "modalities": {"text": str((data / "CMU_MOSEI_GloVe100.csd").resolve())},
        "labels": {"file": str((data / "CMU_MOSEI_Labels.csd").resolve()), "targets": list(EMOTIONS)},
    }
    write_text(folder / "dataset.toml", tomli_w.dumps(about))
    lists = read_lists(data / "folds.json")
    valid, test = [*lists["train"], *lists["valid"]], [*lists["test"]]
    inner = in_parts(valid)
    for k in PARTS:
        rest = [video for part in PARTS if part != k for video in inner[part]]
        write_json(folder / f"official{k}.json", {"train": rest, "valid": inner[k], "test": test})
    write_json(folder / "cv.json", {f"fold{k}": part for k, part in enumerate(in_parts([*valid, *test]))})


def in_parts(videos: list[str]) -> list[list[str]]:
    """Five parts of equal size, at random from a fixed seed."""
    mixed = np.random.default_rng(0).permutation(sorted(videos)).tolist()
    return [mixed[k :: len(PARTS)] for k in PARTS]


def planned(name: str, recipe: str, settings: tuple[str, ...], folds: str, rotation: int | None = None) -> PlannedRun:
    """A run of a recipe with these settings on top, and those of every candidate."""
    registry = load_registry()
    table, _ = registry.recipe_table(recipe)
    return PlannedRun(row_of(name, override(table, (*ALL, *settings)), registry, folds), 0, rotation)


def runs_in(folder: Path, out: Path) -> Runs:
    """The setting of runs on the laid out data, one thread each."""
    return Runs(folder.resolve(), out, execution=Execution(device="cpu"))


def choose_candidate(folder: Path, out: Path) -> tuple[str, dict[str, list[dict[str, Any]]]]:
    """The candidate with the best mean validation macro-F1 inside the official validation fold, and what each had."""
    runs = {
        name: [planned(f"{name}.{k}", "default", settings, f"official{k}.json") for k in PARTS]
        for name, settings in CANDIDATES.items()
    }
    train([run for own in runs.values() for run in own], runs_in(folder, out))
    found = {name: [validation(run_folder(out, run)) for run in own] for name, own in runs.items()}
    return max(found, key=lambda name: mean_of(found[name])), found


def mean_of(runs: list[dict[str, Any]]) -> float:
    return float(np.mean([one["mean_macro_f1"] for one in runs]))


def train_and_ask(
    row: str, recipe: str, settings: tuple[str, ...], folder: Path, out: Path
) -> dict[str, list[Answers]]:
    """The answers of a recipe's ten runs: five about the official test fold, and one about all five folds together."""
    official = [planned(f"official-{row}-{k}", recipe, settings, f"official{k}.json") for k in PARTS]
    folds = [planned(f"folds-{row}", recipe, settings, "cv.json", k) for k in PARTS]
    if failed := carry_out_runs([*official, *folds], runs_in(folder, out), TerminalMonitor()):
        raise click.ClickException("\n".join(f"{name}: {why}" for name, why in failed.items()))
    return {
        "official": [answers_of(run_folder(out, run)) for run in official],
        "five folds": [together([answers_of(run_folder(out, run)) for run in folds])],
    }


def answers_of(run: Path) -> Answers:
    """Content of a run's predictions.csv."""
    with (run / "predictions.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    truth, decided = (
        np.array([[name in row[key].split("+") for name in EMOTIONS] for row in rows]).astype(np.int64)
        for key in ("truth", "predicted")
    )
    probabilities = np.array([[float(row[f"p({name})"]) for name in EMOTIONS] for row in rows])
    return Answers([split_key(row["id"])[0] for row in rows], truth, decided, probabilities)


def together(parts: list[Answers]) -> Answers:
    """The answers about several folds as one."""
    videos = [video for part in parts for video in part.videos]
    return Answers(videos, *(np.concatenate(arrays) for arrays in list(zip(*parts, strict=True))[1:]))


def regression(data: Path, folder: Path) -> dict[str, list[Answers]]:
    """TF-IDF and logistic regression in the same folds, once for each test fold."""
    opened = open_folds(folder, "official0.json", None)
    texts = texts_of(opened, data / "CMU_MOSEI_TimestampedWords.csd")
    folds = [open_folds(folder, "cv.json", k) for k in PARTS]
    return {
        "official": [regress(opened, texts)],
        "five folds": [together([regress(corpus, texts) for corpus in folds])],
    }


def open_folds(folder: Path, folds: str, rotation: int | None) -> Corpus:
    table = {"folds": folds} | ({} if rotation is None else {"rotation": rotation})
    return open_corpus(folder, Recipe.from_table({"data": table}, "The folds").data)


def texts_of(corpus: Corpus, words: Path) -> NDArray[np.object_]:
    """The words of every sample of the store, cut by the same rule as the vectors."""
    store, found = corpus.store, []
    with CsdFile(words) as file:
        entries = {video: file.read(video) for video in file.keys}
    for video, (start, end) in zip(store.videos, store.intervals.tolist(), strict=True):
        features, intervals = entries[video]
        found.append(" ".join(word.decode() for word in features[cut(intervals, start, end), 0]))
    return np.array(found, dtype=object)


def regress(corpus: Corpus, texts: NDArray[np.object_]) -> Answers:
    """Trained on what is not the test fold; thresholds by cross-validation over its videos."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.multiclass import OneVsRestClassifier
    from sklearn.pipeline import make_pipeline

    objective = make_objective(Recipe.from_table({"objective": {"kind": "multi"}}, "Multi-label").objective, EMOTIONS)
    train, valid, test = (corpus.fold(name, objective) for name in ("train", "valid", "test"))
    rows = np.concatenate([train.rows, valid.rows])
    truth = np.concatenate([train.targets.numpy(), valid.targets.numpy()]).astype(np.int64)
    videos = np.array(corpus.store.videos)
    model = make_pipeline(
        TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2),
        OneVsRestClassifier(LogisticRegression(class_weight="balanced", solver="liblinear")),
    )
    inner = cross_val_predict(
        model, texts[rows], truth, groups=videos[rows], cv=GroupKFold(len(PARTS)), method="predict_proba"
    )
    thresholds = tune_thresholds(truth, inner[None])
    said = model.fit(texts[rows], truth).predict_proba(texts[test.rows])
    return Answers(
        videos[test.rows].tolist(), test.targets.numpy().astype(np.int64), objective.decide(said, thresholds), said
    )


def describe(answers: list[Answers]) -> dict[str, Any]:
    """The mean scores of one or several models that answered about the same samples, with intervals of the means."""
    one = answers[0]
    scores = [compute_metrics(Outcomes(one.truth, each.decided, each.probabilities, EMOTIONS)) for each in answers]
    resampled = resampled_scores(one.truth, np.stack([each.decided for each in answers]), one.videos, len(EMOTIONS))
    assert resampled is not None, "there are many videos"
    resampled = resampled.mean(axis=1)  # [R, C]
    return {
        "samples": len(one.truth),
        "videos": len(set(one.videos)),
        "classes": {
            name: {
                "f1": float(np.mean([each.classes[name]["f1"] for each in scores])),
                "interval": percentiles(resampled[:, c]).tolist(),
            }
            for c, name in enumerate(EMOTIONS)
        },
        "interval": percentiles(resampled.mean(axis=1)).tolist(),
        **{key: float(np.mean([each.metrics[key] for each in scores])) for key in METRICS},
        "ece": float(np.mean([calibration(one.truth, each.decided, each.probabilities).ece for each in answers])),
    }


def tables(rows: dict[str, dict[str, Any]], constant: Baselines) -> str:
    """F1 with intervals, and the other metrics, as Markdown; the best constant guess of each is the first row."""
    first = [["", *EMOTIONS, "macro-F1"], ["---", *["---:"] * (len(EMOTIONS) + 1)]]
    first.append(["constant guess", *(shown(constant.classes[name].f1) for name in EMOTIONS)])
    first[-1].append(shown(constant.score))
    second = [["", "macro-F1", "micro-F1", "weighted F1", "weighted acc.", "average precision", "ECE"]]
    second += [["---", *["---:"] * 6], ["constant guess", *(shown(constant.metrics[key]) for key in METRICS), ""]]
    for name, one in rows.items():
        cells = [shown(entry["f1"], entry["interval"]) for entry in one["classes"].values()]
        first.append([name, *cells, shown(one["macro_f1"], one["interval"])])
        second.append([name, *(shown(one[key]) for key in METRICS), shown(one["ece"])])
    return "\n\n".join("\n".join("| " + " | ".join(cells) + " |" for cells in table) for table in (first, second))


def shown(value: float | None, interval: list[float] | None = None) -> str:
    """`.631 (.61–.65)`; nothing for None."""
    if value is None:
        return ""
    around = "" if interval is None else f" ({interval[0]:.2f}–{interval[1]:.2f})".replace("0.", ".")
    return f"{value:.3f}".removeprefix("0") + around


def choice_table(found: dict[str, list[dict[str, Any]]]) -> str:
    lines = ["| candidate | validation macro-F1 | epoch |", "| --- | ---: | ---: |"]
    for name in sorted(found, key=lambda name: -mean_of(found[name])):
        spread = np.std([one["mean_macro_f1"] for one in found[name]])
        epochs = np.mean([one["epoch"] for one in found[name]])
        lines.append(f"| {name} | {shown(mean_of(found[name]))} ± {shown(spread)} | {epochs:.1f} |")
    return "\n".join(lines)


@click.command()
@click.argument("data", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the runs and the tables.")
def main(data: Path, out: Path) -> None:
    """Choose by validation, train, and write the tables."""
    folder = out / "data"
    lay_out(data, folder)
    chosen, found = choose_candidate(folder, out / "choice")
    asked = {"default": ("default", ()), chosen: ("default", CANDIDATES[chosen])} | {one: (one, ()) for one in RECIPES}
    told = {"TF-IDF + regression": regression(data, folder)}
    told |= {row: train_and_ask(row, recipe, settings, folder, out) for row, (recipe, settings) in asked.items()}
    text, results = choice_table(found), {}
    for part in ("official", "five folds"):
        rows = {name: describe(answers[part]) for name, answers in told.items()}
        one = told["default"][part][0]
        constant = baselines(one.truth, EMOTIONS)
        results[part] = {"constant": converter.unstructure(constant)} | rows
        text += f"\n\n{part}: {len(one.truth):,} samples of {len(set(one.videos))} videos\n\n{tables(rows, constant)}"
    write_json(out / "mosei_text.json", {"chosen": chosen, "candidates": found} | results)
    write_text(out / "mosei_text.md", text + "\n")
    click.echo(text)


if __name__ == "__main__":
    main()
