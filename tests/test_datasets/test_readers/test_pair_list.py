"""Pair lists: their splits, and further garments that are extracted as they are read."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from mmengine.config import Config

from vtonlab.datasets import PairListDataset


@pytest.fixture
def root(trees, tmp_path) -> Path:
    """Three people in VITON-HD's layout."""
    return Path(shutil.copytree(trees["vitonhd"], tmp_path / "vitonhd"))


def test_further_garments_are_extracted_as_they_are_read(root, tmp_path):
    """Names of all splits, masks of the garment itself, rows without it left out alike."""
    from tools.extract_matches import _requests, build_for_extraction

    cloth = root / "train/cloth"
    (root / "other").mkdir()
    (root / "other/00002_00.jpg").write_bytes((cloth / "00002_00.jpg").read_bytes())
    lines = ["person,garment,category,split,mask,worn_mask,worn_mask_2,garment_2"]
    seconds = ["train/cloth/00002_00.jpg", "", "other/00002_00.jpg"]
    for i, (split, second) in enumerate(zip(["train", "", "test"], seconds, strict=True)):
        person, first = f"train/image/{i:05d}_00.jpg", f"train/cloth/{i:05d}_00.jpg"
        masks = [f"train/agnostic-mask/{n:05d}_00_mask.png" for n in (i, 0, 1)]
        lines.append(",".join([person, first, "upper_body", split, *masks, second]))
    (root / "pairs.csv").write_text("\n".join(lines))
    maps = ["mask", "worn_mask", "worn_mask_2", "garment_2"]
    options = dict(data_root=str(root), size=None, maps=maps, missing="skip")
    matches = dict(
        matcher=dict(type="SIFTMatcher"), root=str(tmp_path), maps=["worn_mask", "garment_mask"]
    )
    settings = dict(type="PairListDataset", **options, matches=matches, matched=["garment_2"])
    config = Config(dict(train_dataloader=dict(dataset=settings)))
    request = _requests(config, "mine")[1]
    made, read = build_for_extraction(request), PairListDataset(**options)
    assert made.pairs == [read._pair(item, "garment_2") for item in read.items]
    assert made.pairs == [("00000_00", "train/cloth/00002_00")]
    sample, expected = made.load(0), read[0]
    assert np.array_equal(sample["worn_mask"], expected["worn_mask_2"])
    assert not np.array_equal(sample["worn_mask"], expected["worn_mask"])
    text = (root / "pairs.csv").read_text().replace("worn_mask_2,", "garment_mask_3,")
    (root / "pairs.csv").write_text(text)
    with pytest.raises(FileNotFoundError, match="no column 'worn_mask_2', which matches of"):
        build_for_extraction(request)
    with pytest.raises(ValueError, match="line 3 has no garment_2"):
        build_for_extraction({**request, "missing": "error"})


def test_rows_of_split_val(root):
    lines = ["person,garment,category,split"]
    for i, split in enumerate(["train", "val", ""]):
        lines.append(f"train/image/{i:05d}_00.jpg,train/cloth/{i:05d}_00.jpg,0,{split}")
    (root / "a.csv").write_text("\n".join(lines))
    options = dict(data_root=str(root), pairs="a.csv", maps=(), size=None)
    people = {
        split: [pair.id for pair in PairListDataset(split=split, **options).pairs]
        for split in ("train", "val")
    }
    assert people == {"train": ["00000_00", "00002_00"], "val": ["00001_00"]}
    for split in people:
        with pytest.raises(ValueError, match="says who is of split 'val': take holdout=1 out"):
            PairListDataset(split=split, holdout=1, **options)
    (root / "a.csv").write_text("\n".join(lines).replace("val", "train"))
    with pytest.raises(ValueError, match="needs holdout="):
        PairListDataset(split="val", **options)
    assert len(PairListDataset(split="val", holdout=1, **options)) == 1
