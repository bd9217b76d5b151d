"""The tables of the documents are whole: each row is one where Markdown is shown. That of the contracts is true."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from documents import ROOT, text_of

from emotiwave_core import testing

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


def test_the_guide_has_the_method_of_each_contract_as_it_is() -> None:
    """Every contract has a row in docs/plugins.md, with the signature of its `make` as the source has it."""
    rows = dict(re.findall(r"^\| `(\w+Contract)` \| `(make[^`]+)` \|", text_of("docs/plugins.md"), re.MULTILINE))
    contracts = {name: getattr(testing, name) for name in testing.__all__ if re.fullmatch(r"\w+Contract", name)}
    assert rows == {
        name: inspect.getsource(contract.make).splitlines()[0].strip().removeprefix("def ").removesuffix(":")
        for name, contract in contracts.items()
    }
