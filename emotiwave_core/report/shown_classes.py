"""Classes that a confusion shows: of very many the most frequent ones, for a thousand make a million cells."""

from collections.abc import Mapping, Sequence

from emotiwave_core.runs.schema import Matrix

MOST = 40  # classes that a matrix shows by name


def shown_matrix(matrix: Matrix, names: Sequence[str]) -> tuple[Matrix, list[str]]:
    """A confusion [C, C] and the names of its rows; of more than MOST classes those that are most often true.

    The others are one row and one column, so that every row keeps its sum.
    """
    kept = most_frequent({str(place): sum(row) for place, row in enumerate(matrix)})
    if len(kept) == len(names):
        return matrix, list(names)
    places = [int(place) for place in kept]
    rest = [place for place in range(len(names)) if place not in set(places)]
    groups = [*([place] for place in places), rest]
    merged = [[sum(matrix[row][column] for row in rows for column in columns) for columns in groups] for rows in groups]
    return merged, [*(names[place] for place in places), f"{len(rest)} others"]


def most_frequent(counts: Mapping[str, float]) -> list[str]:
    """The MOST names with the largest counts, in their own order."""
    largest = set(sorted(counts, key=lambda name: -counts[name])[:MOST])
    return [name for name in counts if name in largest]
