"""Testing pair by pair: the same bits for any number of ranks, and after a kill."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import small_test
from PIL import Image
from ranks import run_ranks, run_script

from vtonlab.engine.config.load import finalize
from vtonlab.engine.testing.run import test as run_test
from vtonlab.evaluation.base import NotComputableError, NotGivenError, PairMetric
from vtonlab.evaluation.protocol import Protocol, load_protocol
from vtonlab.evaluation.results import find_results, read_results
from vtonlab.models import TryOnDiffusion
from vtonlab.registry import METRICS

WORKER = Path(__file__).with_name("small_test.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """People, a checkpoint and one undisturbed test with batch size 4.

    Runs that are compared bit for bit are processes of their own, as users' are: what other tests
    did to this one may round a sum the other way.
    """
    folder = tmp_path_factory.mktemp("small")
    assert worker(folder, folder / "reference", 6, 4, "none", -1, 2) == 0
    return folder


def pictures(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*.png"))}


def facts(out: Path) -> dict:
    found = json.loads((out / "results.json").read_text())
    found.pop("run")  # command, date, seconds, processes: all that may differ
    return found


def assert_same(out: Path, reference: Path):
    assert pictures(out) == pictures(reference)
    assert facts(out) == facts(reference)
    tables = [(place / "per_image.csv").read_text() for place in (out, reference)]
    assert [line.rsplit(",", 1)[0] for line in tables[0].splitlines()] == [
        line.rsplit(",", 1)[0] for line in tables[1].splitlines()
    ]  # all but the attention file


def worker(*arguments, processes: int = 1) -> int:
    if processes == 1:
        return run_script(WORKER, arguments)
    run_ranks(WORKER, [arguments] * processes, port=29600 + os.getpid() % 300)
    return 0


def test_batch_size_changes_rounding_alone(folder):
    """Sums in another order: float32's 6e-8, times the square root of some 1e4 terms a layer and 50
    layers, is 1e-5 of the range, 1e-3 of a level: a value moves by one level or not at all.
    """
    assert worker(folder, folder / "one", 6, 1, "none") == 0
    one, four = (read_results(folder / name) for name in ("one", "reference"))
    for row, other in zip(one.rows, four.rows, strict=True):
        for key in ("generated_file", "repainted_file"):
            found, wanted = (np.asarray(Image.open(r[key])).astype(int) for r in (row, other))
            assert np.abs(found - wanted).max() <= 1
    numbers = [results.facts["metrics"]["l1_inside"] for results in (one, four)]
    assert numbers[0] == pytest.approx(numbers[1], abs=1 / 255)


def test_the_log_does_not_take_pairs_for_batches(folder, tmp_path):
    config = small_test.small_config(folder)
    config.log_level, config.default_hooks.logger.interval = "INFO", 1
    checkpoint = str(small_test.save_checkpoint(folder))
    run_test(finalize(config, work_dir=str(tmp_path)), checkpoint, tmp_path)
    (log,) = tmp_path.glob("*/*.log")
    assert log.read_text().count("Iter(test)") == 1  # the metrics at the end
    assert "has no metainfo" not in log.read_text()


def test_a_batch_is_drawn_at_once_and_a_half_done_one_again(folder, tmp_path, monkeypatch):
    sizes, predict = [], TryOnDiffusion.predict

    def counting(self, batch):
        sizes.append(len(batch["id"]))
        return predict(self, batch)

    monkeypatch.setattr(TryOnDiffusion, "predict", counting)
    small_test.run(folder, tmp_path)
    assert sizes == [4, 2]
    noted = tmp_path / "pairs/000002.json"
    before = noted.read_bytes()
    noted.unlink()
    small_test.run(folder, tmp_path)
    assert sizes == [4, 2, 4] and noted.read_bytes() == before


def test_killed_and_resumed(folder):
    out = folder / "killed"
    assert worker(folder, out, 6, 4, "none", 3) == -signal.SIGKILL
    noted = sorted(p.name for p in (out / "pairs").iterdir())
    assert len(noted) == 3 and not (out / "results.json").is_file()
    (out / "pictures" / "test_000000__test_000000.png").stat()
    assert worker(folder, out, 6, 4, "none") == 0
    assert_same(out, folder / "reference")


@pytest.mark.ddp
def test_two_ranks(folder):
    assert worker(folder, folder / "two", 6, 4, "pytorch", processes=2) == 0
    assert_same(folder / "two", folder / "reference")
    assert json.loads((folder / "two/results.json").read_text())["run"]["processes"] == 2


@pytest.mark.slow
@pytest.mark.ddp
def test_two_hundred_pairs(tmp_path):
    """One and two ranks, killed and resumed: not a bit differs."""
    small_test.save_checkpoint(tmp_path)
    reference, ranks, killed = (tmp_path / n for n in ("a", "b", "c"))
    assert worker(tmp_path, reference, 200, 4, "none") == 0
    assert len(pictures(reference)) == 200 * 2 + 200 * 4
    assert worker(tmp_path, ranks, 200, 4, "pytorch", processes=2) == 0
    for after in (40, 130):
        assert worker(tmp_path, killed, 200, 4, "none", after) == -signal.SIGKILL
    assert worker(tmp_path, killed, 200, 4, "none") == 0
    for out in (ranks, killed):
        assert_same(out, reference)


def test_a_finished_test_draws_nothing_again(folder):
    out = folder / "reference"
    before = {p: p.stat().st_mtime_ns for p in (out / "pictures").iterdir()}
    small_test.run(folder, out)
    assert {p: p.stat().st_mtime_ns for p in (out / "pictures").iterdir()} == before


def test_pictures_of_another_test_are_not_mixed(folder):
    with pytest.raises(ValueError, match=r"another test \(another data, list\).*--restart"):
        small_test.run(folder, folder / "reference", count=5)


class Refusing(PairMetric):
    """Refuses while its class says why."""

    why = None
    error = NotComputableError
    names = needs = ("image",)

    def score(self, sample):
        if self.why:
            raise self.error(self.why)
        return {"image": float(sample["image"].mean())}


@pytest.fixture
def asked(folder, tmp_path, monkeypatch):
    """Runs a test of six pairs in batches of two whose last metric is `Refusing`: what it gives,
    and the pairs that were drawn.
    """
    monkeypatch.setitem(METRICS.module_dict, "Refusing", Refusing)
    checkpoint, drawn = str(small_test.save_checkpoint(folder)), []
    predict = TryOnDiffusion.predict

    def counting(self, batch):
        drawn.extend(batch["id"])
        return predict(self, batch)

    monkeypatch.setattr(TryOnDiffusion, "predict", counting)

    def run(why=None, error=NotComputableError):
        monkeypatch.setattr(Refusing, "why", why)
        monkeypatch.setattr(Refusing, "error", error)
        config = small_test.small_config(folder, batch_size=2)
        config.test_evaluator = [dict(type="ImageErrors"), dict(type="Refusing")]
        drawn.clear()
        found = run_test(finalize(config, work_dir=str(tmp_path)), checkpoint, tmp_path)
        return found, len(drawn)

    return run


def test_a_refusal_is_asked_again_when_a_test_is_run_again(asked, tmp_path):
    first, drawn = asked("no weights")
    assert first["not_computed"] == {"image": "no weights"} and drawn == 6
    again, drawn = asked("still none")  # the first pair's batch alone
    assert again["not_computed"] == {"image": "still none"} and drawn == 2
    before = pictures(tmp_path)
    now, drawn = asked()
    assert now["not_computed"] == {} and drawn == 2 + 6 and pictures(tmp_path) == before
    assert now["metrics"]["image"] > 0 and "image" in read_results(tmp_path).numbers
    assert now["metrics"]["l1_inside"] == first["metrics"]["l1_inside"]
    assert asked()[1] == 0


def test_a_refusal_that_lasts_is_not_asked_again(asked):
    first, _ = asked("no such map", NotGivenError)
    again, drawn = asked("no such map", NotGivenError)
    assert again["not_computed"] == first["not_computed"] and drawn == 0


def test_the_folder_reads_back(folder):
    [place] = find_results([folder / "reference"])
    results = read_results(place)
    assert len(results.rows) == 6 and results.facts["images"] == 6
    assert {"attention_pck", "l1_inside", "psnr_outside"} <= set(results.numbers)
    row = results.rows[0]
    for key in ("generated", "repainted", "person", "garment", "agnostic", "mask", "target"):
        assert row[f"{key}_file"].is_file(), key
    mean = np.mean([r["l1_inside"] for r in results.rows])
    assert results.facts["metrics"]["l1_inside"] == pytest.approx(mean)
    low, high = results.facts["intervals"]["l1_inside"]
    assert low <= mean <= high
    assert results.facts["directions"]["l1_inside"] == "down"


def test_attention_file(folder):
    rows = read_results(folder / "reference").rows
    assert [row["attention_file"] is not None for row in rows] == [True, True] + [False] * 4
    with np.load(rows[0]["attention_file"]) as found:
        layers, maps = len(found["layers"]), found["maps"].astype(np.float64)
        queries, keys = np.prod(found["query_grid"]), np.prod(found["key_grid"])
        assert maps.shape == (layers, queries, keys)
        np.testing.assert_allclose(maps.sum(-1), 1, atol=2e-2)
        assert found["mass"].shape == (layers, queries)
        assert found["truth"].shape == (queries, 2) and found["visible"].dtype == bool


def test_unpaired_has_no_true_picture_unless_the_data_know_it(folder):
    results = small_test.run(folder, folder / "unpaired", setting="unpaired")
    assert results["setting"] == "unpaired"
    assert results["metrics"]["l1_inside"] is not None  # rendered people: the true result is known
    row = read_results(folder / "unpaired").rows[0]
    assert row["target_file"].parent.name == "target"


def light(**settings) -> Protocol:
    """A protocol that needs no weights."""
    metrics = [dict(type="SSIM"), dict(type="Preservation"), dict(type="MaskLeak")]
    settings = dict(name="light", exact=True, paired=metrics, unpaired=metrics) | settings
    return Protocol(**settings)


@pytest.mark.parametrize("repainted", [False, True])
def test_scores_under_a_protocol(folder, repainted):
    out = folder / f"scored_{repainted}"
    results = small_test.run(folder, out, protocol=light(repaint=repainted))
    assert {"ssim", "mask_leak", "attention_pck", "l1_inside"} <= set(results["metrics"])
    assert results["repaint"] == ("pasted back" if repainted else "none")
    assert results["pictures"]["scored"] == ("repainted" if repainted else "pictures")
    assert results["protocol"]["name"] == "light" and results["seeds"]["pictures"] == 0
    assert len(results["list"]["sha256"]) == 64 and not results["not_computed"]
    row = read_results(out).rows[0]
    assert row["scored_file"].parent.name == results["pictures"]["scored"]
    assert (results["metrics"]["psnr_outside"] > 20) == repainted  # the edge is soft
    again = small_test.run(folder, out, protocol=light(repaint=repainted))
    assert again["metrics"] == results["metrics"]


def test_what_does_not_fit_is_said_before_anything_is_drawn(folder, tmp_path):
    with pytest.raises(ValueError, match=r"draws 32x24: compare at its size with --size 32x24"):
        small_test.run(folder, tmp_path / "out", protocol=light(size=(64, 48)))
    protocols = small_test.ROOT / "configs/_base_/protocols"
    with pytest.raises(ValueError, match="trains and tests on SyntheticTryOn"):
        small_test.run(folder, tmp_path / "out", protocol=load_protocol("cross_dataset", protocols))
    assert not (tmp_path / "out").exists()
