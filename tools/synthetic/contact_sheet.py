"""Draw docs/synthetic_contact_sheet.jpg: rendered samples from easy to hard, with every map.

Columns: garment, person, agnostic picture, mask, DensePose-like parts, IUV, parse, keypoints, flow,
and the garment carried to the person by the flow.

Example:
    python tools/synthetic/contact_sheet.py --out docs/synthetic_contact_sheet.jpg
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
from pathlib import Path

import numpy as np

CATEGORIES = ("upper_body", "lower_body", "dresses")
LIMBS = (
    (0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (10, 11),
    (8, 12), (12, 13), (13, 14), (0, 15), (0, 16), (15, 17), (16, 18), (14, 19), (11, 22),
)  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JPEG to write")
    parser.add_argument("--count", type=int, default=24, help="samples, from hardness 0 to 1")
    parser.add_argument("--size", default="128x96", help="HEIGHTxWIDTH of each picture")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    import cv2

    from vtonlab.synthetic import SyntheticTryOn

    size = tuple(int(n) for n in args.size.split("x"))
    rows = []
    for i in range(args.count):
        hardness = i / max(args.count - 1, 1)
        data = SyntheticTryOn(
            size=size, seed=args.seed, length=args.count, categories=CATEGORIES[i % 3],
            hardness=(hardness, hardness), split="test",
        )  # fmt: skip
        rows.append(np.concatenate(tiles(data[i]), axis=1))
    half = -(-len(rows) // 2)
    rows += [np.full_like(rows[0], 255)] * (2 * half - len(rows))
    gap = np.full((half * size[0], 12, 3), 255, np.uint8)
    left, right = np.concatenate(rows[:half]), np.concatenate(rows[half:])
    sheet = np.concatenate([left, gap, right], axis=1)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(args.out), sheet[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 70])
    print(f"{args.out}: {sheet.shape[1]}x{sheet.shape[0]}, {args.out.stat().st_size / 1e3:.0f} kB")
    return 0


def tiles(sample: dict) -> list[np.ndarray]:
    """All maps of a sample as RGB pictures of one size."""
    import cv2

    from vtonlab.ops.geometry import warp

    flow, visible = sample["flow"].flow.numpy(), sample["flow"].visible.numpy()
    field = np.zeros_like(sample["person"])
    field[visible] = np.concatenate(
        [flow[visible] * 255, np.full((visible.sum(), 1), 128)], axis=1
    ).astype(np.uint8)
    mask = np.repeat(sample["mask"][..., None] * np.uint8(255), 3, axis=2)
    labels = cv2.applyColorMap(sample["parse"] * np.uint8(13), cv2.COLORMAP_TURBO)[..., ::-1]
    labels = np.where(sample["parse"][..., None] > 0, labels, 0).astype(np.uint8)
    return [
        sample["garment"], sample["person"], sample["agnostic"], mask, sample["pose"],
        sample["iuv"], labels, skeleton(sample), field, warp(sample["garment"], flow, visible),
    ]  # fmt: skip


def skeleton(sample: dict) -> np.ndarray:
    import cv2

    picture = (sample["person"] // 2).copy()
    h, w = picture.shape[:2]
    points = (sample["keypoints"][:, :2] * [w, h]).astype(int)
    known = sample["keypoints"][:, 2] > 0
    for n, (a, b) in enumerate(LIMBS):
        if known[a] and known[b]:
            hue = np.uint8([[[n * 9, 220, 255]]])
            color = cv2.cvtColor(hue, cv2.COLOR_HSV2RGB)[0, 0].tolist()
            cv2.line(picture, points[a].tolist(), points[b].tolist(), color, max(1, h // 64))
    return picture


if __name__ == "__main__":
    sys.exit(main())
