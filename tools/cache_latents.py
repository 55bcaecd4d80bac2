"""Encode the pictures of a config's data sets once, so that training needs no encoder.

Example:
    python tools/cache_latents.py configs/coral/dit_vitonhd.py --out work_dirs/latents/vitonhd \\
        --cfg-options data_root=data/vitonhd pretrained=FLUX_DIR
    python tools/train.py configs/coral/dit_vitonhd.py --cfg-options data_root=data/vitonhd \\
        pretrained=FLUX_DIR model.lazy_codec=True \\
        train_dataloader.dataset.latents=work_dirs/latents/vitonhd

Text prompts are encoded and kept at the same time. Training refuses latents of another data set,
codec or conditioner, and of files that have changed. The run may be killed at any moment: the same
command goes on where it stopped. Cached latents cannot be augmented.

Exit codes: 0 done, 1 done but some pairs failed, 2 bad input.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import tools.environment  # noqa: F401

# isort: split
import argparse


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    from vtonlab.engine.cli import add_cfg_options, parse

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="a config of a diffusion model on photographs")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the latents")
    parser.add_argument(
        "--loader", default="train_dataloader", help="whose data set (default: %(default)s)"
    )
    parser.add_argument("--device", default="cpu", help="of the encoder (default: %(default)s)")
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float32")
    add_cfg_options(parser)
    return parse(parser, argv)


def build(config, loader: str):
    """Data set without latents and with transforms that add words alone (a prompt may ask for
    them), codec, conditioner and data preprocessor.
    """
    from vtonlab.datasets.transforms.joint import adds_words_alone
    from vtonlab.registry import BACKBONES, CONDITIONERS, DATASETS, MODELS, TRANSFORMS

    if not config.get(loader):
        raise ValueError(f"the config has no {loader}")
    model = config.model
    if "codec" not in model or "conditioner" not in model:
        raise ValueError(
            f"model {model.get('type')!r} has no codec and conditioner: nothing to encode"
        )
    request = dict(config[loader]["dataset"], latents=None, matches=None)
    request["transforms"] = [
        each
        for each in request.get("transforms") or ()
        if adds_words_alone(
            TRANSFORMS.get(each["type"]) if isinstance(each["type"], str) else each["type"]
        )
    ]
    request["shuffle_correspondences"] = False
    dataset = DATASETS.build(request)
    codec = BACKBONES.build(dict(model.codec)).requires_grad_(False).eval()
    conditioner = CONDITIONERS.build(dict(model.conditioner))
    preprocessor = MODELS.build(
        model.get("data_preprocessor") or dict(type="TryOnDataPreprocessor")
    )
    return dataset, codec, conditioner, preprocessor


def encode_all(dataset, codec, conditioner, preprocessor, store, dtype: str) -> dict[str, str]:
    """Fill the store with progress; returns the pairs that failed and why."""
    from vtonlab.models.latent_cache import record
    from vtonlab.structures.pair_store import pair_key
    from vtonlab.structures.sample import collate
    from vtonlab.utils.progress import Progress
    from vtonlab.utils.writing import WriteError

    progress, failed, found = Progress("pairs"), {}, 0
    for index, pair in enumerate(dataset.pairs):
        try:
            files = dataset.files(index)
            if store.state(*pair, files) == "current":
                found += 1
            else:
                batch = preprocessor(collate([dataset[index]]), False)
                (calls,) = record(conditioner, codec, batch)
                store.write(*pair, calls, files, dtype)
        except WriteError:  # the disk: no pair's fault
            raise
        except (ValueError, OSError) as error:
            store.discard(*pair)
            failed[pair_key(*pair)] = " ".join(str(error).split())
        progress(index + 1, found, len(dataset.pairs))
    store.finish([tuple(pair) for pair in dataset.pairs], failed)
    return failed


def main() -> int:
    args = parse_args()
    from pathlib import Path

    from vtonlab.engine.cli import FINDINGS, OK
    from vtonlab.engine.config.load import finalize, load_config
    from vtonlab.models.latent_cache import made_by
    from vtonlab.structures.latent_store import LatentStore
    from vtonlab.utils.locking import WorkDirLock

    config = finalize(load_config(args.config, args.cfg_options))
    dataset, codec, conditioner, preprocessor = build(config, args.loader)
    for part in (codec, conditioner, preprocessor):
        part.to(args.device)
    identity = {
        "data": dataset.pictures_from,
        "made_by": made_by(
            config.model.codec, config.model.conditioner, config.model.get("data_preprocessor")
        ),
        "dtype": args.dtype,
    }
    store = LatentStore.start(Path(args.out), identity)
    with WorkDirLock(store.directory, "--out"):
        failed = encode_all(dataset, codec, conditioner, preprocessor, store, args.dtype)
    for key, reason in sorted(failed.items()):
        print(f"failed: {key}: {reason}", file=sys.stderr)
    size = sum(path.stat().st_size for path in (store.directory / "pairs").iterdir())
    print(
        f"{args.out}: latents of {len(dataset) - len(failed)} pairs of {dataset.data_root} "
        f"({size / 2**20:.1f} MiB); train with {args.loader}.dataset.latents={args.out} "
        "model.lazy_codec=True"
    )
    return FINDINGS if failed else OK


if __name__ == "__main__":
    from vtonlab.engine.cli import run_tool

    run_tool(main)
