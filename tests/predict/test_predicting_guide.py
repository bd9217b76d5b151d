"""docs/predicting.md: its Python runs as it stands."""

import contextlib
import functools
import io
import re
import shutil
from pathlib import Path

import pytest
from documents import text_of
from senses import PER_CLASS, train_run

import emotiwave as ew


@pytest.mark.full
def test_the_guide_of_predicting_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file has a row for each sample, and each sample is printed."""
    run = train_run(tmp_path)
    (tmp_path / "runs").mkdir()
    shutil.move(run.folder, tmp_path / "runs" / "mine")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ew, "open_run", functools.partial(ew.open_run, registry=tmp_path / "registry.toml"))
    (block,) = re.findall(r"^```python\n(.*?)^```", text_of("docs/predicting.md"), re.DOTALL | re.MULTILINE)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(block, {})
    lines = printed.getvalue().splitlines()
    assert lines[0] == f"{2 * PER_CLASS} 0"
    assert lines[1] in ("True", "False")
    assert len(lines) == 2 + 2 * PER_CLASS
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 1 + 2 * PER_CLASS
