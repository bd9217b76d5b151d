"""Features relative to their speaker: maps as their equation has them, and every verb reads through them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from training import REGISTRY, small

import emotiwave as ew
from emotiwave_core.compute.runtime import Runtime
from emotiwave_core.data.dataset import Dataset
from emotiwave_core.data.loading.batch import batches, feature_statistics
from emotiwave_core.data.loading.loader import resident
from emotiwave_core.data.loading.speakers import PRIOR, standardise_speakers
from emotiwave_core.data.prepare.options import Options
from emotiwave_core.data.store.store import Store, open_store
from emotiwave_core.errors import DataError, Notice, SettingsError
from emotiwave_core.evaluate.corruptions import find_corruption
from emotiwave_core.evaluate.manifest import parse_manifest
from emotiwave_core.evaluate.predict_corrupted import predict_corrupted
from emotiwave_core.evaluate.protocol import draw_manifest, samples_of
from emotiwave_core.predict.trained import open_trained_run

pytestmark = pytest.mark.full
MOODS = ("calm", "glad", "sad")
SPEAKERS = 8
CPU = torch.device("cpu")


def clips(gain: Callable[[int], float] = lambda _: 1.0, offset: Callable[[int], float] = lambda _: 0.0) -> Any:
    """Samples of 8 speakers, 9 each; a third is of no emotion. Each speaker's features are x · gain + offset."""
    random, features, labels = np.random.default_rng(0), [], []
    for speaker in range(SPEAKERS):
        for clip in range(9):
            x = random.normal(size=(5 + clip % 3, 4)) + np.eye(4)[clip % 3] * 2
            features.append(x * gain(speaker) + offset(speaker))
            labels.append(np.eye(3)[clip % 3][1:])
    return features, np.array(labels)


def dataset(groups: bool = True, **shape: Any) -> Dataset:
    """The clips as a data set, whole speakers in a fold."""
    features, labels = clips(**shape)
    who = [f"s{number // 9}" for number in range(len(features))]
    fold = {**dict.fromkeys(range(4), "train"), 4: "valid", 5: "valid", 6: "test", 7: "test"}
    return ew.dataset(
        features={"audio": features, "text": [x[:, :2] for x in features]},
        labels=labels,
        targets=MOODS[1:],
        ids=[f"{speaker}-{number % 9}" for number, speaker in enumerate(who)],
        groups=who if groups else None,
        folds=[fold[number // 9] for number in range(len(features))],
    )


def store_of(data: Dataset, folder: Path) -> Store:
    """The packed clips."""
    return open_store(data, Options(), folder)


def train(data: Dataset, out: Path, mode: Any, **settings: Any) -> ew.Run:
    """A small run that standardises in a mode."""
    recipe = small(encoder={"name": "mean", "width": 4}, model={"standardise": mode}, data=settings)
    return ew.train(data, attrs.evolve(recipe, training=attrs.evolve(recipe.training, epochs=2)), out=out, device="cpu")


def statistics(store: Store) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """Those of the first half of the samples, as of a training fold."""
    return {s: feature_statistics(store, s, np.arange(len(store) // 2)) for s in store.streams}


def test_the_maps_are_those_of_the_equation(tmp_path: Path) -> None:
    """In float64, clip by clip: moments of c clips count c / (c + 1), those of training the rest, and x is mapped."""
    store = store_of(dataset(gain=lambda s: 1 + s, offset=lambda s: 3.0 * s), tmp_path)
    used = np.arange(len(store)) % 9 < 4
    relative = standardise_speakers(store, store.groups, used, statistics(store))
    raw = {m: [store.sequence(m, row).double().numpy() for row in range(len(store))] for m in store.streams}
    for m in store.streams:
        steps = np.concatenate(raw[m][: len(store) // 2])
        mean, variance = steps.mean(axis=0), steps.var(axis=0)
        for row, group in enumerate(store.groups):
            own = np.concatenate([raw[m][r] for r, g in enumerate(store.groups) if g == group and used[r]])
            weight = 4 / (4 + PRIOR)
            center = weight * own.mean(axis=0) + (1 - weight) * mean
            second = weight * (own**2).mean(axis=0) + (1 - weight) * (variance + mean**2)
            expected = (raw[m][row] - center) / np.sqrt(second - center**2) * np.sqrt(variance) + mean
            np.testing.assert_allclose(relative.sequence(m, row).numpy(), expected, rtol=2e-4, atol=2e-4)


def test_batches_and_a_device_hold_the_mapped_samples(tmp_path: Path) -> None:
    """Batch by batch and kept on a device they are `sequence`, and padding stays zero."""
    store = store_of(dataset(gain=lambda s: 1 + s), tmp_path)
    relative = standardise_speakers(store, store.groups, np.ones(len(store), dtype=bool), statistics(store))
    rows, targets = np.arange(len(store))[::-1].copy(), torch.zeros(len(store))
    plain = list(batches(relative, rows, targets, 7, CPU))
    kept = list(resident(relative, rows, CPU).batches(rows, targets, 7))
    for batch, other in zip(plain, kept, strict=True):
        for m, x in batch.inputs.items():
            torch.testing.assert_close(x, other.inputs[m])
            for sample, row in enumerate(batch.rows.tolist()):
                own = relative.sequence(m, row)
                torch.testing.assert_close(x[sample, : len(own)], own)
                assert not x[sample, len(own) :].any()


def test_samples_of_no_known_speaker_stay_as_they_are(tmp_path: Path) -> None:
    """Without a speaker, or without a clip that may be looked at, features are those that were packed."""
    store = store_of(dataset(offset=lambda s: float(s)), tmp_path)
    nobody = standardise_speakers(store, [None] * len(store), np.ones(len(store), dtype=bool), statistics(store))
    unheard = standardise_speakers(store, store.groups, np.zeros(len(store), dtype=bool), statistics(store))
    for relative in (nobody, unheard):
        assert torch.equal(relative.sequence("audio", 70), store.sequence("audio", 70))


def test_a_voice_that_is_louder_and_higher_is_read_as_it_was(tmp_path: Path) -> None:
    """A gain and an offset of the test speakers leave the decisions of an `own` run and change a plain one's."""
    shifted = dataset(gain=lambda s: 5.0 if s > 5 else 1.0, offset=lambda s: 8.0 if s > 5 else 0.0)
    same = {}
    for mode in ("own", True):
        run = train(dataset(), tmp_path / str(mode), mode)
        before, after = run.predict(dataset()), run.predict(shifted)
        same[mode] = np.mean([a.decided == b.decided for a, b in zip(before, after, strict=True)])
    assert same["own"] > 0.95 > same[True]


def test_scoring_predicting_and_protocols_read_the_same_samples(tmp_path: Path) -> None:
    """`predictions.csv`, `predict` of the data set, and a protocol at level 0 agree; the report is written."""
    data = dataset(gain=lambda s: 1 + s, offset=lambda s: 2.0 * s)
    run = train(data, tmp_path / "run", "own")
    trained = open_trained_run(run.folder, REGISTRY)
    answers = trained.predict(CPU).answers[-1]
    predicted = {one.id: list(one.probabilities.values()) for one in run.predict(data)}
    for row, answer in zip(trained.fold.rows, answers, strict=True):
        np.testing.assert_allclose(predicted[trained.corpus.store.ids[row]], answer, rtol=1e-5)
    for curve in run.robustness("swap").curves.values():
        assert float(curve.score[0]) == float(run.scores().complete.score)


def test_what_another_lends_is_read_relative_to_the_borrower(tmp_path: Path) -> None:
    """Under `swap` a sample has another's features as they were recorded, and its own speaker's map."""
    run = train(dataset(gain=lambda s: 1 + s), tmp_path / "run", "own")
    trained = open_trained_run(run.folder, REGISTRY)
    data = draw_manifest(find_corruption("swap"), samples_of(trained), 0).to_bytes()
    manifest = parse_manifest(data, find_corruption("swap"), "that was drawn")
    got = predict_corrupted(trained, manifest, Runtime(CPU)).answers[
        "audio+text" if "audio+text" in manifest.modalities else "audio"
    ][-1]
    store, speakers = trained.corpus.store, trained.corpus.store.speakers
    assert speakers is not None
    raw = attrs.evolve(store, speakers=None)
    row_of, partners = {name: row for row, name in enumerate(store.ids)}, manifest.partners["audio"]
    for place, row in enumerate(trained.fold.rows.tolist()):
        lender = row_of[partners[manifest.samples.index(store.ids[row])] or store.ids[row]]
        x = speakers.apply("audio", row, raw.sequence("audio", lender))[None]
        text = store.sequence("text", row)[None]
        masks = {
            "audio": torch.ones(x.shape[:2], dtype=torch.bool),
            "text": torch.ones(text.shape[:2], dtype=torch.bool),
        }
        with torch.inference_mode():
            logits = trained.model.forward_masked({"audio": x, "text": text}, masks).logits
        np.testing.assert_allclose(got[place], trained.objective.answers(logits)[0].numpy(), rtol=1e-4)


def test_clips_of_one_speaker_do_what_the_data_set_does(tmp_path: Path) -> None:
    """`run.enrol` with the neutral clips of a speaker gives the answers that the data set gives with its groups."""
    data = dataset(gain=lambda s: 1 + s, offset=lambda s: 2.0 * s)
    run = train(data, tmp_path / "run", "enrolled", enrolment="no_emotion")
    features, _ = clips(gain=lambda s: 1 + s, offset=lambda s: 2.0 * s)
    arrays = {f"s7-{clip}": {"audio": (x := features[63 + clip]), "text": x[:, :2]} for clip in range(9)}
    speaker = run.enrol([arrays[f"s7-{clip}"] for clip in (0, 3, 6)])
    trained = open_trained_run(run.folder, REGISTRY)
    answers = dict(
        zip((trained.corpus.store.ids[row] for row in trained.fold.rows), trained.predict(CPU).answers[-1], strict=True)
    )
    for name, sample in ((name, arrays[name]) for name in arrays if name in answers):
        np.testing.assert_allclose(list(speaker.predict(**sample).probabilities.values()), answers[name], rtol=1e-4)
    with pytest.warns(Notice, match="of this one no clip is known"):
        run.predict(**arrays["s7-1"])


def test_a_data_set_enrols_the_clips_of_the_speaker_that_is_named(tmp_path: Path) -> None:
    """With `speaker` the answers are those of this group's clips as arrays; a name that is nobody's is told."""
    data = dataset(gain=lambda s: 1 + s, offset=lambda s: 2.0 * s)
    run, (features, _) = train(data, tmp_path / "run", "own"), clips(gain=lambda s: 1 + s, offset=lambda s: 2.0 * s)
    arrays = [{"audio": (x := features[63 + clip]), "text": x[:, :2]} for clip in range(9)]
    named, given, other = run.enrol(data, speaker="s7"), run.enrol(arrays), run.enrol(data, speaker="s1")
    told = [list(one.predict(**arrays[1]).probabilities.values()) for one in (named, given, other)]
    np.testing.assert_allclose(told[0], told[1], rtol=1e-4)
    assert np.abs(np.subtract(told[0], told[2])).max() > 1e-3
    with pytest.raises(SettingsError, match=r"No clip is of the speaker 's9'\. Choose from: s0, s1"):
        run.enrol(data, speaker="s9")
    with pytest.raises(SettingsError, match="do not tell who speaks, so none can be taken for those of 's7'"):
        run.enrol(arrays, speaker="s7")


def test_what_a_reader_of_the_score_must_know_stands_beside_it(tmp_path: Path) -> None:
    """`own` is called transductive; `enrolled` counts its clips, speakers without one, and ids that are nobody's."""
    own = train(dataset(), tmp_path / "own", "own")
    assert any("transductive" in note for note in own.scores().notes)
    data = dataset()
    (data.base / "clips.txt").write_text("s0-0\ns7-3\nnobody\n")
    enrolled = train(data, tmp_path / "enrolled", "enrolled", enrolment="clips.txt")
    notes = " ".join(enrolled.scores().notes)
    for told in (
        "2 clips enrol 2 of 8 speakers",
        "6 speakers, such as 's1'",
        "1 ids of data.enrolment, such as 'nobody'",
    ):
        assert told in notes
    (data.base / "clips.txt").write_text("s0-0\n")
    with pytest.raises(DataError, match=r"or the enrolment of .* have changed"):
        enrolled.evaluate()


def test_numbers_have_no_clips_without_emotion(tmp_path: Path) -> None:
    """Of a regression 0 and below are feelings too: `no_emotion` is refused, and nothing taken for neutral."""
    features, _ = clips()
    data = ew.dataset(
        features={"audio": features},
        labels=np.linspace(-3, 3, len(features)),
        groups=[f"s{n // 9}" for n in range(len(features))],
    )
    with pytest.raises(DataError, match="are regression: name a file"):
        train(data, tmp_path / "run", "enrolled", enrolment="no_emotion")


@pytest.mark.parametrize(
    ("mode", "settings", "groups", "error", "sentence"),
    [
        ("own", {}, False, DataError, r"does not say who speaks: add \[groups\]"),
        ("enrolled", {}, True, SettingsError, "say by data.enrolment which clips are"),
        ("enrolled", {"enrolment": "none.txt"}, True, SettingsError, "none.txt is not there"),
        ("enrolled", {"enrolment": "/etc/hostname"}, True, SettingsError, "not in the data set's folder"),
        ("enrolled", {"enrolment": "../clips.txt"}, True, SettingsError, "not in the data set's folder"),
        ("of mine", {}, True, SettingsError, "'of mine' is not true, false, own or enrolled"),
    ],
)
def test_what_is_lacking_is_told_before_training(
    tmp_path: Path, mode: str, settings: dict[str, str], groups: bool, error: type[Exception], sentence: str
) -> None:
    """No speakers, no enrolment, no such file, no such mode: one sentence, and no run is left behind."""
    with pytest.raises(error, match=sentence):
        train(dataset(groups=groups), tmp_path / "run", mode, **settings)
    assert not (tmp_path / "run" / "model.json").exists()


def test_what_clips_of_a_speaker_leave_open_is_told(tmp_path: Path) -> None:
    """A clip twice counts once; that, clips of several groups, and a modality that no clip has are each a notice."""
    run, random = train(dataset(), tmp_path / "run", "own"), np.random.default_rng(5)
    clip, sample = {"audio": random.normal(size=(5, 4)) + 3}, {"audio": random.normal(size=(5, 4))}
    with pytest.warns(Notice, match="no clip of the speaker has text: read with the statistics"):
        once = run.enrol(clip).predict(**sample)
    with pytest.warns(Notice, match="2 of 3 clips are others once more, and count once"):
        assert run.enrol([clip, clip, dict(clip)]).predict(**sample).probabilities == once.probabilities
    with pytest.warns(Notice, match="the clips are of 8 groups, such as 's0' and 's1'"):
        run.enrol(dataset())
    for other in ([5], [clip, 5], [clip, None]):
        with pytest.raises(SettingsError, match="name one of the two"):
            run.enrol(other)  # type: ignore[arg-type]
