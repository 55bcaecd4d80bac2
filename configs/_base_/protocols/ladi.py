"""LaDI-VTON's (reused by OOTDiffusion): 512x384 by torchvision's resize, AlexNet LPIPS, clean-fid
with statistics of the test list at its files' own size, over all and per category.
"""

_sets = [dict(type="FID", by_category=True), dict(type="KID", shrink=True, by_category=True)]
protocol = dict(
    name="ladi",
    source="LaDI-VTON src/utils/val_metrics.py",
    size=(512, 384),
    resize="pil_bilinear",
    real_set="list",
    repaint=None,
    paired=[dict(type="SSIM"), dict(type="LPIPS", net="alex"), *_sets],
    unpaired=_sets,
)
