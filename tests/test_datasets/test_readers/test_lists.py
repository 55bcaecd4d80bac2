"""Pair lists: every dialect is read, and the held-out people stay held out."""

import json

import pytest

from vtonlab.datasets.readers.lists import (
    Item,
    Pair,
    category_of,
    exclusion_request,
    held_out,
    read_exclusions,
    read_records,
    read_rows,
)


def listed(tmp_path, text: str, name: str = "pairs.txt"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.txt", "a.jpg b.jpg 0\nc.jpg d.jpg 2\n"),
        ("a.txt", "a.jpg\tb.jpg\t0\r\n\r\n# nobody\nc.JPG\td.png\t2"),
        ("a.csv", "from,to\na.jpg,b.jpg,0\nc.jpg,d.jpg,2\n"),
        ("a.csv", "\ufeffa.jpg, b.jpg, 0\nc.webp, d.jpg, 2\n"),
    ],
)
def test_dialects(tmp_path, name, text):
    assert read_rows(listed(tmp_path, text, name)) == [["a", "b", "0"], ["c", "d", "2"]]


def test_names_with_blanks_need_tabs_or_csv(tmp_path):
    assert read_rows(listed(tmp_path, "my dress.jpg,b c.jpg\n", "a.csv")) == [["my dress", "b c"]]
    assert read_rows(listed(tmp_path, "my dress.jpg\tb c.jpg\n")) == [["my dress", "b c"]]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "person,garment,category\np.jpg,g h.jpg,1\n"),
        ("a.csv", "p.jpg,g h.jpg,1\n"),
        ("a.jsonl", '{"person": "p.jpg", "garment": "g h.jpg", "category": 1}\n\n'),
    ],
)
def test_records(tmp_path, name, text):
    (record,) = read_records(listed(tmp_path, text, name))
    record.pop("")
    assert record == {"person": "p.jpg", "garment": "g h.jpg", "category": "1"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", "[1]", "line 1 is no JSON object"),
        ("a.jsonl", '{"person": 1}\n{', "line 2 is no JSON object"),
        ("a.csv", "person,garment\na,b,c\n", "line 2 has 3 fields, its header 2"),
        ("a.csv", "\n", "holds no pairs"),
    ],
)
def test_records_that_cannot_be_read(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        read_records(listed(tmp_path, text, name))


def test_categories(tmp_path):
    assert [category_of(t, tmp_path) for t in ("0", "1", "2", "Upper", "dresses")] == [
        "upper_body", "lower_body", "dresses", "upper_body", "dresses",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="category '3' is none of 0, 1, 2, upper_body"):
        category_of("3", tmp_path)


ITEMS = [Item(Pair(f"{n:05d}_00", "g"), "upper_body") for n in range(300)]


def test_held_out_people_depend_on_their_names_and_the_seed_alone():
    kept = held_out(ITEMS, 50)
    assert len(kept) == 50 and kept == held_out(ITEMS[::-1], 50) == held_out(ITEMS * 2, 50)
    assert kept != held_out(ITEMS, 50, seed=1)
    more = held_out([*ITEMS, Item(Pair("new", "g"), "upper_body")], 50)
    assert len(kept - more) <= 1
    assert kept < held_out(ITEMS, 60)
    with pytest.raises(ValueError, match="holdout=300 must leave people to train on"):
        held_out(ITEMS, 300)


def test_exclusions(tmp_path):
    lists = {"test": {"leaked": ["a.jpg"], "duplicates": ["b.jpg"]}, "train": {}}
    path = listed(tmp_path, json.dumps(lists), "leaks.json")
    assert read_exclusions(path, "test") == {"a", "b"}
    assert read_exclusions(path, "test", ["leaked"]) == {"a"}
    assert read_exclusions(path, "train") == set()
    assert read_exclusions(listed(tmp_path, "a.jpg\nb.jpg x\n"), "test") == {"a", "b"}
    with pytest.raises(ValueError, match="no 'leak' for test, only"):
        read_exclusions(path, "test", ["leak"])
    with pytest.raises(ValueError, match="must hold"):
        read_exclusions(listed(tmp_path, "[1]", "bad.json"), "test")
    with pytest.raises(FileNotFoundError, match="it names people to leave out"):
        read_exclusions(tmp_path / "none.txt", "test")
    assert exclusion_request(dict(file="a", kinds=["leaked"])) == ("a", ("leaked",))
    with pytest.raises(ValueError, match="a file or dict"):
        exclusion_request(dict(kinds=["leaked"]))


@pytest.mark.real_data
def test_the_published_list(real_data):
    path = real_data / "vitonhd_duplicate_filenames.json"
    leaked = read_exclusions(path, "test", ["leaked"])
    assert "07309_00" in leaked and leaked < read_exclusions(path, "test")
