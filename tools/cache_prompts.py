"""Encode every text of a config's data sets once, so that training needs no text encoder.

Example:
    python tools/cache_prompts.py my_config.py --cfg-options pretrained=FLUX_DIR

For a model whose ``conditioner.prompt`` is a `PairPrompt`: every sentence that its templates make
of the samples of the train, validation and test data is encoded and kept, with the pictures that
the encoder sees (then as they lie on disk: a data set that changes them by chance has no end of
them); what is kept is skipped, so that the run may be killed at any moment.

Exit codes: 0 done, 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools.environment  # noqa: F401

# isort: split
import argparse
from collections.abc import Iterator


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import add_cfg_options, parse

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="a config of a diffusion model whose prompt is a PairPrompt")
    add_cfg_options(parser)
    return parse(parser, argv)


def asked_of(config, prompt, seen: set) -> Iterator:
    """All that the encoders may be asked of the config's data sets, one sample after the other;
    each kept text is noted in ``seen``.
    """
    from vtonlab.datasets import SampleKey
    from vtonlab.registry import DATASETS, MODELS
    from vtonlab.structures.sample import collate
    from vtonlab.utils.progress import Progress

    settings = config.model.get("data_preprocessor") or dict(type="TryOnDataPreprocessor")
    preprocessor = MODELS.build(dict(settings))
    for loader in ("train_dataloader", "val_dataloader", "test_dataloader"):
        if config.get(loader):
            dataset = DATASETS.build(config[loader].dataset.to_dict())
            progress = Progress(f"samples of {loader}")
            for index in range(len(dataset)):
                batch = preprocessor(collate([dataset[SampleKey(index, index)]]))
                for asked in prompt.possible(batch):
                    seen.add(prompt.file_of(asked))
                    yield asked
                progress(index + 1, 0, len(dataset))


def main() -> int:
    args = parse_args()
    from vtonlab.conditioners.pair_prompts import PairPrompt
    from vtonlab.engine.config.load import finalize, load_config
    from vtonlab.registry import CONDITIONERS

    config = finalize(load_config(args.config, args.cfg_options))
    conditioner = config.model.get("conditioner") or {}
    if not conditioner.get("prompt"):
        raise ValueError(f"{args.config}: the model's conditioner has no prompt to encode")
    prompt = CONDITIONERS.build(conditioner["prompt"].to_dict())
    if not isinstance(prompt, PairPrompt):
        raise ValueError(
            f"{args.config}: conditioner.prompt is a {type(prompt).__name__}, which encodes its "
            "constant prompts itself"
        )
    seen: set = set()
    made = prompt.fill(asked_of(config, prompt, seen))
    print(f"{len(seen)} texts, {made} encoded now, kept in {prompt.folder}")
    return 0


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
