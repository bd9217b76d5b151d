"""The WebSocket /stream: sound, pictures, words and features as they come, and a prediction at each hop.

A text message is JSON, {"type": …}. A binary one is the length of its header (four bytes, little-endian), the header as
JSON, and the sound or the picture. docs/serve.md lists them. What comes is handed to a process for media as it is.
"""

import asyncio
import json
import struct
from collections.abc import MutableMapping
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from emotiwave_core.errors import choices, short
from emotiwave_core.io.untrusted import parse_json
from emotiwave_core.serve.gate import PROTOCOL, Traffic, internal
from emotiwave_core.serve.limits import Limits, Refusal, wrong
from emotiwave_core.serve.media import MediaPool, MediaWorker

TEXTS = ("words", "features", "advance", "finish")
BINARIES = ("sound", "frame")
MOST_HEADER = 4096  # bytes
LOOK = 0.25  # seconds after which it is looked whether the server is being stopped
DONE, GOING, POLICY, FAILED, BUSY = 1000, 1001, 1008, 1011, 1013  # codes of RFC 6455
Received = MutableMapping[str, Any]  # an event of ASGI
Message = tuple[dict[str, Any], bytes]


class Closed(Exception):  # noqa: N818 -- it is an end
    """The end of a session, with its code and its reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


class Session:
    """One stream, from its first message to its last answer."""

    def __init__(self, socket: WebSocket, worker: MediaWorker, traffic: Traffic) -> None:
        self._socket, self._worker, self._traffic = socket, worker, traffic
        self._limits: Limits = traffic.limits
        self._waiting: asyncio.Queue[Message | Closed] = asyncio.Queue()
        self._held = 0  # bytes that wait

    async def run(self) -> None:
        """Answer until the client has finished. Closed where it ends otherwise."""
        header, _ = read_message(await self._first())
        if header["type"] != "start":
            raise Closed(POLICY, "the first message is to be of type start")
        try:
            await self._worker.ask({"ask": "start", "sent": header})
        except Refusal as refusal:
            raise Closed(POLICY, refusal.sentence) from refusal
        await self._send({"type": "started"})
        receiving = asyncio.ensure_future(self._receive())
        try:
            while True:
                message = await self._waiting.get()
                if isinstance(message, Closed):
                    raise message
                if await self._answered(*message):
                    return
        finally:
            receiving.cancel()
            if not self._worker.is_broken:
                await self._worker.ask({"ask": "end"})

    async def _first(self) -> Received:
        coming = asyncio.ensure_future(self._socket.receive())
        if not (await asyncio.wait([coming], timeout=self._limits.seconds))[0]:
            coming.cancel()
            raise Closed(POLICY, "nothing came")
        return coming.result()

    async def _receive(self) -> None:
        """Put what comes into the queue, and at last why nothing more does."""
        idle = 0.0
        coming = asyncio.ensure_future(self._socket.receive())
        try:
            while True:
                done, _ = await asyncio.wait([coming], timeout=LOOK)
                if done:
                    idle = 0.0
                    self._put(coming.result())
                    coming = asyncio.ensure_future(self._socket.receive())
                    continue
                idle += LOOK
                if self._traffic.is_draining:
                    self._waiting.put_nowait(({"type": "finish"}, b""))
                    return
                if idle > self._limits.idle_seconds:
                    raise Closed(POLICY, f"nothing came for {idle:.0f} s")
        except (Closed, WebSocketDisconnect) as end:
            self._waiting.put_nowait(end if isinstance(end, Closed) else Closed(DONE, "it has left"))
        finally:
            coming.cancel()

    def _put(self, got: Received) -> None:
        size = len(got.get("bytes") or b"") or len(got.get("text") or "")
        is_full = self._waiting.qsize() >= self._limits.session_messages
        if is_full or self._held + size > self._limits.session_bytes:
            raise Closed(POLICY, "more comes than can be answered: send less, or with a longer hop")
        try:
            message = read_message(got)
        except Refusal as refusal:
            message = ({"type": "refused", "error": refusal.sentence}, b"")
        self._held += len(message[1])
        self._waiting.put_nowait(message)

    async def _answered(self, header: dict[str, Any], content: bytes) -> bool:
        """Answer a message; True where it was the last one."""
        self._held -= len(content)
        if header["type"] == "refused":
            await self._send({**header, "type": "error"})
            return False
        try:
            work = self._worker.ask({"ask": "push", "sent": header}, content)
            answers = (await asyncio.wait_for(work, self._limits.seconds))["answers"]
        except TimeoutError:
            raise Closed(FAILED, "an answer took too long") from None
        except Refusal as refusal:
            if self._worker.is_broken:
                raise Closed(FAILED, refusal.sentence) from refusal
            await self._send({"type": "error", "error": refusal.sentence})
            return False
        for answer in answers:
            await self._send({"type": "prediction", **answer})
        if header["type"] == "finish":
            await self._send({"type": "finished", **await self._worker.ask({"ask": "end"})})
            return True
        return False

    async def _send(self, table: dict[str, Any]) -> None:
        try:
            await asyncio.wait_for(self._socket.send_text(json.dumps(table)), self._limits.send_seconds)
        except TimeoutError:
            raise Closed(POLICY, "answers are not taken") from None


def read_message(got: Received) -> Message:
    """The header of a message and its content. Refusal where it has another form, WebSocketDisconnect at the end."""
    if got["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(got.get("code", DONE))
    if got.get("text") is not None:
        return _header(got["text"].encode("utf-8", "replace"), ("start", *TEXTS)), b""
    content: bytes = got["bytes"]
    size = struct.unpack_from("<I", content)[0] if len(content) >= 4 else MOST_HEADER + 1
    if size > min(MOST_HEADER, len(content) - 4):
        raise wrong("A binary message is the length of its header (uint32, little-endian), the header and its content.")
    return _header(content[4 : 4 + size], BINARIES), content[4 + size :]


def _header(text: bytes, kinds: tuple[str, ...]) -> dict[str, Any]:
    try:
        header = parse_json(text)
    except ValueError as error:
        raise wrong(f"The message cannot be used: {error}.") from error
    kind = header.get("type") if isinstance(header, dict) else None
    if kind not in kinds:
        raise wrong(f"The message is of type {short(kind)}.{choices(str(kind), kinds)}")
    return dict(header)


async def stream(socket: WebSocket, pool: MediaPool, traffic: Traffic) -> None:
    """Carry out a session, and close it with the reason of its end."""
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(PROTOCOL if PROTOCOL in offered else None)
    code, reason = DONE, ""
    traffic.metrics.sessions.inc()
    try:
        async with asyncio.timeout(traffic.limits.session_seconds), pool.worker() as worker:
            await Session(socket, worker, traffic).run()
    except TimeoutError:
        code, reason = POLICY, f"a stream may last {traffic.limits.session_seconds / 60:.0f} minutes"
    except Closed as end:
        code, reason = end.code, end.reason
    except Refusal as refusal:
        code, reason = (BUSY if refusal.status == 429 else FAILED), refusal.sentence
    except WebSocketDisconnect:
        return
    except Exception as error:
        traffic.say(f"Internal error: {internal(error)}")
        code, reason = FAILED, "the server has failed at this; its log says why"
    finally:
        traffic.metrics.sessions.dec()
    if code != DONE:
        traffic.metrics.refusals.labels("stream").inc()
    if socket.client_state is not WebSocketState.DISCONNECTED:
        await socket.close(code, _short(reason))


def _short(reason: str) -> str:
    """A reason as long as a close frame can hold."""
    return reason.encode()[:120].decode("utf-8", "ignore")
