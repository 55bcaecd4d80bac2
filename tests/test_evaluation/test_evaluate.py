"""tools/evaluate.py: true pictures against themselves, and folders that do not fit."""

import importlib
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rendered import distorted
from small_vitonhd import write_tree

from vtonlab.evaluation.evaluate import at_size, evaluate_folder, report_lines
from vtonlab.evaluation.protocol import load_protocol
from vtonlab.evaluation.results import read_results
from vtonlab.evaluation.truth import open_truth
from vtonlab.utils.images import read_image

ROOT = Path(__file__).parents[2]
PROTOCOLS = ROOT / "configs/_base_/protocols"
NAMES = sorted(path.stem for path in PROTOCOLS.glob("*.py"))


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """Rendered people in the VITON-HD layout, four of them for testing."""
    return write_tree(tmp_path_factory.mktemp("vitonhd"), count=6)


def data(root: Path) -> dict:
    return {"type": "VITONHDDataset", "data_root": str(root), "split": "test"}


@pytest.fixture
def copies(tree, tmp_path) -> Path:
    """Predictions that are the true pictures, as PNG."""
    folder = tmp_path / "perfect"
    folder.mkdir()
    for path in sorted((tree / "test/image").iterdir()):
        Image.fromarray(read_image(path)).save(folder / f"{path.stem}.png")
    return folder


@pytest.mark.parametrize("name", NAMES)
def test_truth_against_itself(name, tree, copies, weights, tmp_path):
    protocol = load_protocol(name, PROTOCOLS)
    if not isinstance(protocol.size, str):
        protocol = at_size(protocol, (64, 48))  # the slow test below keeps their own sizes
    results = evaluate_folder(copies, data(tree), protocol, "paired", tmp_path / "out")
    metrics = results["metrics"]
    if protocol.truth_jpeg is None:
        assert metrics.get("ssim", 1) == pytest.approx(1, abs=1e-9)
        for key, value in metrics.items():
            if key.startswith("lpips"):
                assert value == 0
            if key.endswith("fid") and protocol.real_set != "train":
                assert abs(value) < 1e-3
    else:
        assert metrics["ssim"] < 0.995
        line = results["protocol"]["line"]
        assert "RE-ENCODED" in line and "encoded again" in "\n".join(report_lines(results))
    networks = {"pytorch_fid", "kid_x1000", "kid_x1000_std", "ms_ssim", "warp_miou"}
    assert set(results["not_computed"]) <= networks  # no weights, few or small pictures, no warp
    assert all("\n" not in why for why in results["not_computed"].values())


def test_every_result_says_how(tree, copies, weights, tmp_path):
    protocol = at_size(load_protocol("ladi", PROTOCOLS), (64, 48))
    results = evaluate_folder(copies, data(tree), protocol, "paired", tmp_path / "out")
    saved = json.loads((tmp_path / "out/results.json").read_text())
    assert saved["metrics"] == results["metrics"]
    for key in ("protocol", "versions", "list", "images", "repaint", "mask_source", "seeds"):
        assert saved[key] is not None, key
    assert saved["list"]["pairs"] == saved["images"] > 1 and len(saved["list"]["sha256"]) == 64
    assert saved["versions"]["torchmetrics"] and saved["protocol"]["size"] == [64, 48]
    assert saved["pictures"]["names"] == "<person>"  # they might be of any garment
    assert "that they are paired is taken on trust" in "\n".join(report_lines(results))
    assert saved["weights"]["alexnet-owt-7be5be79.pth"]["official"] is False
    rows = read_results(tmp_path / "out").rows
    assert rows[0]["scored_file"].is_file() and rows[0]["person_file"].is_file()
    assert np.mean([row["ssim"] for row in rows]) == pytest.approx(saved["metrics"]["ssim"])


def test_a_macs_notes_are_no_real_people(tree):
    truth = open_truth(data(tree), "paired")
    people = truth.folder_people()
    notes = tree / "test/image" / f"._{people[0].name}"
    notes.write_bytes(b"a Mac's notes")
    try:
        assert truth.folder_people() == people == sorted((tree / "test/image").glob("[!.]*"))
    finally:
        notes.unlink()


def test_worse_pictures_score_worse(tree, copies, weights, tmp_path):
    for number, path in enumerate(sorted(copies.iterdir())):
        Image.fromarray(distorted(read_image(path), number)).save(path)
    protocol = load_protocol("vtonlab", PROTOCOLS)
    cheap = [
        c for c in protocol.paired if c["type"] in ("SSIM", "FID", "ColourFidelity", "Preservation")
    ]
    protocol = replace(protocol, paired=[*cheap, dict(type="LPIPS", net="alex")])
    metrics = evaluate_folder(copies, data(tree), protocol, "paired", tmp_path / "out")["metrics"]
    assert metrics["ssim"] < 0.9 and metrics["lpips_alex"] > 0 and metrics["fid"] > 1e-3
    assert metrics["delta_e"] > 2 and metrics["psnr_outside"] < 30
    pasted = evaluate_folder(
        copies, data(tree), protocol, "paired", tmp_path / "pasted", paste=True
    )
    assert pasted["metrics"]["psnr_outside"] > metrics["psnr_outside"] + 3
    assert pasted["repaint"] == "pasted back"


def test_without_weights_the_others_still_run(tree, copies, no_weights, tmp_path):
    from vtonlab.evaluation.features import _shared

    _shared.cache_clear()
    protocol = at_size(load_protocol("sift_vton", PROTOCOLS), (64, 48))
    results = evaluate_folder(copies, data(tree), protocol, "paired", tmp_path / "out")
    assert results["metrics"]["ssim"] == pytest.approx(1)
    assert set(results["not_computed"]) == {"lpips_alex", "fid", "kid_x1000", "kid_x1000_std"}
    assert "inception-2015-12-05.pt" in results["not_computed"]["fid"]


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize(("size", "expected"), [((512, 384), 0.975), ((1024, 768), 0.983)])
def test_leffa_encodes_the_truth_again_and_what_that_costs(size, expected, real_data, tmp_path):
    """Pixel-perfect predictions, and what they score against a truth encoded again; that it is
    encoded again is seen by `test_truth_against_itself`.
    """
    root = real_data / "vitonhd_mini"
    protocol = replace(load_protocol("leffa", PROTOCOLS), paired=[dict(type="SSIM")])
    folder = tmp_path / "perfect"
    folder.mkdir()
    for path in sorted((root / "test/image").iterdir()):
        picture = Image.fromarray(read_image(path)).resize(size[::-1], Image.Resampling.LANCZOS)
        picture.save(folder / f"{path.stem}.png", compress_level=1)
    results = evaluate_folder(folder, data(root), protocol, "paired", tmp_path / "out")
    assert results["metrics"]["ssim"] == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
@pytest.mark.real_data
@pytest.mark.parametrize("name", NAMES)
def test_real_truth_against_itself(name, real_data, pytorch_fid_weights, tmp_path):
    root = real_data / "vitonhd_mini"
    protocol = load_protocol(name, PROTOCOLS)
    folder = root / "test/image"
    metrics = evaluate_folder(folder, data(root), protocol, "paired", tmp_path / "o")["metrics"]
    if protocol.truth_jpeg is None:
        assert metrics.get("ssim", 1) == pytest.approx(1, abs=1e-9)
        assert all(v == 0 for k, v in metrics.items() if k.startswith("lpips"))
        if protocol.real_set != "train":
            assert all(abs(v) < 1e-3 for k, v in metrics.items() if k.endswith("fid"))
    else:
        assert metrics["ssim"] == pytest.approx(0.983, abs=1e-3)


# folders that do not fit ------------------------------------------------------------------------


def names(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def drop(folder):
    names(folder)[0].unlink()


def add(folder):
    shutil.copy(names(folder)[0], folder / "stranger.png")


def rename(folder):
    names(folder)[0].rename(folder / "renamed.png")


def double(folder):
    first = names(folder)[0]
    Image.open(first).save(first.with_suffix(".jpg"))


def shrink(folder):
    first = names(folder)[0]
    Image.open(first).resize((48, 64)).save(first)


def truncate(folder):
    first = names(folder)[0]
    first.write_bytes(first.read_bytes()[:-40])


def no_picture(folder):
    names(folder)[0].write_text("not a picture")


BROKEN = {
    drop: "1 missing",
    add: "1 extra: stranger",
    rename: "1 missing.*1 extra: renamed",
    double: r"1 doubled.*2 files",
    shrink: r"1 wrong size.*64x48, wanted 128x96",
    truncate: "1 unreadable.*truncated",
    no_picture: "1 unreadable.*not a picture",
}


@pytest.mark.parametrize("breaking", BROKEN, ids=lambda f: f.__name__)
def test_folder_that_does_not_fit(breaking, tree, copies, tmp_path):
    breaking(copies)
    protocol = load_protocol("vtonlab", PROTOCOLS)
    with pytest.raises(ValueError, match=BROKEN[breaking]) as error:
        evaluate_folder(copies, data(tree), protocol, "paired", tmp_path / "out")
    assert "nothing was computed" in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_all_problems_at_once(tree, copies, tmp_path):
    first, second = names(copies)[:2]
    first.rename(copies / "renamed.png")
    second.write_text("x")
    with pytest.raises(ValueError) as error:
        evaluate_folder(
            copies, data(tree), load_protocol("vtonlab", PROTOCOLS), "paired", tmp_path / "out"
        )
    for part in ("1 missing", "1 extra", "1 unreadable"):
        assert part in str(error.value)


def test_names_of_both_people_and_garments(tree, copies, weights, tmp_path):
    """Unpaired lists name person and garment; both common separators are understood."""
    pairs = [line.split() for line in (tree / "test_pairs.txt").read_text().splitlines()]
    for separator in ("_", "__"):
        folder = tmp_path / f"unpaired{separator}"
        folder.mkdir()
        for person, garment in pairs:
            stem, other = Path(person).stem, Path(garment).stem
            shutil.copy(copies / f"{stem}.png", folder / f"{stem}{separator}{other}.png")
        protocol = load_protocol("vtonlab", PROTOCOLS)
        results = evaluate_folder(folder, data(tree), protocol, "unpaired", tmp_path / separator)
        assert results["metrics"]["psnr_outside"] == 100
        assert "ssim" not in results["metrics"] and abs(results["metrics"]["fid"]) < 1e-3


def test_another_size_is_said(tree, copies, weights, tmp_path):
    for path in names(copies):
        Image.open(path).resize((48, 64)).save(path)
    protocol = at_size(load_protocol("vtonlab", PROTOCOLS), (64, 48))
    results = evaluate_folder(copies, data(tree), protocol, "paired", tmp_path / "out")
    assert "compared at 64x48 size" in results["protocol"]["line"]


def run_tool_in_process(monkeypatch, *arguments) -> int:
    from vtonlab.engine.cli import run_tool

    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    tool = importlib.import_module("evaluate")
    monkeypatch.setattr(sys, "argv", ["evaluate.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        run_tool(tool.main)
    return end.value.code


def test_the_tool(tree, copies, weights_folder, tmp_path, monkeypatch, capsys):
    """Exit code 1 where a metric is missing; 2, one sentence and no number where pictures are."""
    arguments = [
        "--pred",
        copies,
        "--data",
        tree,
        "--protocol",
        "leffa",
        "--weights",
        weights_folder,
    ]
    assert run_tool_in_process(monkeypatch, *arguments, "--out", tmp_path / "out") == 1
    printed = capsys.readouterr().out
    assert "protocol: leffa paired" in printed and "not computed: pytorch_fid" in printed
    drop(copies)
    assert run_tool_in_process(monkeypatch, *arguments, "--out", tmp_path / "other") == 2
    captured = capsys.readouterr()
    assert captured.err.count("error:") == 1 and "1 missing" in captured.err
    assert "ssim" not in captured.out and not (tmp_path / "other").exists()


def test_unknown_protocol_and_key(tmp_path):
    with pytest.raises(FileNotFoundError, match="did you mean 'leffa'"):
        load_protocol("lefa", PROTOCOLS)
    (tmp_path / "mine.py").write_text("protocol = dict(name='mine', resise='pil_bicubic')\n")
    with pytest.raises(ValueError, match=r"'resise'.*did you mean 'resize'"):
        load_protocol(str(tmp_path / "mine.py"), PROTOCOLS)
    (tmp_path / "mine.py").write_text("protocol = dict(name='mine', size='big')\n")
    with pytest.raises(ValueError, match="'truth' or 'prediction'"):
        load_protocol(str(tmp_path / "mine.py"), PROTOCOLS)


def test_exclude_leaves_people_out(tree, copies, tmp_path, weights):
    first = names(copies)[0]
    (tmp_path / "leaks.txt").write_text(f"{first.stem}\n")
    protocol = replace(load_protocol("vtonlab", PROTOCOLS), paired=[dict(type="SSIM")])
    with pytest.raises(ValueError, match="1 extra"):
        evaluate_folder(
            copies, data(tree), protocol, "paired", tmp_path / "o",
            exclude=str(tmp_path / "leaks.txt"),
        )  # fmt: skip
    first.unlink()
    results = evaluate_folder(
        copies, data(tree), protocol, "paired", tmp_path / "o", exclude=str(tmp_path / "leaks.txt")
    )
    assert results["images"] == len(names(copies))
