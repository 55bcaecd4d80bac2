"""Pairs in three folders: person/NAME.jpg, garment/NAME.jpg, mask/NAME.png (white = generate)."""

from collections.abc import Sequence
from pathlib import Path

from vtonlab.datasets import TryOnDataset
from vtonlab.ops.agnostic import agnostic_picture
from vtonlab.ops.resize import resize_mask, resize_picture
from vtonlab.registry import DATASETS
from vtonlab.utils.images import read_image


@DATASETS.register_module()
class ThreeFolders(TryOnDataset):
    """Upper-body pairs by file name.

    Args:
        data_root: the folder above the three.
        size: (height, width) of the samples.
        transforms, seed: of the base class.
    """

    def __init__(
        self,
        *,
        data_root: str | None = None,
        size: Sequence[int] = (64, 48),
        transforms: Sequence | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(transforms=transforms, seed=seed)
        self.root, self.size = Path(data_root or "data/shop"), tuple(size)
        self.names = sorted(path.stem for path in (self.root / "person").glob("*.jpg"))
        if not self.names:
            raise FileNotFoundError(f"no person/*.jpg in {self.root}: set data_root")

    def __len__(self) -> int:
        return len(self.names)

    def load(self, index: int) -> dict:
        """One pair, as on disk."""
        name = self.names[index]
        person = resize_picture(read_image(self.root / "person" / f"{name}.jpg"), self.size)
        garment = resize_picture(read_image(self.root / "garment" / f"{name}.jpg"), self.size)
        white = read_image(self.root / "mask" / f"{name}.png", "mask") > 127
        mask = resize_mask(white.astype("uint8"), self.size)  # 1 = generate
        return dict(
            id=name, garment_id=name, category="upper_body", person=person, garment=garment,
            mask=mask, agnostic=agnostic_picture(person, mask),
        )  # fmt: skip
