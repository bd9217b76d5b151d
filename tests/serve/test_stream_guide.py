"""docs/streams.md: its block runs as it stands."""

import contextlib
import functools
import io
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from documents import text_of
from senses import train_run

import emotiwave as ew
from emotiwave_core.testing.recordings import voice

RATE = 16_000


@pytest.mark.full
def test_the_guide_of_streams_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A microphone's file of three seconds and a half gives three answers and the rest."""
    run = train_run(tmp_path)
    (tmp_path / "runs").mkdir()
    shutil.move(run.folder, tmp_path / "runs" / "mine")
    write_sound(tmp_path / "microphone.wav", 3.5)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ew, "open_run", functools.partial(ew.open_run, registry=tmp_path / "registry.toml"))
    (block,) = re.findall(r"^```python\n(.*?)^```", text_of("docs/streams.md"), re.DOTALL | re.MULTILINE)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(block, {})
    lines = printed.getvalue().splitlines()
    assert [line.split(":")[0] for line in lines] == ["0.0 to 1.0 s", "0.0 to 2.0 s", "1.0 to 3.0 s", "1.5 to 3.5 s"]
    assert "from ('audio',)" in lines[0]
    assert "no words came from 1.50 s to 3.50 s" in lines[-1]


def write_sound(path: Path, seconds: float) -> None:
    """Write a voice as 16-bit PCM."""
    import wave

    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((voice(np.arange(round(seconds * RATE)) / RATE) * 32767).astype(np.int16).tobytes())
