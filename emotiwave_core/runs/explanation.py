"""`explanation.json` as objects: who decided, over the fold and in chosen samples, and which moments mattered."""

import os
from itertools import combinations
from pathlib import Path

from attrs import field, frozen
from cattrs.gen import make_dict_structure_fn, override

from emotiwave_core.errors import DataError
from emotiwave_core.runs.schema import Fraction, anew, converter, file_bytes, parse
from emotiwave_core.runs.scores import Scores

EXPLANATION = "explanation.json"
SMALLEST_SCALE = 0.1  # log-odds: a bar of full length stands for no less, or noise would look like a reason


@frozen
class FoldExplanation:
    """Macro-F1 of the fold, split over the modalities."""

    empty: float
    complete: float
    shapley: dict[str, float]
    share: dict[str, Fraction | None]
    interaction: dict[str, float]
    cooperation: dict[str, float]


@frozen
class ClassExplanation:
    """The samples decided for one class: how many, and the mean Shapley values for that class."""

    samples: int
    shapley: dict[str, float | None]


@frozen
class Moment:
    """One step of a modality: what taking it away loses, and the attention on it where the model has any."""

    start: float
    end: float
    occlusion: float
    attention: float | None = None
    word: str | None = None


@frozen
class Chosen:
    """One sample: its Shapley values sum from `empty` to `complete`, the values of the explained class."""

    id: str
    start: float
    end: float
    why: str
    truth: str
    predicted: str
    explained: str  # the class, `class` in the file
    empty: float
    complete: float
    shapley: dict[str, float]
    present: list[str] | None = None  # the modalities it has; None where the file does not say
    changed_by: str | None = None
    interaction: dict[str, float] = field(factory=dict)
    moments: dict[str, list[Moment]] = field(factory=dict)

    @property
    def absent(self) -> list[str]:
        """The modalities that were not recorded of it."""
        return [] if self.present is None else [name for name in self.shapley if name not in self.present]


converter.register_structure_hook(Chosen, make_dict_structure_fn(Chosen, converter, explained=override(rename="class")))


@frozen
class Explanation:
    """`explanation.json`."""

    fold: str
    value: str
    empty: str
    modalities: list[str]
    classes: list[str]
    samples: int
    macro_f1: FoldExplanation
    decided: dict[str, Fraction | None]
    share: dict[str, Fraction | None]
    by_class: dict[str, ClassExplanation]
    chosen: list[Chosen]
    absent: dict[str, list[str]] = field(factory=dict)  # {id: the modalities that this sample lacks}


def read_explanation(run: Path, scores: Scores) -> Explanation | None:
    """The explanation of a run, None where it was not asked for; DataError where it does not fit the scores."""
    if not os.path.lexists(run / EXPLANATION):
        return None
    found = parse(file_bytes(run, EXPLANATION), Explanation, str(run / EXPLANATION), anew(run))
    modalities = set(found.modalities)
    pairs = {"+".join(pair) for pair in combinations(found.modalities, 2)}
    fold = found.macro_f1
    fits = (
        (found.modalities, found.classes) == (scores.modalities, scores.classes)
        and found.value in ("probability", "logit")
        and all(set(keys) == modalities for keys in (fold.shapley, fold.share, found.decided, found.share))
        and pairs <= set(fold.interaction)
        and all(set(one.shapley) == modalities for one in found.by_class.values())
        and all(set(one.shapley) == modalities for one in found.chosen)
        and all(set(one.moments) <= modalities for one in found.chosen)
        and all(one.why in ("right", "wrong", "changed") for one in found.chosen)
        and all(set(one.present or ()) <= modalities for one in found.chosen)
        and all(set(absent) < modalities for absent in found.absent.values())
    )
    if not fits:
        raise DataError(f"{run / EXPLANATION} does not fit the scores beside it; {anew(run)}.")
    return found
