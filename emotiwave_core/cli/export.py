"""`emotiwave export` (Train and score): Write a run's model for other programs: ONNX or torch.export."""

from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from emotiwave_core.cli.common import (
    EXISTING,
    FOLDER,
    SectionedCommand,
    json_option,
    option,
    print_json,
    registry_option,
    say,
)
from emotiwave_core.runs.export_manifest import Quantisation, Target

if TYPE_CHECKING:
    from emotiwave_core.runs.export_manifest import ExportManifest

EXAMPLES = """\b
Examples:
  emotiwave export runs/default-1
  emotiwave export runs/default-1 --quantise int8 --out small
  emotiwave export runs/default-1 --to torch-export
"""


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@click.argument("run", type=EXISTING)
@option("--to", type=click.Choice(get_args(Target)), default="onnx", show_default=True, section="File")
@option("--quantise", type=click.Choice(get_args(Quantisation)), section="File", help="Smaller weights; of ONNX alone.")
@option("--out", type=FOLDER, section="File", help="The folder of the export.  [default: RUN-onnx and so on]")
@json_option
@registry_option
def export(
    run: Path,
    to: "Target",
    quantise: "Quantisation | None",
    out: Path | None,
    as_json: bool,
    registry_file: Path | None,
) -> None:
    """Write a run's model for other programs: ONNX or torch.export.

    One file with standardisation, every encoder, fusion and head, for batches and sequences of any length and any
    modality missing; and manifest.json, which says what goes in and what comes out (docs/export.md). The answers are
    compared with the run's before anything is written. ONNX needs `pip install "emotiwave[onnx]"`.
    """
    from attrs import asdict

    from emotiwave_core import api
    from emotiwave_core.monitor import TerminalMonitor
    from emotiwave_core.parts.stdout import quiet

    with quiet():
        opened = api.open_run(run, device="cpu", registry=registry_file, monitor=TerminalMonitor())
        exported = opened.export(to, quantise=quantise, out=out)
    if as_json:
        print_json({"folder": str(exported.folder), **asdict(exported.manifest)})
    else:
        say(in_words(exported.folder, exported.manifest))


def in_words(folder: Path, manifest: "ExportManifest") -> str:
    """The lines on what was written and how near it is to the run."""
    compared, cost = manifest.compared, manifest.cost
    lines = [
        f"{folder / manifest.file}: {manifest.bytes / 1e6:.2f} MB; its manifest: {folder / 'manifest.json'}",
        f"Answers differ from the run's by {compared.largest_difference:.1e} at most ({compared.samples} samples of "
        f"{compared.data}, {compared.configurations} configurations).",
    ]
    if cost is not None:
        name = "CCC" if cost.score == "ccc" else "macro-F1"
        lines.append(
            f"{manifest.quantised}: {name} {cost.complete_quantised:.3f} instead of {cost.complete:.3f} with all "
            f"modalities, {cost.mean_quantised:.3f} instead of {cost.mean:.3f} on average; {manifest.bytes / 1e6:.2f} "
            f"instead of {cost.bytes_unquantised / 1e6:.2f} MB. Answers depend a little on the rest of their batch."
        )
    return "\n".join(lines)
