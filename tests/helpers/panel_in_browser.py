"""The panel of a report as a browser shows it, held against `predictions.csv`."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from report_fixture import write_run

from emotiwave_core.report.page import render
from emotiwave_core.runs.contents import read_run


class Shown:
    """A run, its predictions by configuration, and its page as the browser shows it."""

    def __init__(self, browser: Browser, run: Path, **shape: Any) -> None:
        page = write_run(run, **shape) / "report.html"
        page.write_text(render(read_run(run), []), encoding="utf-8")
        self.browser, self.address = browser, page.as_uri()
        self.scores = json.loads((run / "scores.json").read_text())
        with (run / "predictions.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        self.absent = json.loads((run / "explanation.json").read_text())["absent"]
        count = self.scores["samples"]
        self.ids = [row["id"] for row in rows[:count]]
        blocks = zip(self.scores["configurations"], range(0, len(rows), count), strict=True)
        self.rows = {name: rows[start : start + count] for name, start in blocks}

    def state(self) -> dict[str, Any]:
        """All that the panel says now."""
        return dict(
            self.browser.run(
                """({
                    sample: Number(document.querySelector('#panel-sample').value),
                    on: [...document.querySelectorAll('#panel [aria-pressed=true]')].map(e => e.textContent),
                    lacks: [...document.querySelectorAll('#panel .toggles :disabled')].map(e => e.textContent),
                    rows: [...document.querySelectorAll('#panel tr[data-class]')].map(e => ({
                        name: e.querySelector('.name').textContent, value: e.querySelector('.value').textContent,
                        bar: Number(e.querySelector('i').style.getPropertyValue('--v')),
                        width: e.querySelector('i').getBoundingClientRect().width
                            / e.querySelector('.bar').clientWidth,
                        mark: Number(e.querySelector('b').style.getPropertyValue('--v')),
                        change: e.querySelector('.change').textContent, tags: e.querySelector('.tags').textContent,
                    })),
                    ...Object.fromEntries(['truth', 'decided', 'changed', 'says'].map(
                        name => [name, document.querySelector('#panel-' + name).textContent])),
                })"""
            )
        )

    def toggle(self, modality: int) -> None:
        """Click on a modality."""
        self.browser.click(f"button[data-modality='{modality}']")

    def names(self, words: str) -> list[str]:
        """The classes that `happy+fear` names, or the only one."""
        return [words] if self.scores["objective"] == "single" else words.split("+") if words else []

    def check(self, place: int, kept: tuple[str, ...]) -> None:
        """Hold every number and word of the panel against the row of the sample in that configuration.

        Of a sample that lacks a modality, the row is that of the others.
        """
        now, lacks = self.state(), self.absent.get(self.ids[place], ())
        heard, has = (tuple(m for m in some if m not in lacks) for some in (kept, self.scores["modalities"]))
        row, whole = self.rows["+".join(heard)][place], self.rows["+".join(has)][place]
        assert (now["sample"], tuple(now["on"])) == (place, heard)
        assert now["lacks"] == [f"{m}: not recorded" for m in self.scores["modalities"] if m in lacks]
        decided, truth, before = (self.names(words) for words in (row["predicted"], row["truth"], whole["predicted"]))
        assert [one["name"] for one in now["rows"]] == self.scores["classes"]
        for one in now["rows"]:
            due, at_first = float(row[f"p({one['name']})"]), float(whole[f"p({one['name']})"])
            assert float(one["value"].rstrip("%")) == pytest.approx(100 * due, abs=0.0501)
            assert one["bar"] == pytest.approx(due, abs=0.000501)
            assert one["width"] == pytest.approx(due, abs=0.01)
            assert one["mark"] == pytest.approx(at_first, abs=0.000501)
            if heard != has:
                change = float(one["change"].replace("\N{MINUS SIGN}", "-"))
                assert change == pytest.approx(100 * (due - at_first), abs=0.101)
            assert ("decided" in one["tags"], "true" in one["tags"]) == (one["name"] in decided, one["name"] in truth)
        assert all(name in now["decided"] for name in decided)
        assert now["decided"].endswith("(right)" if decided == truth else "(wrong)")
        assert all(name in now["truth"] for name in truth)
        assert now["changed"].startswith("nothing" if row is whole else "no" if decided == before else "yes")

    def check_quiet(self) -> None:
        """The page did nothing but be shown: no error, no violation of its policy, no request, no strange script."""
        assert self.browser.problems == []
        assert self.browser.requests == [self.address]
        assert self.browser.run("window.hit === undefined && document.images.length === 0")
