"""The server as a process: it takes a port, answers, and before it stops it answers what it has accepted."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from emotiwave_core.errors import ResourceError, SettingsError
from emotiwave_core.serve.app import Service, create_app
from emotiwave_core.serve.gate import Traffic
from emotiwave_core.serve.metrics import Metrics

if TYPE_CHECKING:
    from emotiwave_core.api import Run

KEPT = 75  # seconds that an idle connection stays open: longer than clients keep theirs, so that none is cut in use
CLOSING = 2  # seconds for connections to close when all is answered


class DrainingServer(uvicorn.Server):
    """A server that goes on answering what it has accepted after the first signal, and stops at once after a second."""

    def __init__(self, config: uvicorn.Config, traffic: Traffic) -> None:
        super().__init__(config)
        self.traffic, self._until = traffic, 0.0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to drain, or stop."""
        self._captured_signals.append(sig)
        self.should_exit = self.force_exit = self.traffic.is_draining
        self.traffic.is_draining = True
        self._until = time.monotonic() + self.traffic.limits.grace

    async def on_tick(self, counter: int) -> bool:
        """Look ten times a second whether all is answered, or the time for it is over."""
        if self.traffic.is_draining and (not self.traffic.at_work or time.monotonic() > self._until):
            self.should_exit = True
        return await super().on_tick(counter)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens at an address. ResourceError where it is taken, SettingsError for a host that is none."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise SettingsError(f"There is no host '{host}' here ({error.strerror}).") from error
    taken = socket.socket(family, socket.SOCK_STREAM)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        taken.listen()
    except OSError as error:
        taken.close()
        raise ResourceError(
            f"Port {port} of {host} cannot be taken ({error.strerror}): give another --port."
        ) from error
    return taken


def serve(run: "Run", host: str, port: int, service: Service, say: Callable[[str], None]) -> None:
    """Answer until a signal comes. Errors as of `listen` and of a first prediction; KeyboardInterrupt after Ctrl-C."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise SettingsError(
            "A server is started by a script or `emotiwave serve`, not inside a notebook or another loop."
        )
    run.predictor.model.refuse_neighbours("A server, which is asked about single samples and streams,")
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # no line for each request that is no HTTP
    limits = service.limits
    taken = listen(host, port)
    with taken:
        traffic = Traffic(limits, Metrics(), say)
        app = create_app(run, service, traffic)
        config = uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=limits.connections,
            timeout_keep_alive=KEPT,
            timeout_graceful_shutdown=CLOSING,
            ws_max_size=limits.message_bytes,
            ws_per_message_deflate=False,
        )
        name = f"[{host}]" if ":" in host else host
        say(f"{run.folder} answers at http://{name}:{taken.getsockname()[1]}/ (Ctrl-C stops it).")
        DrainingServer(config, traffic).run(sockets=[taken])
