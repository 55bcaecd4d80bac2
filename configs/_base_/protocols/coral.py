"""CORAL's, as far as it is known: 1024x768, pasted back, CatVTON's networks.

CORAL published no metric code. Its CatVTON row is close to CatVTON's own, hence SqueezeNet LPIPS
and clean-fid (METHODS.md 6.6, inferred); whether the true pictures were encoded again is unknown
and not done here. Its masks are its own (METHODS.md 1.5), so its numbers need them.
"""

_sets = [dict(type="FID"), dict(type="KID", shrink=True)]
protocol = dict(
    name="coral",
    source="inferred, METHODS.md 1.6 and 6.6",
    size=(1024, 768),
    resize="pil_lanczos",
    real_set="folder",
    repaint=True,
    notes="inferred: CORAL published no metric code, and its masks differ from the benchmark's",
    paired=[dict(type="SSIM"), dict(type="LPIPS", net="squeeze"), *_sets],
    unpaired=_sets,
)
