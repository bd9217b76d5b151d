"""Never a silent wrong: what labels mean is said, what is lost is counted, and what cannot be is refused."""

import json
from pathlib import Path

import attrs
import numpy as np
import pytest
from datasets import EMOTIONS, WIDTHS, Entry, write_csd, write_dataset

import emotiwave as ew
from emotiwave_core.config.recipe import DataSettings, ObjectiveSettings
from emotiwave_core.data.corpus import Corpus, open_corpus
from emotiwave_core.data.dataset import load_dataset
from emotiwave_core.data.folds import random_folds
from emotiwave_core.data.formats.csd import CsdFile
from emotiwave_core.data.formats.reader import Source
from emotiwave_core.data.prepare.options import Options
from emotiwave_core.data.prepare.store_key import meaning
from emotiwave_core.data.store.store import Store, open_store
from emotiwave_core.errors import DataError, SettingsError
from emotiwave_core.objectives.settle import make_objective

SECONDS = np.array([[0.0, 2.0], [2.0, 4.0]])  # the segments of every video


def entries_of(path: Path) -> dict[str, Entry]:
    """All entries of a `.csd` file."""
    with CsdFile(path) as file:
        return {key: tuple(file.read(key)) for key in file.keys}  # type: ignore[misc]


def packed(folder: Path, **options: object) -> Store:
    """The store of a folder."""
    return open_store(load_dataset(folder), Options(**options), folder / "stores")  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data set of 24 videos in which every sample has every modality."""
    return write_dataset(tmp_path, missing=False)


def relabel(folder: Path, labels: dict[str, Entry], columns: list[str], meaning: str = "") -> Path:
    """The data set with other labels."""
    write_csd(folder / "labels.csd", labels, columns)
    toml = (folder / "dataset.toml").read_text()
    start, end = toml.index("targets"), toml.index("[folds]")
    (folder / "dataset.toml").write_text(toml[:start] + meaning + "\n" + toml[end:])
    return folder


def numbered(folder: Path) -> dict[str, Entry]:
    """Labels of one column with the number of the class."""
    return {
        key: (values[:, 1:].argmax(axis=1)[:, None].astype(np.float32), times)
        for key, (values, times) in entries_of(folder / "labels.csd").items()
    }


def test_a_column_of_class_numbers_is_as_many_classes(folder: Path) -> None:
    """Whole numbers in one column are classes, by themselves and said so; their labels are those of one-hot columns."""
    one_hot = packed(folder).labels > 0
    store = packed(relabel(folder, numbered(folder), ["emotion"]))
    assert (store.targets, store.facts.label_kind) == (("0", "1", "2", "3", "4", "5"), "classes")
    assert store.facts.label_kind_source == "one column of 6 whole numbers from 0 to 5"
    assert (store.labels > 0).equal(one_hot)
    assert any("`classes = [...]`" in note for note in store.facts.notes)


def test_classes_have_the_names_they_are_given(folder: Path) -> None:
    """`classes` names the numbers 0, 1, 2, …; a number without a name is an error that says which."""
    names = f'kind = "classes"\nclasses = {json.dumps(EMOTIONS)}'
    assert packed(relabel(folder, numbered(folder), ["emotion"], names)).targets == tuple(EMOTIONS)
    higher = {key: (values + 1, times) for key, (values, times) in entries_of(folder / "labels.csd").items()}
    write_csd(folder / "labels.csd", higher, ["emotion"])
    with pytest.raises(DataError, match=r"'emotion' holds the number 6, and 'labels.classes' .* names 0 to 5"):
        packed(folder)


@pytest.mark.short_rows(2)
@pytest.mark.parametrize(
    ("values", "kind", "source"),
    [
        ([[-1.5], [2.0]], "regression", "one column of numbers from -1.5 to 2"),
        ([[0.25], [1.0]], "regression", "one column of numbers from 0.25 to 1"),
        ([[0.0, 1.0], [1.0, -0.5]], "regression", "2 columns with numbers below 0"),
        ([[0.0, 1.0], [2.0, 0.0]], "intensities", "2 columns of numbers from 0 up"),
        ([[0.0], [1.0]], "classes", "one column of 2 whole numbers from 0 to 1"),
    ],
)
def test_numbers_are_taken_for_what_they_can_be(
    folder: Path, values: list[list[float]], kind: str, source: str
) -> None:
    """What is not declared follows from the numbers, and the facts say from which."""
    labels = {key: (np.array(values, np.float32), SECONDS) for key in entries_of(folder / "labels.csd")}
    facts = packed(relabel(folder, labels, [f"c{n}" for n in range(len(values[0]))])).facts
    assert (facts.label_kind, facts.label_kind_source) == (kind, source)


@pytest.mark.short_rows(2)
@pytest.mark.parametrize(
    ("values", "kind", "reason"),
    [
        ([[0.5, 1.0], [0.0, 1.0]], "multi", r"hold 0.5, which is neither 0 nor 1"),
        ([[1.0, 1.0], [0.0, 1.0]], "classes", r"24 rows have two or more of them"),
        ([[0.5], [1.0]], "classes", r"holds 0.5, which is no whole number"),
        ([[1.0], [1.0]], "classes", r"there is only one, 1: nothing to tell apart"),
        ([[-1.0, 0.0], [1.0, 1.0]], "intensities", r"hold -1, which is below 0"),
    ],
)
def test_numbers_that_are_not_what_is_declared_are_refused(
    folder: Path, values: list[list[float]], kind: str, reason: str
) -> None:
    """A declaration that the numbers contradict is one sentence with the number."""
    labels = {key: (np.array(values, np.float32), SECONDS) for key in entries_of(folder / "labels.csd")}
    columns = [f"c{n}" for n in range(len(values[0]))]
    with pytest.raises(DataError, match=reason):
        packed(relabel(folder, labels, columns, f'kind = "{kind}"'))


@pytest.mark.full
def test_ties_and_absent_classes_are_told_with_their_numbers(folder: Path) -> None:
    """Rows with two strongest emotions, and classes that a fold lacks, are notes; the test fold is not looked at."""
    labels = entries_of(folder / "labels.csd")
    for key, (values, _) in labels.items():
        if key < "v18":  # training and validation
            values[0] = [0, 1, 1, 0, 0, 0, 0]
            values[1] = [0, 0, 0, 3, 0, 0, 0]
    corpus = open_corpus(
        relabel(folder, labels, ["sentiment", *EMOTIONS], f"targets = {json.dumps(EMOTIONS)}"), DataSettings()
    )
    notes = corpus.label_notes(make_objective(ObjectiveSettings(kind="single"), corpus.store.targets))
    assert notes[0].startswith("18 of 36 samples with an emotion (training and validation) have two or more")
    assert notes[1:] == [
        "No sample of sad, surprise, disgust, fear in the training fold.",
        "No sample of sad, surprise, disgust, fear in the validation fold.",
    ]


@pytest.mark.short_rows(2)
@pytest.mark.parametrize(
    ("factor", "offset", "reason"),
    [
        (
            1000.0,
            0.0,
            r"labels go to 4000 s, its steps to 4 s; the labels' times are 1000 times as large: mill",
        ),
        (30.0, 0.0, r"the labels' times are 30 times as large: numbers of frames"),
        (1.0, 100.0, r"has nothing for any of the 48 samples: .*begin and end \+100.00 s from its steps"),
        (1e-3, 0.0, r"its times are 1000 times as large: milliseconds"),
    ],
)
def test_times_of_another_unit_are_refused_with_the_likely_cause(
    folder: Path, factor: float, offset: float, reason: str
) -> None:
    """Labels in milliseconds, in frames or shifted lose samples, and the error says so with both time ranges."""
    labels = entries_of(folder / "labels.csd")
    shifted = {key: (values, times * factor + offset) for key, (values, times) in labels.items()}
    write_csd(folder / "labels.csd", shifted, ["sentiment", *EMOTIONS])
    if factor < 1:  # nothing is lost, for each segment still has a first step: a warning
        warnings = packed(folder).facts.warnings
        assert any("do not fit those of the labels" in warning and "milliseconds" in warning for warning in warnings)
        return
    with pytest.raises(DataError, match=reason):
        packed(folder)


def test_what_is_lost_in_part_is_a_warning_with_its_number(folder: Path) -> None:
    """Labels that lie half beside the steps are counted, and the offset is told."""
    labels = entries_of(folder / "labels.csd")
    write_csd(folder / "labels.csd", {key: (v, t + 2.5) for key, (v, t) in labels.items()}, ["sentiment", *EMOTIONS])
    facts = packed(folder).facts
    assert any("'audio' is missing in 24 of 48 samples (50%)" in warning for warning in facts.warnings)
    assert any("+2.50 s from its steps" in warning for warning in facts.warnings)
    assert "24 of 48 samples have nothing in any modality and are left out." in facts.warnings


def test_ids_of_another_form_are_refused_with_both_forms(folder: Path) -> None:
    """Own clips `v00_0` beside labels `v00` are an error that shows both and the form that is understood."""
    cut = {
        f"{key}_{n}": (x[t[:, 0] // 2 == n], t[t[:, 0] // 2 == n] - 2.0 * n)
        for key, (x, t) in entries_of(folder / "visual.csd").items()
        for n in range(2)
    }
    write_csd(folder / "visual.csd", cut)
    with pytest.raises(
        DataError, match=r"ids are like 'v00_0' and 'v00_1', and those of the labels like 'v00'.*`id\[0\]`"
    ):
        packed(folder)


@pytest.mark.short_rows(1)
@pytest.mark.parametrize("first", [0, 1])
def test_clips_numbered_from_one_are_refused_and_from_zero_are_taken(folder: Path, first: int) -> None:
    """The times of entries `id[k]` decide: those of the label row before are a contradiction."""
    for name in WIDTHS:
        entries = entries_of(folder / f"{name}.csd")
        cut = {
            f"{key}[{n + first}]": (x[t[:, 0] // 2 == n], t[t[:, 0] // 2 == n])
            for key, (x, t) in entries.items()
            for n in range(2)
        }
        write_csd(folder / f"{name}.csd", cut)
    if first == 0:
        assert len(packed(folder)) == 48
        return
    with pytest.raises(DataError, match=r"numbers its entries one higher than the labels do: the times of 48 of 48"):
        packed(folder)


@pytest.mark.full
def test_entries_without_times_are_not_put_in_order(folder: Path) -> None:
    """Clips without times cannot be a whole video, nor can one entry without times be cut into segments."""
    (folder / "audio").mkdir()
    for key, (x, _) in entries_of(folder / "audio.csd").items():
        for n in range(2):
            np.save(folder / "audio" / f"{key}[{n}].npy", x[10 * n : 10 * n + 10])
    toml = folder / "dataset.toml"
    toml.write_text(toml.read_text().replace("audio.csd", "audio"))
    assert packed(folder).facts.modalities["audio"].missing == 0
    with pytest.raises(
        SettingsError, match=r"data.unit is video, and .*audio has no times to put the 2 entries of 'v00'"
    ):
        packed(folder, unit="video")
    for path in (folder / "audio").glob("*[[]1].npy"):
        path.unlink()
    for path in list((folder / "audio").glob("*.npy")):
        path.rename(path.with_name(path.name.replace("[0]", "")))
    with pytest.raises(DataError, match=r"has no times, so its entry 'v00' cannot be cut into 2 segments"):
        packed(folder)


def test_steps_without_a_time_are_counted(folder: Path) -> None:
    """Rows whose interval is NaN are in no sample, which is said with their number; where all are, it is the cause."""
    entries = entries_of(folder / "audio.csd")
    for key in list(entries)[:2]:
        entries[key] = (entries[key][0], np.full_like(entries[key][1], np.nan))
    write_csd(folder / "audio.csd", entries)
    facts = packed(folder).facts
    assert facts.modalities["audio"].missing == 4
    assert any("40 of 480 rows of 'audio' (audio.csd) have an interval that is not finite" in n for n in facts.notes)
    write_csd(folder / "audio.csd", {key: (x, np.full_like(t, np.nan)) for key, (x, t) in entries.items()})
    with pytest.raises(
        DataError, match=r"nothing for any of the 48 samples: no interval of a step is a pair of finite"
    ):
        packed(folder)


def zeroed(folder: Path, name: str) -> None:
    """Every other video has zeros alone in a modality, and one NaN alone."""
    entries = entries_of(folder / f"{name}.csd")
    for number, (key, (x, t)) in enumerate(entries.items()):
        if number % 2:
            entries[key] = (np.full_like(x, np.nan if number == 5 else 0), t)
    write_csd(folder / f"{name}.csd", entries)


def test_filler_is_absence(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A store of zero-filled entries is that of a file without them, to the bit, and the number is said."""
    honest = write_dataset(tmp_path_factory.mktemp("honest"), missing=False)
    entries = entries_of(honest / "visual.csd")
    write_csd(honest / "visual.csd", dict(list(entries.items())[::2]))
    zeroed(folder, "visual")
    store, other = packed(folder), packed(honest)
    assert store.ids == other.ids
    for name in WIDTHS:
        assert store.values[name].equal(other.values[name])
        assert (store.offsets[name] == other.offsets[name]).all()
    facts = store.facts.modalities["visual"]
    assert (facts.filler, facts.missing) == (24, 24)
    assert any("'visual' is zeros or no number alone in 24 of 48" in warning for warning in store.facts.warnings)
    kept = packed(folder, filler="keep")
    assert kept.facts.modalities["visual"].missing == 0


@pytest.mark.full
@pytest.mark.parametrize("align", ["none", 2.0])
def test_filler_is_absence_in_aligned_steps_too(folder: Path, align: str | float) -> None:
    """In an aligned store a sample of zeros alone has no present step in that modality."""
    zeroed(folder, "visual")
    store = packed(folder, align=align)
    assert store.has("visual").sum() == 24
    assert store.has("audio").all()


def test_zeros_behind_the_end_are_no_steps(folder: Path) -> None:
    """Rows of zeros that pad an entry of one segment are cut; zeros before its last row stay."""
    entries = {
        f"{key}[{n}]": (
            np.concatenate([x[t[:, 0] // 2 == n] * [[1], *[[0]] * 2, *[[1]] * 7], np.zeros((5, 4), np.float32)]),
            np.concatenate([t[t[:, 0] // 2 == n], t[:5]]),
        )
        for key, (x, t) in entries_of(folder / "audio.csd").items()
        for n in range(2)
    }
    write_csd(
        folder / "audio.csd", {key: (x.astype(np.float32), np.sort(t, axis=0)) for key, (x, t) in entries.items()}
    )
    store = packed(folder)
    assert set(store.lengths("audio").tolist()) == {10}
    facts = store.facts.modalities["audio"]
    assert facts.padding == 5 * 48
    assert "240 steps of zeros at the ends are none" in facts.sentence("audio", len(store))


def test_one_entry_of_another_form_costs_itself_alone(folder: Path) -> None:
    """An entry of another width is left out by name, wherever it stands; more than a tenth of them are an error."""
    entries = entries_of(folder / "audio.csd")
    first = next(iter(entries))
    entries[first] = (np.zeros((20, 9), np.float32), entries[first][1])
    write_csd(folder / "audio.csd", entries)
    store = packed(folder)
    assert (store.features["audio"], store.facts.modalities["audio"].missing) == (4, 2)
    assert any(r"1 of 24 entries of audio.csd are of another form" in warning for warning in store.facts.warnings)
    for key in list(entries)[:5]:
        entries[key] = (np.zeros((20, 9), np.float32), entries[key][1])
    write_csd(folder / "audio.csd", entries)
    with pytest.raises(DataError, match=r"5 of 24 entries are of another form than the rest, which is more than 10%"):
        packed(folder)


def grouped(folder: Path, field: int = -1) -> Corpus:
    """The data set with the last field of its ids as the group."""
    for name in (*WIDTHS, "labels"):
        entries = {f"{key}-{int(key[1:]) % 4}": value for key, value in entries_of(folder / f"{name}.csd").items()}
        write_csd(folder / f"{name}.csd", entries, ["sentiment", *EMOTIONS] if name == "labels" else None)
    toml = (folder / "dataset.toml").read_text().split("[folds]")[0]
    (folder / "dataset.toml").write_text(toml + f'[groups]\nseparator = "-"\nfield = {field}\n')
    return open_corpus(folder, DataSettings(ratios=[0.5, 0.25, 0.25]))


def test_groups_are_not_split_between_folds(folder: Path) -> None:
    """A random split is by group: no speaker is in two folds, and every video is in one."""
    corpus = grouped(folder)
    assert corpus.store.facts.groups == tuple(video[-1] for video in corpus.store.videos)
    groups = [{video[-1] for video in corpus.folds[fold]} for fold in ("train", "valid", "test")]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 4
    assert sum(len(corpus.folds[fold]) for fold in ("train", "valid", "test")) == 24
    assert corpus.folds.source.startswith("random by group")
    assert corpus.facts().groups == 4


def test_speakers_in_two_folds_are_told(folder: Path) -> None:
    """Folds that share groups are used as they are, and the shared groups are counted."""
    corpus = grouped(folder)
    shared = Corpus(corpus.dataset, corpus.store, random_folds(corpus.store.videos, (0.5, 0.25, 0.25)))
    assert any(note.startswith("4 groups (speakers) are in two folds, such as '0'") for note in shared.notes())


def test_a_field_that_no_id_has_is_refused(folder: Path) -> None:
    """Groups that cannot be told from the ids are an error with an id."""
    with pytest.raises(DataError, match=r"'groups.field' in dataset.toml is 7, and no id such as 'v00-0' has"):
        grouped(folder, 7)


def test_all_that_gives_data_their_meaning_is_bound(folder: Path) -> None:
    """Files exchanged, targets in another order, columns of other names: each is another meaning."""
    dataset = load_dataset(folder)
    text, audio, visual = (dataset.modalities[name] for name in WIDTHS)
    others = [
        attrs.evolve(dataset, modalities={"text": audio, "audio": text, "visual": visual}),
        attrs.evolve(dataset, targets=tuple(reversed(EMOTIONS))),
        attrs.evolve(dataset, columns=("sentiment", *reversed(EMOTIONS))),
        attrs.evolve(dataset, kind="multi"),
        attrs.evolve(dataset, labels=Source(folder / "labels.csd", part="others")),
    ]
    meanings = [json.dumps(meaning(each, Options()), sort_keys=True) for each in [dataset, *others]]
    assert len(set(meanings)) == len(meanings)


@pytest.mark.parametrize("names", [("a b", "a\tb"), ("a b", "a  b")])
def test_classes_that_look_alike_are_refused(names: tuple[str, str]) -> None:
    """Two classes whose names a page shows alike are told before the training, each as it stands in the labels."""
    features = {"audio": [np.full((2, 3), float(number)) for number in range(12)]}
    labels = np.eye(2)[[0, 1] * 6]
    made = ew.dataset(features, labels=labels, targets=names, folds=["train"] * 8 + ["valid"] * 2 + ["test"] * 2)
    with pytest.raises(ew.DataError, match="look alike"):
        open_corpus(made.folder, DataSettings())
