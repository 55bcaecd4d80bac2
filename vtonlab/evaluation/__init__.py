"""Metrics and reports."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "attention_entropy": ["AttentionEntropy"],
        "attention_pck": ["AttentionPCK"],
        "denoising": ["DenoisingLoss"],
        "base": ["NotComputableError", "NotGivenError", "PairMetric"],
        "distribution": ["FID", "KID", "SetMetric"],
        "flow_error": ["FlowError"],
        "garments": ["ColourFidelity", "GarmentSimilarity", "WarpedGarmentIoU"],
        "image_errors": ["ImageErrors"],
        "perceptual": ["LPIPS", "WarpedGarmentLPIPS"],
        "preservation": ["MaskLeak", "Preservation"],
        "similarity": ["MSSSIM", "PSNR", "SSIM"],
    },
)
