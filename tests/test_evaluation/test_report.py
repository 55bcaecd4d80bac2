"""The report: what it says, what its data are, what it needs from elsewhere (nothing)."""

import base64
import io
import json
import re
import sys
import zlib
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vtonlab.evaluation.report import Chart, Story, collect, find_studies, read_study, write_page
from vtonlab.evaluation.report.attention import (
    SavedAttention,
    packed,
    read_attention,
    rows_that_matter,
)
from vtonlab.evaluation.report.charts import line_chart, smooth
from vtonlab.evaluation.report.curves import read_curves
from vtonlab.evaluation.report.pictures import PictureShelf, encoded
from vtonlab.evaluation.report.scores import KNOWN, show

sys.path.insert(0, str(Path(__file__).parents[1]))
from fake_results import GRID, LAYERS, fake_results, picture, planted, save_attention


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """Two systems on six pairs."""
    root = tmp_path_factory.mktemp("work")
    fake_results(root / "one" / "test", "plain")
    fake_results(root / "two" / "test", "sharp", skill=1.0)
    return root


@pytest.fixture(scope="module")
def page(work) -> str:
    story = Story(
        title="Fish & <chips>",
        figures=[("87%", "of &lt;all&gt;", "#123456")],
        notes=dict(scores="a note about scores"),
        environment=dict(machine="two & a half cores"),
    )
    write_page(work / "report.html", collect([work / "one", f"Sharp one={work / 'two'}"]), story)
    return (work / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def data(page) -> dict:
    return data_of(page)


def data_of(page: str) -> dict:
    return json.loads(
        re.search(r'<script type="application/json" id="data">(.*)</script>', page)[1]
    )


class Reader(HTMLParser):
    """Tags that stay open, attributes that load something, and the visible text."""

    VOID = {"meta", "img", "br", "link", "input", "hr", "line"}

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open, self.loaded, self.text, self.tags = [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        self.loaded += [v for k, v in attrs if k in ("src", "href", "srcset", "action", "data")]

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)


def test_is_one_well_formed_file(page):
    reader = Reader(page)
    assert page.lstrip().lower().startswith("<!doctype html>") and reader.open == []
    assert not re.findall(r"__[A-Z]+__", page)  # every placeholder is filled
    assert {"h1", "table", "svg", "canvas", "dialog"} <= set(reader.tags)


def test_needs_nothing_from_elsewhere(page):
    rest = page.replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    rest = rest.replace("http:%2F%2Fwww.w3.org/2000/svg", "")
    assert not re.search(r"(https?:)?//[\w-]+\.[a-z]{2,}", rest)
    assert all(value.startswith(("data:", "#")) for value in Reader(page).loaded)
    assert not re.search(r"@import|url\((?![\"']?data:)|fetch\(|XMLHttpRequest|import\(", page)
    assert "default-src 'none'" in page


def test_says_scores_protocol_and_commands(page):
    text = " ".join(Reader(page).text)
    wanted = ["Fish & <chips>", "a note about scores", "two & a half cores", "of <all>"]
    wanted += ["ours: 32x24, no repaint & <all>", "no weights <here> & no network"]
    wanted += ["0.250", "0.500", "0.042", "guessing", "0.410 to 0.590", "not computed"]
    wanted += ["python tools/test.py sharp 'x<1' && echo", "net.pth efefefef (not the official"]
    wanted += ["Sharp one", "plain", "agnostic-mask/", "6 of test_pairs.txt (sha256 abababababab)"]
    for expected in wanted:
        assert expected in text, expected
    assert page.count('class="n best"') == 3  # l1_inside, ssim and attention_pck of the better


def test_its_data_are_the_scores_and_pictures(data, work):
    (group,) = data["groups"]
    assert [s["name"] for s in group["systems"]] == ["plain", "Sharp one"]
    assert [c["key"] for c in group["columns"]] == ["l1_inside", "ssim"]
    assert [c["better"] for c in group["columns"]] == ["down", "up"]
    assert group["size"] == [24, 32] and len(group["pairs"]) == 6
    for index, pair in enumerate(group["pairs"]):
        person, garment, category, photo, agnostic, cloth, target, outputs, scores = pair
        assert (person, garment) == (f"p{index:04d}", f"g&<{index:04d}")
        assert category == ("upper_body", "dresses")[index % 2]
        assert photo == target and agnostic is None  # one file is one picture
        for system, skill in enumerate((0.0, 1.0)):
            wanted = list(planted(index, skill).values())
            np.testing.assert_allclose(scores[system], wanted, rtol=1e-3)
            saved = work / ("one", "two")[system] / "test" / "pictures" / f"{index}.png"
            shown = decoded(data["pictures"][outputs[system]])
            assert np.array_equal(shown, np.asarray(Image.open(saved)))
        assert np.array_equal(decoded(data["pictures"][cloth]).shape, (32, 24, 3))


def decoded(url: str) -> np.ndarray:
    head, _, body = url.partition(",")
    assert head == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))).convert("RGB"))


def test_its_attention_is_the_saved_one(data):
    (entries,) = data["attention"]
    assert [e["pair"][0] for e in entries] == ["p0000", "p0001"]
    tokens = GRID[0] * GRID[1]
    for entry in entries:
        assert set(entry["truth"]) == {str(q) for q in range(0, tokens, 2)}
        for number, shift in (("0", 0), ("1", 1)):
            maps = entry["systems"][number]
            assert maps["rows"] == list(range(0, tokens, 2)) and maps["start"] == 1
            assert maps["layers"] == [*LAYERS, "mean of these layers"]
            packed_bytes = zlib.decompress(base64.b64decode(maps["maps"]))
            found = np.frombuffer(packed_bytes, np.uint8).reshape(3, tokens // 2, tokens)
            assert (found[0] == 255).all()  # the even layer
            best = (np.arange(0, tokens, 2) + shift) % tokens
            assert (found[1].argmax(-1) == best).all() and found[1].max() == 255
            assert maps["mass"][1] == [73] * (tokens // 2)


def test_maps_are_stored_as_roots_in_steps_that_no_eye_tells_apart():
    row = np.array([1.0, 0.999, 0.5, 0.021, 0.019, 0.0], np.float32) / 3
    grids = dict(query_grid=(1, 1), key_grid=(2, 3))
    saved = SavedAttention(layers=["one"], maps=row[None, None], mass=np.ones((1, 1)), **grids)
    bytes_ = zlib.decompress(base64.b64decode(packed(saved, np.array([0]))["maps"]))
    assert list(bytes_) == [255, 248, 176, 32, 0, 0]  # 176: floor(32 sqrt(0.5)) * 8; one maximum


def test_maps_without_truth_are_asked_inside_the_mask(tmp_path):
    save_attention(tmp_path / "a.npz", 0, truth=False)
    saved = read_attention(tmp_path / "a.npz")
    mask = np.zeros((32, 24), np.uint8)
    mask[8:16, 8:24] = 1  # second row of cells, all but its first
    assert rows_that_matter(saved, mask).tolist() == [4, 5]
    assert len(rows_that_matter(saved, None)) == GRID[0] * GRID[1]
    assert packed(saved, np.array([4, 5]))["rows"] == [4, 5]
    (tmp_path / "b.npz").write_bytes(b"not an archive")
    with pytest.raises(ValueError, match=r"b\.npz is not a file of saved attention"):
        read_attention(tmp_path / "b.npz")


def test_only_equal_protocols_stand_side_by_side(tmp_path):
    fake_results(tmp_path / "a" / "x", "a", attention=0)
    fake_results(tmp_path / "b" / "x", "b", attention=0, protocol="theirs")
    fake_results(tmp_path / "a" / "y", "a", attention=0, setting="unpaired")
    fake_results(tmp_path / "c" / "x", "a", attention=0)
    groups = collect([tmp_path])
    names = {group.name: [system.name for system in group.systems] for group in groups}
    assert names == {
        "paired, ours": ["a (a)", "a (c)"],  # of one name: what differs in their paths
        "unpaired, ours": ["a"],
        "paired, theirs": ["b"],
    }
    write_page(tmp_path / "report.html", groups)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("<h3>paired") == 2 and "<h3>unpaired, ours</h3>" in page
    assert 'id="picks"' not in page  # nobody saved attention


def test_sizes_do_not_stand_side_by_side(tmp_path):
    """``--size`` changes a protocol; size "prediction" and own metrics compare as it was drawn."""
    for name, compared in (("a", [32, 24]), ("b", [64, 48]), ("c", [32, 24])):
        of_protocol(fake_results(tmp_path / name / "x", name, attention=0), size=compared)
    for name, side, protocol in (("d", 1, "own"), ("e", 2, "own"), ("f", 1, None), ("g", 2, None)):
        folder, size = tmp_path / name / "x", (32 * side, 24 * side)
        fake_results(folder, name, attention=0, protocol=protocol, size=size)
        of_protocol(folder, size="prediction")
    groups = {group.name: [s.name for s in group.systems] for group in collect([tmp_path])}
    assert groups == {
        "paired, ours at 32x24": ["a", "c"],
        "paired, ours at 64x48": ["b"],
        "paired, own at 32x24": ["d"],
        "paired, own at 64x48": ["e"],
        "paired, own metrics at 32x24": ["f"],
        "paired, own metrics at 64x48": ["g"],
    }


def of_protocol(folder: Path, **changes) -> None:
    """Other settings of the protocol that a folder was scored under, if any."""
    facts = json.loads((folder / "results.json").read_text())
    if facts["protocol"]:
        facts["protocol"] |= changes
    (folder / "results.json").write_text(json.dumps(facts))


def test_lists_without_a_name_are_told_apart(tmp_path):
    for name, digest in (("a", "12" * 32), ("b", "34" * 32)):
        folder = fake_results(tmp_path / name / "x", name, attention=0)
        facts = json.loads((folder / "results.json").read_text())
        facts["list"] = dict(sha256=digest, pairs=6)
        (folder / "results.json").write_text(json.dumps(facts))
    names = [group.name for group in collect([tmp_path])]
    assert names == [f"paired, ours, list {part * 6} (6 pairs)" for part in ("12", "34")]


def test_many_pictures_and_maps_lie_beside_the_page(tmp_path, monkeypatch):
    from vtonlab.evaluation.report import page as module

    fake_results(tmp_path / "test", "a", attention=3)
    monkeypatch.setattr(module, "ATTENTION_BYTES", 0)
    inside = write_page(tmp_path / "one.html", collect([tmp_path]), pictures="embed")
    write_page(tmp_path / "two.html", collect([tmp_path]), pictures="folder")
    data = data_of((tmp_path / "two.html").read_text(encoding="utf-8"))
    assert inside == (tmp_path / "one.html").stat().st_size
    assert not (tmp_path / "one_files").exists()
    for name in data["pictures"]:
        assert name.startswith("two_files/") and (tmp_path / name).is_file()
    entry = data["attention"][0][2]
    assert entry["systems"] is None
    call = (tmp_path / entry["script"]).read_text(encoding="utf-8")
    number, place, systems = json.loads(re.fullmatch(r"vtonlabAttention\(\.\.\.(.*)\);\n", call)[1])
    assert (number, place) == (0, 2) and systems["0"]["layers"][0] == LAYERS[0]


def test_gone_or_damaged_pictures_are_named(tmp_path):
    folder = fake_results(tmp_path / "test", "a", attention=0)
    (folder / "pictures" / "3.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"pictures/3\.png is gone: run the test again"):
        write_page(tmp_path / "report.html", collect([tmp_path]))
    (folder / "pictures" / "3.png").write_bytes(b"\x89PNG no more")
    with pytest.raises(ValueError, match=r"pictures/3\.png cannot be read"):
        write_page(tmp_path / "report.html", collect([tmp_path]))


def test_pictures_are_exact_when_small_and_shrunk_when_large(tmp_path):
    small, large = picture(1), picture(2, (600, 300))
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(encoded(small)))), small)
    shrunk = Image.open(io.BytesIO(encoded(large, 400)))
    assert shrunk.size == (200, 400)
    assert PictureShelf().add(None) is None


def test_judges_and_studies_have_their_tables(tmp_path):
    folder = fake_results(tmp_path / "test", "a", attention=0)
    criteria = dict(garment_transfer=dict(mean=4.25, ci95=[4.0, 4.5]), fit_and_pose=dict(mean=None))
    marks = {"p0002__g%26%3C0002": dict(garment_transfer=4.5)}
    judge = dict(model="a<b", repeats=3, answered=18, criteria=criteria, per_pair=marks)
    (folder / "judge.json").write_text(json.dumps(judge))
    rates = dict(a=dict(rate=0.625, ci95=[0.5, 0.75], n=40), b=dict(rate=None, ci95=[0, 1], n=0))
    votes = dict(answers=40, raters=5, systems=["a", "b"], win_rates=rates)
    marks = dict(fit_and_pose=dict(systems=dict(a=dict(mean=3.75, ci95=[3.5, 4.0], n=4))))
    sheets = dict(answers=8, raters=2, systems=["a"], criteria=marks, win_rates={})
    for name, study in (("votes", votes), ("sheets", sheets)):
        (tmp_path / f"{name}.json").write_text(json.dumps(study))
    studies = [read_study(tmp_path / name) for name in ("votes.json", "sheets.json")]
    write_page(tmp_path / "report.html", collect([tmp_path]), Story(studies=studies))
    text = " ".join(Reader((tmp_path / "report.html").read_text(encoding="utf-8")).text)
    for shown in (
        "Garment transfer",
        "4.25",
        "4.00 to 4.50",
        "no answer",
        "Judged by a<b, 3 times",
    ):
        assert shown in text, shown
    (group,) = data_of((tmp_path / "report.html").read_text(encoding="utf-8"))["groups"]
    mark = group["columns"][2]
    assert (mark["label"], mark["better"]) == ("Judge: garment transfer", "up")
    assert [pair[8][0][2] for pair in group["pairs"][1:4]] == [None, 4.5, None]
    assert "62%" in text and "50% to 75%" in text and "40 answers of 5 people" in text
    assert "Fit and pose" in text and "3.75" in text and "8 answers of 2 people" in text
    with pytest.raises(FileNotFoundError, match="make it with tools/human_study"):
        read_study(tmp_path)
    with pytest.raises(ValueError, match="neither win_rates nor criteria"):
        read_study(folder / "results.json")


def test_studies_are_found_beside_the_results_each_once(tmp_path):
    rates = dict(a=dict(rate=0.5, ci95=[0, 1], n=4))
    votes, others = (dict(answers=n, raters=2, systems=["a"], win_rates=rates) for n in (4, 6))
    for name in ("a", "b"):
        folder = fake_results(tmp_path / name / "test", name, attention=0)
        (folder / "study.json").write_text(json.dumps(votes))
    fake_results(tmp_path / "c" / "test", "c", attention=0)
    (tmp_path / "study").mkdir()
    (tmp_path / "study/study.json").write_text(json.dumps(others))
    groups = collect([tmp_path])
    assert find_studies(groups) == [votes]
    assert find_studies(groups, [tmp_path / "study", tmp_path / "a/test"]) == [others, votes]
    assert find_studies(collect([tmp_path / "c"])) == []
    (folder / "study.json").write_text("{}")
    with pytest.raises(ValueError, match=r"b/test/study\.json is no study"):
        find_studies(groups)


def test_what_files_of_others_say_is_text(tmp_path):
    """Words where numbers should stand, in every table of the page."""
    bad = "<img src=x onerror=alert(1)>"
    folder = fake_results(tmp_path / "test", "a", attention=0)
    facts = json.loads((folder / "results.json").read_text())
    facts["by_category"] = dict(upper_body=dict(ssim=bad), dresses=dict(ssim=0.3))
    facts["metrics"] |= dict(ssim_std=bad, l1_inside_fill=bad, l1_inside=0.1)
    facts["intervals"] = {}
    (folder / "results.json").write_text(json.dumps(facts))
    criteria = dict(garment_transfer=dict(mean=4.25, ci95=[4.0, 4.5]))
    judge = dict(model="a", repeats=bad, answered=bad, criteria=criteria, per_pair={})
    (folder / "judge.json").write_text(json.dumps(judge))
    rates = dict(a=dict(rate=0.625, ci95=[0.5, 0.75], n=40))
    study = dict(answers=bad, raters=bad, systems=["a"], win_rates=rates)
    write_page(tmp_path / "report.html", collect([tmp_path]), Story(studies=[study]))
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert bad not in text and escape(bad) in text


def test_categories_have_their_rows(tmp_path):
    folder = fake_results(tmp_path / "test", "a", attention=0)
    facts = json.loads((folder / "results.json").read_text())
    facts["by_category"] = dict(upper_body=dict(ssim=0.7001), dresses=dict(ssim=0.3002))
    (folder / "results.json").write_text(json.dumps(facts))
    write_page(tmp_path / "report.html", collect([tmp_path]))
    text = " ".join(Reader((tmp_path / "report.html").read_text(encoding="utf-8")).text)
    assert "By garment category" in text and "upper body 0.700" in " ".join(text.split())
    assert "dresses 0.300" in " ".join(text.split())


def test_commands_are_those_that_trained_and_tested(tmp_path):
    fake_results(tmp_path / "test", "a", attention=0)
    (tmp_path / "commands.txt").write_text("python tools/train.py a\npython tools/train.py b\n")
    write_page(tmp_path / "report.html", collect([tmp_path]))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    (shown,) = re.findall(r"<pre>(.*?)</pre>", page, re.DOTALL)
    assert shown.splitlines()[:2] == ["python tools/train.py a", "python tools/train.py b"]
    assert shown.splitlines()[2].startswith("python tools/test.py a")


def test_curves_are_read_and_drawn(work, page):
    curves = read_curves(work / "one")
    assert curves["loss_diffusion"] == [(50, 0.04), (100, 0.02)]
    assert curves["attention_pck"] == [(100, 0.2)]  # logged as step 0: after iteration 100
    assert page.count('<svg class="chart"') == 2  # loss and validation score; time is no curve
    story = Story(charts=[Chart(key="attention_pck", label="PCK", reference=("guessing", 0.1))])
    write_page(work / "other.html", collect([work]), story)
    other = (work / "other.html").read_text(encoding="utf-8")
    assert "guessing" in other and "All 1 other curves" in other


def test_smooth_is_a_trailing_mean():
    points = [(1, 4.0), (2, 2.0), (3, 0.0), (4, 8.0)]
    assert smooth(points, 2) == [(1, 4.0), (2, 3.0), (3, 1.0), (4, 4.0)]
    assert smooth([], 3) == []


def test_line_chart_places_points_linearly():
    chart = line_chart(
        {"a<b": [(0, 0.0), (50, 0.5), (100, 2.0)]},
        {"a<b": "#123456"},
        x_label="steps",
        y_label="score",
        y_range=(0.0, 1.0),
        reference=("guessing", 0.25),
        size=(460, 240),
    )
    left, right, top, bottom = 40, 440, 34, 202  # the plot within 460 x 240
    (line,) = re.findall(r'<polyline points="([^"]+)"', chart)
    places = [tuple(map(float, p.split(","))) for p in line.split()]
    middle = ((left + right) / 2, (top + bottom) / 2)
    assert places == [(left, bottom), middle, (right, top)]  # 2.0 is cut at the range
    assert "<title>a&lt;b</title>" in chart and "stroke:#123456" in chart
    (height,) = re.findall(r'class="ref"[^>]*y1="([\d.]+)"', chart)
    assert float(height) == bottom - 0.25 * (bottom - top)
    assert chart.count('class="grid"') == 5
    assert line_chart({"a": []}, {"a": "red"}, x_label="", y_label="").startswith("<p>")


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.1, 0.73], ["0", "0.2", "0.4", "0.6", "0.8"]),
        ([5.0, 3.0], ["0", "1.5", "3", "4.5", "6"]),
        ([-0.5, 0.4], ["-0.5", "-0.25", "0", "0.25", "0.5"]),
        ([0.0, 0.0], ["0", "0.25", "0.5", "0.75", "1"]),
    ],
)
def test_axes_have_round_numbers(values, ticks):
    chart = line_chart(
        {"a": list(enumerate(values))}, {"a": "red"}, x_label="x", y_label="y", size=(460, 240)
    )
    assert re.findall(r'x="33" y="[\d.]+" text-anchor="end">([^<]+)<', chart) == ticks


def test_numbers_are_shown_shortly():
    values = [0.12345, 12.3456, 64, 0.00001, 0.0, None, "text", 2032.0]
    shown = ["0.123", "12.35", "64", "1.0e-05", "0.000", "", "text", "2032"]
    assert [show(value) for value in values] == shown
    assert all(len(entry) == 3 and entry[0] for entry in KNOWN.values())
