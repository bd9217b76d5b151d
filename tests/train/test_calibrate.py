"""Calibration on the validation fold: equations, other solvers, and a run that keeps what was fitted."""

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from senses import train_run
from sklearn.metrics import log_loss

import emotiwave as ew
from emotiwave_core.config.recipe import ObjectiveSettings
from emotiwave_core.errors import DataError, SettingsError
from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.model.calibration import LogitCalibration
from emotiwave_core.objectives.settle import make_objective
from emotiwave_core.runs.model_file import read_model_file
from emotiwave_core.train.calibrate import calibrate, fit_temperature

pytestmark = pytest.mark.full
THREE = ("text", "audio", "visual")
seeds = st.integers(0, 2**32 - 1)
some = settings(max_examples=15, deadline=None)


def drawn(seed: int, temperature: float, samples: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Logits [N, C] and classes [N] that are drawn from their softmax at a temperature."""
    random = np.random.default_rng(seed)
    logits = 3.0 * random.normal(size=(samples, classes))
    chances = np.exp(logits / temperature)
    chances /= chances.sum(axis=1, keepdims=True)
    return logits, (random.random((samples, 1)) > chances.cumsum(axis=1)).sum(axis=1)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_the_temperature_is_found_again(temperature: float) -> None:
    """Classes drawn from softmax(z / T) give T back."""
    fitted = fit_temperature(*drawn(1, temperature, 20_000))
    assert fitted == pytest.approx(temperature, rel=0.05)


@given(seeds, st.floats(0.3, 4.0))
@some
def test_the_temperature_is_the_best_of_a_grid(seed: int, temperature: float) -> None:
    """No temperature of a grid has a lower sum of scikit-learn's log loss and half the squared log T."""
    logits, truth = drawn(seed, temperature, 60)

    def loss(t: float) -> float:
        chances = torch.from_numpy(logits / t).softmax(dim=1).numpy()
        return log_loss(truth, chances, normalize=False, labels=[0, 1, 2, 3]) + 0.5 * math.log(t) ** 2

    best = loss(fit_temperature(logits, truth))
    assert all(best <= loss(t) + 1e-6 for t in np.exp(np.linspace(-3, 3, 121)))


def test_a_handful_of_samples_makes_no_model_certain() -> None:
    """Three right answers pull the temperature down, and not to nothing; without samples it is 1."""
    right = fit_temperature(np.eye(3) * 2.0, np.arange(3))
    assert 0.2 < right < 1.0
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, dtype=int)) == pytest.approx(1.0, abs=1e-4)


def test_each_sample_has_the_temperature_of_its_modalities() -> None:
    """z / T_p, p the modalities that are there; a pattern that is not named keeps its logits."""
    random = np.random.default_rng(0)
    temperatures = {one: float(random.uniform(0.5, 3.0)) for one in configurations(THREE)[:-1]}
    logits, present = torch.randn(40, 2), torch.from_numpy(random.random((40, 3)) < 0.5)
    given_out = LogitCalibration(temperatures, THREE)(logits, present)
    for n in range(40):
        own = tuple(m for m, has in zip(THREE, present[n].tolist(), strict=True) if has)
        assert torch.allclose(given_out[n], logits[n] / temperatures.get(own, 1.0))


def test_several_labels_have_no_calibration() -> None:
    """Their one threshold is tuned on the probabilities as they are."""
    logits, present = np.random.default_rng(0).normal(size=(3, 10, 2)), np.ones((10, 2), dtype=bool)
    objective = make_objective(ObjectiveSettings(kind="multi"), ("a", "b"))
    assert calibrate(objective, logits, np.zeros((10, 2), dtype=int), present, ("audio", "visual")) is None


def test_a_configuration_is_fitted_on_the_samples_that_have_it() -> None:
    """Samples that lack a modality count for what they have, and nothing is kept of what no sample has."""
    objective = make_objective(ObjectiveSettings(kind="single"), ("a", "b", "c", "d"))
    logits, truth = drawn(3, 2.0, 50)
    present = np.ones((50, 2), dtype=bool)
    present[:20, 1] = False
    each = np.stack([logits, 2.0 * logits, 3.0 * logits])  # audio, visual, both
    fitted = calibrate(objective, each, truth, present, ("audio", "visual"))
    assert fitted is not None
    assert {name: one.samples for name, one in fitted.items()} == {"audio": 50, "visual": 30, "audio+visual": 30}
    assert fitted["audio"].temperature == pytest.approx(fit_temperature(logits, truth))
    assert fitted["visual"].temperature == pytest.approx(fit_temperature(2.0 * logits[20:], truth[20:]))
    present[:, 1] = False
    assert list(calibrate(objective, each, truth, present, ("audio", "visual")) or {}) == ["audio"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ew.Run:
    """A run of three modalities."""
    return train_run(tmp_path_factory.mktemp("calibrated"))


def copy_of(run: ew.Run, folder: Path, **changes: object) -> ew.Run:
    """A copy whose model.json has other values; a key that becomes None is taken out."""
    shutil.copytree(run.folder, folder)
    content = json.loads((folder / "model.json").read_text()) | changes
    kept = {key: value for key, value in content.items() if value is not None}
    (folder / "model.json").write_text(json.dumps(kept | {"thresholds": kept.get("thresholds")}))
    return ew.open_run(folder)


def test_a_run_keeps_a_temperature_for_each_configuration_and_answers_with_it(run: ew.Run, tmp_path: Path) -> None:
    """softmax(z / T) in predictions, of the logits that the same run without a calibration has: it decides the same."""
    calibration = read_model_file(run.folder).calibration
    assert calibration is not None
    raw = copy_of(run, tmp_path / "raw", calibration=None)
    widths = run.predictor.model.features
    for subset in configurations(run.predictor.model.modalities):
        if name_of(subset) not in calibration:
            continue
        arrays = {m: np.random.default_rng(5).normal(size=(6, widths[m])).astype(np.float32) for m in subset}
        (one, other) = run.predict(**arrays), raw.predict(**arrays)
        scaled = torch.tensor(list(other.probabilities.values())).log() / calibration[name_of(subset)].temperature
        assert list(one.probabilities.values()) == pytest.approx(scaled.softmax(dim=0).tolist(), abs=1e-5)
        assert one.decided == other.decided


@pytest.mark.parametrize(
    "wrong",
    [
        {"smell": {"samples": 3, "temperature": 1.0}},
        {"text": {"samples": 3, "temperature": 0.0}},
        {"text": {"samples": 3, "temperature": 1e-40}},
        {"text": {"samples": 3, "temperature": 1e25}},
        {"text": {"samples": 3, "temperature": None}},
        {"text": {"samples": 3, "temperature": 1.0, "risks": [0.5], "confidences": []}},
        {"text": {"samples": 3, "temperature": "hot"}},
        ["text"],
    ],
)
def test_a_strangers_calibration_is_checked(run: ew.Run, tmp_path: Path, wrong: object) -> None:
    """What cannot be a calibration of this run is refused in one sentence."""
    with pytest.raises(DataError, match=r"model\.json is damaged.*calibration"):
        copy_of(run, tmp_path / "wrong", calibration=wrong).predict(text=np.zeros((2, 3), np.float32))


def test_a_selective_run_decides_where_it_erred_rarely(run: ew.Run, tmp_path: Path) -> None:
    """It decides at the least confidence whose validation samples have few enough errors, and knows nothing below."""
    calibration = read_model_file(run.folder).calibration
    assert calibration is not None
    curve = {"confidences": [0.9, 0.6, 0.2], "risks": [0.05, 0.1, 0.4]}
    content = {name: {"samples": 40, "temperature": 1.0, **curve} for name in calibration}
    known = copy_of(run, tmp_path / "known", calibration=content)
    arrays = {m: np.ones((4, width), np.float32) for m, width in known.predictor.model.features.items()}
    sure = known.predict(**arrays)
    for risk, least in ((0.4, 0.2), (0.1, 0.6), (0.09, 0.9), (0.01, 2.0)):
        asked = known.selective(risk).predict(**arrays)
        assert asked.abstained == (sure.confidence < least)
        assert asked.decided == (() if asked.abstained else sure.decided)
        assert asked.probabilities == sure.probabilities
    assert not sure.abstained
    with pytest.raises(SettingsError, match="kept no risks"):
        copy_of(run, tmp_path / "old", calibration=None).selective(0.1)
    with pytest.raises(SettingsError, match="from 0 to below 1"):
        known.selective(1.0)
