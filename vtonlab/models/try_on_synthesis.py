"""Try-on by adversarial synthesis: a frozen warp says where the garment goes, a generator draws the
person in it (3D-GCL's second stage).
"""

from collections.abc import Hashable, Sequence

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.optim import OptimWrapperDict
from torch import Tensor, nn

from vtonlab.models.adapters import keep_only_trained
from vtonlab.models.kept_warps import KeptWarps
from vtonlab.models.results import (
    check_loss_names,
    check_size,
    checkpoint_facts,
    pair_results,
    preview_picture,
    to_uint8,
)
from vtonlab.models.try_on_warping import Warp
from vtonlab.ops.retained import retained_mask
from vtonlab.ops.warp import on_white
from vtonlab.registry import BACKBONES, LOSSES, MODELS
from vtonlab.structures.sample import CATEGORIES
from vtonlab.utils.seeding import seed_from

RETAINED, POSES = ("agnostic", "parse"), ("picture", "iuv")


@MODELS.register_module()
class TryOnSynthesis(BaseModel):
    """Frozen warping + generator + discriminator, an optimiser for each of the last two.

    The generator sees the garment inside its mask, the person outside theirs, the pose and the
    warp: never a pixel of the photograph inside the mask.

    Args:
        warping: a model with ``warp(batch)``, which reads the keys ``warp_reads``, such as
            ``TryOnWarping``, without its losses. Frozen, in evaluation mode always; its weights are
            part of this model's checkpoints. Where a training starts they come from the config's
            ``load_parts=dict(warping=FILE)``.
        generator: ``SpatialStyleGenerator``.
        discriminator: ``ResidualDiscriminator``, of pictures and poses.
        adversarial: ``NonSaturatingLoss``.
        retained: what the generator sees of the person: the ``"agnostic"`` picture outside the
            mask, and the mask; or what ``"parse"`` and ``iuv`` call head, palms and lower body, on
            white, as released.
        pose: what picture and judgement are conditioned on: the ``"picture"`` of DensePose parts,
            or the ``"iuv"`` maps as the warping scales them.
        columns: the picture is 0 outside columns ``[first, last)``: the padding of narrower
            photographs; None: no.
        image_losses: name -> config of losses between the picture and the true one, each logged as
            ``loss_<name>``.
        size: (height, width) of the pictures this model is for; batches of another size are
            refused.
        categories: garment categories the model is trained for.
        seed: first coordinate of every noise.
        keep_warps: warps of up to so many training pairs are kept in memory, 28 bytes a pixel each:
            at laptop size the frozen warping is half of a step. For sets without random transforms
            that are seen many times.

    Raises:
        ValueError: a size that generator or discriminator cannot halve often enough, an unknown
            ``retained`` or ``pose``, or fewer than 0 ``keep_warps``.
    """

    trained_before = ("warping",)  # parts that are of no use with random weights
    train_only_prefixes = ("discriminator.", "image_losses.", "adversarial.")

    def __init__(
        self,
        *,
        warping: dict,
        generator: dict,
        discriminator: dict,
        adversarial: dict,
        retained: str = "agnostic",
        pose: str = "picture",
        columns: Sequence[int] | None = None,
        image_losses: dict[str, dict] | None = None,
        size: Sequence[int],
        categories: Sequence[str] = CATEGORIES,
        seed: int = 0,
        keep_warps: int = 0,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        preprocessor = MODELS.build(data_preprocessor or dict(type="TryOnDataPreprocessor"))
        super().__init__(data_preprocessor=preprocessor, init_cfg=init_cfg)
        for name, value, known in (("retained", retained, RETAINED), ("pose", pose, POSES)):
            if value not in known:
                raise ValueError(f"TryOnSynthesis: {name} {value!r} is none of {', '.join(known)}")
        if keep_warps < 0:
            raise ValueError(f"TryOnSynthesis: keep_warps {keep_warps} must be 0 (none) or more")
        self.kept_warps = KeptWarps(keep_warps)
        self.retained, self.pose, self.columns = retained, pose, columns
        self.warping = MODELS.build(warping)
        self.warping.requires_grad_(False).eval()
        self.generator = BACKBONES.build(generator)
        self.discriminator = BACKBONES.build(discriminator)
        self.adversarial = LOSSES.build(adversarial)
        check_loss_names("image_losses", image_losses or {})
        self.image_losses = nn.ModuleDict(
            {name: LOSSES.build(cfg) for name, cfg in (image_losses or {}).items()}
        )
        keep_only_trained(self.image_losses)  # perceptual networks come from their own files
        self.size, self.categories, self.seed = tuple(size), tuple(categories), seed
        self.noise_sizes = self.generator.noise_sizes(self.size)
        self.region = self.generator.region  # kept here: ranks wrap the generator

    def train(self, mode: bool = True) -> "TryOnSynthesis":
        """As ``nn.Module.train``; the warping stays in evaluation mode."""
        super().train(mode)
        self.warping.eval()
        return self

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        self.kept_warps.clear()
        super()._load_from_state_dict(*args, **kwargs)

    def forward(self, mode: str = "tensor", **batch) -> list:
        """``mode="predict"``: list of result dicts; training has :meth:`train_step`."""
        if mode == "predict":
            return self.predict(batch)
        raise ValueError(f"mode={mode!r}: TryOnSynthesis answers 'predict'")

    # Training -------------------------------------------------------------------------------------

    def train_step(self, data: dict, optim_wrapper: OptimWrapperDict) -> dict[str, Tensor]:
        """One step of the discriminator, then one of the generator on the same pictures.

        Noise of a sample depends on ``(seed, position)`` alone, and whether R1 is due on ``step``
        alone.

        Returns:
            ``loss_discriminator``, ``loss_r1`` (0 where it is not due: its mean over the interval
            is what it costs), ``loss_adversarial``, ``loss_<name>`` of each image loss, and the
            mean scores ``score_real`` and ``score_fake``.
        """
        batch = self.data_preprocessor(data, True)
        wanted = batch.get("target", batch["person"])
        with optim_wrapper["generator"].optim_context(self):
            fake, _ = self.draw(batch, self._noise("synthesis", batch["position"].tolist()))
        logs = self._train_discriminator(
            optim_wrapper["discriminator"],
            wanted,
            fake.detach(),
            self._condition(batch),
            batch["step"],
        )
        self.discriminator.requires_grad_(False)
        maker = optim_wrapper["generator"]
        with maker.optim_context(self):
            losses = self._generator_losses(fake, wanted, batch)
        maker.update_params(sum(losses.values()))
        self.discriminator.requires_grad_(True)
        return logs | {name: value.detach() for name, value in losses.items()}

    def _train_discriminator(
        self, judge, real: Tensor, fake: Tensor, pose: Tensor, step: int
    ) -> dict[str, Tensor]:
        penalised = self.adversarial.penalises(step)
        with judge.optim_context(self):
            real = real.detach().clone().requires_grad_(penalised)
            real_scores = self.discriminator(real, pose)
            fake_scores = self.discriminator(fake, pose)
            loss = self.adversarial.discriminator(real_scores, fake_scores)
            r1 = torch.zeros_like(loss)
            if penalised:
                r1 = self.adversarial.penalty(real_scores, real)
        judge.update_params(loss + r1)
        return dict(
            loss_discriminator=loss.detach(),
            loss_r1=r1.detach(),
            score_real=real_scores.detach().mean(),
            score_fake=fake_scores.detach().mean(),
        )

    def _generator_losses(self, fake: Tensor, wanted: Tensor, batch: dict) -> dict[str, Tensor]:
        scores = self.discriminator(fake, self._condition(batch))
        losses = {"loss_adversarial": self.adversarial.generator(scores)}
        for name, image_loss in self.image_losses.items():
            losses[f"loss_{name}"] = image_loss(fake, wanted)
        return losses

    # Drawing --------------------------------------------------------------------------------------

    def draw(self, batch: dict, noise: list[Tensor]) -> tuple[Tensor, Warp]:
        """Pictures (B, 3, H, W), about [-1, 1], and the warp they were made from.

        Args:
            batch: preprocessed.
            noise: of each layer of the generator.
        """
        check_size(batch, self.size)
        keep = self.training and self.kept_warps.most
        with torch.no_grad():
            warp = self.kept_warps(self.warping, batch) if keep else self.warping.warp(batch)
        garment = on_white(batch["garment"], batch["garment_mask"])
        picture = self.generator(
            garment,
            warp.flow,
            getattr(warp, self.region),
            self._retained(batch),
            self._condition(batch),
            [maps.to(garment) for maps in noise],
        )
        if self.columns is not None:
            inside = torch.zeros_like(picture[:1, :1, :1])
            inside[..., slice(*self.columns)] = 1
            picture = picture * inside
        return picture.float(), warp

    def _condition(self, batch: dict) -> Tensor:
        """The pose (B, 3, H, W) that a picture grows from and is judged with."""
        return batch["pose"] if self.pose == "picture" else self.warping.densepose(batch, "iuv")

    def _retained(self, batch: dict) -> Tensor:
        """What the generator sees of the person, (B, 4, H, W) or on white (B, 3, H, W)."""
        if self.retained == "agnostic":
            return torch.cat([batch["agnostic"] * (1 - batch["mask"]), batch["mask"]], 1)
        for key in ("parse", "iuv"):
            if key not in batch:
                raise ValueError(
                    f"TryOnSynthesis: retained='parse' reads {key!r}, which the batch lacks: ask "
                    "the data set for it (maps)"
                )
        return on_white(batch["person"], retained_mask(batch["parse"], batch["iuv"][:, 0]))

    def _noise(self, purpose: str, samples: Sequence[Hashable]) -> list[Tensor]:
        """Noise (B, 1, h, w) of each layer; each sample's from its own counter-based generator."""
        drawn = []
        for sample in samples:
            place = sample if isinstance(sample, tuple) else (sample,)
            generator = torch.Generator().manual_seed(seed_from(purpose, self.seed, *place))
            drawn.append([torch.randn(1, *side, generator=generator) for side in self.noise_sizes])
        return [torch.stack(maps) for maps in zip(*drawn, strict=True)]

    @torch.no_grad()
    def predict(self, batch: dict) -> list[dict]:
        """Dress each person of the batch.

        Each result is one of :func:`vtonlab.models.results.pair_results`, with ``warped_mask``
        (H, W) uint8, ``warped`` (H, W, 3) uint8, the warped garment pasted onto the agnostic
        picture: what there is without a generator, and ``worn_mask`` where the batch has it. A
        picture depends on its pair and the seed alone.
        """
        pairs = list(zip(batch["id"], batch["garment_id"], strict=True))
        pictures, warp = self.draw(batch, self._noise("picture", pairs))
        results = pair_results(batch, to_uint8(pictures))
        pasted = to_uint8(warp.pasted(batch["agnostic"]))
        masks = {"warped_mask": warp.warped_mask}
        if "worn_mask" in batch:
            masks["worn_mask"] = batch["worn_mask"]
        masks = {name: (mask[:, 0] > 0.5).byte().cpu().numpy() for name, mask in masks.items()}
        for place, result in enumerate(results):
            result |= {name: mask[place] for name, mask in masks.items()}
            result["warped"] = pasted[place]
        return results

    def preview(self, batch: dict) -> np.ndarray:
        """Rows of person, agnostic, garment, pasted warp and result, uint8 (B * H, 5 * W, 3)."""
        results = self.predict(batch)
        return preview_picture(batch, [np.hstack([r["warped"], r["image"]]) for r in results])

    def checkpoint_meta(self) -> dict:
        """Facts written into checkpoints and compared when one is loaded."""
        return checkpoint_facts(
            self,
            backbone=type(self.generator).__name__,
            warping=type(self.warping).__name__,
        )
