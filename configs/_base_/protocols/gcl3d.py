"""3D-GCL's: warped garments against parsed ones (mIoU, LPIPS), unpaired FID at 512x320.

Warp numbers need ``warped_mask`` of a model that warps; a folder of pictures has FID and LPIPS
alone. The LPIPS net is not named in the paper; AlexNet is assumed.
"""

protocol = dict(
    name="gcl3d",
    source="METHODS.md 5.8; LPIPS net assumed",
    size=(512, 320),
    resize="pil_bicubic",
    real_set="list",
    repaint=False,
    notes="the LPIPS net is an assumption; published LPIPS is of the warped garment alone",
    paired=[dict(type="WarpedGarmentIoU"), dict(type="LPIPS", net="alex"), dict(type="FID")],
    unpaired=[dict(type="FID")],
)
