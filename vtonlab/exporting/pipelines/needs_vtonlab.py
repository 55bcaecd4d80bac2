"""Virtual try-on through vtonlab, behind diffusers' interface: this method needs code of its own.

    pipe = DiffusionPipeline.from_pretrained(DIR, custom_pipeline=DIR, trust_remote_code=True)
    picture = pipe(person, garment).images[0]

What diffusers has no counterpart for stands in ``model_index.json`` (settings, ``why``), in the
model card, and in the error where vtonlab is missing.
"""

import importlib
import os

from diffusers import DiffusionPipeline, ImagePipelineOutput
from huggingface_hub import snapshot_download


class TryOnPipeline(DiffusionPipeline):
    """Dresses people with `vtonlab.apis.TryOnInferencer`.

    Args:
        settings: of ``model_index.json``.

    Raises:
        ImportError: vtonlab is not installed; says what it is needed for.
    """

    def __init__(self, settings: dict = None):  # noqa: RUF013  (diffusers reads the types)
        super().__init__()
        self.register_to_config(settings=dict(settings))
        try:
            self._vtonlab = importlib.import_module("vtonlab.apis")
        except ImportError as error:
            raise ImportError(
                f"this model needs vtonlab, because {settings['why']}: pip install vtonlab"
            ) from error
        self._inferencer, self._place = None, None

    def to(self, *args, **kwargs):
        """Where the model is loaded to; the first argument, or ``device=``."""
        self._place = kwargs.get("device", args[0] if args else None)
        self._inferencer = None
        return self

    def __call__(
        self,
        person,
        garment,
        mask=None,
        pose=None,
        *,
        category=None,
        num_inference_steps=None,
        guidance_scale=None,
        seed=0,
        repaint=True,
        callback_on_step_end=None,
    ):
        """One picture for each person; lists go side by side; see `TryOnInferencer`."""
        if self._inferencer is None:
            folder = self.name_or_path
            folder = folder if os.path.isdir(folder) else snapshot_download(folder)
            self._inferencer = self._vtonlab.TryOnInferencer(folder, device=self._place)
        results = self._inferencer(
            person,
            garment,
            mask,
            category,
            pose=pose,
            seed=seed,
            num_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            repaint=repaint,
            callback_on_step_end=callback_on_step_end,
        )
        results = results if isinstance(results, list) else [results]
        return ImagePipelineOutput(images=[result.image for result in results])
