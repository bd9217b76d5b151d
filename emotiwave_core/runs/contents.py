"""The folder of a run as one object: its files read, checked and cleaned for the page and the pictures."""

import shlex
from pathlib import Path

from attrs import frozen

from emotiwave_core.errors import DataError, SettingsError
from emotiwave_core.runs.data_file import DATA, DataFile, read_data
from emotiwave_core.runs.explanation import ExplanationFile, read_explanation
from emotiwave_core.runs.history import Epoch, read_history
from emotiwave_core.runs.model_file import ModelFile, read_model_file
from emotiwave_core.runs.predictions import Predicted, read_predicted
from emotiwave_core.runs.protocol_scores import ProtocolScores, read_protocols
from emotiwave_core.runs.provenance import Provenance, read_provenance
from emotiwave_core.runs.schema import clean, file_bytes
from emotiwave_core.runs.scores import Scores, read_scores


@frozen
class RunContents:
    """All files of a run, for its report."""

    folder: Path
    recipe: str
    model: ModelFile
    data: DataFile
    history: list[Epoch]
    scores: Scores
    explanation: ExplanationFile | None
    predicted: Predicted | None
    protocols: list[ProtocolScores]
    provenance: Provenance | None

    def guess(self, protocol: ProtocolScores) -> float | None:
        """The macro-F1 that is reached without the input of a protocol, where it was scored on the same samples."""
        same = (protocol.fold, protocol.samples) == (self.scores.fold, self.scores.samples)
        return self.scores.constant.floor if same else None


def read_run(run: Path) -> RunContents:
    """Read the folder of a run; a torn last line of the history is ignored.

    SettingsError where the training has not ended, DataError for a missing or damaged file.
    """
    data = read_trained(run)
    scores = read_scores(run)
    explanation = read_explanation(run, scores)
    shown = [sample.id for sample in explanation.chosen] if explanation else []
    if scores.alarms:
        shown += [sample for one in scores.alarms.all.values() for sample in one.highest]
    return RunContents(
        folder=run,
        recipe=clean(file_bytes(run, "recipe.toml").decode("utf-8", "replace").replace("\r\n", "\n")),
        model=read_model_file(run, exact=False),
        data=data,
        history=read_history(run),
        scores=scores,
        explanation=explanation,
        predicted=read_predicted(run, scores, shown),
        protocols=read_protocols(run),
        provenance=read_provenance(run),
    )


def read_trained(run: Path) -> DataFile:
    """`data.json` of a run that has ended. SettingsError where it has not, DataError where it is none or is damaged."""
    has_model = (run / "model.json").exists()
    if has_model or (run / DATA).exists():
        file_bytes(run, DATA)  # its sentence for a file that is missing
        data = read_data(run, exact=False)
        if data is None or not data.trained:
            resume = shlex.join(("emotiwave", "run", "--resume", str(run)))
            raise SettingsError(f"The training in {run} has not ended: {resume}.")
        if has_model:
            return data
    raise DataError(f"{run} holds no trained model (model.json); give the folder of a run that has ended.")
