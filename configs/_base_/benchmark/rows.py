"""Rows of the synthetic benchmark: CORAL's losses on the shipped base, without them, and controls.

Scored on people of ``bench``, on whom nothing was chosen. Batches of 32; ``@aligned`` is the block
that the base copies through.
"""

coral, none = "configs/coral/dit_bold.py", "configs/coral/dit_bold_baseline.py"

large = {
    "train_dataloader.batch_size": 32,
    "train_dataloader.num_workers": 2,
    "train_cfg.max_iters": 400,
    "param_scheduler.1.end": 400,
    "test_evaluator.0.layers": ["@aligned"],
}
both = {
    "model.attention_losses.correspondence.layers": ["@aligned"],
    "model.attention_losses.entropy.layers": ["@aligned"],
    "model.attention_losses.entropy.start_iter": 200,
}
shuffled = {"train_dataloader.dataset.shuffle_correspondences": "points"}

bases = {
    "dit": dict(
        config="configs/bases/dit_bold.py",
        box="base_dit",
        aligned="single_transformer_blocks.2.attn",
    )
}
rows = {
    "CORAL": dict(base="dit", config=coral, options=large | both, ship=True),
    "none": dict(base="dit", config=none, options=large, ship=True),
    "CORAL, shuffled": dict(base="dit", config=coral, options=large | both | shuffled),
}
