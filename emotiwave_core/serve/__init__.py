"""A trained run that answers while it is asked: streams of a camera and a microphone, and a server."""

import importlib.util
import os
from pathlib import Path
from typing import TYPE_CHECKING

from emotiwave_core.errors import PackageNotHere
from emotiwave_core.monitor import monitor_for_here

if TYPE_CHECKING:
    from emotiwave_core.api import FilePath, Run

HOST, PORT = "127.0.0.1", 8000
PACKAGES = ("fastapi", "multipart", "prometheus_client", "uvicorn", "websockets")  # of the extra `serve`


def check_packages() -> None:
    """PackageNotHere where the extra is not installed."""
    absent = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if absent:
        raise PackageNotHere(
            f'A server needs {", ".join(absent)}, which is not installed: pip install "emotiwave[serve]"'
        )


def serve(
    run: "Run | FilePath",
    /,
    host: str = HOST,
    port: int = PORT,
    *,
    token: str | None = None,
    hosts: tuple[str, ...] = (),
    asr: str | bool = False,
) -> None:
    """Answer about samples, recordings and streams over HTTP, until Ctrl-C or SIGTERM; docs/serve.md has the routes.

    host: any other than this machine's own needs a token. port: 0 for a free one. token: 16 to 256 letters and digits
    that each request must bring; else that of EMOTIWAVE_TOKEN. hosts: names by which it may be asked besides, such as
    that of a proxy. asr: hear what is said in a recording without a transcript.

    What was accepted is answered before it ends, by KeyboardInterrupt after Ctrl-C. PackageNotHere where the extra
    `serve` is not installed, ResourceError for a port that is taken, SettingsError for a host without a token,
    DataError for a folder without a model.
    """
    check_packages()
    from emotiwave_core import api
    from emotiwave_core.serve import server
    from emotiwave_core.serve.app import Service
    from emotiwave_core.serve.gate import Guests

    opened = run if isinstance(run, api.Run) else api.open_run(Path(run))
    guests = Guests.of(host, token or os.environ.get("EMOTIWAVE_TOKEN") or None, hosts)
    server.serve(opened, host, port, Service(guests, asr=asr), (opened.monitor or monitor_for_here()).say)
