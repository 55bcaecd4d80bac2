"""CORAL's distillation on CatVTON's wide UNet and without: the two configs, 600 iterations of 8."""

block = "up_blocks.2.attentions.1.transformer_blocks.0.attn1"

bases = {
    "unet_wide": dict(config="configs/bases/unet_wide_bold.py", box="base_unet_wide", aligned=block)
}
none, coral = "configs/catvton/unet_wide_bold.py", "configs/catvton/unet_wide_bold_coral.py"
rows = {
    "none": dict(base="unet_wide", config=none, options={}, ship=True),
    "CORAL": dict(base="unet_wide", config=coral, options={}, ship=True),
}
