"""SIFT-VTON's (evaluate.py): 512x384, AlexNet LPIPS, clean-fid against the untouched test folder.

Its KID is not seeded (about 1 % from run to run); here it is. Repaint is recommended there, hard.
"""

_sets = [dict(type="FID"), dict(type="KID", shrink=True)]
protocol = dict(
    name="sift_vton",
    source="SIFT-VTON evaluate.py",
    size=(512, 384),
    resize="cv2_bilinear",
    real_set="folder",
    repaint=True,
    repaint_blur=0,
    paired=[dict(type="SSIM"), dict(type="LPIPS", net="alex"), *_sets],
    unpaired=_sets,
)
