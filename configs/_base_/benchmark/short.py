"""CORAL's losses on the shipped base and without them, for equally many iterations on a laptop: the
two configs as they are, 600 iterations of 4 people.
"""

bases = {
    "dit": dict(
        config="configs/bases/dit_bold.py",
        box="base_dit",
        aligned="single_transformer_blocks.2.attn",
    )
}
rows = {
    "none": dict(base="dit", config="configs/coral/dit_bold_baseline.py", options={}, ship=True),
    "CORAL": dict(base="dit", config="configs/coral/dit_bold.py", options={}, ship=True),
}
