"""Which sample the panel of the report shows: walking, searching, links, and samples that lack a modality."""

from collections.abc import Iterator

import pytest
from browser import chromium
from panel_in_browser import Shown

pytestmark = pytest.mark.slow  # in a real browser


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shown]:
    """A single-label run of three modalities, in a browser of its own."""
    with chromium() as started:
        yield Shown(started, tmp_path_factory.mktemp("single"), each=4)


def test_next_previous_and_search_walk_the_samples(single: Shown) -> None:
    """Next and previous keep the modalities and stop at the ends; a search leaves the samples that hold its words."""
    browser = single.browser
    browser.open(single.address)
    single.toggle(1)
    assert browser.run("document.querySelector('#panel-previous').disabled")
    browser.click("#panel-next")
    browser.click("#panel-next")
    single.check(2, ("text", "visual"))
    browser.click("#panel-previous")
    single.check(1, ("text", "visual"))
    browser.click("#panel-find")
    browser.type("0013")
    single.check(13, ("text", "visual"))
    assert browser.run("document.querySelector('#panel-found').textContent") == f"1 of {len(single.ids)}"
    assert browser.run("document.querySelector('#panel-next').disabled")


def test_a_search_takes_its_words_in_any_order(single: Shown) -> None:
    """Each word must be somewhere in a line of the list, in any order; where none fits, the panel says so."""
    browser = single.browser
    for words in ("sad wrong", "  WRONG  sad ", "wrong video-0", "right 3[0]", "no such thing"):
        browser.open(single.address)
        lines = browser.run("[...document.querySelector('#panel-sample').options].map(e => e.textContent)")
        browser.click("#panel-find")
        browser.type(words)
        due = [line for line in lines if all(word in line.lower() for word in words.lower().split())]
        assert browser.run("[...document.querySelector('#panel-sample').options].map(e => e.textContent)") == due
        said = f"{len(due)} of {len(lines)}" if due else "No segment matches"
        assert browser.run("document.querySelector('#panel-found').textContent") == said
    single.check_quiet()


def test_what_a_sample_lacks_cannot_answer(single: Shown) -> None:
    """A modality that was not recorded is disabled and named so, and never the only one that is heard."""
    browser, link = single.browser, f"{single.address}#sample=video-0002%5B0%5D"
    browser.open(link)
    single.check(2, ("text", "audio", "visual"))
    assert single.state()["lacks"] == ["audio: not recorded"]
    assert single.state()["says"].startswith("With all there is (no audio): ")
    browser.open(f"{link}&off=audio")
    assert single.state()["says"].startswith("With all there is (no audio): ")
    browser.open(link)
    single.toggle(1)  # disabled: nothing happens
    single.check(2, ("text", "audio", "visual"))
    single.toggle(0)
    single.check(2, ("audio", "visual"))
    single.toggle(2)
    single.check(2, ("audio", "visual"))
    assert "at least one modality stays on" in single.state()["says"]
    browser.click("#panel-next")
    single.check(3, ("audio", "visual"))
    browser.open(f"{link}&off=text,visual")
    single.check(2, ("text", "audio", "visual"))
    assert single.state()["says"] == "audio was not recorded here; everything that was is on again."
    browser.open(f"{single.address}#sample=video-0003%5B0%5D&off=text,visual")
    single.check(3, ("audio",))
    browser.click("#panel-previous")
    single.check(2, ("text", "audio", "visual"))
    single.check_quiet()


def test_a_view_can_be_linked(single: Shown) -> None:
    """The address holds the sample and what is off; opened anew it shows the same, and a bad one shows the first."""
    browser = single.browser
    browser.open(single.address)
    for _ in range(3):
        browser.click("#panel-next")
    single.toggle(0)
    single.toggle(2)
    link = browser.run("location.href")
    assert link == f"{single.address}#sample=video-0003%5B0%5D&off=text,visual"
    before = single.state()
    browser.open(link)
    assert single.state() == before
    single.check(3, ("audio",))
    browser.run("location.hash = '#sample=video-0005%5B0%5D'")
    browser.run("new Promise(done => setTimeout(done, 50))")
    single.check(5, ("text", "audio", "visual"))
    for bad in ("#sample=%", "#sample=none", "#classes", "#sample=video-0000%5B0%5D&off=text,audio,visual"):
        browser.open(single.address + bad)
        single.check(0, ("text", "audio", "visual"))
        unknown = {"#sample=%": "%", "#sample=none": "none"}.get(bad)
        assert ("There is no sample" in single.state()["says"]) == (unknown is not None)
        assert unknown is None or single.state()["says"] == f"There is no sample {unknown} on this page."
        assert browser.problems == []
    browser.open(single.address)
    browser.click("#samples details[open] a[href$='off=text']")
    browser.run("new Promise(done => setTimeout(done, 50))")
    single.check(6, ("audio", "visual"))
    assert browser.run("Math.abs(document.querySelector('#panel').getBoundingClientRect().top)") < 40
