"""Pose transfer on DeepFashion In-shop: SSIM, LPIPS, FID against all training pictures.

512x352 as in the newer half of the table; ``--size 256x176`` for the older one. The LPIPS net of
the compared papers is AlexNet where they say so.
"""

protocol = dict(
    name="deepfashion_pose",
    source="METHODS.md 3.5",
    size=(512, 352),
    resize="pil_bicubic",
    real_set="train",
    real_size="compared",
    repaint=False,
    paired=[dict(type="SSIM"), dict(type="PSNR"), dict(type="LPIPS", net="alex"), dict(type="FID")],
    unpaired=[dict(type="FID")],
)
