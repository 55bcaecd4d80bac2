"""SyntheticTryOn's contract: what a sample holds, that it is the same everywhere, and the cache."""

import multiprocessing
import os
import signal
import time
from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from vtonlab.ops import agnostic as lip
from vtonlab.registry import DATASETS
from vtonlab.structures.sample import check_sample, collate
from vtonlab.synthetic import SyntheticTryOn


def digest(sample):
    """Everything in a sample as comparable values."""
    out = {}
    for key, value in sample.items():
        if key == "body":
            out |= {f"body.{k}": v.tobytes() for k, v in value.items()}
        elif hasattr(value, "to_dict"):
            value = {k: np.asarray(v) for k, v in value.to_dict().items()}
            out |= {f"{key}.{k}": v.tobytes() for k, v in value.items()}
        elif isinstance(value, np.ndarray):
            out[key] = value.tobytes()
        elif key != "position":
            out[key] = value
    return out


@pytest.fixture(scope="module")
def samples():
    data = SyntheticTryOn(length=18, hardness=(0.0, 0.6))
    return [data[i] for i in range(18)]


def test_samples_keep_the_contract(samples):
    for sample in samples:
        check_sample(sample)
        assert sample["person"].shape == sample["garment"].shape == (64, 48, 3)
        assert sample["flow"].size == (64, 48)
        assert len(sample["correspondences"]) == int(sample["flow"].visible.sum())
    assert {s["category"] for s in samples} == {"upper_body", "lower_body", "dresses"}
    batch = collate(samples[:4])
    assert batch["person"].shape == (4, 3, 64, 48) and batch["mask"].shape == (4, 1, 64, 48)


def test_registered_and_takes_a_key_with_a_position():
    data = DATASETS.build({"type": "SyntheticTryOn", "length": 3, "data_root": "anywhere"})
    sample = data[(1, 77)]
    assert (sample["index"], sample["position"]) == (1, 77)
    assert digest(sample) == digest(data[1])
    with pytest.raises(IndexError):
        data[3]


def test_maps_agree_with_each_other(samples):
    for sample in samples:
        worn, visible = sample["worn_mask"] > 0, sample["flow"].visible.numpy()
        assert worn.sum() > 40
        assert not (visible & ~worn).any()
        labels = {
            "upper_body": (lip.UPPER,),
            "lower_body": (lip.PANTS, lip.SKIRT),
            "dresses": (lip.DRESS,),
        }[sample["category"]]
        assert np.isin(sample["parse"][worn], labels).all()
        # visible garment points lie on the garment of the flat picture
        at = (sample["flow"].flow.numpy()[visible] * [48, 64]).astype(int)
        assert sample["garment_mask"][at[:, 1], at[:, 0]].mean() > 0.95
        assert (sample["iuv"][..., 0] <= 24).all() and (sample["iuv"][..., 0] > 0).sum() > 100
        assert ((sample["pose"].sum(-1) > 0) == (sample["iuv"][..., 0] > 0)).all()


def test_outfits_and_wearers_have_truths_of_their_own():
    """Each flow carries the true result's colours; nothing changes without them."""
    bodies = ["upper_body", "lower_body"]
    maps = ["flow", "correspondences", "worn_mask", "worn"]
    settings = dict(length=3, categories=bodies, setting="unpaired", textures="bold")
    data = SyntheticTryOn(**settings, outfit=True, maps=maps)
    copied, one_colour = Counter(), Counter()
    for sample in (data[n] for n in range(3)):
        check_sample(sample)
        target = sample["target"].astype(float)
        assert sample["garment_id_2"] != sample["garment_id"]
        for ending, picture in (("", "garment"), ("_2", "garment_2"), ("_worn", "worn")):
            flow = sample[f"flow{ending}"]
            seen = flow.visible.numpy()
            assert seen.sum() > 30 and len(sample[f"correspondences{ending}"]) == seen.sum()
            x, y = (flow.flow.numpy()[seen] * [48, 64]).astype(int).clip(0, [47, 63]).T
            copied[ending] += np.abs(sample[picture][y, x] - target[seen]).sum()
            one_colour[ending] += np.abs(target[seen].mean(0) - target[seen]).sum()
        both = sample["flow"].visible | sample["flow_2"].visible
        assert not (sample["flow"].visible & sample["flow_2"].visible).any()
        assert not (sample["worn_mask"] & sample["worn_mask_2"]).any()
        assert (sample["mask"] >= sample["worn_mask"] | sample["worn_mask_2"]).mean() > 0.99
        assert sample["mask"][both.numpy()].mean() > 0.9  # of other clothes, without a skirt
    assert all(copied[ending] < 0.8 * one_colour[ending] for ending in ("", "_2", "_worn"))
    plain = SyntheticTryOn(**settings)[0]
    assert not {key for key in plain if key[-2:] == "_2" or "worn" in key} - {"worn_mask"}
    shown = SyntheticTryOn(**settings, maps=["worn"])[0]
    assert np.array_equal(shown["target"], plain["target"])


def test_mask_hides_the_garment_and_keeps_the_face(samples):
    for sample in samples:
        mask, parse = sample["mask"] > 0, sample["parse"]
        assert mask[sample["worn_mask"] > 0].all()
        assert not mask[np.isin(parse, (lip.FACE, lip.HAIR))].any()
        assert (sample["agnostic"][mask] == 128).all()
        assert (sample["agnostic"][~mask] == sample["person"][~mask]).all()
        assert 0.05 < mask.mean() < 0.75


def test_flat_pictures_are_garments_on_near_white(samples):
    for sample in samples:
        mask = sample["garment_mask"] > 0
        assert 0.12 < mask.mean() < 0.9
        border = np.concatenate([sample["garment"][0], sample["garment"][-1]])
        assert border.min() > 200


def test_keypoints_lie_on_the_right_parts(samples):
    inside = []
    for sample in samples:
        for k, labels in (
            (0, (lip.FACE,)),
            (4, (lip.RIGHT_ARM,)),
            (7, (lip.LEFT_ARM,)),
        ):
            x, y, confidence = sample["keypoints"][k]
            if confidence == 1:
                row, column = int(y * 64), int(x * 48)
                near = sample["parse"][max(row - 2, 0) : row + 3, max(column - 2, 0) : column + 3]
                inside.append(np.isin(near, labels).any())
    assert len(inside) > 15 and np.mean(inside) > 0.85


def test_same_in_other_processes_and_orders():
    data = SyntheticTryOn(length=4, seed=3)
    here = [digest(data[i]) for i in range(4)]
    again = SyntheticTryOn(length=9, seed=3)  # another length, another order
    assert [digest(again[i]) for i in (3, 1)] == [here[3], here[1]]
    loader = DataLoader(
        data, batch_size=1, num_workers=2, collate_fn=lambda b: b[0],
        multiprocessing_context="fork",
    )  # fmt: skip
    assert [digest(s) for s in loader] == here


def test_random_state_of_the_caller_changes_nothing():
    data = SyntheticTryOn(length=2)
    first = digest(data[0])
    np.random.seed(5)
    torch.manual_seed(9)
    assert digest(data[0]) == first


def test_splits_and_seeds_share_nothing():
    kwargs = {"length": 5, "maps": ("flow",)}
    pictures = [
        SyntheticTryOn(split=split, seed=seed, **kwargs)[i]
        for split in ("train", "val", "test")
        for seed in (0, 1)
        for i in range(3)
    ]
    for key in ("person", "garment", "pose"):
        assert len({p[key].tobytes() for p in pictures}) == len(pictures)


def test_settings():
    unpaired = SyntheticTryOn(setting="unpaired", length=3)
    paired = SyntheticTryOn(length=3)
    for i in range(3):
        sample, reference = unpaired[i], paired[i]
        check_sample(sample)
        # the true result is what the paired data set photographs
        assert (sample["target"] == reference["person"]).all()
        assert (sample["garment"] == reference["garment"]).all()
        assert (sample["person"] != sample["target"]).any()
        outside = sample["mask"] == 0
        same = (sample["person"] == sample["target"]).all(-1)
        assert same[outside].mean() > 0.95
    two = SyntheticTryOn(setting="person_to_person", length=2, with_body=True)[0]
    check_sample(two)
    assert "target" not in two and (two["garment"] != two["person"]).any()
    body = two["body"]
    assert body["vertices"].shape == body["garment_vertices"].shape
    assert body["visibility"].shape == (64, 48) and body["pose"].shape == (24, 3)
    assert (body["shape"] == body["garment_shape"]).all()


def test_choices_are_respected():
    data = SyntheticTryOn(length=6, garments=["skirt", "t_shirt"], categories="lower_body")
    assert {data[i]["category"] for i in range(6)} == {"lower_body"}
    assert all((np.isin(data[i]["parse"], (lip.SKIRT,))).any() for i in range(3))
    few = SyntheticTryOn(length=1, maps=())[0]
    assert not {"flow", "iuv", "parse", "correspondences"} & set(few)


def test_hardness_turns_the_dial():
    easy = SyntheticTryOn(length=12, hardness=(0, 0), with_body=True)
    hard = SyntheticTryOn(length=12, hardness=(1, 1), with_body=True)
    yaw = [[abs(d[i]["body"]["pose"][0, 1]) for i in range(12)] for d in (easy, hard)]
    assert max(yaw[0]) < np.deg2rad(15) < np.mean(yaw[1])
    visible = [[float(d[i]["flow"].visible.sum()) for i in range(12)] for d in (easy, hard)]
    assert min(visible[0]) > 60 and np.mean(visible[1]) < np.mean(visible[0])


def test_framing_moves_and_shrinks_people():
    placed = [SyntheticTryOn(length=12, hardness=(0, 0), framing=f) for f in (0.0, 1.0)]
    boxes = [np.array([_box(d[i]["worn_mask"]) for i in range(12)]) for d in placed]
    centres = [(b[:, :2] + b[:, 2:]) / 2 for b in boxes]
    assert (centres[1].std(0) > 2 * centres[0].std(0)).all()
    heights = [b[:, 3] - b[:, 1] for b in boxes]
    assert heights[1].mean() < 0.85 * heights[0].mean()
    assert min(mask.sum() for mask in (placed[1][i]["worn_mask"] for i in range(12))) > 40


def _box(mask):
    y, x = np.nonzero(mask)
    return x.min(), y.min(), x.max(), y.max()


def test_shuffled_correspondences_belong_to_another_sample():
    plain = SyntheticTryOn(length=5)
    shuffled = SyntheticTryOn(length=5, shuffle_correspondences="samples")
    partners = [shuffled.partner(i) for i in range(5)]
    assert sorted(partners) == list(range(5)) and all(p != i for i, p in enumerate(partners))
    got, other = shuffled[2]["correspondences"], plain[partners[2]]["correspondences"]
    assert torch.equal(got.garment_points, other.garment_points)
    assert (shuffled[2]["person"] == plain[2]["person"]).all()
    assert torch.equal(shuffled[2]["flow"].flow, plain[2]["flow"].flow)  # the truth stays true
    with pytest.raises(ValueError, match="at least two"):
        SyntheticTryOn(length=1, shuffle_correspondences="samples")[0]


def test_shuffled_points_come_from_another_sample_one_by_one():
    plain = SyntheticTryOn(length=5)
    shuffled = SyntheticTryOn(length=5, shuffle_correspondences="points")
    got, own = shuffled[2]["correspondences"], plain[2]["correspondences"]
    other = plain[shuffled.partner(2)]["correspondences"]
    assert torch.equal(got.person_points, own.person_points)
    assert set(map(tuple, got.garment_points.tolist())) <= set(
        map(tuple, other.garment_points.tolist())
    )
    moved = got.garment_points - got.garment_points.mean(0)
    along = own.garment_points - own.garment_points.mean(0)
    assert abs((moved * along).sum() / (moved.norm() * along.norm())) < 0.15  # nothing is left
    assert torch.equal(got.garment_points, shuffled[2]["correspondences"].garment_points)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"split": "trian"}, "split must be one of train, val, test, base, bench, not 'trian'"),
        ({"setting": "pairs"}, "setting must be one of"),
        ({"size": (8, 48)}, "at least 16x16"),
        ({"hardness": (0.5, 1.2)}, "range within"),
        ({"shuffle_correspondences": "all"}, "must be one of samples, points, not 'all'"),
        ({"framing": 1.5}, "framing must be within"),
        ({"categories": ["shoes"]}, "categories must be one of"),
        ({"garments": ["skirt"], "categories": ["dresses"]}, "none of the garments"),
        ({"maps": ["depth"]}, "maps must be one of"),
        ({"length": 0}, "length"),
        ({"outfit": True}, "nothing is worn with a dress"),
        (
            {"maps": ["worn"], "setting": "person_to_person"},
            "maps: 'worn' needs setting='paired' or 'unpaired'",
        ),
    ],
)
def test_mistakes_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        SyntheticTryOn(**kwargs)


def test_transforms_run_in_order():
    def first(sample):
        return sample | {"order": [1]}

    def second(sample):
        return sample | {"order": [*sample["order"], 2]}

    assert SyntheticTryOn(length=1, transforms=[first, second])[0]["order"] == [1, 2]


# cache --------------------------------------------------------------------------------------


def test_cache_gives_the_same_samples_and_mends_damage(tmp_path):
    plain = SyntheticTryOn(length=3, with_body=True, setting="unpaired")
    kwargs = {"length": 3, "with_body": True, "setting": "unpaired", "cache_dir": tmp_path}
    cached = SyntheticTryOn(**kwargs)
    expected = [digest(plain[i]) for i in range(3)]
    assert [digest(cached[i]) for i in range(3)] == expected
    assert [digest(SyntheticTryOn(**kwargs)[i]) for i in range(3)] == expected
    for i, cut in ((0, 100), (1, -1), (2, 0)):
        path = cached.cache.path(i)
        path.write_bytes(path.read_bytes()[:cut])
    assert [digest(cached[i]) for i in range(3)] == expected
    assert digest(SyntheticTryOn(**kwargs)[0]) == expected[0]  # and the file is whole again
    assert not list(tmp_path.rglob(".part-*"))


def test_cache_is_keyed_by_every_setting_that_changes_pictures(tmp_path):
    folders = {
        SyntheticTryOn(length=2, cache_dir=tmp_path, **kwargs).cache.folder
        for kwargs in (
            {}, {"seed": 1}, {"split": "val"}, {"size": (32, 24)}, {"hardness": (0, 0.5)},
            {"textures": ["plain"]}, {"garments": ["dress"]}, {"setting": "unpaired"},
            {"with_body": True}, {"framing": 0.5}, {"maps": ["worn"]},
            {"categories": ["upper_body"]}, {"categories": ["upper_body"], "outfit": True},
        )
    }  # fmt: skip
    assert len(folders) == 13
    same = SyntheticTryOn(length=99, cache_dir=tmp_path, maps=(), shuffle_correspondences="samples")
    assert same.cache.folder in folders


def _fill(folder, started):
    data = SyntheticTryOn(length=40, size=(32, 24), cache_dir=folder)
    for i in range(40):
        data[i]
        started.set()


def test_cache_survives_a_kill_and_several_writers(tmp_path):
    context = multiprocessing.get_context("fork")
    started = [context.Event() for _ in range(2)]
    workers = [context.Process(target=_fill, args=(tmp_path, e)) for e in started]
    for worker in workers:
        worker.start()
    assert all(event.wait(60) for event in started)
    time.sleep(0.05)
    os.kill(workers[0].pid, signal.SIGKILL)
    workers[1].join(120)
    workers[0].join(10)
    assert workers[1].exitcode == 0
    cached = SyntheticTryOn(length=40, size=(32, 24), cache_dir=tmp_path)
    fresh = SyntheticTryOn(length=40, size=(32, 24))
    for i in (0, 1, 2, 20, 39):
        stored = cached.cache.get(i)
        assert stored is not None
        assert digest(cached[i]) == digest(fresh[i])
