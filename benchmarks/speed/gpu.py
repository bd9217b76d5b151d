"""`make gpu`: what can only be known on a GPU, in one command of less than nine minutes.

First the laws: pytest tries all that skip or are played on the CPU elsewhere. Then the groups of `make bench` that a
GPU moves, each in a process of its own, so that one that crashes costs no other.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import click
import platformdirs
import torch

from emotiwave_core.compute.device import find_device
from emotiwave_core.errors import EmotiwaveError, ResourceError
from emotiwave_core.io.atomic import out_of_space, write_json
from speed.__main__ import result
from speed.machine import about
from speed.table import Row, markdown

ROOT = Path(__file__).resolve().parents[2]
LAWS = (  # those whose names speak of GPUs, and the parts that are made to break one of them
    "tests/train/test_gpu.py",
    "tests/plugins/test_every_part.py",
    "tests/parts/test_contract_laws.py",
    "tests/parts/test_further_contracts.py",
    "tests/api/test_predict.py",
)
NAMED = "gpu or cuda or OnTheCPU"
GROUPS = ("epoch", "recurrence", "scoring", "batches", "latency", "export")
VIDEOS = 100
LIMIT = 520.0  # seconds in all
LAWS_LIMIT = 240.0


def laws(limit: float) -> list[Row]:
    """The laws with their seconds; one that is broken, or was not tried, has no figure and says why."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "laws.xml"
        command = [sys.executable, "-m", "pytest", "-n0", "-m", "", "-k", NAMED, f"--junitxml={report}", *LAWS]
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=False)
        except subprocess.TimeoutExpired:
            return [Row("law", "all laws", None, "", note=f"they took more than {limit:.0f} s")]
        if not report.exists():
            last = (done.stdout + done.stderr).strip().splitlines()[-1:]
            return [Row("law", "all laws", None, "", note=f"pytest ended with {done.returncode}: {' '.join(last)}")]
        return list(rows_of(report.read_text(encoding="utf-8")))


def rows_of(report: str) -> Iterator[Row]:
    """The rows of pytest's own XML: one for all examples of a law that hold, and one for each that does not."""
    held: dict[str, list[float]] = {}
    for case in ElementTree.fromstring(report).iter("testcase"):
        name = case.get("name", "").removeprefix("test_")
        bad = next((part for part in case if part.tag in ("failure", "error", "skipped")), None)
        if bad is None:
            held.setdefault(name.partition("[")[0], []).append(float(case.get("time", "0")))
        else:
            why = " ".join((bad.get("message") or "").split())[:200]
            yield Row("law", name.replace("_", " "), None, "s", note=f"{bad.tag}: {why}")
    for name, seconds in held.items():
        tried = "holds" if len(seconds) == 1 else f"{len(seconds)} examples hold"
        yield Row("law", name.replace("_", " "), sum(seconds), "s", note=tried)


def group(name: str, data: Path, limit: float) -> list[Row]:
    """The rows of a group of `make bench` on the GPU."""
    limit = max(1.0, limit)
    file = data / f"gpu-{name}.json"
    file.unlink(missing_ok=True)
    asked = ["--only", name, "--videos", str(VIDEOS), "--device", "cuda", "--data", str(data), "--json", str(file)]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "speed", *asked],
            capture_output=True,
            text=True,
            timeout=limit,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return [Row(name, "not measured", None, "", note=f"it took more than the {limit:.0f} s that were left")]
    if not file.exists():
        last = done.stderr.strip().splitlines()[-1:]
        return [Row(name, "not measured", None, "", note=f"exit code {done.returncode}: {' '.join(last)}")]
    fields = Row._fields
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    return [Row(**{key: value for key, value in row.items() if key in fields}) for row in rows]


def card() -> torch.device:
    """The GPU. ResourceError where there is none."""
    try:
        return find_device("cuda")
    except ResourceError as error:
        raise ResourceError(
            f"There is no GPU here that torch {torch.__version__} can use, and nothing was tried: run `make gpu` on a "
            "machine with one, and with the CUDA build of torch."
        ) from error


@click.command()
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Where data and stores are kept.")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="[default: in the data's folder]")
def main(data: Path | None, file: Path | None) -> None:
    """Try the laws about GPUs, and measure on one what it should make faster."""
    began = time.monotonic()
    data = (data or Path(platformdirs.user_cache_dir("emotiwave")) / "speed").resolve()
    try:
        device = card()
        with out_of_space(data):
            data.mkdir(parents=True, exist_ok=True)
        rows = _tried(data, began)
        write_json(file or data / "gpu.json", result(rows, about(device, data / f"videos-{VIDEOS}", VIDEOS)))
    except EmotiwaveError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
    click.echo(f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}, {time.monotonic() - began:.0f} s\n")
    click.echo(markdown(rows))
    click.echo(f"\n{file or data / 'gpu.json'}", err=True)
    sys.exit(1 if any(row.failed for row in rows) else 0)


def _tried(data: Path, began: float) -> list[Row]:
    click.echo("The laws about GPUs …", err=True)
    os.environ["EMOTIWAVE_CACHE"] = str(data / "cache")
    rows = laws(LAWS_LIMIT)
    for name in GROUPS:
        click.echo(f"{name} …", err=True)
        rows += group(name, data, LIMIT - (time.monotonic() - began))
    return rows


if __name__ == "__main__":
    main()
