"""The reference page is made from the schema."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from coconut_tasks.recipe import reference
from coconut_tasks.recipe.schema import schema_text

SCHEMA: dict[str, Any] = json.loads(schema_text())
PAGE = reference.reference_text(SCHEMA)


def rows(section: str) -> dict[str, list[str]]:
    """The cells of a section's table by field."""
    body = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = [line for line in body.splitlines() if line.startswith("| `")]
    return {
        cells[0].split("`")[1]: cells for cells in ([c.strip() for c in re.split(r"(?<!\\)\|", x)[1:-1]] for x in lines)
    }


def test_the_committed_page_is_up_to_date() -> None:
    assert reference.reference_path().read_text(encoding="utf-8") == PAGE
    run = subprocess.run(
        [sys.executable, "-W", "error", "-m", "coconut_tasks.recipe.reference", "--check"],
        cwd=Path(__file__).parent.parent,
        check=False,
    )
    assert run.returncode == 0


@pytest.mark.parametrize("name", ["igvm", "target", "kernel", "part", "fs", "module", "firmware"])
def test_every_field_has_a_row_of_six_cells(name: str) -> None:
    definition = SCHEMA["$defs"][name]
    table = rows(definition["title"])
    assert list(table) == list(definition["properties"])
    assert {len(cells) for cells in table.values()} == {6}


def test_a_section_for_every_object_and_links_that_lead_there() -> None:
    titles = {item["title"] for item in SCHEMA["$defs"].values() if "title" in item}
    assert set(re.findall(r"^## (.*)$", PAGE, re.M)) == {"The recipe", *titles}
    assert set(re.findall(r"\]\(#([^)]*)\)", PAGE)) == {title.replace(" ", "-") for title in titles}


def test_rows() -> None:
    assert rows("kernel part")["type"][2:] == ["string", '`"cargo"`', "`cargo`, `make` or `test`", ""]
    assert rows("igvm target")["comport"][2:] == ["string, integer or null", "", "`1`, `2`, `3` or `4`", '`"3"`']
    assert rows("igvm target")["platforms"][2:] == [
        "list of strings",
        '`["snp", "tdp", "vsm"]`',
        "one or more of `native`, `snp`, `tdp` or `vsm`, each once",
        '`["native", "snp"]`',
    ]
    assert rows("firmware")["command"][2:5] == ["list of strings or null", "", "one or more, none of them empty"]
    assert rows("kernel")["svsm"] == [
        "`svsm` (required)",
        "The COCONUT kernel itself.",
        "[kernel part](#kernel-part)",
        "",
        "",
        "",
    ]
    assert rows("fs")["modules"][2] == "object of name: [module](#module)"


def test_a_bar_in_a_description_does_not_end_the_cell() -> None:
    field = {"type": "string", "description": "a|b"}
    assert reference._row("`x`", field, {}) == "| `x` | a\\|b | string |  |  |  |"


def test_write_and_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "recipe-reference.md"
    monkeypatch.setattr(reference, "reference_path", lambda: page)
    assert reference.main(["--check"]) == 1
    assert capsys.readouterr().err == f"error: {page} is out of date; run python -m coconut_tasks.recipe.reference\n"
    assert reference.main([]) == 0
    assert page.read_text(encoding="utf-8") == PAGE
    assert reference.main(["--check"]) == 0
    page.write_text(PAGE + "x", encoding="utf-8")
    assert reference.main(["--check"]) == 1


def test_a_wrong_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert reference.main(["--chekc"]) == 2
    monkeypatch.setattr(reference, "reference_path", lambda: tmp_path / "docs" / "page.md")
    assert reference.main([]) == 2
    usage = "error: usage, in a checkout: python -m coconut_tasks.recipe.reference [--check]\n"
    assert capsys.readouterr().err == usage * 2
