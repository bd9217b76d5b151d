"""`emotiwave serve` (Recordings): Answer over HTTP about samples, recordings and streams, and show a page."""

from pathlib import Path

import click

from emotiwave_core.cli.common import EXISTING, SectionedCommand, device_option, option, registry_option, strict_option
from emotiwave_core.serve import HOST, PORT

EXAMPLES = """\b
Examples:
  emotiwave serve runs/mine                      a page at http://127.0.0.1:8000/
  emotiwave serve runs/mine --asr                hear what is said in a clip without a transcript
  EMOTIWAVE_TOKEN=… emotiwave serve runs/mine --host 0.0.0.0
"""


@click.command(cls=SectionedCommand, epilog=EXAMPLES)
@click.argument("run", type=EXISTING)
@option("--host", default=HOST, show_default=True, section="Address", help="Another than this machine's needs a token.")
@option(
    "--port", default=PORT, show_default=True, type=click.IntRange(0, 65535), section="Address", help="0: a free one."
)
@option(
    "--token",
    envvar="EMOTIWAVE_TOKEN",
    show_envvar=True,
    section="Address",
    help="What each request must bring; the command line can be read by others on this machine, a variable not.",
)
@option(
    "--allow-host",
    "hosts",
    multiple=True,
    metavar="NAME",
    section="Address",
    help="A name that it answers to, as a proxy's.",
)
@option("--workers", default=2, show_default=True, type=click.IntRange(1, 64), section="Media", help="Clips at a time.")
@option("--asr", is_flag=True, section="Media", help="Hear what is said where there is no transcript.")
@device_option
@registry_option
@strict_option
def serve(
    run: Path,
    host: str,
    port: int,
    token: str | None,
    hosts: tuple[str, ...],
    workers: int,
    asr: bool,
    device: str,
    registry_file: Path | None,
    strict: bool,
) -> None:
    """Answer over HTTP about samples, recordings and streams, and show a page.

    Ctrl-C and SIGTERM end it when all that was accepted is answered. Nothing that is sent is stored or logged, and
    nothing in RUN is changed. docs/serve.md has the routes and the limits.
    """
    from emotiwave_core.serve import check_packages

    check_packages()
    from emotiwave_core import api
    from emotiwave_core.monitor import TerminalMonitor
    from emotiwave_core.parts.stdout import quiet
    from emotiwave_core.serve import server
    from emotiwave_core.serve.app import Service
    from emotiwave_core.serve.gate import Guests
    from emotiwave_core.serve.limits import Limits

    monitor = TerminalMonitor()
    guests = Guests.of(host, token, hosts)
    with quiet():
        opened = api.open_run(run, device=device, registry=registry_file, monitor=monitor, strict=strict)
        service = Service(guests, Limits(workers=workers), asr)
        server.serve(opened, host, port, service, monitor.say)
