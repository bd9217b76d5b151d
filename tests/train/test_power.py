"""A power cut: what has a real name was synced before it got it, and the name was synced after."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from forked import emotiwave, forked
from killed_runs import Whole, command


def traced(folder: str, *arguments: object) -> int:
    """The program; on stderr stands each rename in `folder`, each file that was synced and each that was written."""
    inner = os.fsync
    lines: list[str] = []

    def fsync(handle: Any) -> None:
        inner(handle)
        number = handle if isinstance(handle, int) else handle.fileno()
        lines.append(f"synced {Path(f'/proc/self/fd/{number}').readlink()}")

    def hook(event: str, given: tuple[Any, ...]) -> None:
        if event == "os.rename" and str(given[0]).startswith(folder):
            lines.append(f"renamed {given[0]} {given[1]}")

    os.fsync = fsync
    sys.addaudithook(hook)
    code = emotiwave(*arguments)
    print("\n".join(lines), file=sys.stderr)
    return code


@pytest.fixture(scope="module")
def traces(whole: Whole, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    """The folder of a run, and its syncs and renames in order."""
    run = tmp_path_factory.mktemp("traced") / "run"
    work = partial(traced, str(run.parent), *command(whole.data, run))
    ended = forked(work, folder=run.parent, environment={"EMOTIWAVE_CACHE": str(run.parent / "cache")})
    assert ended.code == 0, ended
    return run, ended.err.splitlines()


@pytest.mark.full
def test_a_file_is_synced_before_its_name_and_the_name_after(traces: tuple[Path, list[str]]) -> None:
    """Each rename of a run follows a sync of that file, or of all files in it, and is followed by one of its folder."""
    lines = [line.split(" ") for line in traces[1] if line.startswith(("synced ", "renamed "))]
    renames = [(place, line[1], line[2]) for place, line in enumerate(lines) if line[0] == "renamed"]
    files = {Path(target).name for _, _, target in renames}
    assert {"model.safetensors", "model.json", "last.safetensors", "scores.json", "recipe.toml", "report.html"} <= files
    for place, source, target in renames:
        synced = [name for kind, name, *_ in lines[:place] if kind == "synced"]
        if Path(target).is_dir():
            assert f"{source}/arrays.safetensors" in synced
            assert f"{source}/store.json" in [found for _, _, found in renames]  # which is checked by itself
        else:
            earlier = {new: old for before, old, new in renames if before < place}  # it may have had a name before
            assert source in synced or earlier.get(source) in synced, target
        assert ["synced", str(Path(target).parent)] in lines[place:], target


@pytest.mark.full
def test_an_epoch_is_in_the_history_before_its_weights_are_kept(traces: tuple[Path, list[str]]) -> None:
    """history.jsonl, which is added to, is synced after each epoch and before last.safetensors gets its name."""
    run, lines = traces
    last = [place for place, line in enumerate(lines) if line.endswith(f" {run}/last.safetensors")]
    history = [place for place, line in enumerate(lines) if line == f"synced {run}/history.jsonl"]
    assert len(last) == len(history) == 4
    assert all(before < after for before, after in zip(history, last, strict=True))
