"""What a run is bound to, and what its readers find while it is written: one whole version."""

import json
import shutil
import threading
from pathlib import Path

import attrs
import h5py
import pytest
import tomli_w
from datasets import write_dataset
from killed_runs import killed_at
from training import CPU, REGISTRY, resume, small, start

from emotiwave_core.compute.runtime import Runtime
from emotiwave_core.config.recipe import read_recipe
from emotiwave_core.errors import DataError, SettingsError
from emotiwave_core.runs import saved_model
from emotiwave_core.runs.data_file import read_data, read_data_folder
from emotiwave_core.runs.folder import RECIPE
from emotiwave_core.runs.history import MOST_CONFIGURATIONS, Epoch, Validation, append_history, read_history
from emotiwave_core.runs.model_file import ValidationFit
from emotiwave_core.runs.saved_model import NEXT, load_model, save_model
from emotiwave_core.runs.scores import MOST_CELLS, MOST_ENTRIES, check_size, read_scores, without_large_matrices
from emotiwave_core.train import run as engine
from emotiwave_core.train.checkpoint import LAST


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set and a run on it that was killed after its first epoch."""
    folder = tmp_path_factory.mktemp("version")
    (folder / "data").mkdir()
    write_dataset(folder / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOTIWAVE_CACHE", str(folder / "cache"))
        with killed_at("emotiwave_core.train.checkpoint.save_checkpoint", 1, after=True):
            start(small(training={"epochs": 2}), folder / "data", folder / "run")
    return folder


@pytest.fixture
def place(ended: Path, tmp_path: Path) -> Path:
    """A copy of it, for one test."""
    shutil.copytree(ended / "run", tmp_path / "run")
    shutil.copytree(ended / "data", tmp_path / "data")
    data = json.loads((tmp_path / "run" / "data.json").read_text())
    (tmp_path / "run" / "data.json").write_text(json.dumps(data | {"folder": str(tmp_path / "data")}))
    return tmp_path


def write_again(run: Path) -> None:
    """Save other weights in the place of the model, as the next best epoch does."""
    model, _, _, description, _ = load_model(run, REGISTRY)
    for parameter in model.parameters():
        parameter.data += 1.0
    save_model(run, model, description, description.best, ValidationFit(description.thresholds))


@pytest.mark.full
@pytest.mark.parametrize("step", ["write_tensors", "write_model_file", "sync_folder"])
def test_a_kill_while_weights_are_written_leaves_one_version(place: Path, step: str) -> None:
    """Before and after each of the three changes of files the run has a model: the old one or the new one."""
    run = place / "run"
    for after in (False, True):
        with killed_at(f"emotiwave_core.runs.saved_model.{step}", 1, after=after):
            write_again(run)
        assert load_model(run, REGISTRY).model is not None


def test_a_reader_beside_a_writer_finds_one_version(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where weights and description are exchanged between two looks of a reader, it looks again."""
    run, inner = place / "run", saved_model._read_weights
    saved = saved_model.read_model_file
    with monkeypatch.context() as patch:
        patch.setattr(saved_model, "_read_weights", lambda path, sha: _once(patch, run, inner, path, sha))
        assert load_model(run, REGISTRY).description == saved(run)
    assert not (run / NEXT).exists()


def _once(patch: pytest.MonkeyPatch, run: Path, inner: object, path: Path, sha256: str) -> object:
    """Another version is written before the first look, and none after it."""
    patch.setattr(saved_model, "_read_weights", inner)
    write_again(run)
    return inner(path, sha256)  # type: ignore[operator]


@pytest.mark.stress
def test_readers_beside_a_writer(place: Path) -> None:
    """Hundreds of loads while weights are written all the time: none is told that they are damaged."""
    run, stop = place / "run", threading.Event()
    model, _, _, description, _ = load_model(run, REGISTRY)

    def write() -> None:
        while not stop.is_set():
            for parameter in model.parameters():
                parameter.data += 1.0
            save_model(run, model, description, description.best, ValidationFit(description.thresholds))

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(300):
            load_model(run, REGISTRY)
    finally:
        stop.set()
        writer.join()


def test_an_edited_recipe_is_refused_and_nothing_is_removed(place: Path) -> None:
    """The sentence names the value and what it was; put back, the run goes on."""
    run = place / "run"
    text, checkpoint = (run / RECIPE).read_text(), (run / LAST).read_bytes()
    table = read_recipe(run / RECIPE)
    table["training"]["learning_rate"] = 0.5
    (run / RECIPE).write_text(tomli_w.dumps(table))
    with pytest.raises(SettingsError, match=r"training\.learning_rate was 0\.01 and is 0\.5\. Put it back") as caught:
        resume(run)
    assert "remove" not in str(caught.value)
    assert (run / LAST).read_bytes() == checkpoint
    (run / RECIPE).write_text(text.replace("auto_batch = false", "auto_batch = true"))  # how it is computed may change
    resume(run)


@pytest.mark.full
def test_data_that_have_moved_are_named_anew(place: Path) -> None:
    """`--resume RUN --data NEW` goes on where the data are the same, and then knows the new folder."""
    run, new = place / "run", place / "elsewhere"
    (place / "data").rename(new)
    with pytest.raises(DataError, match="which is not there: say where they are by --data"):
        resume(run)
    other = write_dataset(_made(place / "other"), seed=1)
    with pytest.raises(DataError, match="The files of"):
        engine.resume(run, REGISTRY, Runtime(CPU), data=other)
    engine.resume(run, REGISTRY, Runtime(CPU), data=new)
    assert read_data_folder(run) == new
    known = read_data(run)
    assert known is not None
    assert known.trained


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


AUDIO, VISUAL = 'audio = "{}.csd"', 'visual = "{}.csd"'
EDITS = {
    "two modalities exchanged": (
        f"{AUDIO.format('audio')}\n{VISUAL.format('visual')}",
        f"{AUDIO.format('visual')}\n{VISUAL.format('audio')}",
    ),
    "targets in another order": ('"happy", "sad"', '"sad", "happy"'),
    "columns under other names": ('"sentiment", "happy", "sad"', '"sentiment", "sad", "happy"'),
}


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("edit", EDITS)
def test_what_dataset_toml_says_is_bound_to_a_run(tmp_path: Path, edit: str) -> None:
    """All that gives features and labels their meaning: an edit after the start is refused."""
    data = write_dataset(_made(tmp_path / "data"))
    with h5py.File(data / "labels.csd", "a") as file:
        del file["anything/metadata/dimension names"]  # so that those of dataset.toml count
    columns = 'file = "labels.csd"\ncolumns = ["sentiment", "happy", "sad", "anger", "surprise", "disgust", "fear"]'
    described = (data / "dataset.toml").read_text().replace('file = "labels.csd"', columns)
    (data / "dataset.toml").write_text(described)
    with killed_at("emotiwave_core.train.checkpoint.save_checkpoint", 1, after=True):
        start(small(training={"epochs": 1}), data, tmp_path / "run")
    old, new = EDITS[edit]
    text = (data / "dataset.toml").read_text()
    assert old in text
    (data / "dataset.toml").write_text(text.replace(old, new))
    with pytest.raises(DataError, match=r"dataset\.toml.* have changed since"):
        resume(tmp_path / "run")


def test_an_empty_test_fold_is_told_before_the_training(tmp_path: Path) -> None:
    """Nobody trains for a day and is told then that there is nothing to score."""
    data = write_dataset(_made(tmp_path / "data"))
    folds = json.loads((data / "folds.json").read_text())
    (data / "folds.json").write_text(json.dumps(folds | {"test": ["nobody"]}))
    with pytest.raises(DataError, match=r"The fold 'test' .* has no sample"):
        start(small(), data, tmp_path / "run")
    assert not (tmp_path / "run" / LAST).exists()


def test_a_history_of_ten_modalities_stays_small(tmp_path: Path) -> None:
    """An epoch of 1023 configurations is a line of some kilobytes, and can be read again."""
    names = [f"modality{n}" for n in range(10)]
    scores = {"+".join(n for k, n in enumerate(names) if bits >> k & 1): 1 / 3 for bits in range(1, 1024)}
    append_history(tmp_path, Epoch(1, 0.5, Validation(0.5, 0.5, 0.5, scores)))
    assert (tmp_path / "history.jsonl").stat().st_size < 4096
    [epoch] = read_history(tmp_path)
    assert len(epoch.valid.configurations) == 10 + 10 + 1 <= MOST_CONFIGURATIONS


@pytest.mark.full
def test_scores_of_many_classes_stay_small(place: Path) -> None:
    """Of confusion matrices those are dropped that a file could not hold; what is too much is said before training."""
    resume(place / "run")
    scores = read_scores(place / "run")
    many = 900
    large = {name: attrs.evolve(one, confusion=[[0] * many] * many) for name, one in scores.configurations.items()}
    last = scores.complete.configuration
    kept = without_large_matrices(large, last)
    assert {name for name, one in kept.items() if one.confusion} == {last}
    assert many**2 <= MOST_CELLS
    check_size(10, MOST_ENTRIES // 1023)
    with pytest.raises(DataError, match="1023 configurations"):
        check_size(10, MOST_ENTRIES // 1023 + 1)
