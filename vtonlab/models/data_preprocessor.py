"""From collated samples to what a model takes: pictures in [-1, 1], masks in {0, 1}."""

import torch
from mmengine.model import BaseDataPreprocessor

from vtonlab.losses.supervised_batch import HOST_MASKS
from vtonlab.registry import MODELS
from vtonlab.structures.sample import IUV_MAPS, MASKS, PICTURES

_NORMALISED = tuple(name for name in PICTURES if name not in IUV_MAPS)


@MODELS.register_module()
class TryOnDataPreprocessor(BaseDataPreprocessor):
    """uint8 (B, 3, H, W) pictures become float in [-1, 1], masks float; lists and label maps pass
    through.

    Every array that is there travels; nothing is resized here. Keys: see
    ``vtonlab.structures.sample``. ``position`` and, under ``host_masks``, the masks as they came
    are arrays that stay on the host, where noise is drawn and targets are made.

    Args:
        agnostic: ``"given"``: the data's own agnostic picture, whose hole is grey (0.004 after
            normalising, and what JPEG makes of it); ``"masked_person"``: the photograph times
            (1 - mask), whose hole is exactly 0, as the programs of CORAL, Leffa and CatVTON show
            it. Data without an agnostic picture get one.
        non_blocking: do not wait for copies to the device (from pinned memory, which loaders give
            where there is a GPU).

    Raises:
        ValueError: another ``agnostic``.
    """

    def __init__(self, *, agnostic: str = "given", non_blocking: bool = True) -> None:
        super().__init__(non_blocking=non_blocking)
        if agnostic not in ("given", "masked_person"):
            raise ValueError(f"agnostic={agnostic!r}: choose 'given' or 'masked_person'")
        self.agnostic = agnostic

    def forward(self, data: dict, training: bool = False) -> dict:
        """One collated batch in, the same keys out. ``training`` changes nothing: augmentation is
        the data set's.
        """
        batch = {key: self._to_device(value) for key, value in data.items()}
        if isinstance(data.get("position"), torch.Tensor):
            batch["position"] = data["position"].cpu().numpy()
        batch[HOST_MASKS] = {
            name: data[name].numpy() for name in MASKS if name in data and not data[name].is_cuda
        }
        for name in _NORMALISED:
            if name in batch:
                batch[name] = batch[name].float() / 127.5 - 1.0
        for name in MASKS:
            if name in batch:
                batch[name] = batch[name].float()
        if self.agnostic == "masked_person":
            batch["agnostic"] = batch["person"] * (1.0 - batch["mask"])
        return batch

    def _to_device(self, value):
        if isinstance(value, torch.Tensor):
            return value.to(self.device, non_blocking=self._non_blocking)
        if isinstance(value, list) and value and hasattr(value[0], "to"):
            return [item.to(self.device) for item in value]
        return value
