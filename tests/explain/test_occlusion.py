"""Moments: what a stretch takes away is what the model says without it, beside its time, attention and words."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from torch import Tensor
from training import CPU, REGISTRY, small, start

from emotiwave_core.data.loading.batch import gather
from emotiwave_core.data.store.words import Word
from emotiwave_core.errors import DataError
from emotiwave_core.explain.attribution import explain, values_of
from emotiwave_core.explain.occlusion import WINDOWS, occlude, windows_of, word_at
from emotiwave_core.explain.records import explain_fold, explain_sample
from emotiwave_core.interfaces import Encoder
from emotiwave_core.modalities import configurations
from emotiwave_core.monitor import Monitor
from emotiwave_core.predict.trained import TrainedRun, open_trained_run
from emotiwave_core.report.occlusion import occlusion as picture
from emotiwave_core.runs.explanation import EXPLANATION, OcclusionWindow, SampleAttribution

KINDS: dict[str, dict[str, Any]] = {
    "attention": {
        "encoder": {"name": "bilstm", "hidden_size": 4, "pooling": "attention"},
        "fusion": {"name": "concat", "missing": "learned"},  # which reads who is present
    },
    "statistics": {
        "encoder": {"name": "attentive_stats", "hidden_size": 4},
        "fusion": {"name": "crossmodal", "width": 8, "heads": 2},
        "objective": {"kind": "multi"},
        "model": {"head": 32},  # of 8 units none is alive after two epochs
    },
    "zeros": {
        "encoder": {"name": "attentive_stats", "hidden_size": 4},
        "model": {"absent": "zeros"},
        "data": {"max_steps": 12},
    },
    "none": {"data": {"align": 4}},
}


@pytest.fixture(scope="module", params=KINDS)
def trained(request: pytest.FixtureRequest, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    """A trained run: with attention, a fusion that reads states, zeros for absent ones, an aligned store."""
    folder = tmp_path_factory.mktemp(request.param)
    start(small(**KINDS[request.param], training={"epochs": 2}), tiny, folder / "run")
    return open_trained_run(folder / "run", REGISTRY)


def place_of(trained: TrainedRun, name: str) -> int:
    """The row of a sample of the store."""
    return trained.corpus.store.ids.index(name)


def found(trained: TrainedRun, name: str, c: int = 2, words: Any = ()) -> dict[str, list[OcclusionWindow]]:
    """The moments of a sample for the log-odds of a class."""

    def of(logits: NDArray[np.float64]) -> NDArray[np.float64]:
        return values_of(trained.objective, "logit", logits)[:, c]

    return occlude(trained, place_of(trained, name), of, CPU, list(words))


@pytest.mark.short_rows(2)
@pytest.mark.parametrize("name", ["v18[0]", "v19[1]"])
@torch.no_grad()
def test_occlusion_is_what_the_model_says_without_the_stretch(trained: TrainedRun, name: str) -> None:
    """Each drop equals that of a forward pass of its own whose mask lacks the steps, whatever stands in them."""
    store, model, row = trained.corpus.store, trained.model, place_of(trained, name)
    pairs = {m: gather(store, m, np.array([row])) for m in store.modalities}
    inputs, masks = {m: x for m, (x, _) in pairs.items()}, {m: mask for m, (_, mask) in pairs.items()}

    def value(inputs: dict[str, Tensor], masks: dict[str, Tensor]) -> float:
        logits = model(inputs, masks).logits.double().numpy()
        return float(values_of(trained.objective, "logit", logits)[0, 2])

    complete, seen = value(inputs, masks), 0
    for m, some in found(trained, name).items():
        steps = [t for t in range(masks[m].shape[1]) if masks[m][0, t]]
        assert len(some) == len(steps)  # so few that every step is a window
        for t, moment in zip(steps, some, strict=True):
            mask, x = masks[m].clone(), inputs[m].clone()
            mask[0, t] = False
            x[0, t] = torch.nan
            due = complete - value(inputs | {m: x}, masks | {m: mask})
            assert moment.occlusion == pytest.approx(due, abs=1e-4)
            assert [moment.start, moment.end] == pytest.approx(store.times(m, row)[t].tolist())
            seen += abs(due) > 1e-3
    assert seen > 2


@pytest.mark.short_rows(1)
@torch.no_grad()
def test_attention_is_the_encoders(trained: TrainedRun) -> None:
    """The attention on a stretch is what the encoder says of the standardised sequence, None where it has none."""
    row = place_of(trained, "v18[0]")
    for m, some in found(trained, "v18[0]").items():
        x, mask = gather(trained.corpus.store, m, np.array([row]))
        x = trained.model.scalers[m](x)
        if trained.recipe.model.absent == "zeros":  # the model pads to 12 steps, which the encoder takes for present
            x = torch.nn.functional.pad(x, (0, 0, 0, 12 - x.shape[1]))
            mask = torch.ones(1, 12, dtype=torch.bool)
        encoder = trained.model.encoders[m]
        assert isinstance(encoder, Encoder)
        due = encoder.attention_over_steps(x, mask)
        if due is None:
            assert trained.recipe.encoder["*"].options["pooling"] == "mean"
            assert {moment.attention for moment in some} == {None}
        else:
            shares = [moment.attention for moment in some]
            assert shares == pytest.approx(due[0, : len(some)].tolist(), abs=1e-6)
            assert len(set(shares)) > 1
            assert sum(share or 0.0 for share in shares) <= 1 + 1e-6


def test_a_modality_that_is_not_there_has_no_moments(trained: TrainedRun) -> None:
    """v19 has no visual."""
    assert [m for m, some in found(trained, "v19[0]").items() if not some] == ["visual"]


def test_a_long_sequence_has_few_windows(trained: TrainedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A window of several steps lasts from the first to the last of them and has the sum of their attention."""
    each = found(trained, "v18[0]")["audio"]
    monkeypatch.setattr("emotiwave_core.explain.occlusion.windows_of", lambda mask: windows_of(mask, most=3))
    wide = found(trained, "v18[0]")["audio"]
    size = -(-len(each) // 3)
    groups = [each[place : place + size] for place in range(0, len(each), size)]
    assert len(wide) == len(groups) <= 3
    for moment, group in zip(wide, groups, strict=True):
        assert (moment.start, moment.end) == (group[0].start, group[-1].end)
        if moment.attention is not None:
            assert moment.attention == pytest.approx(sum(one.attention or 0.0 for one in group), abs=1e-6)


def test_a_stretch_of_all_steps_is_the_modality(trained: TrainedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where one window holds every step, its loss takes away what the configuration without the modality lacks."""
    monkeypatch.setattr("emotiwave_core.explain.occlusion.windows_of", lambda mask: windows_of(mask, most=1))
    said, place = trained.predict(CPU), trained.fold.rows.tolist().index(place_of(trained, "v18[0]"))
    values = values_of(trained.objective, "logit", said.logits[:, place])[:, 2]
    kept = configurations(trained.model.modalities)
    for m, (moment,) in found(trained, "v18[0]").items():
        rest = tuple(other for other in trained.model.modalities if other != m)
        assert moment.occlusion == pytest.approx(values[-1] - values[kept.index(rest)], abs=1e-4)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.booleans(), min_size=1, max_size=200), st.integers(1, 50))
def test_windows_cover_every_step_once(steps: list[bool], most: int) -> None:
    """At most so many, in order, of one length but for the last, each with a step that is set, leaving none out."""
    mask = torch.tensor([steps])
    windows = windows_of(mask, most)
    assert len(windows) <= most
    covered = [t for window in windows for t in range(window.start, window.stop)]
    assert covered == sorted(set(covered))
    assert {t for t, is_set in enumerate(steps) if is_set} <= set(covered)
    assert all(any(steps[window]) for window in windows)
    assert len({window.stop - window.start for window in windows[:-1]}) <= 1
    last = max((t for t, is_set in enumerate(steps) if is_set), default=-1) + 1
    if last <= most:
        assert all(window.stop - window.start == 1 for window in windows)
    assert WINDOWS == 40


def test_words_beside_a_stretch() -> None:
    """Those of which half lies in it; else the one that overlaps it most; else none. A touch is no overlap."""
    words = [Word(0.0, 1.0, "so"), Word(1.0, 1.2, "very"), Word(1.2, 3.0, "happy")]
    for start_of, end, due in (
        (0.0, 3.0, "so very happy"),
        (0.4, 1.15, "so very"),
        (0.8, 1.05, "so"),
        (1.3, 1.4, "happy"),
        (0.9, 1.08, "so"),
        (3.0, 4.0, None),
        (-1.0, 0.0, None),
    ):
        assert word_at(words, start_of, end) == due
    assert word_at([], 0.0, 1.0) is None
    assert word_at([Word(1.0, 1.0, "instant")], 0.0, 2.0) == "instant"


@pytest.mark.short_rows(1)
def test_words_of_the_data_set_stand_beside_the_moments(
    trained: TrainedRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The words of a sample come from the data set; a damaged file of them costs the words alone, and is said."""
    explanation = explain(trained, trained.predict(CPU))
    first = trained.corpus.store.intervals[trained.fold.rows[0]].tolist()
    said = [Word(first[0], first[1], "cheerfully")]
    monkeypatch.setattr("emotiwave_core.explain.records.words_of", lambda dataset, store, row: said)
    sample = explain_sample(explanation, trained, 0, CPU)
    assert {window.word for window in sample.moments["audio"]} == {"cheerfully"}

    def damaged(*_: object) -> list[Word]:
        raise DataError("words.csd is damaged.")

    monkeypatch.setattr("emotiwave_core.explain.records.words_of", damaged)
    notes: list[str] = []

    class Listening(Monitor):
        def say(self, text: str) -> None:
            notes.append(text)

    sample = explain_sample(explanation, trained, 0, CPU, Listening())
    assert {window.word for window in sample.moments["audio"]} == {None}
    assert notes == ["Note: without the words of v18[0]: words.csd is damaged."]


def test_the_picture_draws_the_numbers() -> None:
    """A strip for each modality that is there, a bar for each stretch, attention as a line, each word once."""
    text = [(0.0, 0.5, 0.2, 0.7, "so"), (0.5, 2.0, -0.1, 0.3, "happy $x$")]
    audio = [(0.0, 1.0, 0.05, None, "so"), (1.0, 2.0, 0.0, None, "happy $x$")]
    windows = {m: [OcclusionWindow(*row) for row in rows] for m, rows in (("text", text), ("audio", audio))}
    sample = SampleAttribution(
        id="v[0]", start=0.0, end=2.0, predicted="sad", truth="", explained="sad", empty=0.1, complete=0.9,
        shapley={"text": 0.5, "audio": 0.3, "visual": 0.0}, moments=windows | {"visual": []},
    )  # fmt: skip
    figure = picture(sample)
    first, second, attention = figure.axes
    for axes, rows in ((first, text), (second, audio)):
        bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        drawn = [(bar.get_x(), bar.get_x() + bar.get_width(), bar.get_height()) for bar in bars]
        np.testing.assert_allclose(drawn, [row[:3] for row in rows])
    assert [first.get_ylabel(), second.get_ylabel()] == ["text", "audio"]
    assert [label.get_text() for label in first.texts] == ["so", "happy $x$"]
    np.testing.assert_allclose(np.asarray(attention.lines[0].get_ydata()), [0.7, 0.3])
    assert first.get_xlim() == (0.0, 2.0)


@pytest.mark.short_rows(1)
def test_what_the_run_holds_is_what_is_found(trained: TrainedRun) -> None:
    """explanation.json has the moments of the chosen samples, in log-odds of the class that it names."""
    about = json.loads((trained.run / EXPLANATION).read_text())
    assert about == json.loads(json.dumps(explain_fold(explain(trained, trained.predict(CPU)), trained, CPU).to_dict()))
    for one in about["chosen"]:
        c = about["classes"].index(one["class"])
        logits_of = lambda logits, c=c: values_of(trained.objective, "logit", logits)[:, c]  # noqa: E731
        due = occlude(trained, place_of(trained, one["id"]), logits_of, CPU, [])
        for m, some in one["moments"].items():
            drops = [moment["occlusion"] for moment in some]
            assert drops == pytest.approx([moment.occlusion for moment in due[m]], abs=1e-6)
