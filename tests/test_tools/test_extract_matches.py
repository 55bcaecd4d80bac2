"""extract_matches: whatever happens to it, it leaves what an undisturbed run leaves."""

import importlib.util
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vtonlab.registry import MATCHERS
from vtonlab.structures.match_store import MatchStore, open_store

cv2 = pytest.importorskip("cv2")
pytestmark = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="needs fork"
)

PAIRS = 12
SIZE = (192, 144)
TOOL = Path(__file__).parents[2] / "tools" / "extract_matches.py"


def load_tool():
    spec = importlib.util.spec_from_file_location("extract_matches", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # workers get its functions by name
    spec.loader.exec_module(module)
    return module


tool = load_tool()


def picture(seed):
    rng = np.random.default_rng(seed)
    image = np.full((*SIZE, 3), 100, np.uint8)
    for _ in range(60):
        centre = (int(rng.integers(SIZE[1])), int(rng.integers(SIZE[0])))
        axes = (int(rng.integers(3, 14)), int(rng.integers(3, 9)))
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        cv2.ellipse(image, centre, axes, int(rng.integers(180)), 0, 360, colour, -1)
    return image


@pytest.fixture(scope="module")
def pictures():
    return [picture(i) for i in range(PAIRS)]


@pytest.fixture
def root(tmp_path, pictures):
    """A small data set in VITON-HD's layout: the person wears the garment picture itself, moved."""
    root = tmp_path / "data"
    folders = {n: root / "train" / n for n in ("image", "cloth", "agnostic-mask", "cloth-mask")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    white = Image.fromarray(np.full((*SIZE, 3), 255, np.uint8))
    names = [f"{i:05d}_00" for i in range(PAIRS)]
    for name, garment in zip(names, pictures, strict=True):
        Image.fromarray(garment).save(folders["cloth"] / f"{name}.jpg", quality=95)
        person = np.roll(garment, 7, axis=1)
        Image.fromarray(person).save(folders["image"] / f"{name}.jpg", quality=95)
        white.save(folders["agnostic-mask"] / f"{name}_mask.png")
        white.save(folders["cloth-mask"] / f"{name}.jpg")
    (root / "train_pairs.txt").write_text("".join(f"{n}.jpg {n}.jpg\n" for n in names))
    return root


def matches_of(tmp_path, store="matches", **matcher):
    matcher = {"type": "SIFTMatcher", "size": list(SIZE), **matcher}
    return dict(matcher=matcher, root=str(tmp_path / store))


def write_config(tmp_path, root, matches, name="config.py"):
    dataset = dict(
        type="VITONHDDataset", data_root=str(root), split="train", size=(96, 72), matches=matches
    )
    path = tmp_path / name
    path.write_text(f"train_dataloader = dict(dataset={dataset!r})\n")
    return str(path)


def run(config, workers=2, batch=1):
    return tool.run_config(config, {}, workers=workers, device="cpu", batch=batch)


def in_process(config, workers):
    os.setpgrp()
    os.close(1)
    os.open(os.devnull, os.O_WRONLY)
    os._exit(run(config, workers))


def contents(directory):
    files = sorted(p for p in Path(directory).rglob("*") if p.is_file())
    return {str(p.relative_to(directory)): p.read_bytes() for p in files}


def test_extract_then_read_then_nothing_left_to_do(tmp_path, root, capsys):
    from vtonlab.datasets.readers.vitonhd import VITONHDDataset

    matches = matches_of(tmp_path)
    config = write_config(tmp_path, root, matches)
    assert run(config) == 0
    said = capsys.readouterr().out
    assert f"{PAIRS} computed, 0 already there" in said
    assert "median" in said and said.index("ratio") < said.index("homography")
    dataset = VITONHDDataset(
        data_root=str(root), size=(96, 72), maps=("mask", "garment_mask"), matches=matches
    )
    sample = dataset[3]
    moved = sample["correspondences"].person_points - sample["correspondences"].garment_points
    assert len(sample["correspondences"]) > 20
    assert abs(moved[:, 0].median().item() - 7 / SIZE[1]) < 0.01
    assert run(config, workers=1) == 0
    assert f"0 computed, {PAIRS} already there" in capsys.readouterr().out


def test_cached_latents_are_not_needed(tmp_path, root):
    """A config that trains from them asks for its matches before they are made."""
    matches = matches_of(tmp_path)
    request = dict(type="VITONHDDataset", data_root=str(root), size=(96, 72), matches=matches)
    dataset = tool.build_for_extraction({**request, "latents": str(tmp_path / "not made yet")})
    assert len(dataset.pairs) == PAIRS


def test_killed_twice_then_finished_equals_undisturbed(tmp_path, root):
    calm = matches_of(tmp_path, "calm")
    assert run(write_config(tmp_path, root, calm, "calm.py"), workers=1) == 0
    killed = matches_of(tmp_path, "killed")
    config = write_config(tmp_path, root, killed, "killed.py")
    context = multiprocessing.get_context("fork")
    for wanted in (3, 7):
        process = context.Process(target=in_process, args=(config, 2))
        process.start()
        give_up = time.monotonic() + 30
        while len(list((tmp_path / "killed").rglob("*.npz"))) < wanted:
            assert process.is_alive() and time.monotonic() < give_up
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    stored = len(list((tmp_path / "killed").rglob("*.npz")))
    (unfinished,) = (tmp_path / "killed").iterdir()
    if stored < PAIRS:
        assert not MatchStore(unfinished).manifest["complete"]
    (unfinished / "pairs" / ".tmp-4194999-x.npz").write_bytes(b"what a killed writer leaves")
    time.sleep(1.2)  # orphaned workers see that their parent died
    assert run(config) == 0
    assert contents(tmp_path / "killed") == contents(tmp_path / "calm")


def test_failing_pair_is_isolated_named_and_mended(tmp_path, root, capsys):
    matches = matches_of(tmp_path)
    config = write_config(tmp_path, root, matches)
    broken = root / "train" / "cloth" / "00004_00.jpg"
    whole = broken.read_bytes()
    broken.write_bytes(whole[: len(whole) // 2])
    assert run(config) == 1
    said = capsys.readouterr().out
    assert "failed: 00004_00__00004_00" in said and "00004_00.jpg" in said
    store = open_store(matches, root, "train")
    assert len(store.manifest["pairs"]) == PAIRS - 1
    with pytest.raises(FileNotFoundError, match="making them failed"):
        store.read("00004_00", "00004_00")
    with pytest.raises(ValueError, match="1 of 1 pairs have no matches"):
        store.check_pairs([("00004_00", "00004_00")])
    broken.write_bytes(whole)
    assert run(config) == 0
    assert f"1 computed, {PAIRS - 1} already there" in capsys.readouterr().out
    assert len(open_store(matches, root, "train").read("00004_00", "00004_00")) > 20


def test_batches_store_the_same_and_a_failing_pair_leaves_its_batch(tmp_path, root, capsys):
    from vtonlab.matchers import SIFTMatcher

    @MATCHERS.register_module(force=True)
    class BatchMatcher(SIFTMatcher):
        def explain_batch(self, pairs):
            (tmp_path / f"batch-{os.getpid()}-{time.monotonic_ns()}-{len(pairs)}").touch()
            if any((pair["garment"] == fatal).all() for pair in pairs):
                raise ValueError("cannot match this")
            return super().explain_batch(pairs)

    fatal = np.array(Image.open(root / "train/cloth/00006_00.jpg"))
    single = matches_of(tmp_path)
    assert run(write_config(tmp_path, root, single)) == 0
    together = matches_of(tmp_path, "batched", type="BatchMatcher")
    assert run(write_config(tmp_path, root, together), batch=5) == 1
    assert "failed: 00006_00__00006_00: ValueError: cannot match this" in capsys.readouterr().out
    calls = sorted(int(p.name.split("-")[-1]) for p in tmp_path.glob("batch-*"))
    assert calls == [1] * 5 + [2, 5, 5]
    one, many = open_store(single, root, "train"), open_store(together, root, "train")
    pairs = (many.directory / "pairs").iterdir()
    assert (
        sum(p.read_bytes() == (one.directory / "pairs" / p.name).read_bytes() for p in pairs) == 11
    )


def test_truncated_file_and_changed_photograph_are_named_and_recomputed(tmp_path, root, capsys):
    matches = matches_of(tmp_path)
    config = write_config(tmp_path, root, matches)
    assert run(config) == 0
    store = open_store(matches, root, "train")
    before = contents(store.directory)
    path = store.path("00002_00", "00002_00")
    path.write_bytes(path.read_bytes()[:100])
    capsys.readouterr()
    assert run(config) == 0
    said = capsys.readouterr().out
    assert "00002_00__00002_00.npz is damaged" in said and "1 computed" in said
    assert contents(store.directory) == before
    photo = root / "train" / "image" / "00005_00.jpg"
    Image.fromarray(picture(99)).save(photo)
    with pytest.raises(ValueError, match=r"00005_00\.jpg has changed"):
        store.read("00005_00", "00005_00", {"person": photo})
    assert run(config) == 0
    assert f"{photo} has changed" in capsys.readouterr().out
    assert contents(store.directory) != before


def test_a_changed_mask_is_noticed_by_training_and_extraction(tmp_path, root, capsys):
    from vtonlab.datasets.readers.vitonhd import VITONHDDataset

    matches = matches_of(tmp_path)
    config = write_config(tmp_path, root, matches)
    assert run(config) == 0
    mask = root / "train/agnostic-mask/00005_00_mask.png"
    half = np.full((*SIZE, 3), 255, np.uint8)
    half[:, : SIZE[1] // 2] = 0
    Image.fromarray(half).save(mask)
    options = dict(data_root=str(root), size=(96, 72), matches=matches)
    options["maps"] = ("agnostic", "mask", "garment_mask")
    (root / "train/agnostic-v3.2").symlink_to("image")
    dataset = VITONHDDataset(**options)
    assert len(dataset[4]["correspondences"]) > 20
    with pytest.raises(ValueError, match=r"00005_00_mask\.png has changed since its matches"):
        dataset[5]
    capsys.readouterr()
    assert run(config) == 0
    said = capsys.readouterr().out
    assert f"{mask} has changed" in said and f"1 computed, {PAIRS - 1} already there" in said
    points = VITONHDDataset(**options)[5]["correspondences"].person_points
    assert len(points) and points[:, 0].min() > 0.4  # only where the new mask is white
    with pytest.raises(FileNotFoundError, match=r"map_settings: written None, wanted .*inverted"):
        VITONHDDataset(**options, mask_files=dict(inverted=["mask"]))


def test_a_dying_worker_fails_its_pair_alone(tmp_path, root, capsys):
    from vtonlab.matchers import SIFTMatcher

    @MATCHERS.register_module(force=True)
    class DyingMatcher(SIFTMatcher):
        def explain(self, person, garment, *masks, **maps):
            if (garment == np.array(Image.open(root / "train/cloth/00006_00.jpg"))).all():
                os.kill(os.getpid(), signal.SIGKILL)
            return super().explain(person, garment, *masks, **maps)

    matches = matches_of(tmp_path, type="DyingMatcher")
    assert run(write_config(tmp_path, root, matches)) == 1
    said = capsys.readouterr().out
    assert "failed: 00006_00__00006_00: its process died" in said
    assert len(open_store(matches, root, "train").manifest["pairs"]) == PAIRS - 1


def test_config_without_matches_and_changed_versions_are_refused(tmp_path, root):
    with pytest.raises(ValueError, match="asks for no matches"):
        run(write_config(tmp_path, root, None))
    matches = matches_of(tmp_path)
    MatchStore.create(matches, root, "train", {"opencv": "1.0"})
    with pytest.raises(ValueError, match=r"versions\.opencv: written '1\.0'"):
        run(write_config(tmp_path, root, matches))


def test_missing_store_stops_the_data_set_with_the_command(tmp_path, root):
    from vtonlab.datasets.readers.vitonhd import VITONHDDataset

    with pytest.raises(FileNotFoundError, match=r"python tools/extract_matches\.py CONFIG"):
        VITONHDDataset(
            data_root=str(root), maps=("mask", "garment_mask"), matches=matches_of(tmp_path)
        )
