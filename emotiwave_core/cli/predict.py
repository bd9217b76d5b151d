"""`emotiwave predict` (Recordings): Say what a run makes of recordings, or of a data set without labels."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from emotiwave_core.cli.common import (
    EXISTING,
    FILE,
    SectionedCommand,
    device_option,
    json_option,
    option,
    print_json,
    registry_option,
)
from emotiwave_core.cli.console import tables
from emotiwave_core.errors import DataError, EmotiwaveError, SettingsError, printable

if TYPE_CHECKING:
    from emotiwave_core.api import Run
    from emotiwave_core.explain.recording import RecordingPrediction
    from emotiwave_core.predict.predictor import Prediction

EXAMPLES = """\b
Examples:
  emotiwave predict runs/mine clip.mp4
  emotiwave predict runs/mine clip.mp4 --words clip.srt --window 4 --hop 1 --picture clip.png
  emotiwave predict runs/mine *.mp4 --asr --json
  emotiwave predict runs/mine DIR                a data set, labelled or not
"""
MOST_WORDS = 60  # characters of a segment's words in the table


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@click.argument("run", type=EXISTING)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@option("--words", type=FILE, section="Recordings", help="The transcript of the one recording.  [default: beside it]")
@option("--asr", is_flag=True, section="Recordings", help="Hear what is said where there is no transcript.")
@option("--asr-model", metavar="MODEL", section="Recordings", help="A Whisper model of CTranslate2 for --asr.")
@option("--features", multiple=True, metavar="MODALITY=FILE", section="Recordings", help="Features from a file.")
@option(
    "--with",
    "extractors",
    multiple=True,
    metavar="NAME",
    section="Recordings",
    help="An extractor of the run whose model lies elsewhere now: NAME:model=FOLDER.",
)
@option("--download", is_flag=True, section="Recordings", help="Fetch models that are not on this machine.")
@option("--window", type=float, metavar="SECONDS", section="Answer", help="Windows of so many seconds.")
@option(
    "--hop", type=float, metavar="SECONDS", section="Answer", help="From one window to the next.  [default: as long]"
)
@option("--picture", type=click.Path(path_type=Path, dir_okay=False), section="Answer", help="A PNG over time.")
@device_option
@json_option
@registry_option
def predict(
    run: Path,
    files: tuple[Path, ...],
    words: Path | None,
    asr: bool,
    asr_model: str | None,
    features: tuple[str, ...],
    extractors: tuple[str, ...],
    download: bool,
    window: float | None,
    hop: float | None,
    picture: Path | None,
    device: str,
    as_json: bool,
    registry_file: Path | None,
) -> None:
    """Say what a run makes of recordings, or of a data set without labels.

    Each modality is extracted as the run's own features were. One that is missing, silent or bad is left out, and the
    answer says why; where nothing can be used it is "no evidence". Shapley values say what each modality adds to the
    probability of the decided class, beyond the class frequencies. Nothing in RUN is changed.
    """
    if picture is not None and (len(files) > 1 or files[0].is_dir()):
        raise click.UsageError("--picture shows one recording: give one file.")
    if picture is not None and picture.suffix.lower() != ".png":
        raise SettingsError(f"--picture writes a PNG: name it {picture.with_suffix('.png')}.")
    from emotiwave_core import api
    from emotiwave_core.monitor import TerminalMonitor
    from emotiwave_core.parts.stdout import quiet

    settings: dict[str, Any] = {"window": window, "hop": hop, "asr": asr_model or asr, "download": download}
    settings |= {"extractors": extractors, "features": _features(features)}
    failed: list[EmotiwaveError] = []
    console = TerminalMonitor()
    with quiet():
        opened = api.open_run(run, device=device, registry=registry_file, monitor=console)
        datasets = [path for path in files if api.is_dataset(path)]
        if datasets and len(files) > 1:
            raise click.UsageError("Give one data set, or recordings.")
        if datasets:
            return _print_dataset(opened, datasets[0], as_json)
        answers = []
        for path in files:
            try:
                given = words if words is None or len(files) == 1 else _one_only()
                answers += opened.predict_recordings(path if given else [path], words=given, **settings)
            except DataError as error:
                failed.append(error)
                if len(files) > 1:
                    console.say(str(error))
    if picture is not None and answers:
        from emotiwave_core.explain.recording_picture import write_picture

        write_picture(picture, answers[0])
    if as_json:
        print_json([answer.to_dict() for answer in answers])
    else:
        for answer in answers:
            print_answer(answer)
        if picture is not None and answers:
            click.echo(f"Picture: {picture}")
    if failed:
        raise failed[0] if len(files) == 1 else DataError(f"{len(failed)} of {len(files)} recordings cannot be read.")


def _one_only() -> Path:
    raise click.UsageError("--words is the transcript of one recording; of several, let each lie beside its own.")


def _features(flags: tuple[str, ...]) -> dict[str, Path]:
    files = {}
    for flag in flags:
        modality, equals, file = flag.partition("=")
        if not equals or not Path(file).is_file():
            raise SettingsError(f"--features takes MODALITY=FILE, such as visual=faces.csd, and a file: {flag!r}.")
        files[modality.strip()] = Path(file)
    return files


def _print_dataset(run: "Run", folder: Path, as_json: bool) -> None:
    predictions: list[Prediction] = run.predict(folder)
    if as_json:
        print_json([prediction.to_dict() for prediction in predictions])
        return
    decides = ["decided"] if predictions[0].probabilities else []  # numbers are their own decision
    columns = [*(predictions[0].probabilities or predictions[0].numbers), *decides]
    table = Table("id", *columns, "present", box=None, pad_edge=False)
    for prediction in predictions:
        values = [f"{value:.3f}" for value in (prediction.probabilities or prediction.numbers).values()]
        decided = ["+".join(prediction.decided) or "none"] * len(decides)
        table.add_row(*map(_text, [prediction.id or "", *values, *decided, " ".join(prediction.present)]))
    tables().print(table)


def print_answer(answer: "RecordingPrediction") -> None:
    """Print what a run makes of a recording."""
    console = tables()
    console.print(_text(f"{answer.file} ({answer.seconds:.1f} s)"), style="bold", soft_wrap=True)
    if len(answer.segments) == 1 and answer.has_evidence:
        _print_whole(answer)
    elif answer.has_evidence:
        console.print(_table(answer))
    else:
        console.print("No evidence: nothing in it can be used.")
    for modality, reason in answer.missing.items():
        console.print(_text(f"{modality} is missing: {reason}."), soft_wrap=True)
    for problem in answer.problems:
        console.print(_text(f"Note: {problem}."), soft_wrap=True)


def _print_whole(answer: "RecordingPrediction") -> None:
    console, segment = tables(), answer.segments[0]
    if segment.numbers:
        console.print(
            _text(f"Predicted: {', '.join(f'{name} {value:.3f}' for name, value in segment.numbers.items())}")
        )
        console.print(_text(f"What each modality adds to {segment.explained}: {_parts(segment.shapley)}"))
        return
    decided = " + ".join(segment.decided) or "none of them"
    console.print(_text(f"Decided: {decided}, confidence {segment.confidence:.2f}"))
    table = Table("class", "probability", "", box=None, pad_edge=False)
    for name, value in sorted(segment.probabilities.items(), key=lambda pair: -pair[1]):
        table.add_row(_text(name), f"{value:.3f}", Text("█" * round(24 * value), style="cyan"))
    console.print(table)
    console.print(
        _text(f"What each modality adds to the probability of {segment.explained}: {_parts(segment.shapley)}")
    )
    if segment.words:
        console.print(_text(f"Words: {segment.words}"), soft_wrap=True)


def _table(answer: "RecordingPrediction") -> Table:
    table = Table("seconds", "decided", "probability", "modalities", "added by each", "words", box=None, pad_edge=False)
    for segment in answer.segments:
        times = f"{segment.start:.1f}–{segment.end:.1f}"
        if not segment.has_evidence:
            table.add_row(times, "no evidence", "", "", "", _text(segment.words[:MOST_WORDS]))
            continue
        shown = segment.explained if segment.numbers else "+".join(segment.decided) or "none"
        value = {**segment.probabilities, **segment.numbers}[segment.explained or ""]
        have, parts = "+".join(segment.present), _parts(segment.shapley)
        table.add_row(*map(_text, [times, shown or "", f"{value:.3f}", have, parts, segment.words[:MOST_WORDS]]))
    return table


def _parts(shapley: Mapping[str, float]) -> str:
    return ", ".join(f"{modality} {value + 0.0:+.3f}" for modality, value in shapley.items())


def _text(text: str) -> Text:
    """Names from files: no markup, no control characters."""
    return Text(printable(text))
