"""tools/check_dataset.py as a user runs it: exit codes, table, JSON, lists."""

import json
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))
from broken_vitonhd import BREAKS
from ranks import run_alone
from small_vitonhd import write_tree
from test_train import call

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    return write_tree(tmp_path_factory.mktemp("check") / "data", 5, (64, 48))


@pytest.fixture
def tree(written, tmp_path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "data"))


@pytest.fixture
def check(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return lambda *args: call("check_dataset", *args, capsys=capsys, monkeypatch=monkeypatch)


def test_an_intact_set(check, tree):
    code, out, err = check(tree)
    assert code == 0 and "VITON-HD" in out and "people: train 3, test 2" in out
    assert "usable: 0 errors, 0 warnings" in out and "error" not in err


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("a mask that leaks", 1),
        ("one person without mask", 1),
        ("inverted masks", 2),
        ("a decompression bomb", 2),
        ("not unpacked", 2),
    ],
)
def test_exit_codes_and_report(check, tree, tmp_path, name, code):
    way = BREAKS[name]
    way.act(tree)
    got, out, _ = check(tree, "--json", tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert got == code == report["exit_code"]
    assert way.code in out and "way out:" in out
    found = next(f for f in report["findings"] if f["code"] == way.code)
    assert {"level", "meaning", "way_out", "place", "paths", "count"} <= set(found)


def test_lists(check, tree, tmp_path):
    (tree / "train_pairs.txt").unlink()
    code, out, _ = check(tree, "--fix-lists", tmp_path / "lists")
    assert code == 2 and "list-missing" in out and f"{tmp_path}/lists/train_pairs.txt" in out
    assert len((tmp_path / "lists/train_pairs.txt").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["."], "expected are VITON-HD"),
        ([".", "--type", "hats"], "vitonhd, dresscode"),
        ([".", "--people", "0"], "--people must be at least 1"),
    ],
)
def test_bad_input_is_one_sentence(check, arguments, told):
    code, _, err = check(*arguments)
    assert code == 2 and err.startswith("error: ") and told in err and err.count("\n") == 1


def test_as_a_user_from_another_folder(tree, tmp_path):
    """In a process of its own, with everything broken at once: no traceback."""
    for name in ("a truncated mask", "an empty file", "broken keypoints", "a list of strangers"):
        BREAKS[name].act(tree)
    done = run_alone(ROOT / "tools/check_dataset.py", [tree, "--deep"], cwd=tmp_path)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    for code in ("truncated", "empty", "keypoints-unreadable", "list-entries-without-files"):
        assert code in done.stdout
