"""The chosen samples of an explanation, ready for the page: a waterfall, and the occlusion of each modality."""

from typing import NamedTuple

from emotiwave_core.report.charts import axis_of
from emotiwave_core.report.occlusion import OcclusionPlot, occlusion_plots, scale_of
from emotiwave_core.report.waterfall import Step, waterfall
from emotiwave_core.runs.explanation import ChosenSample, ExplanationFile

CHANGED = "Most changed by a missing modality"
REASONS = {"right": "Most confident and right", "wrong": "Most confident and wrong", "changed": CHANGED}
NUMBER_REASONS = {"right": "Closest to the truth", "wrong": "Furthest from the truth", "changed": CHANGED}


class DrawnSample(NamedTuple):
    """A chosen sample; `scale` is the occlusion that a bar of full length stands for in all its plots."""

    sample: ChosenSample
    steps: list[Step]
    plots: list[OcclusionPlot]
    scale: float
    ticks: list[tuple[float, str]]


def drawn_samples(explanation: ExplanationFile) -> dict[str, list[DrawnSample]]:
    """The chosen samples by the reason for the choice."""
    ends = (0.0, 1.0) if explanation.value == "probability" else (0.0, 0.0)
    reasons = NUMBER_REASONS if explanation.value == "number" else REASONS
    by_reason: dict[str, list[DrawnSample]] = {}
    for sample in explanation.chosen:
        axis = axis_of(sample.start, max(sample.end, sample.start + 1e-3), most=6)
        labelled = {f"{m} (absent)" if m in sample.absent else m: phi for m, phi in sample.shapley.items()}
        drawn = DrawnSample(
            sample=sample,
            steps=waterfall(sample.empty, sample.complete, labelled, ends),
            plots=occlusion_plots(sample.moments, axis, sample.smallest_scale),
            scale=scale_of(sample.moments, sample.smallest_scale),
            ticks=axis.labels(),
        )
        by_reason.setdefault(reasons[sample.why], []).append(drawn)
    return {title: by_reason[title] for title in reasons.values() if title in by_reason}
