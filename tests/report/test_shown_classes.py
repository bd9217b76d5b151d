"""Confusions of very many classes."""

import numpy as np

from emotiwave_core.report.shown_classes import MOST, shown_matrix


def test_of_many_classes_the_frequent_ones_stand_by_name() -> None:
    """No sample is lost: rows keep their sums, the named cells their counts, and few classes stay as they are."""
    random = np.random.default_rng(0)
    matrix = random.integers(0, 9, (60, 60))
    matrix[::3] = 0
    names = [f"c{number}" for number in range(60)]
    shown, classes = shown_matrix(matrix.tolist(), names)
    assert classes == [*(name for number, name in enumerate(names) if number % 3), "20 others"]
    kept = [int(name[1:]) for name in classes[:-1]]
    assert len(kept) == MOST
    assert np.sum(shown, axis=1)[:-1].tolist() == matrix.sum(axis=1)[kept].tolist()
    assert np.array(shown)[:-1, :-1].tolist() == matrix[np.ix_(kept, kept)].tolist()
    assert np.sum(shown) == matrix.sum()
    few = matrix[:MOST, :MOST].tolist()
    assert shown_matrix(few, names[:MOST]) == (few, names[:MOST])
