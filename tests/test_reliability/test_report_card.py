"""Each row of the report card at its target, measured as ``tools/reliability_report.py`` does."""

import pytest
from reliability.files import kills_while_saving
from reliability.rows import rows
from reliability_report import BEGIN, END, insert, main

SLOW = ("resume", "workers", "kills", "cuts", "fuzz", "secret", "portable", "replaced", "full")
SLOW += ("hostile", "decoded", "nan", "studio")  # each has a quicker test of its own in this folder
DDP = ("metric", "death")
TIMED = ("overhead", "slow")  # no test asserts a time; the report does
CARD = {name: row for name, row in rows(full=False).items() if name not in TIMED}


def marked(name: str):
    marks = [pytest.mark.slow] if name in SLOW + DDP else []
    marks += [pytest.mark.ddp] if name in DDP else []
    return pytest.param(name, marks=marks)


@pytest.mark.parametrize("name", [marked(name) for name in CARD])
def test_promise_is_kept(name, tmp_path):
    text, met = CARD[name].measure(tmp_path)
    assert met is not False, text  # None: what it needs (mounting, tracing) is not allowed here


def test_r3_kills_while_saving_leave_a_run_that_resumes(tmp_path):
    text, met = kills_while_saving(tmp_path, kills=3)
    assert met, text


def test_a_card_replaces_the_one_before(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n{BEGIN}\nold\n{END}\nfacts\n")
    insert(page, "| new |")
    assert page.read_text() == f"# Title\n{BEGIN}\n| new |\n{END}\nfacts\n"
    page.write_text("# Title\n")
    with pytest.raises(ValueError, match="card: begin"):
        insert(page, "x")


def test_the_report_writes_a_table(tmp_path, monkeypatch, capsys):
    out = tmp_path / "card.md"
    monkeypatch.setattr(
        "sys.argv", ["reliability_report.py", "--only", "resize", "--out", str(out)]
    )
    assert main() == 0
    text = out.read_text()
    assert "| one resize, equal to Pillow's |" in text and "| kept |" in text and "torch " in text
    monkeypatch.setattr("sys.argv", ["reliability_report.py", "--only", "resise"])
    with pytest.raises(ValueError, match="no row 'resise'"):
        main()
