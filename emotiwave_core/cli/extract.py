"""`emotiwave extract` (Recordings): Make a data set of recordings: features, words and labels."""

from pathlib import Path

import click

from emotiwave_core.cli.common import (
    EXISTING,
    FILE,
    FOLDER,
    SectionedCommand,
    executor_options,
    json_option,
    option,
    print_json,
)
from emotiwave_core.cli.common import registry_option as registry
from emotiwave_core.monitor import TerminalMonitor

EXAMPLES = """\b
Examples:
  emotiwave extract clips/ --with light --out mine
  emotiwave extract clips/ --with paper --download --out mine
  emotiwave extract a.mp4 b.mp4 --with light --with audio=egemaps:level=lld --out mine
  emotiwave extract clips/ --with light --asr --out mine
"""
PATH = click.Path(path_type=Path, exists=True)


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@click.argument("clips", nargs=-1, required=True, type=PATH)
@option(
    "--with",
    "extractors",
    multiple=True,
    metavar="NAME",
    section="Extractors",
    help="A set (light, paper), NAME[:OPTIONS], or MODALITY=NAME[:OPTIONS].  [default: light]",
)
@option("--face", metavar="WHO", section="Extractors", help="The person: largest, first, centre, or a number.")
@option("--download", is_flag=True, section="Extractors", help="Fetch models that are not on this machine.")
@option("--labels", type=FILE, section="Beside the recordings", help="A table.  [default: CLIPS/labels.csv]")
@option("--words", type=EXISTING, section="Beside the recordings", help="A folder of transcripts.")
@option("--asr", is_flag=True, section="Beside the recordings", help="Hear what is said where there is no transcript.")
@option(
    "--asr-model", metavar="MODEL", section="Beside the recordings", help="A Whisper model of CTranslate2 for --asr."
)
@option("--workers", type=click.IntRange(1), section="Computing", help="Processes.  [default: one for each processor]")
@executor_options
@option("--out", type=FOLDER, required=True, section="Result", help="The folder of the data set.")
@json_option
@registry
def extract(
    clips: tuple[Path, ...],
    extractors: tuple[str, ...],
    face: str | None,
    download: bool,
    labels: Path | None,
    words: Path | None,
    asr: bool,
    asr_model: str | None,
    workers: int | None,
    executor: str,
    address: str | None,
    slurm: tuple[str, ...],
    out: Path,
    as_json: bool,
    registry_file: Path | None,
) -> None:
    """Make a data set of recordings: features, words and labels.

    CLIPS are folders and files of sound and video; transcripts of the same name and a labels.csv may lie beside them
    (docs/recordings.md). When it was stopped, the same command goes on. A recording that cannot be used costs itself:
    OUT/extraction.json says why, and the exit code is 3.
    """
    import shlex

    from emotiwave_core import api
    from emotiwave_core.errors import DataError, counted
    from emotiwave_core.execute.executor import read_slurm
    from emotiwave_core.parts.stdout import quiet

    console = TerminalMonitor()
    with quiet():
        made = api.extract(
            clips,
            extractors or "light",
            out=out,
            labels=labels,
            words=words,
            asr=asr_model or asr,
            face=face,
            download=download,
            workers=workers,
            executor=executor,
            address=address,
            slurm=read_slurm(slurm),
            registry=registry_file,
            monitor=console,
        )
    if as_json:
        print_json({"folder": str(made.folder), "failed": made.failed, "missing": made.missing})
    else:
        click.echo(made.folder)
    for modality, count in made.missing.items():
        console.say(f"{modality} is missing in {counted(count, 'recording')}.")
    next_step = f"run --data {shlex.quote(str(out))}" if made.labelled else f"data inspect {shlex.quote(str(out))}"
    console.say(f"Next: emotiwave {next_step}")
    if made.failed:
        first, reason = next(iter(made.failed.items()))
        raise DataError(
            f"{counted(len(made.failed), 'recording')} gave nothing, such as {first} ({reason}); "
            f"{out / 'extraction.json'} tells all. The data set holds the others."
        )
