"""Leffa's (VtonEval), which is CatVTON's: SqueezeNet LPIPS, the true pictures encoded again.

The script resizes the true pictures to the prediction's height (Lanczos) and saves them under their
own names, JPEG at Pillow's default quality. A pixel-perfect prediction therefore scores about
SSIM 0.983 at 1024x768 and 0.975 at 512x384 on VITON-HD. It is kept so that numbers can be compared
with that table; do not compare them with any other.
"""

_sets = [
    dict(type="FID"),
    dict(type="KID", shrink=True),
    dict(type="FID", features="pytorch-fid", prefix="pytorch_"),
]
protocol = dict(
    name="leffa",
    source="Leffa VtonEval eval.py; CatVTON eval.py",
    size="prediction",
    resize="pil_lanczos",
    truth_jpeg=75,  # Pillow's default
    real_set="folder",
    real_size="compared",
    repaint=None,
    notes=(
        "the true pictures are encoded again as JPEG, as published: a perfect prediction scores "
        "SSIM 0.98, not 1"
    ),
    paired=[dict(type="SSIM"), dict(type="PSNR"), dict(type="LPIPS", net="squeeze"), *_sets],
    unpaired=_sets,
)
