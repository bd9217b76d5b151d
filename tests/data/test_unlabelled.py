"""Data sets without labels, and samples handed over as arrays: to be predicted."""

import json
from pathlib import Path
from typing import Any

import attrs
import h5py
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from datasets import EMOTIONS, WIDTHS, write_csd, write_dataset

from emotiwave_core.cli import emotiwave
from emotiwave_core.config.recipe import DataSettings
from emotiwave_core.data.corpus import all_samples, open_corpus, open_unlabelled
from emotiwave_core.data.dataset import load_dataset
from emotiwave_core.data.loading.batch import batches
from emotiwave_core.data.store.memory import ArraySample, store_of_arrays
from emotiwave_core.data.store.store import Store
from emotiwave_core.errors import DataError, SettingsError

DIRT = [np.nan, np.inf, -np.inf, 1e300]


def unlabel(folder: Path) -> Path:
    """The data set without its labels."""
    text = (folder / "dataset.toml").read_text()
    head, _, tail = text.partition("[labels]")
    (folder / "dataset.toml").write_text(head + tail[tail.index("[folds]") :])
    (folder / "labels.csd").unlink()
    return folder


def described(folder: Path, files: dict[str, dict[str, Any]], widths: dict[str, int] = WIDTHS) -> Path:
    """A folder of feature files alone: {modality: {entry: start and end of each step}}."""
    random = np.random.default_rng(0)
    for name, entries in files.items():
        write_csd(
            folder / f"{name}.csd",
            {key: (random.normal(size=(len(times), widths[name])), times) for key, times in entries.items()},
        )
    lines = "".join(f'{name} = "{name}.csd"\n' for name in files)
    (folder / "dataset.toml").write_text(f'name = "Bare"\n[modalities]\n{lines}')
    return folder


def entry(folder: Path, name: str, key: str) -> tuple[np.ndarray, np.ndarray] | None:
    """An entry of a file, by plain h5py."""
    with h5py.File(folder / f"{name}.csd") as file:
        data = file["anything/data"]
        return (data[key]["features"][:], data[key]["intervals"][:]) if key in data else None


def same(left: Store, right: Store) -> None:
    """Both stores give a model the same numbers, to the bit."""
    assert left.modalities == right.modalities
    for name in left.modalities:
        assert torch.equal(left.values[name], right.values[name])
        assert left.offsets[name].tolist() == right.offsets[name].tolist()
        assert torch.equal(left.step_times[name], right.step_times[name])
        if left.step_present is None or right.step_present is None:
            assert left.step_present is right.step_present
        else:
            assert torch.equal(left.step_present[name], right.step_present[name])


def test_entries_are_the_samples_where_there_are_no_labels(tmp_path: Path) -> None:
    """Each entry of any feature file is a sample, whole, and a modality without that entry is absent in it."""
    whole = [[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]]
    folder = described(
        tmp_path,
        {
            "text": {"b": whole, "a": whole[:2], "s[10]": whole[:1], "s[9]": whole},
            "audio": {"c": whole, "a": [[-1.0, 0.5]], "s[9]": whole[:2], "never": [[np.nan, 1.0]]},
        },
    )
    features = {"text": WIDTHS["text"], "audio": WIDTHS["audio"]}
    store = open_unlabelled(load_dataset(folder, labelled=False), DataSettings(), features)
    assert store.ids == ("a", "b", "c", "s[9]", "s[10]")
    assert store.videos == ("a", "b", "c", "s", "s")
    assert store.lengths("text").tolist() == [2, 3, 0, 3, 1]
    assert store.lengths("audio").tolist() == [1, 0, 3, 2, 0]
    assert store.intervals[0].tolist() == [-1.0, 2.0]
    assert store.targets == ()
    assert store.labels.shape == (5, 0)
    assert any("1 entries have no step" in note for note in store.facts.notes)
    videos = open_unlabelled(load_dataset(folder, labelled=False), DataSettings(unit="video"), features)
    assert (videos.ids, videos.lengths("text").tolist()) == (("a", "b", "c", "s"), [2, 3, 0, 4])


def test_segments_of_one_file_cut_another_that_has_the_video_whole(tmp_path: Path) -> None:
    """Segments of a video in one file are the samples, where another file has all of it."""
    steps = [[k, k + 1] for k in range(6)]
    folder = described(tmp_path, {"text": {"v[0]": steps[:2], "v[1]": steps[4:]}, "audio": {"v": steps}})
    store = open_unlabelled(
        load_dataset(folder, labelled=False), DataSettings(), {"text": WIDTHS["text"], "audio": WIDTHS["audio"]}
    )
    assert store.ids == ("v[0]", "v[1]")
    assert store.times("audio", 1)[:, 0].tolist() == [4.0, 5.0]


def test_batches_of_a_store_without_labels_hold_every_sample(tmp_path: Path) -> None:
    """All samples come in their order, with features, masks and targets that say nothing."""
    folder = unlabel(write_dataset(tmp_path))
    store = open_unlabelled(load_dataset(folder, labelled=False), DataSettings(), WIDTHS)
    fold = all_samples(store)
    assert fold.name == "all"
    found = list(batches(store, fold.rows, fold.targets, 5, torch.device("cpu")))
    assert np.concatenate([batch.rows for batch in found]).tolist() == list(range(24))
    assert all(batch.targets.shape == (len(batch.rows), 0) for batch in found)
    has = np.concatenate([batch.masks["audio"].any(dim=1).numpy() for batch in found])
    assert has.tolist() == store.has("audio").tolist()


@pytest.mark.full
def test_a_labelled_data_set_is_predicted_whatever_its_labels(tmp_path: Path) -> None:
    """The samples are those of the label rows, of no emotion and of NaN as well, and labels of any kind are passed by.

    They have the features of the labelled data set, to the bit.
    """
    folder = write_dataset(tmp_path)
    labelled = open_corpus(folder, DataSettings()).store
    same(labelled, open_unlabelled(load_dataset(folder, labelled=False), DataSettings(), WIDTHS))
    with h5py.File(folder / "labels.csd", "r+") as file:
        file["anything/data/v00/features"][0] = np.nan
        file["anything/data/v01/features"][:] = 0
        del file["anything/metadata/dimension names"]
    unread = open_unlabelled(
        load_dataset(folder, labelled=False), DataSettings(complete_only=True, folds="none.json"), WIDTHS
    )
    assert unread.ids == labelled.ids
    same(labelled, unread)
    spans = {key: entry(folder, "labels", key) for key in ("v00", "v01")}
    write_csd(folder / "labels.csd", {key: (np.array([[b"x"], [b"y"]]), one[1]) for key, one in spans.items() if one})
    assert open_unlabelled(load_dataset(folder, labelled=False), DataSettings(), WIDTHS).ids == (
        "v00[0]",
        "v00[1]",
        "v01[0]",
        "v01[1]",
    )


def test_the_model_s_modalities_decide(tmp_path: Path) -> None:
    """A modality that the model lacks is not packed, one that the folder lacks is absent, another width is refused."""
    folder = unlabel(write_dataset(tmp_path))
    store = open_unlabelled(load_dataset(folder, labelled=False), DataSettings(), {"lips": 7, "audio": WIDTHS["audio"]})
    assert (store.modalities, store.features) == (("lips", "audio"), {"lips": 7, "audio": 4})
    assert not store.has("lips").any()
    assert store.has("audio").all(), "what has only other modalities is no sample of this model"
    (batch,) = batches(store, *all_samples(store)[1:], 99, torch.device("cpu"))
    assert batch.inputs["lips"].shape == (len(store), 1, 7)
    assert not batch.masks["lips"].any()
    aligned = open_unlabelled(
        load_dataset(folder, labelled=False), DataSettings(align=2.0), {"lips": 7, "audio": WIDTHS["audio"]}
    )
    assert not aligned.has("lips").any()
    with pytest.raises(DataError, match=r"The model reads features .*'audio': 5.*same widths"):
        open_unlabelled(load_dataset(folder, labelled=False), DataSettings(), {"audio": 5})
    with pytest.raises(DataError, match="the model reads lips: name at least one"):
        open_unlabelled(load_dataset(folder, labelled=False), DataSettings(), {"lips": 7})


def test_settings_of_a_modality_that_a_folder_lacks_do_not_matter(tmp_path: Path) -> None:
    """`max_steps` by modality may name one of the model's that this data set has not."""
    folder = described(tmp_path, {"audio": {"v": [[k, k + 1] for k in range(6)]}})
    settings = DataSettings(max_steps={"text": 1, "audio": 4}, downsample={"text": 2, "audio": 2})
    assert open_unlabelled(load_dataset(folder, labelled=False), settings, WIDTHS).lengths("audio").tolist() == [3]


@pytest.mark.parametrize("standard", [False, True])
def test_training_and_scoring_need_labels(tmp_path: Path, standard: bool) -> None:
    """Without labels a data set is refused in a sentence with the way out, exit code 3, and no run is left behind."""
    folder = tmp_path / "data"
    folder.mkdir()
    if not standard:
        unlabel(write_dataset(folder))
    else:
        write_csd(folder / "CMU_MOSEI_COVAREP.csd", {"v": (np.ones((2, 74)), [[0, 1], [1, 2]])})
        assert len(open_unlabelled(load_dataset(folder, labelled=False), DataSettings(), {"audio": 74})) == 1
    with pytest.raises(DataError, match=r"\[labels\]"):
        open_corpus(folder, DataSettings())
    result = CliRunner().invoke(emotiwave, ["run", "--data", str(folder), "--out", str(tmp_path / "run")])
    assert isinstance(result.exception, DataError)
    assert result.exception.exit_code == 3
    assert "[labels]" in str(result.exception)
    assert not (tmp_path / "run").exists()


def test_a_folder_without_features_cannot_be_predicted(tmp_path: Path) -> None:
    """Neither a description nor a file of CMU-MOSEI: the error lists the files and says what to write."""
    (tmp_path / "mine.csd").touch()
    with pytest.raises(DataError, match=r"there: mine.csd\); write a dataset.toml as docs/data.md shows"):
        load_dataset(tmp_path, labelled=False)


@pytest.mark.short_rows(1)
@pytest.mark.parametrize(
    "settings",
    [
        DataSettings(),
        DataSettings(max_steps=3),
        DataSettings(max_steps={"text": 2, "visual": 50}, downsample={"audio": 3, "visual": 2}),
        DataSettings(downsample=4, max_steps=2),
        DataSettings(align=3.0, max_steps=5),
        DataSettings(align=0.5),
        DataSettings(align="words"),
        DataSettings(align="words", max_steps=2),
    ],
)
def test_arrays_become_what_packing_makes_of_a_file(tmp_path: Path, settings: DataSettings) -> None:
    """Of any data settings a sample as arrays has the steps of the same sample in a file, to the bit.

    With NaN, infinities, numbers beyond float32, steps out of order or without a time, and any modality missing.
    """
    random = np.random.default_rng(3)
    folder = unlabel(write_dataset(tmp_path, dense=3))
    with h5py.File(folder / "audio.csd", "r+") as file:
        for key, group in file["anything/data"].items():
            features, intervals = np.float64(group["features"][:]), group["intervals"][:]
            features[random.random(features.shape) < 0.2] = random.choice(DIRT)
            intervals = intervals[random.permutation(len(intervals))]
            intervals[2] = np.nan
            del file[f"anything/data/{key}"]
            group = file.create_group(f"anything/data/{key}")
            group["features"], group["intervals"] = features, intervals
    store = open_unlabelled(load_dataset(folder, labelled=False), settings, WIDTHS)
    samples = []
    for key in store.ids:
        entries = {name: content for name in WIDTHS if (content := entry(folder, name, key)) is not None}
        samples.append(
            ArraySample(
                features={name: entries[name][0] if name in entries else None for name in WIDTHS},
                times={name: times for name, (_, times) in entries.items()},
            )
        )
    same(store, store_of_arrays(samples, WIDTHS, settings))
    alone = store_of_arrays(samples[3:4], WIDTHS, settings)
    for name in WIDTHS:
        assert torch.equal(alone.sequence(name, 0), store.sequence(name, 3))


def test_words_of_their_own_and_an_interval_are_taken() -> None:
    """`words` are the steps where they are given, and `interval` bounds a rate, as a label row does."""
    features = {"audio": 1}
    sample = ArraySample(
        features={"audio": [[1.0], [3.0], [8.0], [9.0]]},
        times={"audio": [[0, 1], [1, 2], [2, 3], [3, 4]]},
        words=[[2, 4], [0, 2]],
        interval=(0.0, 3.0),
    )
    spoken = store_of_arrays([sample], features, DataSettings(align="words"))
    assert spoken.sequence("audio", 0).tolist() == [[2.0], [8.5]]
    rated = store_of_arrays([sample], features, DataSettings(align=1.0))
    assert rated.sequence("audio", 0).tolist() == [[1.0], [3.0], [8.0]]
    silent = store_of_arrays([attrs.evolve(sample, words=None)], features, DataSettings(align="words"))
    assert silent.sequence("audio", 0).tolist() == [[4.0]]


def test_without_times_the_order_of_the_steps_counts() -> None:
    """Arrays alone are enough where nothing is aligned."""
    store = store_of_arrays([ArraySample({"audio": [[1.0], [2.0], [6.0]]})], {"audio": 1, "text": 2}, DataSettings())
    assert store.sequence("audio", 0).tolist() == [[1.0], [2.0], [6.0]]
    assert not store.has("text").any()
    assert store.ids == ("0",)


@pytest.mark.parametrize(
    ("sample", "settings", "error", "reason"),
    [
        (ArraySample({"voice": [[1.0]]}), DataSettings(), SettingsError, "modality 'voice'.*Choose from: audio"),
        (ArraySample({"audio": [[1.0]]}, {"voice": [[0, 1]]}), DataSettings(), SettingsError, "modality 'voice'"),
        (ArraySample({"audio": [1.0]}), DataSettings(), DataError, r"is \[1\], and the model reads \[steps, 1\]"),
        (ArraySample({"audio": [[1.0, 2.0]]}), DataSettings(), DataError, r"is \[1, 2\]"),
        (ArraySample({"audio": [[1.0]]}, {"audio": [0, 1]}), DataSettings(), DataError, r"1 steps and times \[2\]"),
        (ArraySample({"audio": [[1.0]]}), DataSettings(align=2.0), SettingsError, "needs the times of 'audio'"),
        (ArraySample({"audio": None}), DataSettings(), DataError, "nothing in any modality"),
        (ArraySample({}), DataSettings(), DataError, "nothing in any modality"),
        (ArraySample({"audio": np.empty((0, 1))}), DataSettings(), DataError, "nothing in any modality"),
        (ArraySample({"audio": [[1.0]]}, {"audio": [[0, np.nan]]}), DataSettings(), DataError, "nothing in any"),
    ],
)
def test_each_fault_of_arrays_is_named(
    sample: ArraySample, settings: DataSettings, error: type[Exception], reason: str
) -> None:
    """An array that a model cannot read is refused with the sample and what is wrong with it."""
    with pytest.raises(error, match=f"[Ss]ample 0.*{reason}|{reason}.*sample 0.*|{reason}"):
        store_of_arrays([sample], {"audio": 1}, settings)


@pytest.mark.full
@pytest.mark.parametrize("filler", ["absent", "keep"])
@pytest.mark.parametrize("align", ["none", 1.0])
def test_zeros_of_arrays_are_what_zeros_of_files_are(filler: Any, align: Any, tmp_path: Path) -> None:
    """Zeros or no number alone, and zeros at the end, are the same steps as arrays and packed from files."""
    ones, zeros = np.ones((4, 3)), np.zeros((4, 3))
    cases = {"a": zeros, "b": np.full((4, 3), np.nan), "c": np.concatenate([zeros[:1], ones[:2], zeros[:1]]), "d": ones}
    times = np.stack([np.arange(4.0), np.arange(1.0, 5.0)], axis=1)
    write_csd(tmp_path / "audio.csd", {key: (case, times) for key, case in cases.items()})
    write_csd(tmp_path / "text.csd", dict.fromkeys(cases, (ones, times)))
    files = 'audio = "audio.csd"\ntext = "text.csd"\n'
    (tmp_path / "dataset.toml").write_text(f'name = "Bare"\n[modalities]\n{files}')
    settings, widths = DataSettings(filler=filler, align=align), {"audio": 3, "text": 3}
    packed = open_unlabelled(load_dataset(tmp_path, labelled=False), settings, widths)
    given = [ArraySample({"audio": case, "text": ones}, {"audio": times, "text": times}) for case in cases.values()]
    handed = store_of_arrays(given, widths, settings)
    for row in range(len(cases)):
        assert torch.equal(handed.sequence("audio", row), packed.sequence("audio", row))
        assert torch.equal(handed.present("audio", row), packed.present("audio", row))
    np.testing.assert_array_equal(handed.has("audio"), packed.has("audio"))


def test_emotions_of_another_data_set_do_not_matter(tmp_path: Path) -> None:
    """A data set whose label columns are others, or not named at all, is opened for prediction as it stands."""
    folder = write_dataset(tmp_path)
    text = (folder / "dataset.toml").read_text().replace(json.dumps(EMOTIONS), '["bored"]')
    (folder / "dataset.toml").write_text(text)
    with pytest.raises(DataError, match="bored"):
        open_corpus(folder, DataSettings())
    assert len(open_unlabelled(load_dataset(folder, labelled=False), DataSettings(), WIDTHS)) == 48
