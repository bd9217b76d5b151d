"""Recordings that are sent: answered as `Run.predict_recordings` answers, by a process that may die of them."""

import json
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
from clips import faces, sound_of, write_clip
from served import client_of

import emotiwave as ew
from emotiwave_core.serve.uploads import PREFIX

SRT = "1\n00:00:00,100 --> 00:00:00,900\nkids are talking\n"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of sound and pictures."""
    path = tmp_path_factory.mktemp("clip") / "clip.mkv"
    return write_clip(path, sound=sound_of(2.0), pictures=faces(2.0))


@pytest.fixture(scope="module")
def server(watching: tuple[ew.Run, Path], launcher: str) -> Iterator[Any]:
    """A server that reads recordings in one process, which begins with the libraries imported."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.executable", launcher)
        with client_of(watching[0], workers=1, upload_bytes=1 << 20) as client:
            yield client


def left() -> list[str]:
    """Files of uploads that are there now."""
    folders = Path(tempfile.gettempdir()).glob(f"{PREFIX}{os.getpid()}-*")
    return [str(path) for folder in folders for path in folder.rglob("*") if path.name != "registry.toml"]


def test_an_upload_is_answered_as_the_file(
    server: Any, watching: tuple[ew.Run, Path], clip: Path, tmp_path: Path
) -> None:
    """The answer about an upload is that about the file, to the last digit, and nothing of it is kept."""
    words = tmp_path / "words.srt"
    words.write_text(SRT)
    (expected,) = watching[0].predict_recordings([clip], window=1.0, hop=0.5) or [None]
    form = {"file": ("../../x.mkv", clip.read_bytes())}
    answer = server.post("/predict", files=form, data={"window": "1", "hop": "0.5"})
    told = json.loads(json.dumps(expected.to_dict()))
    del told["file"]
    assert (answer.status_code, answer.json()) == (200, told)
    said = watching[0].predict_recordings(clip, words=words)[0].to_dict()
    answer = server.post("/predict", files={**form, "transcript": ("w.srt", SRT.encode())})
    assert answer.json()["segments"] == json.loads(json.dumps(said["segments"]))
    assert answer.json()["segments"][0]["words"]
    typed = server.post("/predict", files=form, data={"transcript": SRT})
    assert typed.json()["segments"] == answer.json()["segments"]
    segment = answer.json()["segments"][0]
    assert segment["configurations"]["text+audio+visual"] == pytest.approx(segment["probabilities"], abs=1e-6)
    assert len(segment["configurations"]) == 7
    silent = write_clip(tmp_path / "silent.mkv", pictures=faces(2.0))
    alone = server.post("/predict", files={"file": ("x.mkv", silent.read_bytes())}).json()["segments"][0]
    assert alone["present"] == ["visual"]
    assert segment["configurations"]["visual"] == pytest.approx(alone["probabilities"], abs=1e-6)
    assert left() == []


DAMAGED = {
    "html": (b"<html>not found</html>" * 100, "The recording is no recording that can be read"),
    "script": (b"ffconcat version 1.0\nfile /etc/passwd\n", "The recording is no recording that can be read"),
    "empty": (b"", "The form has no recording, or an empty one"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_no_recording_has_one_sentence(server: Any, name: str) -> None:
    """A file that cannot be used is 422 with a sentence, which names no file of the server."""
    content, sentence = DAMAGED[name]
    answer = server.post("/predict", files={"file": ("x.mp4", content)})
    assert (answer.status_code, answer.json()["error"][: len(sentence)]) == (422, sentence)
    assert tempfile.gettempdir() not in answer.text
    assert left() == []


def test_a_form_that_is_wrong_has_one_sentence(server: Any, clip: Path) -> None:
    """So has a form without a recording, with a field that is not known or a number that is none."""
    files = {"file": ("x.mkv", clip.read_bytes())}
    for data, sent, sentence in (
        ({"window": "1"}, {"other": b"x"}, "The form has a field 'other'"),
        ({"file": "text"}, {"transcript": b"x"}, "The form has no recording"),
        ({"window": "soon"}, files, "'window' is to be a number of seconds."),
        ({"window": "nan"}, files, "Window is nan seconds"),
        ({"hop": "1"}, files, "A hop needs a window"),
        ({}, {**files, "transcript": ("x.srt", b"\x00\xff")}, "The transcript"),
    ):
        answer = server.post("/predict", data=data, files=sent)
        assert (answer.status_code, answer.json()["error"][: len(sentence)]) == (422, sentence)
    broken = server.post("/predict", content=b"x", headers={"content-type": "multipart/form-data"})
    assert broken.status_code == 400
    large = server.post("/predict", files={"file": bytes(2 << 20)})
    assert (large.status_code, large.json()["error"]) == (413, "An upload may have 1 MiB, and this has more.")
    assert left() == []


def test_a_process_that_dies_costs_one_recording(server: Any, clip: Path) -> None:
    """Where the process of media is killed, its recording is refused, and the next one is answered by another."""
    files = {"file": ("x.mkv", clip.read_bytes())}
    assert server.post("/predict", files=files).status_code == 200
    (free,) = server.app.state.routes.pool._free
    os.killpg(free.result()._process.pid, signal.SIGKILL)
    dead = server.post("/predict", files=files)
    assert (dead.status_code, "has crashed" in dead.json()["error"]) == (422, True)
    assert server.post("/predict", files=files).status_code == 200
    assert left() == []


def test_files_of_a_server_that_was_killed_are_removed(run: ew.Run) -> None:
    """What a killed server has left is removed by the next one."""
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}999999999-"))
    (folder / "recording").write_bytes(b"x")
    with client_of(run):
        assert not folder.exists()
