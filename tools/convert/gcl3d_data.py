"""Make 3D-GCL's own data tree readable: its pickles as ``.npz`` files beside them.

Example:
    python tools/convert/gcl3d_data.py data/deepfashion
    python tools/test.py configs/gcl3d/warp_deepfashion.py FILE \\
        --cfg-options data_root=data/deepfashion

The authors' tree holds ``image/``, ``parsing/``, ``keypoints/``, ``densepose/*.pkl``,
``smpl/*.pkl`` and the pair lists in one folder, which may be called ``Deepfashion_512_320``; DIR is
that folder or the one above it. DensePose is a crop of the photograph that ``pred_boxes_XYXY``
places; here it gets the photograph's size. Of bodies vertices and visible faces are kept. Pictures
and pickles stay as they are, and files that are there already are not made again (``--restart``
does).

Pickles are read without running what they name; one that holds more than NumPy arrays is refused.

Exit codes: 0 done, 1 some files are missing or damaged (each is named), 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import tools.environment  # noqa: F401

# isort: split
import argparse
from collections.abc import Callable, Iterator

import numpy as np

FOLDER = "Deepfashion_512_320"
FACES = 13776  # of SMPL; larger numbers in a visibility map are no face
PICTURES = (".png", ".jpg", ".jpeg")
Arrays = dict[str, np.ndarray]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, metavar="DIR", help="the tree, or the folder above it")
    parser.add_argument("--restart", action="store_true", help="make all files anew")
    return parser.parse_args(argv)


def tree_of(root: Path) -> Path:
    """The folder that holds ``image/``.

    Raises:
        FileNotFoundError: neither ``root`` nor the authors' folder in it does.
    """
    for folder in (root, root / FOLDER):
        if (folder / "image").is_dir():
            return folder
    raise FileNotFoundError(
        f"no image/ in {root} or {root / FOLDER}: is it 3D-GCL's DeepFashion tree?"
    )


def pasted(pickled: dict, size: tuple[int, int]) -> Arrays:
    """DensePose of a whole photograph: ``labels`` (H, W) uint8 and ``uv`` (2, H, W) float32.

    Args:
        pickled: ``pred_boxes_XYXY`` (4,), ``pred_densepose_label`` (h, w), ``pred_densepose_uv``
            (2, h, w).
        size: (height, width) of the photograph.

    Raises:
        ValueError: an array is missing or of another shape, or the crop leaves the photograph.
    """
    box, labels, uv = (
        np.asarray(entry(pickled, f"pred_{name}"))
        for name in ("boxes_XYXY", "densepose_label", "densepose_uv")
    )
    if box.shape != (4,) or labels.ndim != 2 or uv.shape != (2, *labels.shape):
        raise ValueError(f"box {box.shape}, labels {labels.shape} and uv {uv.shape} do not belong")
    if not np.isfinite(box).all() or labels.min(initial=0) < 0 or labels.max(initial=0) > 24:
        raise ValueError("the box is not finite, or labels are none of 0 to 24")
    left, top = (int(corner) for corner in box[:2])
    height, width = labels.shape
    if left < 0 or top < 0 or top + height > size[0] or left + width > size[1]:
        raise ValueError(
            f"the crop of {height}x{width} at row {top}, column {left} leaves the photograph of "
            f"{size[0]}x{size[1]}"
        )
    whole = dict(labels=np.zeros(size, np.uint8), uv=np.zeros((2, *size), np.float32))
    place = slice(top, top + height), slice(left, left + width)
    whole["labels"][place] = labels
    whole["uv"][:, place[0], place[1]] = uv
    return whole


def body(pickled: dict, size: tuple[int, int]) -> Arrays:
    """``pred_vertices_img`` (V, 2) float32 and ``visibility`` (H, W) uint32, whose largest number
    means no body.

    Raises:
        ValueError: an array is missing or of another shape.
    """
    vertices = np.asarray(entry(pickled, "pred_vertices_img"))
    seen = np.asarray(entry(pickled, "visibility")).astype(np.int64)
    if vertices.ndim != 2 or vertices.shape[1] not in (2, 3) or seen.shape != size:
        raise ValueError(
            f"vertices {vertices.shape} and visibility {seen.shape} are not those of a photograph "
            f"of {size[0]}x{size[1]}"
        )
    if not np.isfinite(vertices).all():
        raise ValueError("some vertices are not finite")
    nothing = np.iinfo(np.uint32).max
    seen[(seen < 0) | (seen >= FACES)] = nothing
    return dict(
        pred_vertices_img=vertices[:, :2].astype(np.float32), visibility=seen.astype(np.uint32)
    )


def entry(pickled, name: str):
    """A value of a pickled dictionary."""
    if not isinstance(pickled, dict) or name not in pickled:
        held = sorted(map(str, pickled)) if isinstance(pickled, dict) else type(pickled).__name__
        raise ValueError(f"it lacks {name!r}; it holds {held}")
    return pickled[name]


KINDS: dict[str, Callable[[dict, tuple[int, int]], Arrays]] = dict(densepose=pasted, smpl=body)


def convert(tree: Path, kind: str, restart: bool) -> Iterator[str]:
    """Make the ``.npz`` files of one kind; yields ``"made"``, ``"kept"`` or what is wrong."""
    from vtonlab.utils.array_pickles import read_array_pickle
    from vtonlab.utils.progress import Progress

    files, progress = sorted((tree / kind).rglob("*.pkl")), Progress(f"{kind} pickles")
    for place, file in enumerate(files, 1):
        progress(place, 0, len(files))
        target = file.with_suffix(".npz")
        if target.is_file() and not restart:
            yield "kept"
            continue
        try:
            size = photograph_size(tree, file.relative_to(tree / kind))
            arrays = KINDS[kind](read_array_pickle(file), size)
        except (ValueError, FileNotFoundError) as error:
            yield f"{file}: {error}"
            continue
        temporary = target.with_suffix(".tmp")
        with open(temporary, "wb") as stream:
            np.savez_compressed(stream, **arrays)
        temporary.replace(target)
        yield "made"


def photograph_size(tree: Path, name: Path) -> tuple[int, int]:
    """(height, width) of the photograph that a map belongs to.

    Raises:
        FileNotFoundError: there is none.
    """
    from vtonlab.utils.images import check_image

    for suffix in PICTURES:
        path = (tree / "image" / name).with_suffix(suffix)
        if path.is_file():
            return check_image(path, deep=False)
    raise FileNotFoundError(f"no photograph image/{name.with_suffix('')}{{{','.join(PICTURES)}}}")


def main() -> int:
    args = parse_args()
    from vtonlab.engine.cli import FINDINGS, OK

    tree, wrong = tree_of(args.root), []
    for kind in KINDS:
        said = list(convert(tree, kind, args.restart))
        faults = [text for text in said if text not in ("made", "kept")]
        counts = f"{said.count('made')} made, {said.count('kept')} already there"
        print(f"{kind}: {len(said)} pickles, {counts}, {len(faults)} refused")
        wrong += faults
    for text in wrong[:20]:
        print(f"  {text}")
    if len(wrong) > 20:
        print(f"  and {len(wrong) - 20} more")
    for name in ("train_psw512.csv", "test_psw512.csv", "parsing", "keypoints"):
        if not (tree / name).exists():
            print(f"missing: {tree / name}")
            wrong.append(name)
    print(f"read it with --cfg-options data_root={args.root}")
    return FINDINGS if wrong else OK


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
