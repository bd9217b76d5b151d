"""Intervals that no recording has: endless, reversed, not numbers, as large or as small as numbers go."""

import json
from pathlib import Path

import numpy as np
import pytest
from csd_in_child import TOML
from datasets import EMOTIONS, write_csd
from forked import emotiwave

ODD = {
    "as far as numbers go": [[0, 1e308], [-1e308, 1e308], [1e300, 2e300]],
    "endless": [[0, np.inf], [-np.inf, np.inf], [np.inf, np.inf]],
    "not numbers": [[np.nan, 1], [0, np.nan], [np.nan, np.nan]],
    "as short as numbers go": [[0, 5e-324]] * 3,
    "an age": [[0, 1e12], [5, 1e15], [1, 2]],
    "reversed": [[-5, -9], [3, 3], [2, 1]],
}
SETTINGS = ["data.align=none", "data.align=10", "data.unit=video"]


@pytest.mark.short_rows(3)
@pytest.mark.parametrize("where", ["audio", "labels"])
@pytest.mark.parametrize("odd", list(ODD))
def test_odd_times_are_said_or_used_and_never_an_error_of_the_program(
    tmp_path: Path, where: str, odd: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """Whatever the times are, the doctor counts them, in JSON too, and a store is built or refused in a sentence."""
    times = {name: ODD[odd] if name == where else [[0, 1], [1, 2], [2, 3]] for name in ("audio", "labels")}
    ids = [f"v{number}" for number in range(6)]
    write_csd(tmp_path / "audio.csd", dict.fromkeys(ids, (np.ones((3, 3), np.float32), times["audio"])))
    write_csd(tmp_path / "labels.csd", dict.fromkeys(ids, (np.eye(6)[:3], times["labels"])), EMOTIONS)
    (tmp_path / "dataset.toml").write_text(TOML.format(words=""))
    assert emotiwave("data", "inspect", tmp_path, "--json") == 0
    told = capfd.readouterr()
    json.loads(told.out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    for setting in SETTINGS:
        assert emotiwave("data", "prepare", tmp_path, "--set", setting) in (0, 3)
        told = told._replace(err=told.err + capfd.readouterr().err)
    assert all(line.startswith("Error: ") for line in told.err.splitlines()), told.err
