"""docs/validity.md: cells are measured once, kept, and known by the code that they measured."""

from __future__ import annotations

import json
from pathlib import Path

from tools.truth.validity import code_of, find_test, measure, read_cells
from tools.truth.validity_page import Cell, page
from tools.truth.validity_tests import COVERAGE, TESTS


def test_a_cell_is_measured_once_and_kept(tmp_path: Path) -> None:
    file = tmp_path / "cells.jsonl"
    test = find_test("mean of an arm")
    known = read_cells(file)
    measure(test, 8, 30, known, file)
    assert len(known) == len(test.shapes) == len(file.read_text().splitlines())
    again = read_cells(file)
    measure(test, 8, 30, again, file)
    assert again == known and len(file.read_text().splitlines()) == len(test.shapes)
    row = json.loads(file.read_text().splitlines()[0]) | {"code": "another", "value": 0.0}
    file.write_text(json.dumps(row) + "\n")
    measure(test, 8, 30, stale := read_cells(file), file)
    assert stale == known, "what other code gave is measured again"


def test_every_test_draws_each_of_its_shapes() -> None:
    for test in TESTS:
        for shape in test.shapes:
            values = list(test.draw(shape, 20, 2, 1))
            assert len(values) == 2 and {v for v in values if v == v} <= {0.0, 1.0}, test.name


def test_the_page_says_of_each_cell_whether_it_is_in_its_band() -> None:
    test = find_test("mean of an arm")
    cells = [
        Cell(test.name, "usual", size, value, 1000, code_of(test))
        for size, value in ((5, 0.9), (10, 0.945), (20, 0.951))
    ]
    text = page(cells)
    assert "| **.900 ±9** | .945 ±7 | .951 ±7 | from 10 on |" in text
    wide = page([Cell(test.name, "usual", 5, 0.99, 1000, code_of(test))])
    assert "| *.990 ±3* | nowhere; safe everywhere |" in wide
    assert Cell("", "", 5, 0.93, 1000, "").held(COVERAGE), "within two Monte-Carlo errors"
    assert not Cell("", "", 5, 0.92, 1000, "").held(COVERAGE)
