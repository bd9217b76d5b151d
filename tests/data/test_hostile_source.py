"""A source that changes behind a run's back, while its size and time stay."""

import os
from functools import partial
from pathlib import Path

import h5py
import pytest
from datasets import write_dataset
from forked import Ended, emotiwave, forked


def said_by(folder: Path, verify: str, *arguments: object) -> Ended:
    """The output of the program, with EMOTIWAVE_VERIFY set."""
    environment = {"EMOTIWAVE_CACHE": str(folder / "cache"), "EMOTIWAVE_VERIFY": verify}
    return forked(partial(emotiwave, *arguments), folder=folder, environment=environment)


@pytest.mark.full
def test_a_run_is_refused_whose_source_has_changed(tmp_path: Path) -> None:
    """With EMOTIWAVE_VERIFY=1 a changed file is named, its store built anew, and a run trained on it not scored."""
    (tmp_path / "data").mkdir()
    data, run = write_dataset(tmp_path / "data"), tmp_path / "run"
    short = ["run", "--encoder", "mean", "--fusion", "mean", "--set", "training.epochs=1", "--device", "cpu"]
    assert said_by(tmp_path, "0", *short, "--data", data, "--out", run).code == 0
    path = data / "audio.csd"
    with h5py.File(path) as file:
        place = file["anything/data/v00/features"].id.get_offset()
    status, content = path.stat(), bytearray(path.read_bytes())
    content[place + 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert said_by(tmp_path, "0", "evaluate", run).code == 0
    ended = said_by(tmp_path, "1", "evaluate", run)
    assert ended.code == 3
    assert "audio.csd changed, though size and time did not: it is built anew." in ended.err
    assert ended.said == f"Error: The files of {data} have changed since {run} was started; start a new run."
