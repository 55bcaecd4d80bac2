"""Dense feature matches with cycle consistency: CORAL's targets (METHODS.md 1.3, 1.8)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vtonlab.matchers.base import Matcher, check_mask, check_picture, weights_version
from vtonlab.matchers.report import MatchReport
from vtonlab.ops.mutual_nearest import cycle_distance, nearest_both_ways
from vtonlab.registry import MATCHERS
from vtonlab.structures import Correspondences
from vtonlab.structures.correspondences import cell_centres

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, for all DINO models


@MATCHERS.register_module()
class DINOv3Matcher(Matcher):
    """Arg max of cosine similarity both ways between DINO tokens; kept where the way back returns.

    Args:
        model: a hub name, or a local folder (transformers); a model name (timm). DINOv2's models
            are drop-ins, at their own patch size.
        library: ``"transformers"`` or ``"timm"``.
        checkpoint: local weights file for timm; None downloads the model's own.
        grid: ``(h, w)`` tokens of both pictures, which are resized to grid times patch size. The
            default is 1024x768 at patch 16: FLUX's token grid.
        max_cycle: largest distance from a person token to where its match leads back, tokens.
        chunk: person tokens compared at once; memory grows with it, not with the grid squared.
        dtype: ``"float32"``, ``"bfloat16"`` or ``"float16"``, of the network. Similarities are
            always float32: among 3072 rounded ones many would be equal.
    """

    def __init__(
        self,
        *,
        model: str = "facebook/dinov3-vitb16-pretrain-lvd1689m",
        library: str = "transformers",
        checkpoint: str | None = None,
        grid: tuple[int, int] = (64, 48),
        max_cycle: float = 1.5,
        chunk: int = 1024,
        dtype: str = "float32",
    ) -> None:
        if library not in ("transformers", "timm"):
            raise ValueError(
                f"DINOv3Matcher: library must be 'transformers' or 'timm', not {library!r}"
            )
        if dtype not in ("float32", "bfloat16", "float16"):
            raise ValueError(
                f"DINOv3Matcher: dtype must be 'float32', 'bfloat16' or 'float16', not {dtype!r}"
            )
        self.model_name, self.library, self.checkpoint = model, library, checkpoint
        self.grid, self.max_cycle, self.chunk = tuple(grid), max_cycle, chunk
        self.dtype, self.device = getattr(torch, dtype), "cpu"
        self.network = None

    @property
    def versions(self) -> dict[str, str]:
        """The library's, and which weights (their files may change under one name)."""
        weights = weights_version(self.checkpoint or self.model_name, self.network)
        return {"DINOv3Matcher": "1", self.library: version(self.library), "weights": weights}

    def to(self, device: str) -> DINOv3Matcher:
        """Load the network on ``device``; missing weights are an error here, before any pair."""
        self.device = device
        self.network = self._load().to(device, self.dtype).eval()
        return self

    def _load(self) -> torch.nn.Module:
        """The network; one sentence with the ways out if its weights cannot be had."""
        try:
            if self.library == "timm":
                return self._load_timm()
            from transformers import AutoModel

            return AutoModel.from_pretrained(self.model_name)
        except (OSError, ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0]
            raise FileNotFoundError(
                f"DINOv3Matcher cannot load {self.model_name!r}: {reason}; DINOv3's weights are "
                "gated: accept the licence on https://huggingface.co/facebook/"
                "dinov3-vitb16-pretrain-lvd1689m and log in, or give model= a local folder, or "
                "take the open model='facebook/dinov2-base'"
            ) from None

    def _load_timm(self) -> torch.nn.Module:
        import timm

        given = dict(checkpoint_path=self.checkpoint) if self.checkpoint else dict(pretrained=True)
        return timm.create_model(self.model_name, num_classes=0, dynamic_img_size=True, **given)

    def features(self, images: list[np.ndarray]) -> Tensor:
        """Unit-length patch features of a batch, without class and register tokens.

        Args:
            images: ``(H, W, 3)`` uint8 RGB, of any sizes.

        Returns:
            ``(B, h * w, D)`` float32 on the device.
        """
        if self.network is None:
            self.to(self.device)
        patch, prefix = self._patch_and_prefix()
        h, w = self.grid[0] * patch, self.grid[1] * patch
        pixels = torch.stack([_as_input(image, (h, w)) for image in images])
        pixels = pixels.to(self.device, self.dtype)  # (B, 3, h * patch, w * patch)
        with torch.inference_mode():
            if self.library == "timm":
                tokens = self.network.forward_features(pixels)
            else:
                tokens = self.network(pixel_values=pixels).last_hidden_state
        tokens = tokens[:, prefix:]
        if tokens.shape[1] != self.grid[0] * self.grid[1]:
            raise ValueError(
                f"DINOv3Matcher: {self.model_name!r} gives {tokens.shape[1]} tokens after "
                f"{prefix} prefix tokens, the grid {self.grid} needs {self.grid[0] * self.grid[1]}"
            )
        return F.normalize(tokens.float(), dim=-1)

    def _patch_and_prefix(self) -> tuple[int, int]:
        """Patch size, and how many tokens come before the patches (class and registers)."""
        if self.library == "timm":
            return self.network.patch_embed.patch_size[0], self.network.num_prefix_tokens
        config = self.network.config
        return config.patch_size, 1 + getattr(config, "num_register_tokens", 0)

    def explain(
        self,
        person: np.ndarray,
        garment: np.ndarray,
        person_mask: np.ndarray | None = None,
        garment_mask: np.ndarray | None = None,
    ) -> MatchReport:
        """One match per person token at most, at token centres, scored by cosine similarity."""
        pair = dict(person=person, garment=garment)
        pair |= dict(person_mask=person_mask, garment_mask=garment_mask)
        return self.explain_batch([pair])[0]

    def explain_batch(self, pairs: Sequence[dict]) -> list[MatchReport]:
        """One forward pass for all pictures of ``pairs``, then pair by pair."""
        pictures = []
        for pair in pairs:
            for side in ("person", "garment"):
                check_picture("DINOv3Matcher", side, pair[side])
                mask = pair.get(f"{side}_mask")
                check_mask("DINOv3Matcher", f"{side}_mask", mask, pair[side])
                pictures.append(pair[side])
        features = self.features(pictures).unflatten(0, (len(pairs), 2))  # (P, 2, N, D)
        return [
            self._match(*both, pair.get("person_mask"), pair.get("garment_mask"))
            for both, pair in zip(features, pairs, strict=True)
        ]

    def _match(
        self,
        person: Tensor,
        garment: Tensor,
        person_mask: np.ndarray | None,
        garment_mask: np.ndarray | None,
    ) -> MatchReport:
        """Features ``(N, D)`` of both sides to matches."""
        forward, backward, similarity = nearest_both_ways(person, garment, self.chunk)
        cycle = (cycle_distance(forward, backward, self.grid) <= self.max_cycle).cpu()
        forward, similarity = forward.cpu(), similarity.cpu()
        steps = {
            "person_mask": token_mask(person_mask, self.grid),
            "cycle": cycle,
            "garment_mask": token_mask(garment_mask, self.grid)[forward],
            "similarity": similarity > 0,
        }
        centres = cell_centres(self.grid)
        keep = torch.ones(len(forward), dtype=torch.bool)
        counts = {"candidates": len(forward)}
        for name, passed in steps.items():
            counts[name] = int((keep & ~passed).sum())
            keep &= passed
        counts["matches"] = int(keep.sum())
        found = Correspondences(centres[keep], centres[forward[keep]], similarity[keep])
        return MatchReport(found, counts)


def token_mask(mask: np.ndarray | None, grid: tuple[int, int]) -> Tensor:
    """``(h * w,)`` bool: tokens at least half covered by ``mask``; all of them for None."""
    if mask is None:
        return torch.ones(grid[0] * grid[1], dtype=torch.bool)
    share = cv2.resize((mask > 0).astype(np.float32), grid[::-1], interpolation=cv2.INTER_AREA)
    return torch.from_numpy(share.reshape(-1) >= 0.5)


def _as_input(image: np.ndarray, size: tuple[int, int]) -> Tensor:
    """``(3, h, w)`` float32, resized with antialiasing and normalised."""
    shrinks = image.shape[0] * image.shape[1] > size[0] * size[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    image = cv2.resize(np.ascontiguousarray(image), size[::-1], interpolation=how)
    pixels = (image.astype(np.float32) / 255 - _MEAN) / _STD
    return torch.from_numpy(pixels.transpose(2, 0, 1).astype(np.float32))
