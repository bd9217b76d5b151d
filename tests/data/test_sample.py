"""The synthetic sample: real layout, real dirt, and planted emotions whose Bayes score is known."""

import itertools
import json
import tomllib
from pathlib import Path
from typing import Any, ClassVar

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from emotiwave_core.data.synthetic import sample, streams
from emotiwave_core.data.synthetic.planted import CLASSES, MODALITIES, plan_videos
from emotiwave_core.data.synthetic.sample import best_reachable, cached_sample, write_sample
from emotiwave_core.errors import DataError, SettingsError
from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.monitor import Monitor

WIDTHS = {"Words": 1, "WordVectors": 300, "Audio74": 74, "Visual713": 713, "Labels": 7}
FILE_OF = {"text": "WordVectors", "audio": "Audio74", "visual": "Visual713"}
Videos = dict[str, tuple[np.ndarray, np.ndarray]]


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample of 60 videos."""
    path = tmp_path_factory.mktemp("data") / "sample"
    write_sample(path, videos=60, seed=0)
    return path


@pytest.fixture(scope="session")
def contents(folder: Path) -> dict[str, Videos]:
    """{file: {video: (features, intervals)}}, read by plain h5py."""
    return {name: _read(folder / f"SYNTHETIC_{name}.csd") for name in WIDTHS}


@pytest.fixture(scope="session")
def truth(folder: Path) -> dict[str, Any]:
    """truth.json, with the fold of each segment beside it."""
    loaded: dict[str, Any] = json.loads((folder / "truth.json").read_text())
    fold_of = {video: fold for fold, ids in json.loads((folder / "folds.json").read_text()).items() for video in ids}
    for key, segment in loaded["segments"].items():
        segment["fold"] = fold_of[key[: key.rindex("[")]]
    return loaded


@pytest.fixture(scope="session")
def pooled(contents: dict[str, Videos]) -> dict[str, dict[str, np.ndarray]]:
    """{modality: {segment: mean of the finite values of the steps that overlap it}}."""
    result: dict[str, dict[str, np.ndarray]] = {modality: {} for modality in MODALITIES}
    for modality, (video, (_, spans)) in itertools.product(MODALITIES, contents["Labels"].items()):
        if video in contents[FILE_OF[modality]]:
            features, intervals = contents[FILE_OF[modality]][video]
            for row, (start, end) in enumerate(spans):
                steps = features[(intervals[:, 0] < end) & (intervals[:, 1] > start)].astype(np.float64)
                result[modality][f"{video}[{row}]"] = np.nanmean(np.where(np.isfinite(steps), steps, np.nan), axis=0)
    return result


def _read(path: Path) -> Videos:
    with h5py.File(path) as file:
        data = file[next(iter(file))]["data"]
        return {video: (data[video]["features"][:], data[video]["intervals"][:]) for video in data}


def _classifier(strength: float) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))


@pytest.mark.short_rows(2)
@pytest.mark.parametrize("name", WIDTHS)
def test_files_are_laid_out_like_real_ones(folder: Path, name: str) -> None:
    """A file is one root of `data` and `metadata`: JSON byte strings of shape (1,), and two 2-d arrays a video."""
    with h5py.File(folder / f"SYNTHETIC_{name}.csd") as file:
        (root,) = file.values()
        assert set(root) == {"data", "metadata"}
        for entry in root["metadata"].values():
            assert entry.shape == (1,)
            assert isinstance(entry[0], bytes)
            json.loads(entry[0])
        if name != "Words":
            assert len(json.loads(root["metadata"]["dimension names"][0])) == WIDTHS[name]
        for group in root["data"].values():
            features, intervals = group["features"], group["intervals"]
            assert features.shape == (len(intervals), WIDTHS[name])
            assert features.dtype.kind == "S" if name == "Words" else features.dtype == np.float32
            assert intervals.shape == (len(features), 2)
            assert intervals.dtype == np.float64
            assert (intervals[:, 1] > intervals[:, 0]).all()


def test_the_dataset_file_names_files_that_exist(folder: Path) -> None:
    """dataset.toml is marked synthetic, and every file and target it names is there."""
    dataset = tomllib.loads((folder / "dataset.toml").read_text())
    assert dataset["synthetic"] is True
    named = [*dataset["modalities"].values(), dataset["labels"]["file"], dataset["folds"]["file"]]
    assert all((folder / name).is_file() for name in named)
    assert dataset["labels"]["targets"] == list(CLASSES)


def test_steps_have_the_rates_of_their_kind(contents: dict[str, Videos]) -> None:
    """Audio comes a hundred times a second and video thirty times, from zero and without a gap."""
    for name, rate in (("Audio74", 100), ("Visual713", 30)):
        for _, intervals in contents[name].values():
            np.testing.assert_allclose(intervals[:, 0], np.arange(len(intervals)) / rate, atol=1e-9)
            assert (intervals[1:, 0] == intervals[:-1, 1]).all()


def test_words_and_vectors_agree_step_by_step(contents: dict[str, Videos]) -> None:
    """A word has the same vector wherever it stands, and one word in six is the pause."""
    seen: dict[bytes, np.ndarray] = {}
    assert contents["Words"].keys() == contents["WordVectors"].keys()
    for video, (words, intervals) in contents["Words"].items():
        vectors, vector_intervals = contents["WordVectors"][video]
        np.testing.assert_array_equal(intervals, vector_intervals)
        for word, vector in zip(words[:, 0], vectors, strict=True):
            np.testing.assert_array_equal(seen.setdefault(word, vector), vector)
    words = np.concatenate([words[:, 0] for words, _ in contents["Words"].values()])
    assert np.mean(words == b"sp") == pytest.approx(0.16, abs=0.02)


def test_features_hold_the_dirt_of_covarep(contents: dict[str, Videos]) -> None:
    """Audio holds NaN, -inf and columns in the hundreds, in few columns and never in all frames; nothing else does."""
    audio = np.concatenate([features for features, _ in contents["Audio74"].values()])
    assert 0 < np.isnan(audio).mean() < 0.001
    assert 0 < np.isneginf(audio).any(axis=1).mean() < 0.3
    assert not np.isposinf(audio).any()
    assert (np.abs(np.where(np.isfinite(audio), audio, 0)).max(axis=0) > 200).sum() > 5
    for name in ("WordVectors", "Visual713", "Labels"):
        assert all(np.isfinite(features).all() for features, _ in contents[name].values())


def test_labels_hold_the_dirt_of_mosei(contents: dict[str, Videos]) -> None:
    """Some segments start below zero, overlap or are out of order, and about 15 % of the rows have no emotion."""
    spans = [intervals for _, intervals in contents["Labels"].values()]
    assert any(-0.4 < span.min() < 0 for span in spans)
    assert any((np.diff(span[:, 0]) < 0).any() for span in spans)
    ordered = [span[span[:, 0].argsort()] for span in spans]
    overlaps = np.concatenate([span[:-1, 1] - span[1:, 0] for span in ordered])
    assert 0.1 < (overlaps > 0).mean() < 0.5
    assert overlaps.max() <= 0.3
    assert {2, 6} <= {len(span) for span in spans} <= {2, 3, 4, 5, 6}
    rows = np.concatenate([features for features, _ in contents["Labels"].values()])
    assert (rows[:, 1:] == 0).all(axis=1).mean() == pytest.approx(0.15, abs=0.03)


def test_each_modality_is_missing_somewhere_and_never_all(contents: dict[str, Videos], truth: dict[str, Any]) -> None:
    """Every modality lacks in a few videos, no video lacks all, and truth.json says which are present."""
    present = {video: {m for m in MODALITIES if video in contents[FILE_OF[m]]} for video in contents["Labels"]}
    for modality in MODALITIES:
        assert 0 < np.mean([modality not in there for there in present.values()]) < 0.1
    assert all(present.values())
    assert all(set(s["present"]) == present[key[: key.rindex("[")]] for key, s in truth["segments"].items())


def test_labels_are_thirds_with_one_dominant_class(contents: dict[str, Videos], truth: dict[str, Any]) -> None:
    """Intensities are thirds up to 3, and the one largest is the planted class; without a class all are zero."""
    several = 0
    for video, (labels, _) in contents["Labels"].items():
        np.testing.assert_allclose(labels * 3, np.round(labels * 3), atol=1e-5)
        assert np.abs(labels).max() <= 3
        for row, emotions in enumerate(labels[:, 1:]):
            planted = truth["segments"][f"{video}[{row}]"]["class"]
            largest = [CLASSES[i] for i in np.flatnonzero((emotions == emotions.max()) & (emotions > 0))]
            assert largest == ([planted] if planted else [])
            several += (emotions > 0).sum() > 1
    assert several > 10


def test_overlaps_show_no_cue(contents: dict[str, Videos]) -> None:
    """A word that belongs to two segments is never a signature of a cue, so neither disturbs the other."""
    signatures = {word.encode() for words in streams.SIGNATURES for word in words}
    shared = []
    for video, (words, intervals) in contents["Words"].items():
        spans = contents["Labels"][video][1]
        owners = ((intervals[:, :1] < spans[:, 1]) & (intervals[:, 1:] > spans[:, 0])).sum(axis=1)
        shared += [word for word, count in zip(words[:, 0], owners, strict=True) if count > 1]
    assert shared
    assert not signatures & set(shared)


@settings(max_examples=30, deadline=None)
@given(videos=st.integers(15, 60), seed=st.integers(0, 2**63))
def test_every_plan_can_be_learnt_and_scored(videos: int, seed: int) -> None:
    """For any seed: ids differ, every fold has every class, and every segment holds a signature of its text cue."""
    plan = plan_videos(videos, seed)
    assert len({video.id for video in plan}) == videos
    assert {video.id[0] == "-" for video in plan} == {video.id.isdigit() for video in plan} == {True, False}
    for fold in ("train", "valid", "test"):
        assert set(range(6)) <= {int(emotion) for video in plan if video.fold == fold for emotion in video.emotions}
    for video in plan:
        lengths = video.spans[:, 1] - video.spans[:, 0]
        assert ((lengths > 1.59) & (lengths < 2.96)).all()
        words, intervals = streams.draw_words(
            np.random.default_rng(seed), video.duration, video.unshared, video.cues[:, 0]
        )
        for (start, end), cue in zip(video.spans, video.cues[:, 0], strict=True):
            inside = words[(intervals[:, 0] >= start) & (intervals[:, 1] <= end)]
            names = {streams.VOCABULARY[word] for word in inside}
            shown = [u for u, signature in enumerate(streams.SIGNATURES) if names & set(signature)]
            assert shown == [cue]


@pytest.mark.full
def test_a_seed_repeats_the_bytes(tmp_path: Path) -> None:
    """The same seed writes the same files, byte by byte, and another seed writes others."""
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_sample(tmp_path / name, videos=15, seed=seed)
    written = [path.name for path in (tmp_path / "a").iterdir()]
    assert len(written) == 8
    for name in written:
        first, again, other = ((tmp_path / run / name).read_bytes() for run in "abc")
        assert first == again
        assert first != other or name == "dataset.toml"


def _most_probable(truth: dict[str, Any], segment: dict[str, Any], kept: tuple[str, ...]) -> str:
    odds: dict[str, float] = dict(truth["prior"])
    for modality in set(kept) & set(segment["present"]):
        channel, cue = truth["channels"][modality], segment["cues"][modality]
        for name in odds:
            odds[name] *= channel["right"] if name in channel["pairs"][cue] else (1 - channel["right"]) / 2
    return max(odds, key=lambda name: odds[name])


@pytest.mark.parametrize("fold", ["train", "valid", "test"])
def test_best_reachable_is_the_bayes_rule(folder: Path, truth: dict[str, Any], fold: str) -> None:
    """The stated score is scikit-learn's macro-F1 of the most probable class, found segment by segment."""
    segments = [s for s in truth["segments"].values() if s["fold"] == fold and s["class"]]
    actual = [s["class"] for s in segments]
    stated = best_reachable(folder, fold)
    assert list(stated) == [name_of(kept) for kept in configurations(MODALITIES)]
    for kept in configurations(MODALITIES):
        guesses = [_most_probable(truth, s, kept) for s in segments]
        expected = f1_score(actual, guesses, labels=CLASSES, average="macro", zero_division=0)
        assert stated[name_of(kept)] == pytest.approx(expected, abs=1e-12)


@pytest.mark.full
def test_population_is_the_limit_of_many_segments(truth: dict[str, Any]) -> None:
    """The population score is what the Bayes rule gets on freshly drawn segments, to within their sampling error."""
    rng = np.random.default_rng(0)
    actual = rng.choice(CLASSES, 20_000, p=[truth["prior"][name] for name in CLASSES])
    right = {m: rng.random(len(actual)) < truth["channels"][m]["right"] for m in MODALITIES}
    wrong = {m: rng.integers(1, 3, len(actual)) for m in MODALITIES}
    home = {m: {n: u for u, pair in enumerate(truth["channels"][m]["pairs"]) for n in pair} for m in MODALITIES}
    for kept in configurations(MODALITIES):
        guesses, known = [], {}
        for i, name in enumerate(actual):
            cues = {m: (home[m][name] + (0 if right[m][i] else int(wrong[m][i]))) % 3 for m in kept}
            key = tuple(cues.values())
            if key not in known:
                known[key] = _most_probable(truth, {"present": kept, "cues": cues}, kept)
            guesses.append(known[key])
        score = f1_score(actual, guesses, average="macro", zero_division=0)
        assert truth["population"][name_of(kept)] == pytest.approx(score, abs=0.015)


def test_more_modalities_reach_more(folder: Path, truth: dict[str, Any]) -> None:
    """Any two modalities beat any one, and all three beat any two: in the population, and on average in each fold."""
    sizes = {name: name.count("+") for name in truth["population"]}
    for low, high in itertools.permutations(sizes, 2):
        if sizes[low] < sizes[high]:
            assert truth["population"][low] + 0.02 < truth["population"][high]
    for fold in ("train", "valid", "test"):
        scores = best_reachable(folder, fold)
        means = [np.mean([scores[name] for name in scores if sizes[name] == size]) for size in range(3)]
        assert means[0] < means[1] < means[2]


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("modality", MODALITIES)
def test_a_simple_model_decodes_each_cue(
    truth: dict[str, Any], pooled: dict[str, dict[str, np.ndarray]], modality: str
) -> None:
    """Logistic regression on mean-pooled features names the cue of at least 97 % of unseen segments."""
    segments, features = truth["segments"], pooled[modality]
    train, test = ([key for key in features if segments[key]["fold"] == fold] for fold in ("train", "test"))
    cues = {key: segments[key]["cues"][modality] for key in features}
    model = _classifier(0.1).fit([features[key] for key in train], [cues[key] for key in train])
    assert model.score([features[key] for key in test], [cues[key] for key in test]) >= 0.97
    assert set(cues.values()) == {0, 1, 2}


def test_a_simple_model_comes_close_to_the_best(
    folder: Path, truth: dict[str, Any], pooled: dict[str, dict[str, np.ndarray]]
) -> None:
    """Logistic regression on all three modalities comes near the Bayes score and stays within sampling error of it."""
    emotional = {key: s for key, s in truth["segments"].items() if s["class"]}

    def inputs(key: str) -> np.ndarray:
        return np.concatenate([pooled[m].get(key, np.zeros(WIDTHS[FILE_OF[m]])) for m in MODALITIES])

    x, y = np.array([inputs(key) for key in emotional]), np.array([s["class"] for s in emotional.values()])
    train, test = (np.array([s["fold"] == fold for s in emotional.values()]) for fold in ("train", "test"))
    guesses = _classifier(0.01).fit(x[train], y[train]).predict(x[test])
    score = f1_score(y[test], guesses, average="macro")
    best = best_reachable(folder, "test")["text+audio+visual"]
    assert best - 0.15 < score < best + 0.1


@pytest.mark.full
def test_an_interrupted_write_is_no_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stops the writing, also over an older sample, leaves no dataset.toml and nothing half written."""
    folder = tmp_path / "sample"
    write_sample(folder, videos=15, seed=0)
    whole = sample.write_csd

    def interrupted(path: Path, *arguments: Any) -> None:
        if "Visual" in path.name:
            raise KeyboardInterrupt
        whole(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(sample, "write_csd", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_sample(folder, videos=15, seed=1)
    assert not (folder / "dataset.toml").exists()
    assert all(_read(path) for path in folder.glob("*.csd"))
    write_sample(folder, videos=15, seed=1)
    assert (folder / "dataset.toml").exists()


def test_another_folder_is_left_alone(tmp_path: Path) -> None:
    """A folder that holds other files is refused and keeps them."""
    (tmp_path / "dataset.toml").write_text("name = 'mine'")
    with pytest.raises(DataError, match="choose an empty folder"):
        write_sample(tmp_path, videos=15)
    assert [path.name for path in tmp_path.iterdir()] == ["dataset.toml"]


@pytest.mark.parametrize(("videos", "seed"), [(14, 0), (15, -1)])
def test_impossible_samples_are_refused(tmp_path: Path, videos: int, seed: int) -> None:
    """Too few videos for every class in every fold, or a negative seed, is a settings error and writes nothing."""
    with pytest.raises(SettingsError, match="15 videos or more"):
        write_sample(tmp_path / "sample", videos=videos, seed=seed)
    assert not (tmp_path / "sample").exists()


def test_scores_are_only_told_of_a_sample(folder: Path, tmp_path: Path) -> None:
    """A folder without a readable truth.json is a data error, an unknown fold a settings error that lists the folds."""
    with pytest.raises(DataError, match="not a sample"):
        best_reachable(tmp_path, "test")
    (tmp_path / "truth.json").write_text("[]")
    with pytest.raises(DataError, match="not a sample"):
        best_reachable(tmp_path, "test")
    with pytest.raises(SettingsError, match="test, train, valid"):
        best_reachable(folder, "tset")


def test_the_sample_in_the_cache_is_written_once(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call writes the sample into the cache and says so; the second gives the same folder and is silent."""

    class Said(Monitor):
        lines: ClassVar[list[str]] = []

        def say(self, text: str) -> None:
            self.lines.append(text)

    def few(folder: Path) -> None:
        write_sample(folder, videos=15)

    monkeypatch.setattr(sample, "write_sample", few)
    folder = cached_sample(Said())
    assert folder.parent == own_cache
    assert (folder / "dataset.toml").is_file()
    assert len(Said.lines) == 1
    assert cached_sample(Said()) == folder
    assert len(Said.lines) == 1
