"""`TryOnInferencer`: a person's photograph and a garment's in, the dressed person out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from vtonlab.apis.looking import Look, look, read_records, seeded, usual_sigma
from vtonlab.apis.models import init_model
from vtonlab.apis.preparing import Picture, as_file, as_list, png, stem
from vtonlab.datasets.readers.assembling import Recipe
from vtonlab.datasets.readers.lists import Item, Pair
from vtonlab.datasets.readers.pair_maps import SHOWN
from vtonlab.datasets.readers.reading import MaskFiles
from vtonlab.engine.hooks.save_attention import attention_arrays
from vtonlab.engine.hooks.save_pictures import without_padding
from vtonlab.estimators import Preparation
from vtonlab.models import TryOnDiffusion
from vtonlab.structures.sample import MASKS, collate
from vtonlab.utils.images import MAX_PIXELS, Source, read_image

PREPARED = ("mask", "pose")  # maps that photographs alone give


@dataclass(frozen=True)
class TryOnResult:
    """One dressed person.

    Args:
        picture: (H, W, 3) uint8 RGB.
        mask: (H, W) uint8 in {0, 1}, 1 = generated.
        inputs: what the network was shown: person, garment, mask, agnostic, pose.
        id, garment_id: names of the pair; with the seed they decide the noise.
        warnings: what is uncertain about the inputs, one sentence each.
        attention: where each point of the person looked, if asked for: the arrays of
            `vtonlab.engine.hooks.save_attention.attention_arrays` (maps (L, Nq, Nk), mass, grids).
        shown: the sample as the model saw it, padded to its size, the picture as generated its
            ``target``: what :meth:`TryOnInferencer.look` reads.
    """

    picture: np.ndarray
    mask: np.ndarray
    inputs: dict[str, np.ndarray]
    id: str
    garment_id: str
    warnings: tuple[str, ...] = ()
    attention: dict[str, np.ndarray] | None = None
    shown: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def image(self) -> Image.Image:
        """The picture as Pillow's."""
        return Image.fromarray(self.picture)

    def save(self, path: str | Path) -> None:
        """Write the picture; PNG keeps every bit."""
        self.image.save(path)


class TryOnInferencer:
    """A model that dresses people, kept loaded.

    Pictures are the ones that `tools/test.py` draws: the same reader, the same placement on the
    model's size, the same call of the model, and noise from the pair's names and the seed alone.

    Args:
        model: a name of `list_models`, a folder with config and weights, a config (then
            ``checkpoint`` is needed), or a model that is loaded already.
        checkpoint: weights.
        device, dtype: see `init_model`.
        preparation: how missing maps are made; None: the default estimators, loaded when needed.

    Raises:
        ValueError: a model that needs more than photographs can give.
    """

    def __init__(
        self,
        model: str | Path | TryOnDiffusion,
        checkpoint: str | Path | None = None,
        *,
        device: str | torch.device | None = None,
        dtype: str | None = None,
        preparation: Preparation | None = None,
    ) -> None:
        if not isinstance(model, TryOnDiffusion):
            model = init_model(model, checkpoint, device=device, dtype=dtype)
        if not isinstance(model, TryOnDiffusion):
            raise ValueError(
                f"{type(model).__name__} reads bodies and flows that photographs do not give: "
                "prepare a data set and use tools/test.py"
            )
        known = ("agnostic", "garment", *PREPARED, *SHOWN)
        needs = [n for n in model.conditioner.needs if n not in known]
        if needs:
            raise ValueError(
                f"this model is shown {needs[0]!r}, which photographs do not give: prepare a data "
                "set and use tools/test.py"
            )
        self.model, self.preparation = model.eval(), preparation
        shown = [n for n in model.conditioner.needs if n in PREPARED]
        self.maps = tuple(dict.fromkeys(("mask", *shown)))
        self.others = tuple(n for n in model.conditioner.needs if n in SHOWN)
        self.recipe = self._recipe()

    def __call__(
        self,
        person: Picture | Sequence[Picture],
        garment: Picture | Sequence[Picture],
        mask: Picture | Sequence[Picture | None] | None = None,
        category: str | Sequence[str] | None = None,
        *,
        pose: Picture | Sequence[Picture | None] | None = None,
        others: Mapping[str, Picture] | None = None,
        task: str | None = None,
        seed: int = 0,
        num_steps: int | None = None,
        guidance_scale: float | None = None,
        batch_size: int = 1,
        repaint: bool = True,
        attention: bool = False,
        callback_on_step_end: Callable[..., Mapping | None] | None = None,
    ) -> TryOnResult | list[TryOnResult]:
        """Dress one person, or each of a list; a single picture goes with every one of the other
        list.

        Args:
            person, garment: paths, PIL pictures, uint8 arrays (H, W, 3), or lists of them.
            mask: 1 (white) where the picture is generated, of the person's size; None: made.
            category: ``upper_body``, ``lower_body`` or ``dresses``; None: the model's only one,
                else ``upper_body``.
            pose: DensePose-like rendering, for models that are shown one; None: made.
            others: further pictures that the model is shown, by role, for every pair:
                ``{"garment_2": ..., "worn": ...}``.
            task: of models whose named adapters are for one.
            seed: of the noise.
            num_steps, guidance_scale: of the sampler; None: as the model's config says.
            batch_size: pairs drawn at once.
            repaint: paste the photograph back outside the mask.
            attention: also read where the person looked.
            callback_on_step_end: as diffusers': called with this object, step, timestep and
                ``{"latents": ..., "clean": ...}`` (see `DiffusionSampler.after_step`); latents that
                it returns take their place.

        Raises:
            PreparationError: nobody is seen; a list names the pair.
            ValueError, FileNotFoundError: what cannot be used, in one sentence.
        """
        columns = [as_list(value) for value in (person, garment, mask, category, pose)]
        count = max(map(len, columns))
        if any(len(column) not in (1, count) for column in columns):
            lengths = ", ".join(str(len(column)) for column in columns)
            raise ValueError(f"lists of different lengths ({lengths}): give one for all or as many")
        rows = zip(*(c * count if len(c) == 1 else c for c in columns), strict=True)
        more = dict(others=others, task=task)
        samples = [self.sample(p, g, m, c, pose=q, **more) for p, g, m, c, q in rows]
        results = self.draw(
            samples,
            seed=seed,
            num_steps=num_steps,
            guidance_scale=guidance_scale,
            batch_size=batch_size,
            repaint=repaint,
            attention=attention,
            callback_on_step_end=callback_on_step_end,
        )
        single = not isinstance(person, list | tuple) and not isinstance(garment, list | tuple)
        return results[0] if single and len(results) == 1 else results

    def sample(
        self,
        person: Picture,
        garment: Picture,
        mask: Picture | None = None,
        category: str | None = None,
        *,
        pose: Picture | None = None,
        others: Mapping[str, Picture] | None = None,
        task: str | None = None,
    ) -> dict[str, Any]:
        """What the model is shown of one pair (`vtonlab.structures.sample`), at the model's size,
        with ``warnings``.
        """
        files = {"person": as_file(person, "person"), "garment": as_file(garment, "garment")}
        category = category or self._category()
        if category not in self.model.categories:
            raise ValueError(
                f"category {category!r}: this model dresses {', '.join(self.model.categories)}"
            )
        for name, picture in (("mask", mask), ("pose", pose)):
            if picture is not None:
                files[name] = as_file(picture, name)
        files |= self._others(files["person"], others or {})
        wanted = [*self.maps, "parse"] if self.recipe.paint_hair else self.maps
        missing = [name for name in wanted if name not in files]
        warnings: tuple[str, ...] = ()
        if missing:
            photo, cloth = (read_image(files[name]) for name in ("person", "garment"))
            self.preparation = self.preparation or Preparation()
            prepared = self.preparation(
                photo, cloth, category, maps=missing, name=stem(files["person"])
            )
            warnings = prepared.warnings
            for name in missing:
                array = getattr(prepared, name)
                files[name] = png(array * 255 if name in MASKS else array)
        pair = Pair(stem(files["person"]), stem(files["garment"]))
        sample = self.recipe.assemble(Item(pair, category), files)
        if not sample["mask"].any():
            raise ValueError(f"the mask of {pair.id} is empty: nothing would be generated")
        sample |= {} if task is None else {"task": task}
        return sample | dict(index=0, position=0, warnings=warnings)

    def _others(self, person: Source, given: Mapping[str, Picture]) -> dict[str, Source]:
        """The further pictures that the model is shown; the person is its own ``before``."""
        given = {"before": person, **given} if "before" in self.others else dict(given)
        for role in (*self.others, *given):
            if role not in given:
                raise ValueError(
                    f"this model is shown {role!r} too: give others={{{role!r}: picture}}"
                )
            if role not in self.others:
                shown = ", ".join(self.others) or "none"
                raise ValueError(f"others: this model is not shown {role!r}; it takes {shown}")
        return {role: as_file(picture, role) for role, picture in given.items()}

    def draw(
        self,
        samples: Sequence[Mapping[str, Any]],
        *,
        seed: int = 0,
        num_steps: int | None = None,
        guidance_scale: float | None = None,
        batch_size: int = 1,
        repaint: bool = True,
        attention: bool = False,
        callback_on_step_end: Callable[..., Mapping | None] | None = None,
    ) -> list[TryOnResult]:
        """The results of samples that :meth:`sample` made, ``batch_size`` at once; see
        :meth:`__call__`.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: at least 1")
        trained = self.model.condition_dropout or self.model.conditioner.dropouts
        if guidance_scale is not None and guidance_scale > 1 and not trained:
            raise ValueError(
                f"guidance_scale={guidance_scale} needs a model that was trained without its "
                "garment too (condition_dropout); this one was not"
            )
        model, results = self.model, []
        callback = None
        if callback_on_step_end is not None:
            callback = lambda *step: callback_on_step_end(self, *step)  # noqa: E731
        with seeded(model, seed), model.sampler.changed(num_steps, guidance_scale, callback):
            for first in range(0, len(samples), batch_size):
                some = list(samples[first : first + batch_size])
                results += self._draw(some, repaint, attention)
        return results

    def look(
        self,
        result: TryOnResult,
        *,
        layer: str | None = None,
        head: int | None = None,
        sigma: float | None = None,
        seed: int = 0,
    ) -> Look:
        """Where in the garment each place of a result looked; costs one network call.

        Args:
            result: of a call of this inferencer.
            layer: one of ``Look.layers``; None: one that an attention loss supervised, if any.
            head: one of the layer's; None: the mean of all.
            sigma: noise level in [0, 1] at which the picture is denoised once more; None: the
                config's probe, else 0.5.
            seed: of that noise.

        Raises:
            ValueError: no such layer, head or level, or a result that holds nothing to read.
        """
        if result.shown is None:
            raise ValueError("this result was not made by an inferencer: there is nothing to read")
        size = result.picture.shape[:2]
        return look(self.model, result.shown, size, layer=layer, head=head, sigma=sigma, seed=seed)

    def _draw(self, samples: list[dict], repaint: bool, attention: bool) -> list[TryOnResult]:
        bare = [{k: v for k, v in s.items() if k != "warnings"} for s in samples]
        drawn = self.model.test_step(dict(collate(bare)))
        results = []
        for sample, given, result in zip(samples, bare, drawn, strict=True):
            size, shown = sample["source_size"], given | {"target": result["image"]}
            names = ("person", *self.maps, "agnostic")
            inputs = {name: without_padding(sample[name], size) for name in names}
            picture = result["repainted" if repaint else "image"]
            results.append(
                TryOnResult(
                    picture=np.ascontiguousarray(without_padding(picture, size)),
                    mask=inputs["mask"],
                    inputs=inputs | {name: sample[name] for name in ("garment", *self.others)},
                    id=sample["id"],
                    garment_id=sample["garment_id"],
                    warnings=sample["warnings"],
                    attention=self._attention(shown) if attention else None,
                    shown=shown,
                )
            )
        return results

    def _attention(self, shown: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Read while the drawn picture is denoised."""
        model = self.model
        layers = (model.probe or {}).get("layers") or model.supervised_layers
        layers = layers or model.conditioner.readable(model.backbone)
        sigma = usual_sigma(model)
        records = read_records(model, shown, sigma, layers)
        return attention_arrays(records) | {"sigma": np.float32(sigma)}

    def _recipe(self) -> Recipe:
        """As the config's test data are read: from which grey on a mask is one (but white is always
        what is generated), hair over the pose.
        """
        config = getattr(self.model, "cfg", None) or {}
        data = (config.get("test_dataloader") or {}).get("dataset") or {}
        masks = dict(data.get("mask_files") or {}, inverted=())
        return Recipe(
            size=tuple(self.model.size),
            maps=(*self.maps, *self.others, "agnostic"),
            task="try_on",
            labels="lip",
            build_mask={},
            paint_hair=bool(data.get("paint_hair")) and "pose" in self.maps,
            max_pixels=MAX_PIXELS,
            mask_files=MaskFiles.of(masks),
        )

    def _category(self) -> str:
        known = self.model.categories
        return known[0] if len(known) == 1 else "upper_body"
