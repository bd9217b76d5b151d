"""The tables of the documents are whole: each row of them is one where Markdown is shown."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from documents import ROOT

pytestmark = pytest.mark.full

SEPARATOR = re.compile(r"\|( *:?-+:? *\|)+")


def loose_rows(text: str) -> Iterator[int]:
    """The numbers of the lines that look like rows, and begin a table without a head; blocks of code are left out."""
    lines, is_code = text.splitlines(), False
    for number, line in enumerate(lines):
        is_code ^= line.lstrip().startswith("```")
        before, after = lines[number - 1] if number else "", lines[number + 1] if number + 1 < len(lines) else ""
        if not is_code and line.startswith("|") and not before.startswith("|") and not SEPARATOR.fullmatch(after):
            yield number + 1


def test_no_table_is_broken_by_an_empty_line() -> None:
    """What begins with '|' below a line that does not is the head of a table, with the row of dashes after it."""
    documents: list[Path] = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    assert len(documents) > 10
    loose = [f"{path.name}:{line}" for path in documents for line in loose_rows(path.read_text(encoding="utf-8"))]
    assert loose == []


def test_a_row_apart_from_its_table_is_found() -> None:
    """An empty line before a row of a table is found, and no whole table or block of code."""
    table = "| a | b |\n| --- | ---: |\n| 1 | 2 |\n"
    assert list(loose_rows(f"{table}\n| 3 | 4 |\n")) == [5]
    assert list(loose_rows(f"{table}\n```\n| 3 | 4 |\n```\n\n{table}")) == []
