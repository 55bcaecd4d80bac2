"""vtonlab's own: list-based real set, nothing encoded again, nothing resized, repaint off.

A prediction must have its photograph's size; ``--size 512x384`` compares at another one, says so,
and then wants predictions of that size. ``--exclude vitonhd_duplicate_filenames.json`` leaves the
known leaks and duplicates out (TryOffDiff's list).
"""

_everywhere = [
    dict(type="Preservation"),
    dict(type="MaskLeak"),
    dict(type="GarmentSimilarity", features="dino"),
    dict(type="GarmentSimilarity", features="clip"),
    dict(type="FID"),
    dict(type="KID", subset_size=100),
    dict(type="FID", features="clip", prefix="clip_"),
]
protocol = dict(
    name="vtonlab",
    source="vtonlab",
    size="truth",
    exact=True,
    resize="pil_bicubic",
    real_set="list",
    repaint=False,
    paired=[
        dict(type="SSIM"),
        dict(type="MSSSIM"),
        dict(type="PSNR"),
        dict(type="LPIPS", net="alex"),
        dict(type="LPIPS", net="vgg"),
        dict(type="ImageErrors"),
        dict(type="ColourFidelity"),
        *_everywhere,
    ],
    unpaired=_everywhere,
)
