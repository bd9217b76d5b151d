"""The panel of the report in a real browser: what it shows is what `predictions.csv` says, whatever the names are."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, chromium
from panel_in_browser import Shown

HOSTILE = (
    "</script><script>window.hit = 1</script>",
    "<img src=x onerror='window.hit = 1'>",
    '"><svg onload=window.hit=1>',
    "<!--<script>",
    "a+b&off=audio,#%41%",
    "\u2028\u2029\\u003c 幸せ",
)
MODALITIES = ("text", "<b>audio</b>", "c,d&e")


pytestmark = pytest.mark.slow  # in a real browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of this module."""
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def single(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """A single-label run of three modalities."""
    return Shown(browser, tmp_path_factory.mktemp("single"), each=4)


@pytest.fixture(scope="module")
def multi(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """A multi-label run of two modalities."""
    return Shown(browser, tmp_path_factory.mktemp("multi"), objective="multi", modalities=("text", "audio"), each=4)


@pytest.fixture(scope="module")
def hostile(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """A run whose ids, words, classes, modalities and name hold markup."""
    shape = {"ids": HOSTILE, "words": HOSTILE, "classes": HOSTILE, "modalities": MODALITIES, "dataset": HOSTILE[0]}
    return Shown(browser, tmp_path_factory.mktemp("hostile"), each=2, **shape)


def test_every_configuration_of_a_sample_is_the_row_of_the_predictions(single: Shown) -> None:
    """A click switches a modality off or on; decision, truth and every bar are those of that row, for all seven."""
    single.browser.open(single.address)
    text, audio, visual = single.scores["modalities"]
    single.check(0, (text, audio, visual))
    for modality, kept in (
        (1, (text, visual)), (0, (visual,)), (1, (audio, visual)), (2, (audio,)), (0, (text, audio)), (1, (text,)),
        (2, (text, visual)), (1, (text, audio, visual)),
    ):  # fmt: skip
        single.toggle(modality)
        single.check(0, kept)
    single.check_quiet()


def test_thresholds_decide_about_several_emotions(multi: Shown) -> None:
    """In a multi-label run each emotion is decided as in the predictions, its threshold stands beside it."""
    multi.browser.open(multi.address)
    for place in range(5):
        multi.check(place, ("text", "audio"))
        multi.toggle(1)
        multi.check(place, ("text",))
        multi.toggle(1)
        multi.browser.click("#panel-next")
    shown = multi.browser.run(
        "[...document.querySelectorAll('#panel tr[data-class]')].map(e => e.cells[3].textContent)"
    )
    assert shown == [f"{100 * value:.1f}%" for value in multi.scores["thresholds"].values()]
    multi.check_quiet()


def test_the_last_modality_stays_on(single: Shown) -> None:
    """The only modality left cannot be switched off, and the panel says so."""
    single.browser.open(single.address)
    single.toggle(0)
    single.toggle(1)
    single.toggle(2)
    single.check(0, ("visual",))
    assert "at least one modality stays on" in single.state()["says"]
    assert (
        single.browser.run("document.querySelector('button[data-modality=\"2\"]').getAttribute('aria-disabled')")
        == "true"
    )


def test_keys_are_enough(single: Shown) -> None:
    """Tab reaches search, list, both buttons and every modality in this order; Space and Enter press them."""
    browser = single.browser
    browser.open(single.address)
    browser.click("#panel-next")  # then Previous can be reached
    browser.run("document.querySelector('#panel-find').focus()")
    reached = []
    for _ in range(6):
        browser.press("Tab")
        reached.append(browser.run("document.activeElement.id || document.activeElement.textContent"))
    assert reached == ["panel-sample", "panel-previous", "panel-next", "text", "audio", "visual"]
    browser.press(" ")
    single.check(1, ("text", "audio"))
    browser.press("Enter")
    single.check(1, ("text", "audio", "visual"))
    browser.run("document.querySelector('#panel-sample').focus()")
    browser.press("ArrowDown")
    single.check(2, ("text", "audio", "visual"))


def test_hostile_names_stay_text(hostile: Shown) -> None:
    """Markup in ids, words, classes and modalities neither runs nor becomes an element; the panel works and links."""
    browser, first = hostile.browser, hostile.scores["modalities"]
    browser.open(hostile.address)
    hostile.check(0, tuple(first))
    for place in range(len(HOSTILE) - 1):
        hostile.toggle(1)
        hostile.check(place, (first[0], first[2]))
        link = browser.run("location.href")
        browser.run("document.querySelector('#panel-next').click()")
        hostile.check(place + 1, (first[0], first[2]))
        browser.open(link)
        hostile.check(place, (first[0], first[2]))
        hostile.toggle(1)
        browser.click("#panel-next")
    browser.run("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    assert browser.run("document.scripts.length") == 2
    assert all(browser.run(f"document.body.textContent.includes({json.dumps(name)})") for name in HOSTILE)
    assert browser.problems == []
    assert browser.run("window.hit === undefined && document.images.length === 0")


def test_no_other_script_can_run(single: Shown) -> None:
    """The policy lets no script but the panel's own run: one that is put into the page is refused."""
    browser = single.browser
    browser.open(single.address)
    added = "const s = document.createElement('script'); s.textContent = 'window.hit = 1'; document.body.append(s)"
    browser.run(f"{added}; new Promise(done => setTimeout(done, 50))")
    assert browser.run("window.hit === undefined")
    assert "Content Security Policy" in " ".join(browser.problems)


def test_without_script_the_page_says_so(single: Shown) -> None:
    """With scripts off the panel is a sentence and the rest of the page is there."""
    browser = single.browser
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        browser.open(single.address)
        browser.send("Emulation.setScriptExecutionDisabled", value=False)
        text = browser.run("document.body.innerText")
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)
    assert "The panel needs JavaScript" in text
    assert "Find" not in text.split()
    assert all(name in text for name in single.scores["configurations"])


@pytest.mark.parametrize("shape", [{"modalities": ("a", "b", "c", "d", "e")}, {"modalities": ("audio",)}], ids=str)
def test_any_number_of_modalities(browser: Browser, tmp_path: Path, shape: dict[str, Any]) -> None:
    """With one modality and with five, every one has a button and the panel shows the rows of the predictions."""
    shown = Shown(browser, tmp_path, each=2, **shape)
    browser.open(shown.address)
    kept = tuple(shape["modalities"])
    shown.check(0, kept)
    if kept[1:]:
        shown.toggle(0)
        shown.check(0, kept[1:])
    else:
        assert browser.run("document.querySelector('#panel .toggles').getClientRects().length === 0")
    shown.check_quiet()


def test_the_page_fits_a_telephone_and_has_no_scroll_of_its_own(single: Shown) -> None:
    """At 360 pixels nothing but the tables' own frames scrolls sideways."""
    browser = single.browser
    browser.open(single.address)
    browser.send("Emulation.setDeviceMetricsOverride", width=360, height=740, deviceScaleFactor=1, mobile=False)
    try:
        assert browser.run("document.documentElement.scrollWidth") <= 360
        assert re.fullmatch(
            "none|flex|grid|block", browser.run("getComputedStyle(document.querySelector('#panel-on')).display")
        )
    finally:
        browser.send("Emulation.clearDeviceMetricsOverride")


def test_no_scroll_shadow_lies_on_a_caption(single: Shown) -> None:
    """Captions, which do not scroll, cover the shadows of their frame with the colour of the page, in both themes."""
    browser = single.browser
    try:
        for theme in ("light", "dark"):
            browser.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
            browser.open(single.address)
            page = browser.run("getComputedStyle(document.documentElement).backgroundColor")
            captions = browser.run(
                "[...document.querySelectorAll('.scroll caption')].map(e => getComputedStyle(e).backgroundColor)"
            )
            assert len(captions) > 10
            assert set(captions) == {page}
    finally:
        browser.send("Emulation.setEmulatedMedia", features=[])
