"""A server under load: clients that ask one after another, on the same machine; latency and throughput."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import emotiwave as ew
from speed.table import Row

CLIENTS = 64
STEPS = 20
LIMIT = 120.0  # seconds for the server to start
SECONDS = 10.0  # of load, unless EMOTIWAVE_SERVE_SECONDS says more


def measure(folder: Path, device: torch.device) -> list[Row]:
    """Clients for so many seconds: the median and the 99th percentile of their requests, errors, requests a second."""
    seconds = float(os.environ.get("EMOTIWAVE_SERVE_SECONDS", SECONDS))
    with tempfile.TemporaryDirectory() as out:
        run = ew.train(
            folder, "default", out=Path(out) / "run", device=device, training={"epochs": 1}, data={"max_steps": 50}
        )
        command = [sys.executable, "-m", "emotiwave_core.cli", "serve", str(run.folder), "--port", "0"]
        with subprocess.Popen([*command, "--device", str(device)], stderr=subprocess.PIPE, text=True) as server:
            try:
                address = _address(server)
                widths = run.predictor.model.features
                before = _cpu_seconds(server.pid)
                taken, failed, spent = asyncio.run(_load(address, widths, seconds))
                cpu = _cpu_seconds(server.pid) - before
            finally:
                server.send_signal(signal.SIGTERM)
                server.wait(LIMIT)
    note = f"{CLIENTS} clients for {spent:.0f} s, {len(taken)} requests of {STEPS} steps"
    p50, p99 = np.percentile(np.array(taken) * 1e3, [50, 99])
    return [
        Row("serving", "one sample, p50", float(p50), "ms", note=note),
        Row("serving", "one sample, p99", float(p99), "ms", note=note),
        Row("serving", "samples a second", len(taken) / spent, "1/s", note=note),
        Row("serving", "CPU of the server for one", cpu / len(taken) * 1e3, "ms", note=note),
        Row("serving", "requests that failed", float(failed), "", goal="<= 0", note=note),
    ]


def _cpu_seconds(process: int) -> float:
    """CPU seconds of a process so far, as Linux counts them."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def _address(server: "subprocess.Popen[str]") -> str:
    """The address that a server says it has."""
    assert server.stderr is not None
    for line in server.stderr:
        if found := re.search(r"http://[\d.]+:\d+/", line):
            return found[0]
    raise RuntimeError("the server has not started")


async def _load(address: str, widths: dict[str, int], seconds: float) -> tuple[list[float], int, float]:
    """The seconds of every answered request, how many failed, and the seconds of all."""
    import httpx

    random = np.random.default_rng(0)
    sample: dict[str, Any] = {
        name: random.normal(size=(STEPS, width)).round(4).tolist() for name, width in widths.items()
    }
    taken: list[float] = []
    failed = 0

    async def ask(client: Any) -> None:
        nonlocal failed
        while time.perf_counter() < until:
            began = time.perf_counter()
            answer = await client.post("predict", json=sample)
            failed += answer.status_code != 200
            taken.append(time.perf_counter() - began)

    limits = httpx.Limits(max_connections=CLIENTS)
    async with httpx.AsyncClient(base_url=address, timeout=LIMIT, limits=limits) as client:
        while True:
            try:
                await client.post("predict", json=sample)
                break
            except httpx.TransportError:
                await asyncio.sleep(0.1)
        began = time.perf_counter()
        until = began + seconds
        await asyncio.gather(*(ask(client) for _ in range(CLIENTS)))
    return taken, failed, time.perf_counter() - began
