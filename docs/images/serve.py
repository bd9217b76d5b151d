"""Write serve.png, the page of `emotiwave serve` after a made-up clip: python docs/images/serve.py.

The run is trained on made-up recordings (tests/helpers/senses.py): no person stands behind the picture.
"""

import base64
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "tests" / "helpers"))

from browser import Browser, chromium  # noqa: E402
from clips import faces, sound_of, write_clip  # noqa: E402
from senses import registry_of, train_run  # noqa: E402

from emotiwave_core.testing.recordings import SAID  # noqa: E402

SECONDS, WIDTH = 12, 960


def main() -> None:
    """Train, serve, ask, photograph."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = train_run(folder)
        clip = write_clip(folder / "clip.webm", sound=sound_of(SECONDS, 48_000), rate=48_000, pictures=faces(SECONDS))
        command = [
            sys.executable,
            "-m",
            "emotiwave_core.cli",
            "serve",
            str(run.folder),
            "--port",
            "0",
            "--workers",
            "1",
        ]
        command += ["--registry", str(registry_of(folder))]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
            try:
                assert server.stderr is not None
                said = server.stderr.readline()
                found = re.search(r"http://[\d.]+:\d+/", said)
                if found is None:
                    raise SystemExit(said)
                with chromium() as browser:
                    photograph(browser, found[0], clip)
            finally:
                server.terminate()


def photograph(browser: Browser, address: str, clip: Path) -> None:
    """Ask about the clip, and write what the page shows of the answer."""
    browser.send("Emulation.setDeviceMetricsOverride", width=WIDTH, height=900, deviceScaleFactor=1, mobile=False)
    browser.open(address)
    times = [f"{n}\n00:00:{n:02},100 --> 00:00:{n:02},800\n{SAID[n % len(SAID)]}\n" for n in range(SECONDS)]
    browser.run(f"document.getElementById('words').value = {json.dumps(chr(10).join(times))}")
    root = browser.send("DOM.getDocument")["root"]["nodeId"]
    field = browser.send("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    browser.send("DOM.setFileInputFiles", files=[str(clip)], nodeId=field)
    while "windows" not in browser.run("document.getElementById('status').textContent"):
        time.sleep(0.2)
    browser.run("document.getElementById('seen').currentTime = 5")
    time.sleep(1)
    bottom = browser.run("document.querySelector('#shares').getBoundingClientRect().bottom + scrollY")
    top = browser.run("document.querySelector('.ways').getBoundingClientRect().top + scrollY")
    area = {"x": 0, "y": top - 16, "width": WIDTH, "height": bottom - top + 40, "scale": 1}
    picture = browser.send("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=area)
    (HERE / "serve.png").write_bytes(base64.b64decode(picture["data"]))


if __name__ == "__main__":
    main()
