"""A tiny VITON-HD tree, drawn with numpy, and samples with every key of the contract."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

SIZE = (64, 48)


def _picture(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Smooth colours, so that JPEG and resizing change little."""
    coarse = rng.integers(0, 256, (4, 3, 3), dtype=np.uint8)
    return np.array(Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC))


def write_vitonhd(root: Path, train: int = 4, test: int = 3, size=SIZE) -> Path:
    """The official layout; ids 00000_00, 00001_00, ... and test ids 10000_00, ..."""
    for split, first, count in (("train", 0, train), ("test", 10_000, test)):
        ids = [f"{first + i:05d}_00" for i in range(count)]
        for name in ids:
            _write_person(root / split, name, size, keypoints=split == "test")
        garments = ids if split == "train" else ids[1:] + ids[:1]
        lines = [f"{a}.jpg {b}.jpg\n" for a, b in zip(ids, garments, strict=True)]
        (root / f"{split}_pairs.txt").write_text("".join(lines))
    return root


def _write_person(parent: Path, name: str, size: tuple[int, int], keypoints: bool) -> None:
    rng = np.random.default_rng(int(name[:5]))
    h, w = size
    person = _picture(rng, size)
    mask = np.zeros(size, np.uint8)
    mask[h // 4 : 3 * h // 4, w // 4 : 3 * w // 4] = 255
    parse = np.zeros(size, np.uint8)
    parse[h // 3 : 2 * h // 3, w // 3 : 2 * w // 3] = 5
    parse[: h // 8, w // 3 : 2 * w // 3] = 2
    agnostic = np.where(mask[..., None] > 0, np.uint8(128), person)
    worn = (parse == 5).astype(np.uint8) * 255
    pose = np.zeros((*size, 3), np.uint8)
    pose[h // 4 :] = (22, 82, 194)
    palette = Image.fromarray(parse)
    palette.putpalette([v for i in range(20) for v in (i, 2 * i, 3 * i)])
    files = {
        f"image/{name}.jpg": person,
        f"cloth/{name}.jpg": _picture(rng, size),
        f"cloth-mask/{name}.jpg": mask,
        f"agnostic-v3.2/{name}.jpg": agnostic,
        f"agnostic-mask/{name}_mask.png": np.repeat(mask[..., None], 3, 2),
        f"image-densepose/{name}.jpg": pose,
        f"image-parse-v3/{name}.png": palette,
        f"gt_cloth_warped_mask/{name}.jpg": worn,
    }
    for path, picture in files.items():
        (parent / path).parent.mkdir(parents=True, exist_ok=True)
        image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
        options = dict(quality=95) if path.endswith(".jpg") else {}
        image.save(parent / path, **options)
    if keypoints:
        points = np.tile([w / 2 - 0.5, h / 4 - 0.5, 0.9], 25)
        points[:3] = 0  # nose not detected
        (parent / "openpose_json").mkdir(exist_ok=True)
        people = [dict(pose_keypoints_2d=points.tolist())]
        path = parent / "openpose_json" / f"{name}_keypoints.json"
        path.write_text(json.dumps(dict(version=1.3, people=people)))


@pytest.fixture
def vitonhd(tmp_path) -> Path:
    """Root of a fresh tiny tree: 4 train and 3 test people at 64x48."""
    return write_vitonhd(tmp_path / "vitonhd")


@pytest.fixture
def full_sample():
    """``make(seed, size)``: a sample with every key; flow is a smooth affine map, all visible."""
    import torch

    from vtonlab.structures.correspondences import Correspondences
    from vtonlab.structures.flow_field import FlowField
    from vtonlab.structures.sample import MASKS, REFERENCES, key_of

    def make(seed: int = 0, size: tuple[int, int] = (48, 36)) -> dict:
        rng = np.random.default_rng(seed)
        h, w = size
        y, x = np.meshgrid((np.arange(h) + 0.5) / h, (np.arange(w) + 0.5) / w, indexing="ij")
        flow = np.stack([0.15 + 0.5 * x + 0.1 * y, 0.2 + 0.05 * x + 0.6 * y], -1)
        points = rng.uniform(0.05, 0.95, (40, 2))
        matched = np.stack(
            [
                0.15 + 0.5 * points[:, 0] + 0.1 * points[:, 1],
                0.2 + 0.05 * points[:, 0] + 0.6 * points[:, 1],
            ],
            1,
        )
        keypoints = rng.uniform(0.1, 0.9, (25, 3)).astype(np.float32)
        keypoints[3] = 0
        sample = dict(
            id="a", garment_id="b", category="upper_body", index=0, position=0, rng=rng,
            keypoints=keypoints,
            correspondences=Correspondences(
                torch.from_numpy(points), torch.from_numpy(matched), torch.ones(40)
            ),
            flow=FlowField(torch.from_numpy(flow), torch.ones(h, w).bool()),
        )  # fmt: skip
        for key in ("person", "garment", "agnostic", "target"):
            sample[key] = _picture(rng, size)
        for key in ("mask", "garment_mask", "worn_mask"):
            sample[key] = np.kron(
                rng.integers(0, 2, (h // 4, w // 4), dtype=np.uint8), np.ones((4, 4), np.uint8)
            )
        for side in ("", "garment_"):
            sample[f"{side}parse"] = rng.integers(0, 20, size, dtype=np.uint8)
            sample[f"{side}iuv"] = rng.integers(0, 25, (*size, 3), dtype=np.uint8)
            sample[f"{side}pose"] = np.zeros((*size, 3), np.uint8)
            sample[f"{side}pose"][h // 2 :] = (22, 82, 194)
        sample["garment_keypoints"] = np.roll(keypoints, 1, 0)
        more = np.random.default_rng([seed, 1])
        sample["before"] = _picture(more, size)
        for role in REFERENCES[1:]:
            sample[role] = _picture(more, size)
            for name in ("correspondences", "flow"):
                sample[key_of(name, role)] = sample[name]
        for key in MASKS[3:]:
            sample[key] = sample["mask"].copy()
        return sample

    return make


TREES = {"vitonhd": 5, "dresscode": 12, "deepfashion": 12, "mpv": 5}  # pairs of each layout


@pytest.fixture(scope="session")
def trees(tmp_path_factory) -> dict[str, Path]:
    """layout -> root of a tree of rendered people in it, 96x72; not to be changed."""
    from vtonlab.synthetic.writer import Settings, write_dataset
    from vtonlab.synthetic.writer_layouts import build_layout

    root = tmp_path_factory.mktemp("trees")
    for layout, count in TREES.items():
        settings = Settings(layout, count, (96, 72))
        write_dataset(build_layout(settings), settings, root / layout)
    return {layout: root / layout for layout in TREES}


def without_validation(config):
    """A config that neither validates nor draws while it trains, on all people, in place; nor
    looks whether a loss is dead, which costs a pass backwards more for each loss.
    """
    config.default_hooks.pop("dead_losses", None)
    config.train_dataloader.dataset.pop("holdout", None)
    config.val_dataloader = config.val_evaluator = config.val_cfg = None
    config.default_hooks.checkpoint.pop("save_best", None)
    hooks = config.get("custom_hooks") or []
    config.custom_hooks = [hook for hook in hooks if hook["type"] != "SampleGridHook"]
    return config
