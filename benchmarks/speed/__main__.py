"""`python -m speed`: measures, prints a table and writes a JSON of the same."""

import importlib
import os
import shutil
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NamedTuple

import click
import platformdirs
import torch

from emotiwave_core.compute.device import find_device
from emotiwave_core.errors import EmotiwaveError, ResourceError
from emotiwave_core.io.atomic import out_of_space, write_json
from speed.corpus import FULL, bytes_of, write_corpus
from speed.growth import sizes
from speed.machine import about
from speed.table import Row, markdown

STORES = {
    "epoch": 0.7,
    "build": 2.0,
    "batches": 1.5,
    "scoring": 0.8,
    "explaining": 0.8,
    "latency": 1.0,
    "export": 1.0,
    "serving": 1.0,
}  # bytes of what is made of the data (stores, and for "build" a copy with gzip) for each byte of them, in each group
GROWTH_STORE = 0.2  # of the one for an epoch alone
WITHOUT_DATA = {"recordings", "recurrence", "startup", "stream"}


class Setting(NamedTuple):
    """The data that are measured on."""

    data: Path  # where the folders of videos are
    folder: Path  # the one of all videos
    videos: int
    device: torch.device


def _of(module: str, function: str, *fields: str) -> Callable[[Setting], list[Row]]:
    """A function of a module of this package with some fields of the setting; imported when it is called."""
    return lambda setting: getattr(importlib.import_module(f"speed.{module}"), function)(
        *(getattr(setting, field) for field in fields)
    )


GROUPS: dict[str, list[Callable[[Setting], list[Row]]]] = {
    "epoch": [_of("epoch", "measure", "folder", "device")],
    "recurrence": [_of("recurrence", "measure", "device")],
    "build": [_of("build", "measure", "folder")],
    "batches": [_of("batches", "measure", "folder", "device")],
    "scoring": [_of("scoring", "measure", "folder", "device")],
    "explaining": [_of("scoring", "measure_explaining", "folder", "device")],
    "startup": [_of("startup", "measure")],
    "recordings": [_of("recordings", "measure", "data")],
    "stream": [_of("stream", "measure", "device")],
    "latency": [_of("latency", "measure", "folder", "device")],
    "export": [_of("exported", "measure", "folder")],
    "serving": [_of("serve", "measure", "folder", "device")],
    "growth": [
        _of("growth", "measure", "data", "videos", "device"),
        _of("build", "growth", "data"),
        _of("build", "growth_of_one", "data"),
    ],
}


def measured(
    groups: dict[str, list[Callable[[Setting], list[Row]]]], setting: Setting, say: Callable[[str], None]
) -> list[Row]:
    """The rows of all groups. One that fails has a row that says why, and the others theirs."""
    rows: list[Row] = []
    for name, works in groups.items():
        say(f"{name} …")
        for work in works:
            try:
                rows += work(setting)
            except Exception as error:
                why = " ".join(f"{type(error).__name__}: {error}".split())
                rows.append(Row(name, "not measured", None, "", note=why))
    return rows


@click.command()
@click.option("--videos", default=200, show_default=True, type=click.IntRange(min=30), help=f"{FULL} is the full size.")
@click.option("--only", multiple=True, type=click.Choice(list(GROUPS)), help="A group; may be given more than once.")
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), help="Where data and stores are kept.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--threads", type=click.IntRange(min=1), help="Of the CPU.  [default: torch's]")
@click.option("--json", "file", type=click.Path(path_type=Path, dir_okay=False), help="[default: in the data's folder]")
def main(
    videos: int, only: tuple[str, ...], data: Path | None, device: str, threads: int | None, file: Path | None
) -> None:
    """Measure Emotiwave on generated data of the size of CMU-MOSEI, against named baselines in the same run."""
    try:
        rows = _measure(
            videos, only, data or Path(platformdirs.user_cache_dir("emotiwave")) / "speed", device, threads, file
        )
    except EmotiwaveError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
    sys.exit(1 if any(row.failed for row in rows) else 0)


def _measure(
    videos: int, only: tuple[str, ...], data: Path, device: str, threads: int | None, file: Path | None
) -> list[Row]:
    data, terminal = data.resolve(), sys.stderr.isatty()
    found = find_device(device)
    if threads:
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # of the processes that are started
    os.environ["EMOTIWAVE_CACHE"] = str(data / "cache")

    def say(text: str) -> None:
        if terminal:
            click.echo(text, err=True)

    with out_of_space(data):
        data.mkdir(parents=True, exist_ok=True)
        chosen = {name: works for name, works in GROUPS.items() if not only or name in only}
        file = file or data / "speed.json"
        if not os.access(file.parent, os.W_OK):
            raise ResourceError(f"Cannot write {file}: choose another --json.")
        folder = data / f"videos-{videos}"
        if chosen.keys() - WITHOUT_DATA:
            check_space(data, videos, chosen)
            say(f"{videos} videos in {data} …")
            folder = write_corpus(folder, videos)
    setting = Setting(data, folder, videos, found)
    rows = measured(chosen, setting, say)
    click.echo(markdown(rows))
    write_json(file, result(rows, about(found, folder, videos)))
    say(f"{file}")
    return rows


def result(rows: list[Row], machine: dict[str, Any]) -> dict[str, Any]:
    """Content of the JSON."""
    return {"format": 1, **machine, "rows": [row.table() for row in rows]}


def check_space(data: Path, videos: int, groups: Collection[str]) -> None:
    """ResourceError where the disk has no room for what these groups make and is not there yet."""
    others = set(sizes(videos)) - {videos} if "growth" in groups else set()
    needed = sum(STORES.get(name, 0.0) for name in groups) * bytes_of(videos)
    needed += GROWTH_STORE * sum(map(bytes_of, others))
    needed += sum(bytes_of(count) for count in {videos, *others} if not (data / f"videos-{count}").is_dir())
    free = shutil.disk_usage(data).free
    if needed > free:
        raise ResourceError(
            f"{videos} videos and their stores need {needed / 1e9:.1f} GB, and {data} has {free / 1e9:.1f} GB free: "
            "take fewer --videos, or another folder by --data."
        )


if __name__ == "__main__":
    main()
