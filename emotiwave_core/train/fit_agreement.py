"""Agreement of each two modalities on the validation fold: what is usual, what is chance, and what is an alarm."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from emotiwave_core.modalities import configurations, name_of
from emotiwave_core.model.alarm import QUANTILE
from emotiwave_core.objectives import Objective
from emotiwave_core.predict.agreement import LEAST, by_chance, expected_of, log_agreement
from emotiwave_core.runs.model_file import Agreements, Calibrations, PairAgreement
from emotiwave_core.runs.schema import Fraction

Array = NDArray[np.float64]
MARGIN = float(np.log(1.01))  # below the quantile, for answers that are alike but for rounding
SURE = 3.0  # standard errors that the usual agreement has to be above chance


def fit_agreements(
    objective: Objective,
    logits: Array,
    calibrations: Calibrations | None,
    present: NDArray[np.bool_],
    modalities: Sequence[str],
) -> Agreements | None:
    """The agreement of each pair: logits [K, N, C] of samples that have the modalities present [N, M].

    Without a pair that has fewer than 20 samples, or whose two modalities agree no more than by chance, as where one of
    them says nothing: there an alarm would mean nothing. None of numbers.
    """
    if objective.kind == "regression":
        return None
    alone = {}
    for k, (modality, *others) in enumerate(configurations(modalities)[: len(modalities)]):
        assert not others, "single modalities are the first configurations"
        temperature = calibrations[modality].temperature if calibrations and modality in calibrations else 1.0
        alone[modality] = objective.answers(torch.from_numpy(logits[k] / temperature)).numpy()
    fitted: Agreements = {}
    for pair in [subset for subset in configurations(modalities) if len(subset) == 2]:
        whole = present[:, [modalities.index(modality) for modality in pair]].all(axis=1)
        if whole.sum() >= LEAST:
            one = _fitted(alone[pair[0]][whole], alone[pair[1]][whole], objective.multi)
            fitted |= {} if one is None else {name_of(pair): one}
    return fitted


def _fitted(first: Array, second: Array, multi: bool) -> PairAgreement | None:
    expected = expected_of(first, second, multi)
    told, chance = log_agreement(first, second, expected, multi), by_chance(first, second, expected, multi)
    usual, error = float(told.mean()), float(told.std(ddof=1)) / len(told) ** 0.5
    if not usual - chance > SURE * error:  # not so for NaN as well
        return None
    least = float(np.quantile(told, 1.0 - QUANTILE)) - MARGIN
    return PairAgreement(len(told), [Fraction(value) for value in expected.tolist()], least, usual, chance)
