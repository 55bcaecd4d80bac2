"""Pictures of the same few samples, again and again, while a model learns."""

import copy
from collections.abc import Iterator

import numpy as np
import torch
from mmengine.hooks import EMAHook, Hook
from mmengine.visualization import MLflowVisBackend, Visualizer

from vtonlab.registry import HOOKS
from vtonlab.structures.sample import KEYPOINTS, LABEL_MAPS, MASKS, PICTURES

MOST_LAYERS = 6  # columns of the attention picture


@HOOKS.register_module()
class SampleGridHook(Hook):
    """Draws ``model.preview(batch)`` of one fixed batch through the visualiser's backends.

    The batch is the start of the validation data, or of the test data where there is none.
    ``preview`` takes it preprocessed and returns a uint8 RGB array (H, W, 3); it runs in evaluation
    mode without gradients, on the averaged weights where an EMA hook stands in the config.

    When training starts, the first people of the batch are drawn with all their maps, their
    correspondences and flow (``<name>_given_0`` and so on). Where the model has a ``probe``,
    ``<name>_attention`` shows each time where some points of these people look in the garment, in
    the layers that losses supervise (the probe's, where none does).

    Args:
        interval: iterations between pictures; the last iteration draws too.
        samples: pictures in the batch.
        name: the pictures' name in TensorBoard and under ``vis_data/vis_image``.
        people: whose data and attention are drawn; 0 for none.

    Raises:
        ValueError: an argument below 1, or a config with neither validation nor test data.
    """

    priority = "BELOW_NORMAL"  # after EMAHook updated, before LoggerHook closes the visualiser
    only_while_training = True  # tests run without it

    def __init__(
        self, *, interval: int, samples: int = 4, name: str = "samples", people: int = 2
    ) -> None:
        if interval < 1 or samples < 1:
            raise ValueError(f"interval={interval} and samples={samples} must both be >= 1")
        self.interval = interval
        self.samples = samples
        self.name = name
        self.people = people
        self._batch: dict | None = None

    def before_train(self, runner) -> None:
        """Load the fixed batch and show what it holds."""
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
        if "person" in self._batch:
            from vtonlab.visualization import draw_sample

            for place, sample in enumerate(samples_of(self._batch, self.people)):
                picture = draw_sample(sample, height=192)
                show_picture(runner.visualizer, f"{self.name}_given_{place}", picture, runner.iter)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Draw at the interval and at the end."""
        step = runner.iter + 1
        if step % self.interval == 0 or step == runner.max_iters:
            for name, picture in self._draw(runner).items():
                show_picture(runner.visualizer, name, picture, step)

    @torch.no_grad()
    def _draw(self, runner) -> dict[str, np.ndarray]:
        averages = [hook for hook in runner.hooks if isinstance(hook, EMAHook)]
        model = runner.bare_model
        model.eval()
        try:
            for hook in averages:
                hook._swap_ema_parameters()
            batch = model.data_preprocessor(copy.copy(self._batch), False)
            pictures = {self.name: model.preview(batch)}
            if self.people and getattr(model, "probe", None) is not None:
                pictures[f"{self.name}_attention"] = self._attention(model, batch)
        finally:
            for hook in averages:
                hook._swap_ema_parameters()
            model.train()
        picture = pictures[self.name]
        assert picture.dtype == np.uint8 and picture.ndim == 3, "preview returns uint8 (H, W, 3)"
        return pictures

    def _attention(self, model, batch: dict) -> np.ndarray:
        from vtonlab.visualization import stack
        from vtonlab.visualization.points import draw_sample_attention

        layers = model.supervised_layers or model.probe["layers"]
        records = model.attention_records(batch, model.probe.get("sigma", 0.5), layers)[
            :MOST_LAYERS
        ]
        shown = enumerate(samples_of(self._batch, self.people))
        return stack([draw_sample_attention(one, records, place=n) for n, one in shown])


def samples_of(batch: dict, count: int) -> Iterator[dict]:
    """The first samples of a collated batch that is not preprocessed, as they were before."""
    for place in range(min(count, len(batch["id"]))):
        sample = {key: values[place] for key, values in batch.items()}
        for key in PICTURES:
            if key in sample:
                sample[key] = sample[key].permute(1, 2, 0).numpy()
        for key in (*MASKS, *LABEL_MAPS, *KEYPOINTS):
            if key in sample:
                sample[key] = sample[key].numpy()
        yield sample | {key: sample[key][0] for key in MASKS if key in sample}


def show_picture(visualizer: Visualizer, name: str, picture: np.ndarray, step: int) -> None:
    """Give a picture to every backend.

    MLflow takes the name for a file's and keeps one picture of each name, so there it is
    ``<name>/<step>.png`` (mmengine 0.10.7 passes the name as it is).
    """
    for backend in visualizer._vis_backends.values():
        file = isinstance(backend, MLflowVisBackend)
        backend.add_image(f"{name}/{step:07d}.png" if file else name, picture, step=step)
