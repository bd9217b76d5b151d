"""The WebSocket /stream: the answers of `ew.Stream`, and an end with a reason for what goes wrong."""

import io
import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="the extra `serve` is not installed")
from PIL import Image
from served import STREAM, client_of
from starlette.websockets import WebSocketDisconnect

import emotiwave as ew
from emotiwave_core.testing.recordings import drawn, voice

RATE = 8000
START = {"type": "start", "window": 1.0, "hop": 0.5}


@pytest.fixture(scope="module")
def server(watching: tuple[ew.Run, Path], launcher: str) -> Iterator[Any]:
    """A server of one process for media."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.executable", launcher)
        with client_of(watching[0], workers=1, session_messages=20) as client:
            yield client


def binary(header: dict[str, Any], content: bytes) -> bytes:
    """A message with a header and content."""
    text = json.dumps(header).encode()
    return struct.pack("<I", len(text)) + text + content


def png(picture: Any) -> bytes:
    """A picture as a file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    return file.getvalue()


def test_a_stream_is_answered_as_in_python(server: Any, watching: tuple[ew.Run, Path]) -> None:
    """Sound, pictures and words over the socket have the answers of `ew.Stream`, to the last digit."""
    live, expected, answers = ew.Stream(watching[0], window=1.0, hop=0.5), [], []
    with server.websocket_connect(STREAM, subprotocols=["emotiwave"]) as socket:
        assert socket.accepted_subprotocol == "emotiwave"
        socket.send_json(START)
        assert socket.receive_json() == {"type": "started"}
        for tick in range(12):
            at = tick / 10
            sound = voice(at + np.arange(RATE // 10) / RATE).astype("<f4")
            words = [["hello", at, at + 0.1]] if tick % 3 == 0 else []
            expected += live.push_words([tuple(word) for word in words], until=at + 0.1)  # type: ignore[misc]
            expected += live.push_frame(drawn((80, 60)), at)
            due = len(expected)
            expected += live.push_sound(sound, RATE, at)
            socket.send_json({"type": "words", "words": words, "until": at + 0.1})
            socket.send_bytes(binary({"type": "frame", "at": at}, png(drawn((80, 60)))))
            socket.send_bytes(binary({"type": "sound", "rate": RATE, "at": at}, sound.tobytes()))
            answers += [socket.receive_json() for _ in range(len(expected) - due)]
        expected += live.finish()
        socket.send_json({"type": "finish"})
        while (got := socket.receive_json())["type"] != "finished":
            answers.append(got)
    assert len(answers) == len(expected) >= 3
    for told, own in zip(answers, expected, strict=True):
        assert told["probabilities"] == own.probabilities
        assert (told["start"], told["end"], tuple(told["present"])) == (own.start, own.end, own.present)
        assert told["shapley"] == own.shapley


def test_a_message_that_is_wrong_costs_itself(server: Any) -> None:
    """A wrong message has a sentence in its place, and the stream goes on."""
    huge = io.BytesIO()
    Image.new("L", (4000, 4000)).save(huge, "PNG")
    wrong: dict[str | bytes, str] = {
        "junk": "The message cannot be used: it is not JSON",
        '{"type": "other"}': "The message is of type 'other'",
        '{"type": "words", "words": [["hi"]]}': "The message of type 'words' has another form.",
        '{"type": "advance", "to": "soon"}': "The message of type 'advance' has another form.",
        '{"type": "features", "modality": "x", "features": [[1]], "times": [[0, 1]]}': "The run does not read 'x'",
        b"\xff\xff\xff\xff": "A binary message is the length of its header",
        binary({"type": "frame", "at": 0}, b"\xff\xd8\xff\xe0 no picture"): "The picture is no JPEG or PNG",
        binary({"type": "frame", "at": 0}, huge.getvalue()): "The picture has 4000 x 4000 pixels",
        binary({"type": "sound", "rate": 8000, "channels": 99}, b"\0" * 400): "Sound has 1 to 8 channels",
        binary({"type": "sound", "rate": 8000}, b"\0" * 3): "The message of type 'sound' has another form.",
    }
    with server.websocket_connect(STREAM) as socket:
        socket.send_json(START)
        assert socket.receive_json()["type"] == "started"
        for message, sentence in wrong.items():
            socket.send_text(message) if isinstance(message, str) else socket.send_bytes(message)
            told = socket.receive_json()
            assert (told["type"], told["error"][: len(sentence)]) == ("error", sentence)
        socket.send_json({"type": "finish"})
        assert socket.receive_json() == {"type": "finished", "problems": []}


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        ({"type": "words", "words": []}, "the first message is to be of type start"),
        ({"type": "start", "window": 0.001}, "Window is 0.001 seconds"),
        ({"type": "start", "window": 100}, "A window of a stream may have 30 s."),
        ({"type": "start", "hop": "x"}, "Window, hop and patience are numbers of seconds."),
    ],
)
def test_a_stream_that_cannot_begin_is_closed_with_the_reason(server: Any, first: dict[str, Any], reason: str) -> None:
    """The code of a policy, and a sentence."""
    with server.websocket_connect(STREAM) as socket:
        socket.send_json(first)
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_json()
    assert (closed.value.code, closed.value.reason[: len(reason)]) == (1008, reason)


def test_more_streams_than_processes_are_told_to_come_again(server: Any) -> None:
    """Their number is bounded, and so is that of streams and uploads together."""
    with server.websocket_connect(STREAM) as first:
        first.send_json(START)
        assert first.receive_json()["type"] == "started"
        with server.websocket_connect(STREAM) as second, pytest.raises(WebSocketDisconnect) as closed:
            second.receive_json()
        assert closed.value.code == 1013
        assert server.post("/predict", files={"file": b"x"}).status_code == 429
    with server.websocket_connect(STREAM) as third:  # the first one has left
        third.send_json(START)
        assert third.receive_json()["type"] == "started"


@pytest.mark.full
def test_who_sends_more_than_can_be_answered_is_closed(server: Any) -> None:
    """What waits of one stream is bounded."""
    with server.websocket_connect(STREAM) as socket:
        socket.send_json(START)
        second = np.zeros(RATE, "<f4").tobytes()
        for number in range(2000):
            socket.send_bytes(binary({"type": "sound", "rate": RATE, "at": float(number)}, second))
        with pytest.raises(WebSocketDisconnect) as closed:
            list(iter(socket.receive_json, None))
    assert (closed.value.code, "more comes than can be answered" in closed.value.reason) == (1008, True)


def test_another_site_and_no_token_open_no_stream(run: ew.Run) -> None:
    """A browser lets any page open a socket: its origin is looked at. A token comes among the subprotocols."""
    token = "0123456789abcdef"
    with client_of(run, token, workers=1) as client:
        for protocols, origin in ((["emotiwave"], None), (["emotiwave", f"bearer.{token}"], "http://evil.example")):
            headers = {} if origin is None else {"origin": origin}
            with (
                pytest.raises(WebSocketDisconnect) as closed,
                client.websocket_connect(STREAM, subprotocols=protocols, headers=headers),
            ):
                pass
            assert closed.value.code == 1008


def test_a_stream_ends_when_the_server_is_stopped(server: Any) -> None:
    """What has come is answered, and the stream is finished."""
    with server.websocket_connect(STREAM) as socket:
        socket.send_json(START)
        assert socket.receive_json()["type"] == "started"
        socket.send_bytes(binary({"type": "sound", "rate": RATE, "at": 0.0}, voice(np.arange(2000) / RATE).tobytes()))
        server.traffic.is_draining = True
        try:
            answers = [socket.receive_json()["type"] for _ in range(2)]
        finally:
            server.traffic.is_draining = False
    assert answers == ["prediction", "finished"]


@pytest.mark.full
@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"session_seconds": 1.0}, "a stream may last 0 minutes"),
        ({"idle_seconds": 0.1}, "nothing came for"),
        ({"seconds": 0.1}, "nothing came"),
    ],
)
def test_a_stream_has_an_end(run: ew.Run, launcher: str, limits: dict[str, float], reason: str) -> None:
    """A stream that lasts too long, or in which nothing comes, is closed with the reason."""
    with pytest.MonkeyPatch.context() as patch, client_of(run, workers=1, **limits) as client:
        patch.setattr("sys.executable", launcher)
        with client.websocket_connect(STREAM) as socket:
            if "seconds" not in limits:
                socket.send_json(START)
            with pytest.raises(WebSocketDisconnect) as closed:
                list(iter(socket.receive_json, None))
    assert (closed.value.code, closed.value.reason[: len(reason)]) == (1008, reason)
