"""CORAL on your own photographs, on a CPU in minutes: a table says who wears what.

``DIR/pairs.csv`` needs two columns, and a third where garments differ in kind::

    person,garment
    people/anna.jpg,shop/red dress.jpg

Masks, poses and keypoints are made from the photographs, once, into ``DIR/prepared`` (fetch the
networks first: ``python tools/get_estimators.py``). Then as for any data set:

    C=configs/coral/dit_tiny_photographs.py
    python tools/extract_matches.py $C --cfg-options data_root=DIR
    python tools/train.py $C --cfg-options data_root=DIR
"""

from mmengine.config import read_base

with read_base():
    from .dit_tiny_vitonhd import *

data_root = "data/photographs"

own_photographs = dict(
    type="PairListDataset",
    size=size,
    categories=["upper_body"],
    maps=["agnostic", "mask", "garment_mask", "pose"],
    prepare=dict(type="Preparation"),
    missing="skip",
)
train_dataloader.dataset = dict(
    **own_photographs,
    matches=matches,
    keep_in_memory=True,
)
train_dataloader.dataset["maps"] = [*own_photographs["maps"], "worn_mask"]
test_dataloader.dataset = dict(**own_photographs)
