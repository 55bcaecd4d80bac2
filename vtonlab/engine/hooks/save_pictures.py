"""Generated pictures on disk, losslessly, one file a pair."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
from mmengine.hooks import Hook
from PIL import Image

from vtonlab.registry import HOOKS


@HOOKS.register_module()
class SavePicturesHook(Hook):
    """Writes every test result as PNG below the runner's work directory.

    ``pictures/<person>__<garment>.png`` is the picture as generated, ``repainted/`` the same with
    the photograph pasted back outside the mask. Results without pictures are passed over.
    """

    def after_test_iter(
        self,
        runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: Sequence[dict] | None = None,
    ) -> None:
        """Save each result of a test batch that holds pictures."""
        for result in outputs or ():
            if "image" not in result:
                continue
            name = f"{quote(result['id'], safe='')}__{quote(result['garment_id'], safe='')}.png"
            for key, folder in (("image", "pictures"), ("repainted", "repainted")):
                if key in result:
                    _save(result[key], Path(runner.work_dir) / folder / name)


def _save(picture: np.ndarray, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path)
