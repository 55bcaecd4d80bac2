"""Rows that decide how CORAL's losses are used on the joint DiT; to be scored on people of ``val``.

``@aligned`` is the block whose attention finds most true places before any fine-tuning: the one
that the base itself copies through.
"""

coral, none = "configs/coral/dit_bold.py", "configs/coral/dit_bold_baseline.py"
single = "single_transformer_blocks.{}.attn"


def losses(*layers, entropy=0.05, **correspondence):
    """Options: both losses on ``layers``, with settings of their own."""
    at = "model.attention_losses."
    read = ("@aligned",) if layers == ("*",) else layers
    made = {f"{at}correspondence.layers": list(layers), f"{at}entropy.layers": list(layers)}
    made["test_evaluator.0.layers"] = list(read)
    made[f"{at}entropy.weight"] = entropy
    return made | {f"{at}correspondence.{key}": value for key, value in correspondence.items()}


as_it_is = {"test_evaluator.0.layers": ["@aligned"]}
longer = {
    "train_dataloader.batch_size": 16,
    "train_dataloader.num_workers": 2,
    "train_cfg.max_iters": 1000,
    "param_scheduler.1.end": 1000,
}
two_double = {"model.backbone.num_layers": 2, "model.backbone.num_single_layers": 2}
shuffled = {"train_dataloader.dataset.shuffle_correspondences": "points"}

six_workers = {"train_dataloader.num_workers": 6}  # a batch of 128 in a twentieth of a second

bases = {
    "dit": dict(config="configs/bases/dit_bold.py", options=six_workers),
    "two_double": dict(config="configs/bases/dit_bold.py", options=two_double | six_workers),
}
rows = {
    "none, longer": dict(
        base="dit", config=none, options=as_it_is | longer, seeds=[0], ship=True, steps=[4, 12, 30]
    ),
    "aligned, longer": dict(
        base="dit",
        config=coral,
        options=losses("@aligned") | longer,
        seeds=[0],
        ship=True,
        steps=[4, 12, 30],
    ),
    "none": dict(base="dit", config=none, options=as_it_is, ship=True),
    "aligned": dict(base="dit", config=coral, options=losses("@aligned"), ship=True),
    "aligned, weight 0.5": dict(base="dit", config=coral, options=losses("@aligned", weight=0.5)),
    "aligned, no entropy": dict(base="dit", config=coral, options=losses("@aligned", entropy=0.0)),
    "aligned, joint": dict(
        base="dit", config=coral, options=losses("@aligned", normalization="joint")
    ),
    "aligned, regression": dict(
        base="dit", config=coral, options=losses("@aligned", form="regression", weight=1.0)
    ),
    "block 0": dict(base="dit", config=coral, options=losses(single.format(0))),
    "block 1": dict(base="dit", config=coral, options=losses(single.format(1))),
    "block 2": dict(base="dit", config=coral, options=losses(single.format(2))),
    "all blocks": dict(base="dit", config=coral, options=losses("*")),
    "aligned, shuffled": dict(
        base="dit", config=coral, options=losses("@aligned") | shuffled, seeds=[0]
    ),
    "two double: none": dict(
        base="two_double", config=none, options=as_it_is | two_double, seeds=[0, 1]
    ),
    "two double: aligned": dict(
        base="two_double", config=coral, options=losses("@aligned") | two_double, seeds=[0, 1]
    ),
}
