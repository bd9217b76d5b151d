"""The hooks that a plugin can implement: this file is their table of contents.

A plugin that offers parts implements the hook of their kind: `register_encoders(register)`,
`register_fusions(register)`, `register_dropout_policies(register)`, `register_augmentations(register)`,
`register_objectives(register)`, `register_metrics(register)`, `register_readers(register)` or
`register_extractors(register)`. It calls `register("name", Class)` for each of its parts. The table of kinds,
parts/kinds.py, names these hooks; those that watch a run are below.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

hookspec = pluggy.HookspecMarker("emotiwave")
hookimpl = pluggy.HookimplMarker("emotiwave")


class StopTraining(Exception):  # noqa: N818 -- it is a wish, and no fault
    """Raised by `on_epoch_end`: this epoch is the last one. The message is the reason, which the report shows."""


@hookspec
def on_epoch_end(run: Path, line: dict[str, Any]) -> None:
    """An epoch has ended: `line` is what was added to `history.jsonl` in the run's folder.

    `raise StopTraining("reason")` ends the training: the best epoch until now is scored as at any other end, and a run
    that is resumed does not go on. Of a run that was killed the last epoch may be trained, and told, again.
    """


@hookspec
def on_run_end(run: Path, scores: dict[str, Any]) -> None:
    """A run has been trained, scored and reported: `scores` is what stands in `scores.json`."""


@hookspec
def extra_metrics(
    truth: "NDArray[np.int64]",
    decided: "NDArray[np.int64]",
    probabilities: "NDArray[np.float64]",
    classes: tuple[str, ...],
) -> "dict[str, float] | None":
    """Further scores of one configuration, by name: they stand under `extra` in `scores.json` and in the report.

    truth and decided are classes [N], or [N, C] of 0 and 1 where a sample may have several; probabilities [N, C]. A run
    of numbers does not ask.
    """
