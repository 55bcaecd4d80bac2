"""Metrics and reports."""

from vtonlab.evaluation.attention_entropy import AttentionEntropy
from vtonlab.evaluation.attention_pck import AttentionPCK
from vtonlab.evaluation.base import NotComputableError, PairMetric
from vtonlab.evaluation.distribution import FID, KID, SetMetric
from vtonlab.evaluation.flow_error import FlowError
from vtonlab.evaluation.garments import ColourFidelity, GarmentSimilarity, WarpedGarmentIoU
from vtonlab.evaluation.image_errors import ImageErrors
from vtonlab.evaluation.perceptual import LPIPS
from vtonlab.evaluation.preservation import MaskLeak, Preservation
from vtonlab.evaluation.similarity import MSSSIM, PSNR, SSIM

__all__ = [
    "FID",
    "KID",
    "LPIPS",
    "MSSSIM",
    "PSNR",
    "SSIM",
    "AttentionEntropy",
    "AttentionPCK",
    "ColourFidelity",
    "FlowError",
    "GarmentSimilarity",
    "ImageErrors",
    "MaskLeak",
    "NotComputableError",
    "PairMetric",
    "Preservation",
    "SetMetric",
    "WarpedGarmentIoU",
]
