"""First stage of the pair that ships: CORAL's losses on the wide reference UNet and without."""

block = "up_blocks.2.attentions.1.transformer_blocks.0.attn1"  # the base copies through it

bases = {
    "unet_wide": dict(config="configs/bases/unet_wide_bold.py", box="base_unet_wide", aligned=block)
}
none, coral = "configs/leffa/unet_wide_bold_baseline.py", "configs/coral/unet_wide_bold.py"
rows = {
    "none": dict(base="unet_wide", config=none, options={}, seeds=[0]),
    "CORAL": dict(base="unet_wide", config=coral, options={}, seeds=[0]),
}
