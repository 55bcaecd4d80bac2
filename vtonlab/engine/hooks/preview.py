"""A grid of pictures of the same few samples, again and again, while a model learns."""

import copy

import numpy as np
import torch
from mmengine.hooks import EMAHook, Hook

from vtonlab.registry import HOOKS


@HOOKS.register_module()
class SampleGridHook(Hook):
    """Draws ``model.preview(batch)`` of one fixed batch through the visualiser's backends.

    The batch is the start of the validation data, or of the test data where there is none.
    ``preview`` takes it preprocessed and returns a uint8 RGB array (H, W, 3); it runs in evaluation
    mode without gradients, on the averaged weights where an EMA hook stands in the config.

    Args:
        interval: iterations between pictures; the last iteration draws too.
        samples: pictures in the batch.
        name: the picture's name in TensorBoard and under ``vis_data/vis_image``.

    Raises:
        ValueError: an argument below 1, or a config with neither validation nor test data.
    """

    priority = "BELOW_NORMAL"  # after EMAHook updated, before LoggerHook closes the visualiser

    def __init__(self, *, interval: int, samples: int = 4, name: str = "samples") -> None:
        if interval < 1 or samples < 1:
            raise ValueError(f"interval={interval} and samples={samples} must both be >= 1")
        self.interval = interval
        self.samples = samples
        self.name = name
        self._batch: dict | None = None

    def before_train(self, runner) -> None:
        """Load the fixed batch."""
        loader = runner.cfg.get("val_dataloader") or runner.cfg.get("test_dataloader")
        if loader is None:
            raise ValueError(
                "SampleGridHook needs a val_dataloader or test_dataloader to draw from"
            )
        loader = copy.deepcopy(loader)
        loader.update(batch_size=self.samples, num_workers=0)
        for key in ("persistent_workers", "prefetch_factor", "timeout"):
            loader.pop(key, None)
        self._batch = next(iter(runner.build_dataloader(loader, seed=runner.seed)))

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Draw at the interval and at the end."""
        step = runner.iter + 1
        if step % self.interval == 0 or step == runner.max_iters:
            runner.visualizer.add_image(self.name, self._draw(runner), step=step)

    @torch.no_grad()
    def _draw(self, runner) -> np.ndarray:
        averages = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
        model = runner.bare_model
        model.eval()
        try:
            for hook in averages:
                hook._swap_ema_parameters()
            picture = model.preview(model.data_preprocessor(copy.copy(self._batch), False))
        finally:
            for hook in averages:
                hook._swap_ema_parameters()
            model.train()
        assert picture.dtype == np.uint8 and picture.ndim == 3, "preview returns uint8 (H, W, 3)"
        return picture
