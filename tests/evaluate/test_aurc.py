"""AURC: the definition in a plain loop, and orders that are known to be the best and the worst."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emotiwave_core.evaluate.calibration import calibration
from emotiwave_core.metrics.aurc import aurc, selective_risks


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=40))
def test_the_risk_of_the_n_surest_is_their_share_of_errors(answers: list[tuple[int, bool]]) -> None:
    """Errors among the n surest over n; of equally sure ones each counts as their mean, whatever their order."""
    confidence, wrong = np.array([float(c) for c, _ in answers]), np.array([w for _, w in answers])
    due = []
    for n in range(1, len(answers) + 1):
        taken, errors = 0, 0.0
        for level in sorted(set(confidence.tolist()), reverse=True):
            equals = wrong[confidence == level]
            share = min(len(equals), n - taken)
            errors += share * equals.mean()
            taken += share
        due.append(errors / n)
    assert selective_risks(confidence, wrong) == pytest.approx(due)
    assert aurc(confidence, wrong) == pytest.approx(np.mean(due))
    order = np.random.default_rng(0).permutation(len(answers))
    assert aurc(confidence[order], wrong[order]) == pytest.approx(aurc(confidence, wrong))


def test_who_knows_its_errors_has_the_lowest_area() -> None:
    """Errors at the least confidence are best, at the highest worst, and without any difference it is the error."""
    wrong = np.array([True] * 3 + [False] * 7)
    best, worst = aurc(np.where(wrong, 0.1, 0.9), wrong), aurc(np.where(wrong, 0.9, 0.1), wrong)
    assert best == pytest.approx(np.mean([max(0, n - 7) / n for n in range(1, 11)]))
    assert worst == pytest.approx(np.mean([min(3, n) / n for n in range(1, 11)]))
    assert aurc(np.full(10, 0.5), wrong) == pytest.approx(0.3)
    assert best < 0.3 < worst


def test_the_curve_is_kept_at_twentieths() -> None:
    """The k-th risk is that of the surest k/20 of the answers, rounded up; of several labels there is none."""
    random = np.random.default_rng(4)
    chances = random.dirichlet(np.ones(3), size=50)
    truth, decided = random.integers(0, 3, 50), chances.argmax(axis=1)
    risks, each = calibration(truth, decided, chances).risks, selective_risks(chances.max(axis=1), truth != decided)
    assert risks == pytest.approx([each[int(np.ceil(k * 50 / 20)) - 1] for k in range(1, 21)])
    assert calibration(np.eye(3, dtype=int), np.eye(3, dtype=int), np.full((3, 3), 0.5)).risks == []
