"""The report as tests read it: the shapes a run may have, and the page parsed."""

from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from emotiwave_core.report.page import render
from emotiwave_core.runs.contents import read_run

VOID = {"meta", "wbr", "input"}
FIVE = ("text", "audio", "visual", "physiology", "gaze")
TWENTY = tuple(f"a rather long emotion {number}" for number in range(20))
SHAPES: dict[str, dict[str, Any]] = {
    "single-label": {},
    "multi-label": {"objective": "multi", "synthetic": True},
    "one modality": {"modalities": ("audio",)},
    "one class and one epoch": {"modalities": ("audio",), "classes": ("valence",), "objective": "multi", "epochs": 1},
    "five modalities": {"modalities": FIVE, "classes": TWENTY, "each": 3},
    "five modalities, multi-label": {"modalities": FIVE, "classes": TWENTY, "objective": "multi", "each": 3},
    "no epoch": {"epochs": 0},
}


class Page(HTMLParser):
    """A parsed page: its text, table cells, tags with their attributes; fails on a tag that is not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html, self.words, self.attributes, self.open = html, "", [], []
        self.rows: dict[str, list[list[str]]] = {}  # caption -> rows of cells
        self.feed(html)
        self.close()
        assert self.open == []
        self.text = " ".join(self.words.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the tag; a caption names the table that it opens."""
        self.attributes += [(tag, name, value) for name, value in attrs] or [(tag, "", None)]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "caption":
            self.caption = ""
        elif tag == "tr":
            self.rows.setdefault(self.caption, []).append([])
        elif tag in ("td", "th"):
            self.rows[self.caption][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        """Every end tag closes the tag opened last."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Text goes to the page, and to the caption or cell it stands in."""
        if not {"style", "script"} & set(self.open):
            self.words += data
        if "caption" in self.open:
            self.caption += data
        elif "td" in self.open or "th" in self.open:
            self.rows[self.caption][-1][-1] += data


def page_of(run: Path) -> Page:
    """The report of a run folder, parsed."""
    return Page(render(read_run(run), ["configurations.png"]))
