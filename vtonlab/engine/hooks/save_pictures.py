"""Generated pictures on disk, losslessly, one file a pair."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.hooks import Hook
from PIL import Image

from vtonlab.evaluation.results import pair_name
from vtonlab.ops.resize import fit_inside
from vtonlab.registry import HOOKS


@HOOKS.register_module()
class SavePicturesHook(Hook):
    """Writes every test result as PNG below the runner's work directory.

    ``pictures/<person>__<garment>.png`` is the picture as generated, ``repainted/`` the same with
    the photograph pasted back outside the mask. What was added to the photograph to fill the
    model's size (``source_size`` of the batch) is cut off again. Results without pictures are
    passed over.
    """

    def after_test_iter(
        self,
        runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[dict] | None = None,
    ) -> None:
        """Save each result of a test batch that holds pictures."""
        for place, result in enumerate(outputs or ()):
            if "image" not in result:
                continue
            name = f"{pair_name(result['id'], result['garment_id'])}.png"
            source = data_batch["source_size"][place] if "source_size" in data_batch else None
            for key, folder in (("image", "pictures"), ("repainted", "repainted")):
                if key in result:
                    path = Path(runner.work_dir) / folder / name
                    _save(without_padding(result[key], source), path)


def without_padding(picture: np.ndarray, source: tuple[int, int] | None) -> np.ndarray:
    """The part of a padded picture (H, W, 3) that shows a photograph of ``source`` size."""
    if source is None:
        return picture
    top, left, height, width = fit_inside(tuple(source), picture.shape[:2])
    return picture[top : top + height, left : left + width]


def _save(picture: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(picture)).save(path)
