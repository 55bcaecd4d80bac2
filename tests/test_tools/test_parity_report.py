"""docs/parity.md's maker: the page from records, and a word where there are none."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
from parity_numbers import RESULTS, Parity

ROOT = Path(__file__).parents[2]


@pytest.fixture
def tool():
    place = ROOT / "tools/parity_report.py"
    spec = importlib.util.spec_from_file_location("parity_report", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_holds_what_tests_recorded(tool, tmp_path, monkeypatch):
    records = tmp_path / "records.jsonl"
    monkeypatch.setenv(RESULTS, str(records))
    parity = Parity(tmp_path, "test_x")
    parity.compare("Leffa", "latents | all", [1.0, 2.0], [1.0, 2.5], tolerance=0.6, unit="levels")
    with pytest.raises(AssertionError, match="off by 3"):
        parity.record("Leffa", "picture", 3.0, 1.0)
    with pytest.raises(AssertionError, match="off by nan"):
        parity.record("Leffa", "nothing", float("nan"), 1.0)
    parity.departs(
        "CORAL", "decode", effect="6 levels", switch="decode='whole'", reason="why", shown=True
    )
    page = tool.page(tool.read_records(records))
    assert "| latents \\| all | 0.5 levels | 0.6 levels | 2.5 |" in page
    assert "| picture | 3 **above** | 1 |  |" in page
    assert page.index("## CORAL") < page.index("## Leffa")
    assert "| decode | 6 levels | decode='whole' | why |" in page
    assert "| Leffa | 3 | 1 | 0 |" in page
    monkeypatch.setattr(sys, "argv", ["x", "--results", str(records), "--out", f"{tmp_path}/p.md"])
    assert tool.main() == 0 and (tmp_path / "p.md").read_text() == page


def test_the_last_record_of_a_thing_counts(tool, tmp_path):
    line = dict(kind="comparison", test="t", system="S", what="w", tolerance=1, unit="", scale=None)
    lines = [json.dumps(line | dict(difference=value)) for value in (3.0, 0.25)]
    (tmp_path / "r").write_text("\n".join(lines))
    assert [r["difference"] for r in tool.read_records(tmp_path / "r")] == [0.25]


def test_no_records_is_one_sentence(tool, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["parity_report.py"])
    monkeypatch.delenv("VTONLAB_PARITY", raising=False)
    with pytest.raises(ValueError, match="VTONLAB_PARITY"):
        tool.main()
    with pytest.raises(ValueError, match="holds no record"):
        tool.read_records(tmp_path / "none")
