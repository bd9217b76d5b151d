"""The gate that every request passes: who may ask, how much may come, and what is said of errors."""

import hmac
import re
import time
import traceback
from collections.abc import Callable
from urllib.parse import urlsplit

import attrs
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emotiwave_core.errors import SettingsError
from emotiwave_core.serve.limits import Limits, Refusal, busy, refusal_of, too_large
from emotiwave_core.serve.metrics import Metrics

LOOPBACK = ("localhost", "127.0.0.1", "::1")
OPEN = ("/", "/health", "/docs", "/openapi.json")  # without a token: pages and forms, no answers
OPEN_FOLDER = "/static/"
KNOWN = (*OPEN, "/predict", "/predict/batch", "/model", "/metrics", "/stream")
PROTOCOL = "emotiwave"
BEARER = "bearer."  # before a token among the subprotocols of a WebSocket: a browser sets no other header there
TOKEN = re.compile(r"[A-Za-z0-9._~-]{16,256}")  # what a header and an address carry as it is
CLOSED_FOR_POLICY = 1008
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(self), geolocation=()",
    "Cache-Control": "no-store",
}


@attrs.frozen
class Guests:
    """Those who may ask: by which names the server answers, and with which token."""

    hosts: tuple[str, ...]  # of the Host header; () where any will do, since a token is asked for
    token: str | None = None

    @classmethod
    def of(cls, host: str, token: str | None, allowed: tuple[str, ...] = ()) -> "Guests":
        """Guests of a server that listens at `host`. SettingsError where a token is missing or cannot be sent."""
        is_local = host in LOOPBACK or host.startswith("127.")
        if token is not None and not TOKEN.fullmatch(token):
            raise SettingsError("A token has 16 to 256 letters, digits or one of . _ ~ -")
        if not is_local and token is None:
            raise SettingsError(
                f"{host} can be reached by others, so they need a token: set EMOTIWAVE_TOKEN or --token, such as one "
                "of python -c 'import secrets; print(secrets.token_urlsafe())'"
            )
        names = (*LOOPBACK, host, *allowed) if is_local or allowed else ()
        return cls(tuple(dict.fromkeys(name.lower().strip("[]") for name in names)), token)


@attrs.define(eq=False)
class Traffic:
    """All that is going on in a server."""

    limits: Limits
    metrics: Metrics
    say: Callable[[str], None]  # into the server's log
    is_draining: bool = False
    at_work: int = 0  # requests and streams that were let in and are not answered
    held: int = 0  # bytes of bodies that were received for them


class Gate:
    """ASGI middleware around all routes."""

    def __init__(self, app: ASGIApp, guests: Guests, traffic: Traffic) -> None:
        self.app, self.guests, self.traffic, self.metrics = app, guests, traffic, traffic.metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer why not."""
        if scope["type"] == "websocket":
            return await self._socket(scope, receive, send)
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        began, path = time.perf_counter(), scope["path"] if scope["path"] in KNOWN else "other"
        answer = _Answer(send)
        body = _Body(self.traffic, Headers(scope=scope), receive)
        is_counted = path not in ("/health", "/metrics")
        self.traffic.at_work += is_counted
        try:
            self._check(scope)
            await self.app(scope, body.receive, answer.send)
        except ClientDisconnect:
            pass
        except Exception as error:
            if answer.status:
                raise  # it has begun, and can only be cut off
            await self._refuse(error, scope, body.receive, answer.send)
        finally:
            body.release()
            self.traffic.at_work -= is_counted
            self.metrics.requests.labels(path, answer.status or 499).inc()
            self.metrics.seconds.labels(path).observe(time.perf_counter() - began)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            self._check(scope)
        except Refusal as refusal:
            self.metrics.refusals.labels(refusal.reason).inc()
            await receive()
            await send({"type": "websocket.close", "code": CLOSED_FOR_POLICY, "reason": refusal.sentence[:120]})
            return
        self.traffic.at_work += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self.traffic.at_work -= 1

    def _check(self, scope: Scope) -> None:
        """Refusal for who may not ask, or not now."""
        headers, path = Headers(scope=scope), scope["path"]
        host = headers.get("host", "")
        name = _hostname(f"//{host}")
        if self.guests.hosts and name not in self.guests.hosts:
            raise Refusal(
                421, "host", f"This server answers to {', '.join(self.guests.hosts)} (--allow-host adds one)."
            )
        origin = headers.get("origin")
        changes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD")
        if changes and origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise Refusal(403, "origin", "Another site's page may not ask this server.")
        if self.guests.token is not None and path not in OPEN and not path.startswith(OPEN_FOLDER):
            given = _token(headers)
            if not hmac.compare_digest(given.encode(), self.guests.token.encode()):
                raise Refusal(
                    401, "token", "This needs the header 'Authorization: Bearer TOKEN' with the server's token."
                )
        if self.traffic.is_draining and path not in ("/health", "/metrics"):
            raise Refusal(503, "draining", "The server is being stopped.", retry=True)

    async def _refuse(self, error: Exception, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = refusal_of(error)
        if refusal is None:
            self.traffic.say(f"Internal error: {internal(error)}")
            refusal = Refusal(500, "internal", "The server has failed at this; its log says why.")
        self.metrics.refusals.labels(refusal.reason).inc()
        headers = dict(refusal.headers)
        if refusal.status == 401:
            headers["WWW-Authenticate"] = "Bearer"
        if refusal.status in (408, 413, 503):
            headers["Connection"] = "close"  # what else is on its way is not read
        await JSONResponse({"error": refusal.sentence}, refusal.status, headers)(scope, receive, send)


class _Answer:
    """The way of an answer out, with the headers that each has."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)


class _Body:
    """The way of a body in: counted as it comes, whatever its header says, and of all bodies that are held."""

    def __init__(self, traffic: Traffic, headers: Headers, receive: Receive) -> None:
        self._traffic, self._receive = traffic, receive
        self._is_upload = headers.get("content-type", "").lower().startswith("multipart/")
        self._size = 0

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request" and (content := message.get("body", b"")):
            limits, traffic = self._traffic.limits, self._traffic
            self._size += len(content)
            if self._is_upload:  # it goes to a file, and the number of files is bounded
                if self._size > limits.upload_bytes:
                    raise too_large(limits.upload_bytes, "An upload")
                return message
            traffic.held += len(content)
            if self._size > limits.json_bytes:
                raise too_large(limits.json_bytes, "A body")
            if traffic.held > limits.held_bytes:
                raise busy("Too much is being received")
        return message

    def release(self) -> None:
        """Give back what is no longer held."""
        if not self._is_upload:
            self._traffic.held -= self._size
        self._size = 0


def internal(error: BaseException) -> str:
    """An error of the server's own, for its log: its kind, its words and the place."""
    place = traceback.extract_tb(error.__traceback__)[-1:]
    where = f" ({place[0].filename}:{place[0].lineno})" if place else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:500]}{where}"


def _hostname(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""


def _token(headers: Headers) -> str:
    """The token of a request, or ""."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return token.strip()
    offered = [name.strip() for name in headers.get("sec-websocket-protocol", "").split(",")]
    return next((name.removeprefix(BEARER) for name in offered if name.startswith(BEARER)), "")
