"""A modality of words: from its file through training, scoring and prediction, by encoders that read words."""

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from datasets import SAID, write_words
from distributions import install
from distributions import site as site
from documents import block, text_of
from killed_runs import killed_at, outcome
from training import CPU, REGISTRY, evaluate, small, start
from typed_commands import exit_code_of

from emotiwave_core import api
from emotiwave_core.compare.linear import linear_outcomes
from emotiwave_core.compute.runtime import Runtime
from emotiwave_core.config.recipe import ALL
from emotiwave_core.data.dataset import load_dataset
from emotiwave_core.data.prepare.align import overlapping
from emotiwave_core.data.prepare.options import Options
from emotiwave_core.data.store.store import Store, open_store
from emotiwave_core.data.store.words import words_of
from emotiwave_core.errors import DataError, PluginError, SettingsError
from emotiwave_core.monitor import SILENT
from emotiwave_core.parts.registry import load_registry
from emotiwave_core.runs.model_file import read_model_file
from emotiwave_core.runs.saved_model import load_model
from emotiwave_core.runs.scores import SCORES
from emotiwave_core.serve.arrays import sample_of
from emotiwave_core.serve.describe import describe
from emotiwave_core.serve.limits import Limits
from emotiwave_core.serve.schema import example_sample
from emotiwave_core.train import run as training
from emotiwave_encoders.hashed import HashedWords

pytestmark = pytest.mark.full
BAG = block(text_of("docs/plugins.md"), "# bag.py")
HASHED = {"name": "hashed", "width": 8, "buckets": 512}


@pytest.fixture(scope="session")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny data set with words for its text."""
    return write_words(tmp_path_factory.mktemp("spoken"))


@pytest.fixture(scope="session")
def trained(spoken: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that reads words."""
    out = tmp_path_factory.mktemp("trained") / "run"
    start(of(HASHED, epochs=40), spoken, out)
    return out


def of(text: Any, epochs: int = 2, **tables: Any) -> Any:
    """A recipe with an encoder for the text, and a small one for the rest."""
    return small(encoder={"text": text, ALL: {"name": "mean", "width": 4}}, training={"epochs": epochs}, **tables)


def store_of(folder: Path, tmp_path: Path, **options: Any) -> Store:
    """The store of a data set."""
    return open_store(load_dataset(folder), Options(**options), tmp_path / "stores")


def said_in(folder: Path, video: str, begin: float, end: float) -> list[tuple[float, float, str]]:
    """The words of a stretch of a video as they stand in the file, without pauses."""
    with h5py.File(folder / "said.csd") as file:
        if video not in file["anything/data"]:
            return []
        entry = file[f"anything/data/{video}"]
        words = [word.decode() for word in entry["features"][:, 0]]
        times = entry["intervals"][:].tolist()
    every = [(low, high, word) for (low, high), word in zip(times, words, strict=True)]
    return [(low, high, word) for low, high, word in every if word != "sp" and high > begin and low < end]


def words_in(store: Store, row: int) -> list[str]:
    """The words of a sample of a store."""
    return [store.words["text"][int(number) - 1] for number in store.sequence("text", row)[:, 0]]


def test_a_store_holds_the_words_of_its_file(spoken: Path, tmp_path: Path) -> None:
    """Packed and read again, each sample has the words of its file that lie in it, with their times, without pauses."""
    dataset = load_dataset(spoken)
    for _ in range(2):  # built, and opened
        store = open_store(dataset, Options(), tmp_path / "stores")
        for row, (video, (begin, end)) in enumerate(zip(store.videos, store.intervals.tolist(), strict=True)):
            times = store.times("text", row).double().tolist()
            read = [(low, high, word) for (low, high), word in zip(times, words_in(store, row), strict=True)]
            assert read == said_in(spoken, video, begin, end)
            assert [tuple(word) for word in words_of(dataset, store, row)] == read
    assert store.facts.modalities["text"].words == len(store.words["text"]) == len(" ".join(SAID).split()) + 1
    assert store.has("text").sum() < len(store)  # where nothing is said the modality is missing


def test_words_become_the_numbers_of_the_encoder(spoken: Path, tmp_path: Path) -> None:
    """With an encoder's numbers in their place, each step has those of its own word."""
    store, encoder = store_of(spoken, tmp_path), HashedWords(1)
    numbered = store.with_tokens({"text": encoder.tokens})
    for row in range(len(store)):
        assert torch.equal(numbered.sequence("text", row).long(), encoder.tokens(words_in(store, row)))


def test_words_that_tell_the_emotion_are_learned(trained: Path) -> None:
    """Words alone, of which each but one tells the emotion, score far above chance; scored again it is the same."""
    scores = json.loads((trained / SCORES).read_text())
    assert scores["configurations"]["text"]["macro_f1"] > 0.7
    assert evaluate(trained).to_dict() == scores


@pytest.mark.parametrize("inner", ["bilstm", "stats", "attentive_stats"])
def test_an_encoder_reads_the_vectors_of_another(inner: str, spoken: Path, tmp_path: Path) -> None:
    """Inside `hashed` an encoder of features reads its vectors, with their width, and is saved with it."""
    start(of({**HASHED, "encoder": {"name": inner}}), spoken, tmp_path / "run")
    outer: Any = load_model(tmp_path / "run", REGISTRY).model.encoders["text"]
    x, mask = torch.randn(2, 3, 8), torch.ones(2, 3, dtype=torch.bool)
    assert outer.encoder(x, mask).pooled.shape == (2, outer.out_features)
    assert evaluate(tmp_path / "run").to_dict() == json.loads((tmp_path / "run" / SCORES).read_text())


def test_a_strangers_encoder_of_words_trains(site: Path, spoken: Path) -> None:
    """The encoder of the guide, in a package of its own, is checked, trained, stopped, resumed and scored."""
    install(site, "emotiwave-bag", "encoder.bag", "bag", BAG)
    assert exit_code_of(["plugins", "check", "bag"]) == 0
    recipe, registry = of({"name": "bag", "width": 4}), load_registry()
    training.start(recipe, spoken, Path("whole"), registry, Runtime(CPU))
    with killed_at("emotiwave_core.train.checkpoint.save_checkpoint", 1, True):
        training.start(recipe, spoken, Path("cut"), registry, Runtime(CPU))
    training.resume(Path("cut"), registry, Runtime(CPU))
    assert outcome(Path("cut")) == outcome(Path("whole"))
    assert read_model_file(Path("whole")).features["text"] == 1
    assert exit_code_of(["evaluate", "whole"]) == 0


def test_arrays_are_answered_as_the_data_set(trained: Path, spoken: Path, tmp_path: Path) -> None:
    """A list of words has the answer of the same words in a data set; words that the training never saw have one."""
    run = api.open_run(trained)
    from_file = {one.id: one for one in run.predict(spoken)}
    store = store_of(spoken, tmp_path)
    row = int(np.flatnonzero(store.has("text"))[0])
    features = {name: store.sequence(name, row).numpy() for name in ("audio", "visual") if store.has(name)[row]}
    words = words_in(store, row)
    answer = run.predict(text=words, **features)
    assert answer.probabilities == pytest.approx(from_file[store.ids[row]].probabilities, abs=1e-5)
    assert run.predict(text=["sp", *words, "sil"], **features) == answer
    for unseen in (["qwertz"], ["日本語"], ("yes", "no"), ["half \ud800"]):
        assert sum(run.predict(text=unseen).probabilities.values()) == pytest.approx(1.0)
    for wrong in (np.zeros((3, 1)), "glad", [1, 2], [["glad"]]):
        with pytest.raises(DataError, match="'text' of sample 0 is no list of words"):
            run.predict(text=wrong)


def test_an_aligned_step_is_one_word(spoken: Path, tmp_path: Path) -> None:
    """Aligned to words, text has its own word in each step that is no pause, and the others as many steps beside it."""
    plain, aligned = store_of(spoken, tmp_path), store_of(spoken, tmp_path, align="words")
    for row in np.flatnonzero(plain.has("text")).tolist():
        here = np.asarray(aligned.present("text", row))
        kept = aligned.sequence("text", row)[here, 0].long() - 1
        assert [aligned.words["text"][number] for number in kept.tolist()] == words_in(plain, row)
        assert torch.equal(aligned.times("text", row)[here], plain.times("text", row))
        assert len(aligned.sequence("audio", row)) == len(here)


def test_a_step_holds_the_word_that_lasts_longest_in_it() -> None:
    """Of words said at once, or in another transcript's time, one is taken whole: never a mean of two numbers."""
    words = np.array([[0.0, 1.0], [0.9, 2.0], [2.0, 3.0], [2.0, 3.0], [5.0, 5.0]])
    steps = overlapping(words, np.array([[0.0, 1.0], [0.8, 2.0], [2.0, 3.5], [3.0, 4.0], [4.5, 5.5]]))
    assert steps.counts.tolist() == [2, 2, 2, 0, 1]
    longest = steps.longest_rows(words)
    assert (longest.rows.tolist(), longest.counts.tolist()) == ([0, 1, 2, 4], [1, 1, 1, 0, 1])


def test_an_aligned_run_of_words_answers_arrays_as_its_data_set(spoken: Path, tmp_path: Path) -> None:
    """Aligned to words, a list of words with its times has the answer of the same words in a data set."""
    start(of(HASHED, data={"align": "words"}), spoken, tmp_path / "run")
    run, store = api.open_run(tmp_path / "run"), store_of(spoken, tmp_path)
    from_file = {one.id: one for one in run.predict(spoken)}
    row = int(np.flatnonzero(store.has("text") & store.has("audio"))[0])
    there = [name for name in ("audio", "visual") if store.has(name)[row]]
    arrays = {name: store.sequence(name, row).numpy() for name in there}
    times = {name: store.times(name, row).numpy() for name in (*there, "text")}
    with h5py.File(spoken / "said.csd") as file:
        every = file[f"anything/data/{store.videos[row]}/intervals"][:]
    begin, end = store.intervals[row].tolist()
    pauses_too = every[(every[:, 0] < end) & (every[:, 1] > begin)]
    answer = run.predict(text=words_in(store, row), **arrays, times=times, words=pauses_too, interval=(begin, end))
    assert answer.probabilities == pytest.approx(from_file[store.ids[row]].probabilities, abs=1e-5)


def test_an_explanation_says_which_word_counts(trained: Path, spoken: Path, tmp_path: Path) -> None:
    """Each window of the words of a sample has the words that stand in it."""
    store = store_of(spoken, tmp_path)
    row = next(row for row, video in enumerate(store.videos) if video == "v23")
    explained = api.open_run(trained).explain(store.ids[row])
    windows = explained.sample.moments["text"]
    assert [word for window in windows for word in (window.word or "").split()] == words_in(store, row)


@pytest.mark.parametrize(
    ("text", "settings", "sentence"),
    [
        ("bilstm", {}, r"'text' \(said.csd\) holds words, and its encoder reads features: take one that reads words"),
        (HASHED, {"data": {"downsample": 2}}, r"of which there is no mean: name the other modalities alone, as in"),
        (HASHED, {"data": {"align": 5.0}}, r"of which there is no mean: set it to words, or to none, or use word"),
        (HASHED, {"augmentation": ["mixup"]}, r"'mixup' mixes the features of samples, and 'text' is words"),
        ({"name": "stats", "encoder": HASHED}, {}, r"'stats' has an encoder inside that reads words"),
        ({**HASHED, "encoder": {"name": "hashed"}}, {}, r"'hashed' has an encoder inside that reads words"),
    ],
)
def test_what_does_not_go_with_words_says_so(
    text: Any, settings: Any, sentence: str, spoken: Path, tmp_path: Path
) -> None:
    """It is said before the training, with the way out."""
    with pytest.raises(SettingsError, match=sentence):
        start(of(text, **settings), spoken, tmp_path / "run")
    assert not (tmp_path / "run" / SCORES).exists()


def test_features_are_no_words(tiny: Path, tmp_path: Path) -> None:
    """An encoder of words for a file of features is refused, with the way out."""
    with pytest.raises(
        SettingsError, match=r"'text' \(text.csd\) holds features, and its encoder reads words: take an"
    ):
        start(of(HASHED), tiny, tmp_path / "run")


def test_augmentations_change_the_other_modalities(spoken: Path, tmp_path: Path) -> None:
    """A run whose voice is augmented reads its words as they are, and is scored."""
    start(of(HASHED, augmentation=["noise", "swap", "speed", "specaugment"]), spoken, tmp_path / "run")
    assert evaluate(tmp_path / "run").to_dict() == json.loads((tmp_path / "run" / SCORES).read_text())


@pytest.mark.parametrize("protocol", ["swap", "blocks", "frames", "frozen", "shift", "random"])
def test_protocols_that_move_steps_take_words(protocol: str, trained: Path) -> None:
    """What loses, lends or moves steps is scored for words as for features."""
    assert exit_code_of(["evaluate", str(trained), "--protocol", protocol]) == 0


@pytest.mark.parametrize("verb", ["evaluate --protocol noise", "export --to torch-export"])
def test_what_computes_with_features_refuses_words(
    verb: str, trained: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Noise and an export refuse a run of words in one sentence."""
    monkeypatch.chdir(tmp_path)
    command, *flags = verb.split()
    assert exit_code_of([command, str(trained), *flags]) == 2
    assert "reads numbers, and the encoder of 'text' reads words" in capfd.readouterr().err


def test_a_run_of_words_answers_where_the_words_are_missing(trained: Path, spoken: Path, tmp_path: Path) -> None:
    """On a data set without its words the modality is absent in every sample."""
    for name in ("audio.csd", "visual.csd", "labels.csd"):
        (tmp_path / name).symlink_to(spoken / name)
    text = (spoken / "dataset.toml").read_text().replace('text = "said.csd"\n', "").partition("[folds]")[0]
    (tmp_path / "dataset.toml").write_text(text)
    answers = api.open_run(trained).predict(tmp_path)
    assert answers
    assert not any("text" in one.present for one in answers)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("view(-1, 1)", "view(-1)"), r"returns the numbers of words of the shape \[\d+\], where \[W, K\]"),
        (("dtype=torch.int64", "dtype=torch.float32"), "numbers of words of the type torch.float32, where torch.int64"),
        (("1 + zlib", "-1 - zlib"), "one number or more of each word, from 0 to 16777215"),
        (("word.lower()", "word.lower(1)"), "fails to number words: TypeError"),
    ],
)
def test_a_faulty_encoder_of_words_is_named(change: tuple[str, str], sentence: str, site: Path, spoken: Path) -> None:
    """Numbers that are none stop a run before its training, and name the part."""
    install(site, "emotiwave-bag", "encoder.bag", "bag", BAG.replace(*change))
    with pytest.raises(PluginError, match=sentence):
        training.start(of({"name": "bag"}), spoken, Path("run"), load_registry(), Runtime(CPU))


def test_two_columns_of_words_are_refused(tmp_path: Path) -> None:
    """A file with more than one word a step is no modality of words."""
    write_words(tmp_path)
    with h5py.File(tmp_path / "said.csd", "r+") as file:
        for entry in file["anything/data"].values():
            words = entry["features"][:]
            del entry["features"]
            entry["features"] = np.concatenate([words, words], axis=1)
    with pytest.raises(DataError, match="holds 2 columns of words, and a modality of words has one a step"):
        store_of(tmp_path, tmp_path)


def test_lists_of_words_in_a_program_are_a_data_set(tmp_path: Path) -> None:
    """Lists of words become a modality of words, with None where a sample has none."""
    said = [["glad", "the"], None, ["tears", "sp", "日本語", "\ud800"]]
    audio = [np.ones((3, 4), dtype=np.float32)] * 3
    store = open_store(api.dataset({"text": said, "audio": audio}), Options(), tmp_path / "stores")
    assert [words_in(store, row) for row in range(3)] == [["glad", "the"], [], ["tears", "日本語", "?"]]


def test_a_server_takes_lists_of_words(trained: Path) -> None:
    """The sample that a server shows is one that it reads and the run answers; numbers are no words."""
    described = describe(trained, Limits())
    example = example_sample(described)
    sample = sample_of(json.dumps(example).encode(), described.shape)
    assert sample.arrays == {"text": ["well", "yes"]}
    answer = api.open_run(trained).predict(**sample.arrays)
    assert sum(answer.probabilities.values()) == pytest.approx(1.0)
    for wrong in ([[0.1]], "well", [1], ["a" * 201]):
        with pytest.raises(Exception, match="'text' of the sample is no list of words"):
            sample_of(json.dumps({"text": wrong}).encode(), described.shape)


def test_the_baseline_of_features_refuses_words(spoken: Path, tmp_path: Path) -> None:
    """Means and deviations of words say nothing, and a comparison asked for them says so before any run."""
    with pytest.raises(SettingsError, match="The baseline reads features, and 'text' holds words: leave --baseline"):
        linear_outcomes(spoken, tmp_path, of(HASHED), [None], SILENT)
