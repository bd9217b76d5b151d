"""A run predicts from arrays and data sets what its predictions.csv says, with any modality missing."""

import csv
import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from datasets import WIDTHS

import emotiwave as ew

Arrays = dict[str, Any]


def rows_of(run: ew.Run, configuration: str) -> list[dict[str, str]]:
    """The rows of predictions.csv of one configuration."""
    with (run.folder / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if row["configuration"] == configuration]


def arrays_of(data: Path, row: dict[str, str], modalities: Sequence[str] = tuple(WIDTHS)) -> Arrays:
    """What the files of a data set hold of a sample, by plain h5py: None where a modality has nothing."""
    video, start, end = row["id"].partition("[")[0], float(row["start"]), float(row["end"])
    arrays: Arrays = dict.fromkeys(WIDTHS)
    for name in modalities:
        with h5py.File(data / f"{name}.csd") as file:
            entries = file["anything/data"]
            if video in entries:
                middle = entries[video]["intervals"][:].mean(axis=1)
                arrays[name] = entries[video]["features"][:][(middle >= start) & (middle < end)]
    return arrays


def check(prediction: Any, row: dict[str, str]) -> None:
    """To a millionth (one sample is added up in another order than sixteen), and the same decision."""
    written = {name: float(value) for name, value in row.items() if name.startswith("p(")}
    assert {f"p({name})": p for name, p in prediction.probabilities.items()} == pytest.approx(written, abs=1e-6)
    assert "+".join(prediction.decided) == row["predicted"]


@pytest.mark.short_rows(2)
@pytest.mark.parametrize("name", ["trained", "multi"])
@pytest.mark.parametrize("configuration", ["text+audio+visual", "text", "audio+visual", "visual"])
def test_arrays_give_the_numbers_of_predictions_csv(
    name: str, configuration: str, tiny: Path, request: pytest.FixtureRequest
) -> None:
    """Each sample of the test fold, one by one and all at once, whatever modalities are taken from it."""
    run: ew.Run = request.getfixturevalue(name)
    rows, wanted = rows_of(run, configuration), configuration.split("+")
    samples = [arrays_of(tiny, row, wanted) for row in rows]
    has_any = [any(array is not None for array in sample.values()) for sample in samples]
    rows, samples = ([one for one, kept in zip(some, has_any, strict=True) if kept] for some in (rows, samples))
    together = run.predict(samples)
    assert len(together) == len(rows) > 3
    for row, sample, prediction in zip(rows, samples, together, strict=True):
        check(prediction, row)
        check(run.predict(**sample), row)
        assert prediction.present == tuple(m for m in WIDTHS if sample[m] is not None)


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("name", ["trained", "multi"])
def test_a_data_set_gives_the_numbers_of_predictions_csv(name: str, tiny: Path, request: pytest.FixtureRequest) -> None:
    """Of the run's own data all samples are predicted, by id, those of the test fold as the file has them."""
    run: ew.Run = request.getfixturevalue(name)
    predictions = {one.id: one for one in run.predict(ew.load_dataset(tiny))}
    rows = rows_of(run, "text+audio+visual")
    for row in rows:
        check(predictions[row["id"]], row)
    assert len(predictions) == 48 > len(rows)
    assert run.predict(str(tiny)) == list(predictions.values())


def test_labels_are_not_needed(trained: ew.Run, tiny: Path, tmp_path: Path) -> None:
    """A data set without labels, and without a modality, is predicted: as samples of which it is absent."""
    for name in ("text", "visual"):
        shutil.copy(tiny / f"{name}.csd", tmp_path)
    (tmp_path / "dataset.toml").write_text('name = "Bare"\n[modalities]\ntext = "text.csd"\nvisual = "visual.csd"\n')
    predictions = trained.predict(ew.load_dataset(tmp_path))
    assert len(predictions) == 24  # each video is one sample
    with h5py.File(tiny / "text.csd") as file:
        text = file["anything/data"]["v20"]["features"][:]
    with h5py.File(tiny / "visual.csd") as file:
        visual = file["anything/data"]["v20"]["features"][:]
    (one,) = (one for one in predictions if one.id == "v20")
    assert one.present == ("text", "visual")
    assert one.probabilities == pytest.approx(trained.predict(text=text, visual=visual).probabilities, abs=1e-6)


def test_a_prediction_is_a_record(trained: ew.Run) -> None:
    """Probabilities of every class sum to 1, one class is decided, and all of it is JSON."""
    one = trained.predict(text=np.ones((3, WIDTHS["text"])))
    assert sum(one.probabilities.values()) == pytest.approx(1)
    assert one.decided == (max(one.probabilities, key=lambda name: one.probabilities[name]),)
    assert one.present == ("text",)
    assert json.loads(json.dumps(one.to_dict()))["probabilities"] == one.probabilities


def test_arrays_of_any_kind_are_taken(trained: ew.Run) -> None:
    """Lists, tensors and doubles are the same numbers."""
    features = np.random.default_rng(0).normal(size=(4, WIDTHS["audio"])).astype(np.float32)
    asked: list[Any] = [features, features.tolist(), features.astype(np.float64), torch.from_numpy(features)]
    answers = [trained.predict(audio=array) for array in asked]
    assert answers[1:] == answers[:-1]


def test_values_that_are_no_numbers_are_replaced_as_in_training(trained: ew.Run, tiny: Path) -> None:
    """NaN and infinities give what zeros give, which is what they are replaced by where nothing is averaged."""
    random = np.random.default_rng(0)
    features = random.normal(size=(4, WIDTHS["visual"])).astype(np.float32)
    dirty, clean = features.copy(), features.copy()
    dirty[[0, 1, 2], [0, 1, 2]] = np.nan, np.inf, -np.inf
    clean[[0, 1, 2], [0, 1, 2]] = 0.0
    assert trained.predict(visual=dirty) == trained.predict(visual=clean)


@pytest.mark.parametrize("sample", [{}, {"text": None, "audio": None}, {"text": np.zeros((0, WIDTHS["text"]))}])
def test_a_sample_without_anything_is_refused(trained: ew.Run, sample: Arrays) -> None:
    """Nothing in any modality is one clear sentence, not a guess."""
    with pytest.raises(ew.DataError, match="nothing in any modality"):
        trained.predict(**sample)


@pytest.mark.parametrize(
    ("sample", "kind", "sentence"),
    [
        ({"txt": np.zeros((2, 5))}, ew.SettingsError, "Did you mean 'text'"),
        ({"txt": None, "audio": np.zeros((2, 4))}, ew.SettingsError, "Did you mean 'text'"),
        ({"text": np.zeros((2, 4))}, ew.DataError, r"the model reads \[steps, 5\]"),
        ({"text": np.zeros(5)}, ew.DataError, r"the model reads \[steps, 5\]"),
        ({"text": [["hello"]]}, ew.DataError, "'text' of sample 0 is no array of numbers"),
        ({"text": np.zeros((2, 5)), "times": {"text": [[0, 1]]}}, ew.DataError, "2 steps and times"),
    ],
)
def test_arrays_of_another_form_are_refused(
    trained: ew.Run, sample: Arrays, kind: type[Exception], sentence: str
) -> None:
    """An unknown modality, a wrong width and times that do not fit are named."""
    with pytest.raises(kind, match=sentence):
        trained.predict(**sample)


def test_a_folder_without_a_model_is_refused(tiny: Path, tmp_path: Path) -> None:
    """A run that has not trained an epoch has nothing to predict with."""
    (tmp_path / "recipe.toml").write_text("")
    with pytest.raises(ew.DataError, match="holds no trained model"):
        ew.open_run(tmp_path).predict(tiny)


def test_threads_may_ask_at_a_time(trained: ew.Run) -> None:
    """Many threads at one run each get their own answer."""
    random = np.random.default_rng(0)
    samples = [random.normal(size=(1 + number % 5, WIDTHS["text"])) for number in range(24)]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda array: trained.predict(text=array), samples))
    assert together == [trained.predict(text=array) for array in samples]


def test_a_run_predicts_from_its_model_alone(trained: ew.Run, tmp_path: Path) -> None:
    """The two files of the model are enough: a run may be taken elsewhere, where its data are not."""
    for name in ("model.json", "model.safetensors"):
        shutil.copy(trained.folder / name, tmp_path)
    array = np.ones((3, WIDTHS["audio"]))
    assert ew.open_run(tmp_path, device="cpu").predict(audio=array) == trained.predict(audio=array)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_says_the_same(trained: ew.Run) -> None:
    """On the device that was chosen the numbers are the same but for its rounding."""
    array = np.random.default_rng(0).normal(size=(6, WIDTHS["audio"]))
    run = ew.open_run(trained.folder, device="cuda")
    assert run.predict(audio=array).probabilities == pytest.approx(trained.predict(audio=array).probabilities, abs=1e-3)
    assert next(run._predictor.model.parameters()).device.type == "cuda"


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda run: run.predict([{"text": [[0.0]]}], times={}), "leave out times="),
        (lambda run: run.predict({"text": [[0.0]]}), "as a list of tables"),
        (lambda run: run.predict(np.zeros((2, 3))), "as a list of tables"),
        (lambda run: run.evaluate(fold="tst"), "Did you mean 'test'"),
        (lambda run: run.robustness("noise", fold="tst"), "Did you mean 'test'"),
        (lambda run: run.explain(fold="tst"), "Did you mean 'test'"),
        (lambda run: run.explain(value="probab"), "Did you mean 'probability'"),
        (lambda run: run.explain(empty="none"), "Choose from: prior, zeros"),
    ],
)
def test_a_question_that_has_no_answer_is_refused(ask: Any, sentence: str, trained: ew.Run) -> None:
    """Arguments that no command could have are a SettingsError with the way out, never left unread."""
    with pytest.raises(ew.SettingsError, match=sentence):
        ask(trained)


def test_no_samples_have_no_predictions(trained: ew.Run) -> None:
    """An empty list is answered by an empty list."""
    assert trained.predict([]) == []
