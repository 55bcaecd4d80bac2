"""The start of a run: one screen on the console, everything in the log file."""

import logging
from pathlib import Path

from vtonlab.engine.config.load import finalize, load_config
from vtonlab.engine.running.training import train

FEW = {
    "train_cfg.max_iters": 1,
    "train_dataloader.dataset.length": 4,
    "train_dataloader.batch_size": 2,
    "train_dataloader.dataset.cache_dir": None,
    "test_dataloader.dataset.length": 2,
    "test_dataloader.dataset.cache_dir": None,
    "size": "32x24",
    "custom_hooks": [],
}


def small_run(folder: Path):
    config = load_config("coral/dit_synthetic", FEW)
    config.val_cfg = config.val_dataloader = config.val_evaluator = None
    return train(finalize(config, work_dir=str(folder)))


def test_one_screen_on_the_console_and_the_rest_in_the_file(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runner = small_run(tmp_path / "run")
    shown = capsys.readouterr().out
    start = shown[: shown.index("INFO")] if "INFO" in shown else shown
    assert len(start.splitlines()) < 40
    for words in (
        "coral/dit_synthetic, TryOnDiffusion at 32x24",
        "trains   backbone FluxTransformer2DModel: all 1.03 M parameters",
        "train: 4 samples of SyntheticTryOn",
        "CorrespondenceDistillationLoss, weight 0.2, on transformer_blocks.1.attn",
        "100% of the samples",
        "1 iterations of 2 samples, AdamW at 0.002, seed 0",
        "from     the start",
        "into     run (log: ",
    ):
        assert words in " ".join(start.split("\n         ")) or words in start, words
    text = Path(runner.logger.log_file).read_text()
    assert "System environment" in text and "Config:" in text and "trains   backbone" in text
    assert "System environment" not in shown and len(text.splitlines()) > 100

    # after the start the console speaks again
    runner.logger.info("said after the start")
    assert "said after the start" in capsys.readouterr().out
    consoles = [h for h in runner.logger.handlers if type(h) is logging.StreamHandler]
    assert consoles and not any("WhileBuilding" in str(f) for h in consoles for f in h.filters)
