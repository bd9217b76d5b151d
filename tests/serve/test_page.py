"""The page as a browser shows it: a clip and a camera are answered, by the keyboard, on a phone, in the dark."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="the extra `serve` is not installed")
from browser import Browser, chromium
from clips import faces, sound_of, write_clip
from PIL import Image
from served import client_of
from test_process import PATIENCE, Running, running

import emotiwave as ew

FAKE = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


def test_the_page_runs_no_script_of_others(client: Any) -> None:
    """It names no other address, and holds no script, style or handler inline: its policy would not let it run."""
    page = client.get("/").text
    assert "http:" not in page
    assert "https:" not in page
    assert " style=" not in page

    assert page.count("<script") == 1
    assert "This run reads arrays" in page
    assert "Article 5(1)(f)" in page
    for name in ("report.css", "page.css", "page.js", "ask.js", "answer.js", "live.js", "sound.js"):
        found = client.get(f"/static/{name}")
        assert found.status_code == 200
        assert "http://" not in found.text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in found.text
        assert "innerHTML" not in found.text
        assert "eval(" not in found.text


def test_the_page_says_what_was_measured(watching: tuple[ew.Run, Path]) -> None:
    """A score stands with what it was measured on, and with what a guess reaches."""
    with client_of(watching[0], workers=1) as client:
        page = client.get("/").text
    assert "Choose a clip" in page
    assert "Measured: macro-F1" in page
    assert "the best guess that looks at nothing reaches" in page.replace("\n", " ")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds of sound and pictures, which a browser plays."""
    return write_clip(
        tmp_path_factory.mktemp("shown") / "clip.webm", sound=sound_of(4.0, 48_000), rate=48_000, pictures=faces(4.0)
    )


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the browser takes for its camera: drawn faces, JPEG after JPEG."""
    path = tmp_path_factory.mktemp("camera") / "camera.mjpeg"
    with path.open("wb") as file:
        for picture in faces(2.0):
            Image.fromarray(picture).save(file, "JPEG")
    return path


@pytest.fixture(scope="module")
def page(watching: tuple[ew.Run, Path], launcher: str) -> Iterator[tuple[Running, Browser]]:
    """A server of a run that reads recordings, and a browser with a camera that is none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.executable", launcher)
        run, registry = watching
        with running(run, "--registry", str(registry), "--workers", "1") as server, chromium(flags=FAKE) as browser:
            yield server, browser


def text(browser: Browser, name: str) -> str:
    """The text of an element."""
    return str(browser.run(f"document.getElementById('{name}').textContent"))


def until(holds: Callable[[], bool]) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def choose(browser: Browser, clip: Path) -> None:
    """Choose a file, and wait for its answer."""
    root = browser.send("DOM.getDocument")["root"]["nodeId"]
    field = browser.send("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    browser.send("DOM.setFileInputFiles", files=[str(clip)], nodeId=field)
    until(lambda: "windows" in text(browser, "status"))


@pytest.mark.slow
def test_a_clip_is_answered(page: tuple[Running, Browser], clip: Path) -> None:
    """A clip becomes a line of windows; a modality that is switched off moves the answer as the server says it."""
    server, browser = page
    browser.open(server.address)
    choose(browser, clip)
    count = int(text(browser, "status").split()[1])
    assert count in (3, 4)  # the file's last packet may end a little later
    assert browser.run("document.activeElement.id") == "answer"
    table = browser.run("[...document.querySelectorAll('#all tbody tr')].map(row => row.children.length)")
    assert table == [2 + 2 + 3 + 1] * count
    before = text(browser, "decided")
    browser.click("button[data-modality=visual]")
    assert text(browser, "changed").startswith("Without visual: ")
    browser.click("button[data-modality=audio]")
    assert text(browser, "changed") == "Everything that is there is switched off."
    assert text(browser, "decided") == "no evidence"
    for _ in range(2):
        browser.run("document.querySelector('#toggles [aria-pressed=false]').focus()")
        browser.press("Enter")
    assert (text(browser, "decided"), text(browser, "changed")) == (before, "")
    browser.run("document.getElementById('moments').focus()")
    browser.send(
        "Input.dispatchKeyEvent", type="rawKeyDown", key="ArrowRight", code="ArrowRight", windowsVirtualKeyCode=39
    )
    assert text(browser, "moment") == "1.0 s to 3.0 s"
    assert not browser.problems
    own = (server.address, "data:", "blob:")
    assert [address for address in browser.requests if not address.startswith(own)] == []


@pytest.mark.slow
def test_an_alarm_of_an_answer_is_said(page: tuple[Running, Browser]) -> None:
    """A modality that is unlike the training, one left out for it, and two that do not fit are each a sentence."""
    server, browser = page
    browser.open(server.address)
    told = """{start: 0, end: 1, present: ["text", "audio"], decided: ["short"], probabilities: {short: 0.6, long: 0.4},
        shapley: {}, missing: {}, words: "", configurations: {"text+audio": {short: 0.6, long: 0.4}}, alarms: ALARMS}"""
    about = '{modalities: {text: {}, audio: {}, visual: {}}, kind: "single", classes: ["short", "long"]}'
    for alarms, due in (
        ("{}", ""),
        ("{audio: 1.5}", "audio is unlike what the run was trained on."),
        ("{visual: 2}", "visual is unlike what the run was trained on, and is read as missing."),
        ("{'text+audio': 3}", "text and audio do not fit each other: one of them may be of something else."),
    ):
        segments = f"segments: [{told.replace('ALARMS', alarms)}]"
        show = f"new module.Answer({about}).show({{{segments}, missing: {{}}, problems: []}})"
        browser.run(f"import('/static/answer.js').then((module) => {{ {show}; document.title = `shown {alarms}`; }})")
        until(lambda alarms=alarms: browser.run("document.title") == f"shown {alarms}")
        assert text(browser, "alarm") == due
        assert browser.run("document.getElementById('alarm').hidden") is (not due)


@pytest.mark.slow
def test_a_camera_is_answered(page: tuple[Running, Browser], camera: Path) -> None:
    """Camera and microphone start by a click, are answered from both, and stop by another."""
    server, _ = page
    with chromium(flags=[*FAKE, f"--use-file-for-fake-video-capture={camera}"]) as browser:
        browser.open(server.address)
        browser.run("document.getElementById('window').value = '1'")
        browser.click("#live")
        until(lambda: browser.run("document.querySelectorAll('#all tbody tr').length") >= 3)
        assert text(browser, "status") == "Listening and looking."
        assert browser.run("!document.querySelector('button[data-modality=visual]').disabled")
        assert browser.run("!document.querySelector('button[data-modality=audio]').disabled")
        assert browser.run("document.querySelector('button[data-modality=text]').disabled")
        browser.click("#live")
        until(lambda: text(browser, "status") == "The stream has ended.")
        assert text(browser, "live") == "Start"
        assert browser.run("document.getElementById('seen').srcObject === null")
        assert not browser.problems


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_and_can_be_read(page: tuple[Running, Browser], clip: Path, width: int, scheme: str) -> None:
    """On a phone nothing runs over the side, and everything to press is large enough and has a name."""
    server, browser = page
    browser.send("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=width < 600)
    browser.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.open(server.address)
    choose(browser, clip)
    assert browser.run("document.documentElement.scrollWidth") <= width
    small = browser.run(
        """[...document.querySelectorAll('button, .button, select, input[type=range]')]
            .filter(e => e.checkVisibility() && e.getBoundingClientRect().height < 40).map(e => e.outerHTML)"""
    )
    assert small == []
    unnamed = browser.run(
        """[...document.querySelectorAll('button, input, select, textarea, video')]
            .filter(e => !(e.textContent.trim() || e.labels?.length || e.getAttribute('aria-label')))
            .map(e => e.outerHTML)"""
    )
    assert unnamed == []
    dark = browser.run("getComputedStyle(document.documentElement).backgroundColor")
    assert (dark == "rgb(20, 23, 26)") == (scheme == "dark")


@pytest.mark.slow
def test_a_token_is_asked_for(watching: tuple[ew.Run, Path], launcher: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page asks for the server's token, or takes it from its address, where it does not stay."""
    monkeypatch.setattr("sys.executable", launcher)
    token = "0123456789abcdef"
    with (
        running(watching[0], "--registry", str(watching[1]), "--workers", "1", "--token", token) as server,
        chromium() as browser,
    ):
        browser.open(server.address)
        until(lambda: "token" in text(browser, "status"))
        browser.run("document.getElementById('token').focus()")
        browser.type(token)
        browser.press("Enter")
        until(lambda: text(browser, "status") == "The token is right.")
        browser.open(f"{server.address}#token={token}")
        until(lambda: bool(browser.run("document.querySelectorAll('#toggles button').length")))
        assert browser.run("location.hash") == ""
        assert browser.run("document.getElementById('key').hidden")
