"""`emotiwave predict` (Recordings): Say what a run makes of recordings, unlabelled data sets or files of features."""

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
    on_alarm_option,
    option,
    print_json,
    registry_option,
)
from emotiwave_core.cli.console import tables
from emotiwave_core.errors import DataError, EmotiwaveError, SettingsError, printable

if TYPE_CHECKING:
    from emotiwave_core.api import Run
    from emotiwave_core.config.recipe import OnAlarm
    from emotiwave_core.explain.recording import RecordingPrediction
    from emotiwave_core.predict.predictor import Prediction

EXAMPLES = """\b
Examples:
  emotiwave predict runs/mine clip.mp4
  emotiwave predict runs/mine clip.mp4 --words clip.srt --window 4 --hop 1 --picture clip.html
  emotiwave predict runs/mine CLIPS/ --asr --out answers.csv       stopped, the same command goes on
  emotiwave predict runs/mine DIR --explain --json                 a data set, labelled or not
  emotiwave predict runs/mine voice.csd --features visual=face.npy files of features, as one data set
"""
DONT_KNOW = "don't know"
MOST_WORDS = 60  # characters of a segment's words in the table


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@click.argument("run", type=EXISTING)
@click.argument("inputs", nargs=-1, type=click.Path(path_type=Path, exists=True))
@option("--words", type=FILE, section="Recordings", help="The transcript of the one recording.  [default: beside it]")
@option("--asr", is_flag=True, section="Recordings", help="Hear what is said where there is no transcript.")
@option("--asr-model", metavar="MODEL", section="Recordings", help="A Whisper model of CTranslate2 for --asr.")
@option(
    "--enrol",
    multiple=True,
    type=click.Path(path_type=Path, exists=True),
    metavar="CLIP",
    section="Recordings",
    help="A clip of the speaker, or a data set of clips, for a run that reads features relative to the speaker.",
)
@option(
    "--speaker",
    metavar="ID",
    section="Recordings",
    help="Who speaks: of a data set that is enrolled, the group whose clips are taken.",
)
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
@option("--segments", type=FILE, section="Answer", help="A table of start and end, or subtitles: what is asked about.")
@option(
    "--max-risk",
    type=click.FloatRange(0.0, 1.0, max_open=True),
    metavar="SHARE",
    section="Answer",
    help="Decide only where at most this share of such decisions was wrong in validation.",
)
@on_alarm_option("Answer")
@option("--explain", is_flag=True, section="Answer", help="Of a data set too: what each modality adds.")
@option("--picture", type=click.Path(path_type=Path, dir_okay=False), section="Answer", help="A PNG or HTML over time.")
@option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    section="Answer",
    help="A file of all answers: .jsonl, .csv or .parquet.",
)
@device_option
@json_option
@registry_option
def predict(
    run: Path,
    inputs: tuple[Path, ...],
    picture: Path | None,
    out: Path | None,
    explain: bool,
    enrol: tuple[Path, ...],
    speaker: str | None,
    max_risk: float | None,
    on_alarm: "OnAlarm | None",
    device: str,
    as_json: bool,
    registry_file: Path | None,
    **options: Any,
) -> None:
    """Say what a run makes of recordings, unlabelled data sets or files of features.

    Each modality is extracted as the run's own features were. One that is missing, silent or bad is left out, and the
    answer says why; where nothing can be used it is "no evidence". Shapley values say what each modality adds to the
    probability of the decided class, beyond the class frequencies. Nothing in RUN is changed.

    A run that reads features relative to their speaker takes clips of the speaker by --enrol, or the data set's groups.

    With --out, rows keep the order of the inputs; an input that cannot be used is a row with its error, and the exit
    code is 3 at the end.

    A modality whose encoding is unlike any of the training is an alarm; --on-alarm drop reads it as missing.

    With --max-risk .1 it says "don't know" where, with these modalities, more than a tenth of the decisions of that
    confidence or more was wrong on the run's validation fold.
    """
    if picture is not None and picture.suffix.lower() not in (".png", ".html"):
        raise SettingsError(f"--picture writes a PNG or a page: name it {picture.with_suffix('.png')} or .html.")
    from emotiwave_core import api
    from emotiwave_core.monitor import TerminalMonitor
    from emotiwave_core.parts.stdout import quiet
    from emotiwave_core.predict.prediction_inputs import inputs_of

    settings = _settings(options)
    if not inputs and not settings["features"]:
        raise click.UsageError("Name recordings, a data set, or files of features.")
    if speaker is not None and not enrol:
        raise click.UsageError("--speaker says whose clips of a data set are enrolled: name it by --enrol DIR.")
    with quiet():
        opened = api.open_run(run, device=device, registry=registry_file, monitor=TerminalMonitor(), on_alarm=on_alarm)
        if enrol:
            opened = opened.enrol(enrol, speaker=speaker)
        if max_risk is not None:
            opened = opened.selective(max_risk)
        if out is not None:
            if picture is not None or as_json:
                raise click.UsageError("--out writes a file of rows: leave out --picture and --json.")
            written = opened.predict_to(out, inputs, explain=explain, **settings)
        else:
            given = inputs_of(inputs, settings["features"])
            recordings = [one.path for one in given if one.is_recording]
            _check_together(recordings, len(given), settings, picture)
            if recordings:
                answers, failed = _about(opened, recordings, settings)
            else:
                dataset = given[0].dataset(opened.predictor.model.features)
                samples = list(opened.predict_samples(dataset, explain=explain))
    if out is not None:
        rows, asked = (f"{n} {noun}{'s' * (n != 1)}" for n, noun in ((written.rows, "row"), (written.inputs, "input")))
        click.echo(f"{rows} about {asked}: {printable(str(written.path))}")
        if written.failed:
            raise DataError(f"{written.failed} of {written.inputs} inputs cannot be used; their rows say why.")
    elif recordings:
        _print_recordings(answers, picture, as_json)
        if failed:
            several = f"{len(failed)} of {len(recordings)} recordings cannot be read."
            raise failed[0] if len(recordings) == 1 else DataError(several)
    else:
        _print_dataset(samples, as_json)


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """The options as the face takes them."""
    model, hears = options.pop("asr_model"), options.pop("asr")
    return {**options, "asr": model or hears, "features": _features(options["features"])}


def _check_together(recordings: list[Path], inputs: int, settings: dict[str, Any], picture: Path | None) -> None:
    """UsageError for inputs that have no common table, and for an option that they leave no use for."""
    if recordings and len(recordings) < inputs:
        raise click.UsageError("Recordings and data sets together have one table: give --out answers.csv.")
    if not recordings and inputs > 1:
        raise click.UsageError("Give one data set, or --out answers.csv for several.")
    if picture is not None and len(recordings) != 1:
        raise click.UsageError("--picture shows one recording: give one file.")
    unread = [name for name in ("window", "hop", "segments", "asr") if settings[name]]
    if unread and not recordings:
        raise SettingsError(f"--{unread[0]} is about recordings, and there is none among the inputs: leave it out.")
    if settings["words"] is not None and len(recordings) != 1:
        raise click.UsageError("--words is the transcript of one recording; of several, let each lie beside its own.")


def _about(
    run: "Run", paths: list[Path], settings: dict[str, Any]
) -> "tuple[list[RecordingPrediction], list[EmotiwaveError]]":
    """The answers about recordings, and the errors of those that cannot be used."""
    answers: list[RecordingPrediction] = []
    failed: list[EmotiwaveError] = []
    for path in paths:
        try:
            answers += run.predict_recordings([path] if settings["words"] is None else path, **settings)
        except DataError as error:
            failed.append(error)
            if len(paths) > 1 and run.monitor is not None:
                run.monitor.say(str(error))
    return answers, failed


def _print_recordings(answers: "list[RecordingPrediction]", picture: Path | None, as_json: bool) -> None:
    if picture is not None and answers:
        from emotiwave_core.explain.timeline import write_timeline

        write_timeline(picture, answers[0])
    if as_json:
        print_json([answer.to_dict() for answer in answers])
        return
    for answer in answers:
        print_answer(answer)
    if picture is not None and answers:
        click.echo(f"Picture: {picture}")


def _features(flags: tuple[str, ...]) -> dict[str, Path]:
    files = {}
    for flag in flags:
        modality, equals, file = flag.partition("=")
        if not equals or not Path(file).is_file():
            raise SettingsError(f"--features takes MODALITY=FILE, such as visual=faces.csd, and a file: {flag!r}.")
        files[modality.strip()] = Path(file)
    return files


def _print_dataset(predictions: "list[Prediction]", as_json: bool) -> None:
    if as_json:
        print_json([prediction.to_dict() for prediction in predictions])
        return
    decides = ["decided"] if predictions[0].probabilities else []  # numbers are their own decision
    adds = ["added by each"] if predictions[0].shapley else []
    columns = [*(predictions[0].probabilities or predictions[0].numbers), *decides]
    unlike = ["alarm"] if any(prediction.alarms for prediction in predictions) else []
    table = Table("id", *columns, "present", *unlike, *adds, box=None, pad_edge=False)
    for prediction in predictions:
        values = [f"{value:.3f}" for value in (prediction.probabilities or prediction.numbers).values()]
        decided = [DONT_KNOW if prediction.abstained else "+".join(prediction.decided) or "none"] * len(decides)
        parts = [_parts(prediction.shapley)] * len(adds)
        alarms = [" ".join(prediction.alarms)] * len(unlike)
        table.add_row(
            *map(_text, [prediction.id or "", *values, *decided, " ".join(prediction.present), *alarms, *parts])
        )
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
    for segment in answer.segments:
        for modality, share in segment.alarms.items():
            where = "" if len(answer.segments) == 1 else f" from {segment.start:.1f} to {segment.end:.1f} s"
            console.print(_text(_alarm(modality, share, modality in segment.present, where)), soft_wrap=True)
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
    decided = DONT_KNOW if segment.abstained else " + ".join(segment.decided) or "none of them"
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
        shown = DONT_KNOW if segment.abstained else shown
        value = {**segment.probabilities, **segment.numbers}[segment.explained or ""]
        have, parts = "+".join(segment.present), _parts(segment.shapley)
        table.add_row(*map(_text, [times, shown or "", f"{value:.3f}", have, parts, segment.words[:MOST_WORDS]]))
    return table


def _alarm(name: str, share: float, is_read: bool, where: str) -> str:
    """The sentence about a modality that is unlike those of the training, or about two that do not fit each other."""
    if "+" in name:
        return (
            f"ALARM: {name.replace('+', ' and ')}{where} do not fit each other, {share:.1f} times less than is usual: "
            "one of them may be of something else. Which is not known, and both are read."
        )
    done = "it is read all the same (--on-alarm drop leaves it out)" if is_read else "it is left out"
    return f"ALARM: {name}{where} is unlike what the run was trained on, {share:.1f} times as far as is usual: {done}."


def _parts(shapley: Mapping[str, float]) -> str:
    return ", ".join(f"{modality} {value + 0.0:+.3f}" for modality, value in shapley.items())


def _text(text: str) -> Text:
    """Names from files: no markup, no control characters."""
    return Text(printable(text))
