"""Try-on by warping: a correspondence network says where each person pixel looks (3D-GCL's first
stage).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.model import BaseModel
from torch import Tensor, nn

from vtonlab.backbones.correspondence_network import PyramidFeatures
from vtonlab.models.adapters import keep_only_trained
from vtonlab.models.results import (
    add_attention,
    bare_results,
    check_loss_names,
    check_probe,
    check_size,
    checkpoint_facts,
    pair_results,
    preview_picture,
    to_uint8,
)
from vtonlab.ops.flow_arithmetic import FlowArithmetic
from vtonlab.ops.warp import dilate, on_white
from vtonlab.registry import ATTENTION_LOSSES, BACKBONES, LOSSES, MODELS
from vtonlab.structures.attention_record import AttentionRecord
from vtonlab.structures.sample import CATEGORIES

STARTS = ("correlation", "identity")
LAYER = "correlation"  # name of the record


@dataclass(frozen=True, eq=False)
class Warp:
    """A garment laid onto a person.

    ===============  ============  =================================================================
    ``flow``         (B, h, w, 2)  where each person pixel looks, ``(x, y)`` in [0, 1] over the
                                   garment picture, at the finest scale the model computes
    ``warped``       (B, 3, H, W)  the garment at picture size, in [-1, 1], on white
    ``warped_mask``  (B, 1, H, W)  its region, in [0, 1]
    ``landed``       (B, 1, h, w)  the garment's own mask at ``flow``, in [0, 1]
    ===============  ============  =================================================================
    """

    flow: Tensor
    warped: Tensor
    warped_mask: Tensor
    landed: Tensor

    def pasted(self, agnostic: Tensor) -> Tensor:
        """The garment on ``agnostic`` (B, 3, H, W), which takes the place of the white."""
        return self.warped + (agnostic - 1) * (1 - self.warped_mask)


@dataclass(frozen=True, eq=False)
class _Pyramid:
    """What one pass leaves: flows coarse to fine, the correlation, and its warp of the garment."""

    flows: list[Tensor]  # (B, h, w, 2) each
    record: AttentionRecord | None
    coarse: Tensor | None  # (B, 3, h, w): the garment under the correlation
    region: Tensor | None  # (B, 1, h, w): where the correlation sees garment, dilated, no gradient


@MODELS.register_module()
class TryOnWarping(BaseModel):
    """Correspondence network + refinement + losses, all from the config.

    Reads ``garment``, ``garment_mask``, ``worn_mask`` (training) and the DensePose maps ``iuv`` and
    ``garment_iuv`` of photographs of two dressed people. A person's colours are not seen, but for
    the target of the losses.

    Args:
        network: ``CorrespondenceNetwork``.
        refinement: ``FlowRefinement``; None stops at the coarse flow.
        start: ``"correlation"``: the coarse flow is the most correlated garment token of each
            person token; ``"identity"``: there is no global correlation, the refinement starts from
            the identity flow (the paper's ablation).
        attention_losses: name -> config, over the correlation; each is logged as ``loss_<name>``.
        flow_loss: over the refined flows, logged as ``loss_flow``.
        image_losses: name -> config of losses over pictures, here of the garment warped at every
            scale.
        scale_weights: of ``image_losses``, coarse to fine: the correlation's scale and the
            refinement's.
        size: (height, width) of the pictures this model is for; multiples of the network's stride.
        label_scale: what DensePose labels (0 to 24) are multiplied by; U and V are in [0, 1]. 10 is
            the released code's (METHODS.md G4).
        arithmetic: rules of :class:`FlowArithmetic` that differ from pixel centres everywhere, for
            weights that were trained under them.
        categories: garment categories the model is trained for.
        probe: ``dict(layers=["correlation"])``: read the correlation when testing.

    Raises:
        ValueError: an unknown ``start``, a size the network cannot halve, attention losses without
            a correlation, no refinement without one.
    """

    train_only_prefixes = ("attention_losses.", "flow_loss.", "image_losses.")  # not exported
    warp_reads = ("garment", "garment_mask", "iuv", "garment_iuv")

    def __init__(
        self,
        *,
        network: dict,
        refinement: dict | None,
        size: Sequence[int],
        start: str = "correlation",
        attention_losses: dict[str, dict] | None = None,
        flow_loss: dict | None = None,
        image_losses: dict[str, dict] | None = None,
        scale_weights: Sequence[float] = (1.0, 5.0, 5.0),
        label_scale: float = 1 / 24,
        arithmetic: dict | None = None,
        categories: Sequence[str] = CATEGORIES,
        probe: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        preprocessor = MODELS.build(data_preprocessor or dict(type="TryOnDataPreprocessor"))
        super().__init__(data_preprocessor=preprocessor, init_cfg=init_cfg)
        if start not in STARTS:
            raise ValueError(f"TryOnWarping: start {start!r} is none of {', '.join(STARTS)}")
        self.network = BACKBONES.build(network)
        self.refinement = None if refinement is None else BACKBONES.build(refinement)
        self.start, self.size, self.label_scale = start, tuple(size), label_scale
        self.arithmetic = FlowArithmetic(**(arithmetic or {}))
        self._check_settings(attention_losses, probe)
        check_loss_names("attention_losses", attention_losses or {})
        check_probe(probe)
        check_loss_names("image_losses", image_losses or {})
        self.attention_losses = _built(ATTENTION_LOSSES, attention_losses)
        self.flow_loss = None if flow_loss is None else LOSSES.build(flow_loss)
        self.image_losses = _built(LOSSES, image_losses)
        self.scale_weights = tuple(scale_weights)
        self.categories, self.probe = tuple(categories), probe
        keep_only_trained(self.image_losses)  # perceptual networks come from their own files

    def _check_settings(self, attention_losses: Mapping | None, probe: Mapping | None) -> None:
        stride = self.network.stride
        if any(side % stride for side in self.size):
            raise ValueError(
                f"TryOnWarping: size {self.size[0]}x{self.size[1]} must be multiples of {stride}, "
                "the network's stride"
            )
        if self.start == "correlation":
            return
        if attention_losses or probe is not None:
            raise ValueError(
                "TryOnWarping: start='identity' computes no correlation, so attention_losses and "
                "probe must be empty"
            )
        if self.refinement is None:
            raise ValueError("TryOnWarping: start='identity' without a refinement warps nothing")

    def forward(self, mode: str = "tensor", step: int = 0, **batch) -> dict | list:
        """``mode="loss"``: dict of scalars; ``"predict"`` and ``"probe"``: list of result dicts."""
        check_size(batch, self.size)
        if mode == "loss":
            return self.loss(batch, step)
        if mode == "predict":
            return self.predict(batch)
        if mode == "probe":
            return self.probe_attention(batch)
        raise ValueError(f"mode={mode!r}: TryOnWarping answers 'loss', 'predict' and 'probe'")

    # Warping --------------------------------------------------------------------------------------

    def warp(self, batch: dict) -> Warp:
        """The garments of a preprocessed batch laid onto its people."""
        garment, mask = _garment(batch)
        pyramid = self._pyramid(batch)
        flow = self.arithmetic.resize(pyramid.flows[-1], self.size)
        region = self.arithmetic.sample(mask, flow)
        if pyramid.region is not None:
            seen = _resized(pyramid.region, self.size)
            region = region * seen if self.arithmetic.region == "both" else seen
        warped = on_white(self.arithmetic.sample(garment, flow), region)
        landed = self.arithmetic.sample(mask, pyramid.flows[-1])
        return Warp(pyramid.flows[-1], warped, region, landed)

    def _pyramid(self, batch: dict) -> _Pyramid:
        features = self._features(batch)
        like = features.person[0]
        query_grid = tuple(like.shape[-2:])
        if self.start == "identity":
            flow = self.arithmetic.identity(query_grid, like).expand(len(like), -1, -1, -1)
            record = coarse = region = None
        else:
            record = self.network.correlate(features)
            flow = self.arithmetic.start(record.argmax(), query_grid, record.key_grid, like)
            coarse, region = self._coarse_warp(record, batch)
        flows = [flow]
        if self.refinement is not None:
            flows += self.refinement(flow, features, self.arithmetic)
        return _Pyramid(flows, record, coarse, region)

    def _features(self, batch: dict) -> PyramidFeatures:
        garment, _ = _garment(batch)
        person_map, garment_map = (self.densepose(batch, key) for key in ("iuv", "garment_iuv"))
        return self.network(person_map, torch.cat([garment_map, garment], 1))

    def densepose(self, batch: dict, key: str) -> Tensor:
        """``iuv`` or ``garment_iuv`` (B, 3, H, W): scaled label, U and V in [0, 1]."""
        dtype = torch.promote_types(batch["garment"].dtype, torch.float32)
        maps = _needed(batch, key).to(dtype)
        return torch.cat([maps[:, :1] * self.label_scale, maps[:, 1:] / 255], 1)

    def _coarse_warp(self, record: AttentionRecord, batch: dict) -> tuple[Tensor, Tensor]:
        """The garment and, dilated and without gradient, its mask under the correlation."""
        small = self.arithmetic.shrink
        garment, mask = (small(x, record.key_grid) for x in _garment(batch))
        values = torch.cat([garment, mask], 1).flatten(2).mT.to(record.query.dtype)  # (B, Nk, 4)
        found = record.mean_of(values)[:, 0].mT.unflatten(2, record.query_grid)  # (B, 4, h, w)
        return found[:, :3], dilate(found[:, 3:].detach())

    # Training -------------------------------------------------------------------------------------

    def loss(self, batch: dict, step: int = 0) -> dict[str, Tensor]:
        """``loss_<name>`` of each attention loss and image loss, ``loss_flow``, and monitors."""
        pyramid = self._pyramid(batch)
        losses = {}
        timesteps = torch.zeros(len(batch["person"]), device=batch["person"].device)
        for name, attention_loss in self.attention_losses.items():
            result = attention_loss([pyramid.record], batch, timesteps=timesteps, step=step)
            losses |= _named(name, result)
        if self.flow_loss is not None:
            losses |= _named("flow", self.flow_loss(pyramid.flows[1:], batch))
        return losses | self._image_losses(pyramid, batch)

    def _image_losses(self, pyramid: _Pyramid, batch: dict) -> dict[str, Tensor]:
        """Each image loss, summed over scales: garment under the flow against garment worn."""
        if not self.image_losses:
            return {}
        worn_mask = _needed(batch, "worn_mask")
        worn = on_white(batch.get("target", batch["person"]), worn_mask)
        losses = {f"loss_{name}": worn.new_zeros(()) for name in self.image_losses}
        warps = self._warps(pyramid, batch)
        if len(self.scale_weights) < len(warps):
            raise ValueError(
                f"TryOnWarping: scale_weights has {len(self.scale_weights)} numbers, and there are "
                f"{len(warps)} scales: give one for each, coarse to fine"
            )
        for weight, found in zip(self.scale_weights, warps, strict=False):
            if found is None:
                continue
            wanted, mask = (F.adaptive_avg_pool2d(x, found.shape[-2:]) for x in (worn, worn_mask))
            for name, image_loss in self.image_losses.items():
                losses[f"loss_{name}"] = losses[f"loss_{name}"] + weight * image_loss(
                    found, wanted, mask
                )
        return losses

    def _warps(self, pyramid: _Pyramid, batch: dict) -> list[Tensor | None]:
        """The garment on white under each scale's flow, (B, 3, h, w), coarse to fine.

        The first is the mean under the correlation, which has a gradient; None without one.
        """
        warps = [pyramid.coarse]
        for flow in pyramid.flows[1:]:
            size = flow.shape[1:3]
            garment, _ = (F.adaptive_avg_pool2d(x, size) for x in _garment(batch))
            warped = self.arithmetic.sample(garment, flow)
            if pyramid.region is not None:
                warped = on_white(warped, _resized(pyramid.region, size))
            warps.append(warped)
        return warps

    # Testing --------------------------------------------------------------------------------------

    @torch.no_grad()
    def predict(self, batch: dict) -> list[dict]:
        """Lay the garment onto each person of the batch.

        Each result is one of :func:`vtonlab.models.results.pair_results`, whose ``image`` is the
        warped garment pasted onto the agnostic picture: no skin or hair is drawn, that is the
        second stage's. Beside it ``warped_mask`` (H, W) uint8, ``warped_flow`` (H, W, 2) float32 at
        picture size, ``worn_mask`` where the batch has it, and with ``probe`` ``attention``.
        """
        warp = self.warp(batch)
        results = pair_results(batch, to_uint8(warp.pasted(batch["agnostic"])))
        flows = self.arithmetic.resize(warp.flow, self.size).float().cpu().numpy()
        for place, result in enumerate(results):
            result["warped_mask"] = _binary(warp.warped_mask[place])
            result["warped_flow"] = flows[place]
            if "worn_mask" in batch:
                result["worn_mask"] = _binary(batch["worn_mask"][place])
        if self.probe is not None:
            add_attention(results, self.attention_records(batch), batch)
        return results

    def preview(self, batch: dict) -> np.ndarray:
        """Rows of person, agnostic, garment and result, uint8 (B * H, 4 * W, 3), for logs."""
        return preview_picture(batch, [result["image"] for result in self.predict(batch)])

    @torch.no_grad()
    def probe_attention(self, batch: dict) -> list[dict]:
        """``id``, ``attention`` and ``flow`` of each pair, as :meth:`predict`, but no pictures."""
        results = bare_results(batch)
        add_attention(results, self.attention_records(batch), batch)
        return results

    @property
    def supervised_layers(self) -> list[str]:
        """Names of the records that any attention loss reads."""
        return [LAYER] if self.attention_losses else []

    @torch.no_grad()
    def attention_records(
        self, batch: dict, sigma: float = 0.0, layers: Sequence[str] = (LAYER,)
    ) -> list[AttentionRecord]:
        """The correlation; there is no noise level and no other layer."""
        return [self.network.correlate(self._features(batch))]

    def checkpoint_meta(self) -> dict:
        """Facts written into checkpoints and compared when one is loaded."""
        return checkpoint_facts(
            self,
            backbone=type(self.network).__name__,
            start=self.start,
        )


def _built(registry, configs: Mapping | None) -> nn.ModuleDict:
    return nn.ModuleDict({name: registry.build(cfg) for name, cfg in (configs or {}).items()})


def _needed(batch: dict, key: str) -> Tensor:
    if key not in batch:
        raise ValueError(
            f"TryOnWarping reads {key!r}, which the batch lacks: ask the data set for it (maps)"
        )
    return batch[key]


def _garment(batch: dict) -> tuple[Tensor, Tensor]:
    """The garment on white and its mask."""
    mask = _needed(batch, "garment_mask")
    return on_white(batch["garment"], mask), mask


def _named(name: str, result: dict[str, Tensor]) -> dict[str, Tensor]:
    """``loss_<name>`` and the monitors ``<name>_<key>``."""
    monitors = {f"{name}_{key}": value for key, value in result.items() if key != "loss"}
    return {f"loss_{name}": result["loss"]} | monitors


def _resized(mask: Tensor, size: Sequence[int]) -> Tensor:
    return F.interpolate(mask, size=tuple(size), mode="bilinear", align_corners=False)


def _binary(mask: Tensor) -> np.ndarray:
    """(1, H, W) in [0, 1] to (H, W) uint8 in {0, 1}."""
    return (mask[0] > 0.5).to(torch.uint8).cpu().numpy()
