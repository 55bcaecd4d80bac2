"""Ways to break a VITON-HD tree: what users met, each with the finding and the refusal it must get.

P3 and P4 are the pains "agnostic mask" and "data set" of those who use try-on code: wrong polarity,
the grey picture in place of the mask, leaks, dead downloads, folder names, pair lists.
"""

import io
import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

ALL = ("agnostic", "mask", "garment_mask", "pose", "parse", "worn_mask", "keypoints")


class Break(NamedTuple):
    """One way to break a tree.

    Args:
        act: does it, given the root (a folder that holds ``train/`` and ``test/``).
        code: of the finding it must get.
        where: part of the finding's place or of one of its paths.
        reader: part of the reader's refusal, "" where it reads on rightly (see `options`).
        options: of the reader, beside ``data_root``.
        also: further findings that are true of the broken tree.
        root: what to name as data root, below the tree.
    """

    act: Callable[[Path], object]
    code: str
    where: str
    reader: str = ""
    options: dict = {}
    also: tuple[str, ...] = ()
    root: str = "."


def person(root: Path, number: int = 1, split: str = "train") -> str:
    """A name of the tree."""
    return sorted(p.stem for p in (root / split / "image").iterdir())[number]


def map_file(root: Path, folder: str, number: int = 1, split: str = "train") -> Path:
    """A person's file in a folder."""
    return next((root / split / folder).glob(f"{person(root, number, split)}*"))


def rewrite(folder: str, change: Callable, number: int | None = 1, **save) -> Callable:
    """Replace a picture (of everybody with ``number=None``) by ``change(array)``."""

    def act(root: Path) -> None:
        count = len(list((root / "train/image").iterdir()))
        for index in range(count) if number is None else [number]:
            path = map_file(root, folder, index)
            picture = Image.open(path)
            changed = change(np.array(picture))
            image = changed if isinstance(changed, Image.Image) else Image.fromarray(changed)
            if picture.mode == "P" and image.mode == "L" and not save:
                image.putpalette(picture.getpalette())
            image.save(path, **(save or ({"quality": 95} if path.suffix == ".jpg" else {})))

    return act


def data(folder: str, change: Callable[[bytes], bytes]) -> Callable:
    """Replace a file's bytes."""

    def act(root: Path) -> None:
        path = map_file(root, folder)
        path.write_bytes(change(path.read_bytes()))

    return act


def listing(name: str, change: Callable[[list[str]], list[str]]) -> Callable:
    """Replace the lines of a list."""

    def act(root: Path) -> None:
        lines = (root / name).read_text().splitlines()
        (root / name).write_text("".join(f"{line}\n" for line in change(lines)))

    return act


def move(source: str, target: str) -> Callable:
    return lambda root: (root / source).rename(root / target)


def copy_file(source: tuple, target: tuple) -> Callable:
    """A map's file over another's, each as (folder, number, split)."""

    def act(root: Path) -> None:
        shutil.copyfile(map_file(root, *source), map_file(root, *target))

    return act


def deeper(root: Path) -> None:
    inner = root / "zalando-hd-resized"
    inner.mkdir()
    for path in [p for p in root.iterdir() if p != inner]:
        path.rename(inner / path.name)


def packed(root: Path) -> None:
    shutil.rmtree(root / "train")
    shutil.rmtree(root / "test")
    (root / "zalando-hd-resized.zip").write_bytes(b"PK")


def bomb(width: int) -> bytes:
    """A PNG of a few kilobytes whose header promises width x width pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    header = struct.pack(">IIBBBBB", width, width, 8, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width + 1) * 8), 9)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def grey_agnostic_as_mask(root: Path) -> None:
    for index in range(3):
        picture = Image.open(map_file(root, "agnostic-v3.2", index))
        picture.save(map_file(root, "agnostic-mask", index))


def unmasked_agnostic(root: Path) -> None:
    shutil.copyfile(map_file(root, "image"), map_file(root, "agnostic-v3.2"))


def black_hole(root: Path) -> None:
    mask = np.array(Image.open(map_file(root, "agnostic-mask"))) > 127
    path = map_file(root, "agnostic-v3.2")
    picture = np.where(mask, np.uint8(0), np.array(Image.open(path)))
    Image.fromarray(picture).save(path, quality=95)


def parse_without_garment(root: Path) -> None:
    source = map_file(root, "image-parse-agnostic-v3.2")
    labels = np.array(Image.open(source))
    labels[np.isin(labels, (5, 6, 7))] = 0
    image = Image.fromarray(labels)
    image.putpalette(Image.open(source).getpalette())
    image.save(map_file(root, "image-parse-v3"))


def leaky(mask: np.ndarray) -> np.ndarray:
    """A hole of a tenth of the marked height in the middle of the mask."""
    rows = np.nonzero(mask[..., 0].any(1))[0]
    middle, size = (rows[0] + rows[-1]) // 2, max(2, (rows[-1] - rows[0]) // 10)
    mask = mask.copy()
    mask[middle : middle + size] = 0
    return mask


def brush(mask: np.ndarray) -> np.ndarray:
    """The mask as an image editor's layer: red strokes where it is white, nothing elsewhere."""
    layer = np.zeros((*mask.shape[:2], 4), np.uint8)
    layer[mask.reshape(*mask.shape[:2], -1)[..., 0] > 127] = (200, 30, 40, 255)
    return layer


def elsewhere(mask: np.ndarray) -> np.ndarray:
    """The mask of somebody who stands at the lower edge."""
    moved = np.zeros_like(mask)
    moved[-mask.shape[0] // 10 :, :] = 255
    return moved


def turned(root: Path) -> None:
    path = map_file(root, "image")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(np.array(Image.open(path)))).save(path, quality=95, exif=exif)


def png_in_jpg(root: Path) -> None:
    path = map_file(root, "cloth")
    stream = io.BytesIO()
    Image.open(path).save(stream, "PNG")
    path.write_bytes(stream.getvalue())


def transparent(root: Path) -> None:
    path = map_file(root, "cloth")
    picture = Image.open(path).convert("RGBA")
    picture.putalpha(200)
    stream = io.BytesIO()
    picture.save(stream, "PNG")
    path.unlink()
    path.with_suffix(".png").write_bytes(stream.getvalue())


def encoded_again(root: Path) -> None:
    """A test garment that is a train garment, smaller and in other bytes."""
    picture = Image.open(map_file(root, "cloth", 0))
    half = picture.resize((picture.width * 3 // 4, picture.height * 3 // 4))
    path = map_file(root, "cloth", 0, "test")
    half.resize(picture.size).save(path, quality=90)


def keypoints(value: object) -> Callable:
    def act(root: Path) -> None:
        path = map_file(root, "openpose_json")
        found = json.loads(path.read_text())
        path.write_text(json.dumps(value(found) if callable(value) else value))

    return act


def doubled_pixels(found: dict) -> dict:
    points = np.array(found["people"][0]["pose_keypoints_2d"]).reshape(-1, 3)
    points[:, :2] *= 2
    found["people"][0]["pose_keypoints_2d"] = points.reshape(-1).tolist()
    return found


def link_outside(root: Path) -> None:
    outside = root.parent / "secret.jpg"
    shutil.copyfile(map_file(root, "cloth"), outside)
    path = map_file(root, "cloth")
    path.unlink()
    path.symlink_to(outside)


def unreadable_folder(root: Path) -> None:
    os.chmod(root / "train/image-densepose", 0)


def small_and_large(root: Path) -> None:
    for folder in (p.name for p in (root / "train").iterdir()):
        path = map_file(root, folder)
        if path.suffix in (".jpg", ".png"):
            image = Image.open(path)
            if "openpose" not in folder:
                image.resize((image.width * 2, image.height * 2), 0).save(path)


def swap_lists(root: Path) -> None:
    train, test = (root / f"{split}_pairs.txt" for split in ("train", "test"))
    one, two = train.read_text(), test.read_text()
    train.write_text(two)
    test.write_text(one)


def strangers(lines: list[str]) -> list[str]:
    return [*lines, "77777_00.jpg 77777_00.jpg"]


def next_garment(lines: list[str]) -> list[str]:
    people = [line.split()[0] for line in lines]
    return [f"{a} {b}" for a, b in zip(people, [*people[1:], people[0]], strict=True)]


def own_garment(lines: list[str]) -> list[str]:
    return [f"{line.split()[0]} {line.split()[0]}" for line in lines]


def overlap(root: Path) -> None:
    """A test person that is in the train folders and list too."""
    name = person(root, 0, "test")
    for folder in (root / "test").iterdir():
        for path in folder.glob(f"{name}*"):
            shutil.copyfile(path, root / "train" / folder.name / path.name)
    path = map_file(root, "gt_cloth_warped_mask", 0)
    shutil.copyfile(path, path.with_name(f"{name}.jpg"))
    listing("train_pairs.txt", lambda lines: [*lines, f"{name}.jpg {name}.jpg"])(root)


UNPAIRED = dict(split="test", setting="unpaired")
BREAKS: dict[str, Break] = {
    # P3: the agnostic mask
    "the grey agnostic picture as the mask": Break(
        grey_agnostic_as_mask, "mask-no-mask", "train/agnostic-mask", "is no mask"
    ),
    "inverted masks": Break(
        rewrite("agnostic-mask", lambda m: 255 - m, None),
        "mask-inverted",
        "train/agnostic-mask",
        "white must be the area to generate",
    ),
    "an inverted garment mask": Break(
        rewrite("cloth-mask", lambda m: 255 - m), "mask-inverted", "cloth-mask", "invert it"
    ),
    "an inverted worn mask": Break(
        rewrite("gt_cloth_warped_mask", lambda m: 255 - m),
        "mask-inverted",
        "gt_cloth_warped_mask",
        "invert it",
    ),
    "a mask of 0 and 1": Break(
        rewrite("agnostic-mask", lambda m: m // 255), "mask-scale", "1 is white"
    ),
    "a brush on a transparent layer": Break(
        rewrite("agnostic-mask", brush), "mask-scale", "opacity is the mask"
    ),
    "an empty mask": Break(
        rewrite("agnostic-mask", lambda m: m * 0), "mask-area", "_mask.png", "marks 0%"
    ),
    "a full mask": Break(
        rewrite("agnostic-mask", lambda m: m * 0 + 255), "mask-area", "_mask.png", "marks 100%"
    ),
    "a mask that leaks": Break(
        rewrite("agnostic-mask", leaky), "mask-leak", "_mask.png", also=("agnostic-hole",)
    ),
    "the mask of another": Break(
        rewrite("agnostic-mask", elsewhere), "mask-of-another", "_mask.png"
    ),
    "a mask of half the size": Break(
        rewrite("agnostic-mask", lambda m: m[::2, ::2]), "other-size", "_mask.png"
    ),
    "a mask with height and width exchanged": Break(
        rewrite("agnostic-mask", lambda m: np.rot90(m).copy()),
        "wrong-aspect",
        "_mask.png",
        "a map has the aspect ratio of its photograph",
    ),
    "masks under names nobody reads": Break(
        lambda root: [
            p.rename(p.with_name("mask_" + p.name.replace("_mask", "")))
            for p in list((root / "train/agnostic-mask").iterdir())
        ],
        "names-not-understood",
        "train/agnostic-mask/mask_",
        "no mask in agnostic-mask/",
        also=("orphan-files",),
    ),
    "an agnostic picture that hides nothing": Break(
        unmasked_agnostic, "agnostic-visible", "agnostic-v3.2"
    ),
    "an agnostic picture with a black hole": Break(black_hole, "agnostic-hole", "agnostic-v3.2"),
    "one person without mask": Break(
        lambda root: map_file(root, "agnostic-mask").unlink(),
        "missing-files",
        "train/agnostic-mask",
        "missing='skip'",
    ),
    # P4: the download
    "one folder too deep": Break(
        deeper, "nested-root", "zalando-hd-resized", "did you mean data_root="
    ),
    "one folder too far up": Break(
        lambda root: None, "nested-root", "data", "did you mean", root="train"
    ),
    "not unpacked": Break(packed, "archive", "zalando-hd-resized.zip", "zalando-hd-resized.zip"),
    "no test split": Break(
        lambda root: shutil.rmtree(root / "test"),
        "split-missing",
        "test",
        "test/image/",
        dict(split="test"),
    ),
    "a folder under its other name": Break(
        move("train/gt_cloth_warped_mask", "train/gt_cloth_wraped_mask"),
        "folder-alias",
        "gt_cloth_wraped_mask",
        also=("mask-not-binary",),
    ),
    "a misspelt folder": Break(
        move("train/image-densepose", "train/image_densepose"),
        "folder-misspelt",
        "image_densepose",
        "no folder image-densepose",
    ),
    "two spellings of one folder": Break(
        lambda root: shutil.copytree(root / "train/cloth-mask", root / "train/cloth_mask"),
        "folder-twice",
        "train/cloth-mask",
    ),
    "a missing map": Break(
        lambda root: shutil.rmtree(root / "train/image-densepose"),
        "folder-missing",
        "train/image-densepose",
        "no folder image-densepose",
    ),
    "no garments": Break(
        lambda root: shutil.rmtree(root / "train/cloth"),
        "folder-required",
        "train/cloth",
        "no folder cloth",
        also=("list-entries-without-files", "orphan-files"),
    ),
    "garments under other names": Break(
        lambda root: [
            p.rename(p.with_name("c" + p.name)) for p in list((root / "train/cloth").iterdir())
        ],
        "no-garments",
        "train/cloth",
        "no garment in cloth/",
        also=("list-entries-without-files",),
    ),
    "an empty folder": Break(
        lambda root: [p.unlink() for p in (root / "train/image-densepose").iterdir()],
        "folder-empty",
        "train/image-densepose",
        "no pose in image-densepose/",
    ),
    "a link that leaves the root": Break(
        link_outside,
        "link-outside",
        "train/cloth",
        "leads outside",
        also=("missing-files", "list-entries-without-files"),
    ),
    "system files": Break(
        lambda root: (root / "train/image/._00000_00.jpg").write_bytes(b"x"),
        "junk-files",
        "._00000_00.jpg",
    ),
    "a map without its person": Break(
        lambda root: shutil.copyfile(
            map_file(root, "image-densepose"), root / "train/image-densepose/88888_00.jpg"
        ),
        "orphan-files",
        "88888_00.jpg",
    ),
    # P4: pair lists
    "no list": Break(
        lambda root: (root / "train_pairs.txt").unlink(),
        "list-missing",
        "train_pairs.txt",
        "does not exist",
    ),
    "an empty list": Break(
        listing("train_pairs.txt", lambda lines: []),
        "list-unreadable",
        "train_pairs.txt",
        "holds no pairs",
    ),
    "a list that is no text": Break(
        lambda root: (root / "train_pairs.txt").write_bytes(b"\xff\xfe\x00\xd8"),
        "list-unreadable",
        "train_pairs.txt",
        "is not a text file",
    ),
    "a list that climbs out": Break(
        listing("train_pairs.txt", lambda lines: [*lines, "../../secret.jpg a.jpg"]),
        "list-hostile",
        "train_pairs.txt",
        "may not be read",
    ),
    "a list of strangers": Break(
        listing("train_pairs.txt", strangers),
        "list-entries-without-files",
        "77777_00",
        "77777_00",
    ),
    "exchanged lists": Break(
        swap_lists,
        "list-of-other-split",
        "train_pairs.txt",
        "lack files",
        also=("unpaired-list-paired", "list-mismatched", "people-not-listed"),
    ),
    "the same pair twice": Break(
        listing("train_pairs.txt", lambda lines: [*lines, lines[0]]),
        "list-repeated",
        "train_pairs.txt",
    ),
    "a train list of mismatched pairs": Break(
        listing("train_pairs.txt", next_garment), "list-mismatched", "train_pairs.txt"
    ),
    "an unpaired list that is paired": Break(
        listing("test_pairs.txt", own_garment),
        "unpaired-list-paired",
        "test_pairs.txt",
        options=UNPAIRED,
    ),
    "people in train and test": Break(
        overlap, "list-overlap", "train_pairs.txt", also=("train-test-leak",)
    ),
    "people whom no list names": Break(
        listing("train_pairs.txt", lambda lines: lines[1:]), "people-not-listed", "train/image"
    ),
    # files
    "a truncated photograph": Break(
        data("image", lambda d: d[: len(d) // 2]), "truncated", "train/image", "truncated"
    ),
    "a truncated mask": Break(
        data("agnostic-mask", lambda d: d[:-4]), "truncated", "agnostic-mask", "truncated"
    ),
    "an empty file": Break(data("cloth", lambda d: b""), "empty", "train/cloth", "is empty"),
    "a web page in place of a picture": Break(
        data("cloth", lambda d: b"<html>Quota exceeded</html>"),
        "not-a-picture",
        "train/cloth",
        "is not a picture that can be read",
    ),
    "a decompression bomb": Break(
        data("cloth", lambda d: bomb(20_000)), "oversized", "train/cloth", "pixels"
    ),
    "a damaged label map": Break(
        data("image-parse-v3", lambda d: d[:-60] + b"\x55" * 30 + d[-30:]),
        "damaged",
        "image-parse-v3",
        "damaged",
    ),
    "PNG bytes under a JPEG name": Break(png_in_jpg, "wrong-extension", "train/cloth"),
    "a photograph on its side": Break(turned, "turned", "train/image"),
    "a photograph in grey": Break(
        rewrite("image", lambda p: Image.fromarray(p).convert("L")), "colourless", "train/image"
    ),
    "a transparent garment": Break(transparent, "transparent", "train/cloth"),
    "photographs of two sizes": Break(
        small_and_large, "mixed-sizes", "train/image", also=("keypoints-outside",)
    ),
    # other maps
    "a label map in colour": Break(
        rewrite("image-parse-v3", lambda p: np.repeat(p[..., None] * 10, 3, 2)),
        "parse-colour",
        "image-parse-v3",
        "a label map must be",
    ),
    "a label map of other labels": Break(
        rewrite("image-parse-v3", lambda p: p * 12), "parse-labels", "image-parse-v3"
    ),
    "the agnostic parse in place of the parse": Break(
        parse_without_garment, "parse-no-garment", "image-parse-v3"
    ),
    "a DensePose picture of nobody": Break(
        rewrite("image-densepose", lambda p: p * 0), "pose-empty", "image-densepose"
    ),
    "photographs in the DensePose folder": Break(
        copy_file(("image", 1), ("image-densepose", 1)), "pose-no-densepose", "image-densepose"
    ),
    "broken keypoints": Break(
        keypoints([]), "keypoints-unreadable", "_keypoints.json", "holds no OpenPose"
    ),
    "keypoints of nobody": Break(keypoints({"people": []}), "keypoints-nobody", "_keypoints.json"),
    "keypoints of a larger picture": Break(
        keypoints(doubled_pixels), "keypoints-outside", "_keypoints.json"
    ),
    # duplicates and leaks
    "a garment twice": Break(copy_file(("cloth", 1), ("cloth", 0)), "duplicate", "the same bytes"),
    "a test garment that was trained on": Break(
        copy_file(("cloth", 0), ("cloth", 0, "test")), "train-test-leak", "the same bytes"
    ),
    "the same, encoded again": Break(encoded_again, "train-test-leak", "encoded or scaled again"),
    "the person as the garment": Break(
        copy_file(("image", 1), ("cloth", 1)), "person-is-garment", "the same bytes"
    ),
}
