"""Servers in the process of a test, and clients of them."""

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from starlette.testclient import TestClient

import emotiwave as ew
from emotiwave_core.serve.app import Service, create_app
from emotiwave_core.serve.gate import Guests, Traffic
from emotiwave_core.serve.limits import Limits
from emotiwave_core.serve.metrics import Metrics

ADDRESS = "http://127.0.0.1:8000"
STREAM = "ws://127.0.0.1:8000/stream"
WIDTHS = {"text": 5, "audio": 4, "visual": 3}


@contextlib.contextmanager
def client_of(run: ew.Run, token: str | None = None, host: str = "127.0.0.1", **limits: Any) -> Iterator[TestClient]:
    """A client of a server of a run. `client.traffic` is what goes on in it, `client.log` what it has said."""
    log: list[str] = []
    bounds = Limits(**limits)
    traffic = Traffic(bounds, Metrics(), log.append)
    app = create_app(run, Service(Guests.of(host, token), bounds), traffic)
    with TestClient(app, base_url=ADDRESS, raise_server_exceptions=False) as client:
        client.traffic, client.log = traffic, log  # type: ignore[attr-defined]
        yield client


def sample(steps: int = 4, seed: int = 0, only: tuple[str, ...] = ("text", "audio", "visual")) -> dict[str, Any]:
    """A sample of the tiny data set's form, as JSON has it."""
    random = np.random.default_rng(seed)
    return {name: random.normal(size=(steps, width)).tolist() for name, width in WIDTHS.items() if name in only}
