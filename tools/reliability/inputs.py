"""What comes from outside: configs with typos, hostile checkpoints, damaged pictures, resizing."""

import copy
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from reliability.card import Measured, forked, peak_bytes

CONFIG = Path(__file__).parents[2] / "configs/coral/dit_synthetic.py"
TYPOS: dict[str, Callable] = {  # the thirteen cases measured in plain mmengine: 7 were found
    "randomnes": lambda c: c.update(randomnes=dict(seed=1)),
    "optim_wraper": lambda c: c.update(optim_wraper=c.pop("optim_wrapper")),
    "hook slot chekpoint": lambda c: c.default_hooks.update(chekpoint=dict(type="LoggerHook")),
    "hook argument intervall": lambda c: c.default_hooks.checkpoint.update(intervall=1),
    "model argument": lambda c: c.model.update(hiden=3),
    "model type": lambda c: c.model.update(type="TryOnDifusion"),
    "learning_rate": lambda c: c.optim_wrapper.optimizer.update(learning_rate=1e-3),
    "clip_gard": lambda c: c.optim_wrapper.update(clip_gard=dict(max_norm=1)),
    "max_itres": lambda c: c.train_cfg.update(max_itres=3),
    "drop_lst": lambda c: c.train_dataloader.update(drop_lst=True),
    "cudnn_benchmarc": lambda c: c.env_cfg.update(cudnn_benchmarc=True),
    "resum": lambda c: c.update(resum=True),
}
OPTION_TYPO = {"optim_wraper.optimizer.lr": 1.0}  # the thirteenth: --cfg-options


def typos(folder: Path) -> Measured:
    """Of thirteen typos, how many stop before anything is built."""
    from vtonlab.engine.config.check import check_config
    from vtonlab.engine.config.load import load_config

    good = load_config(CONFIG)
    check_config(good)
    missed = []
    for name, change in TYPOS.items():
        config = copy.deepcopy(good)
        change(config)
        if not refused(lambda config=config: check_config(config)):
            missed.append(name)
    if not refused(lambda: load_config(CONFIG, OPTION_TYPO)):
        missed.append("--cfg-options")
    total = len(TYPOS) + 1
    return Measured(f"{total - len(missed)} of {total}{named(missed)}", not missed)


def refused(action: Callable[[], object]) -> bool:
    """Whether it raises the kind of error that users see as one sentence."""
    try:
        action()
    except (ValueError, FileNotFoundError):
        return True
    return False


def named(missed: list[str]) -> str:
    """`` (not: a, b)``, or nothing."""
    return f" (not: {', '.join(missed)})" if missed else ""


class Malicious:
    """Unpickling it makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = str(target)

    def __reduce__(self):
        return os.mkdir, (self.target,)


def hostile_files(folder: Path) -> Measured:
    """A pickled class, code in ``meta['config']``, a JSON config that calls a function."""
    import json

    import torch
    from reliability.runs import small_run

    from vtonlab.engine.checkpoints.files import read_checkpoint, save_checkpoint_file
    from vtonlab.engine.config.load import load_config

    executed = []
    torch.save({"state_dict": {}, "x": Malicious(folder / "pickle")}, folder / "evil.pth")
    if not refused(lambda: read_checkpoint(folder / "evil.pth")):
        executed.append("pickle loaded")
    work = folder / "run"
    small_run(work, folder, iterations=1)
    checkpoint = read_checkpoint(work / "iter_1.pth")
    code = f"import os\nos.mkdir({str(folder / 'config')!r})\ngpu_ids = [0]\n"
    checkpoint["meta"]["config"] = code
    save_checkpoint_file(checkpoint, work / "iter_1.pth")
    small_run(work, folder, iterations=2, resume=True)
    config = {"model": {"type": "os.mkdir", "path": str(folder / "json")}}
    (folder / "evil.json").write_text(json.dumps(config))
    if not refused(lambda: load_config(folder / "evil.json", safe=True)):
        executed.append("JSON config accepted by --safe")
    executed += [name for name in ("pickle", "config", "json") if (folder / name).exists()]
    return Measured(f"{len(executed)} of 3{named(executed)}", not executed)


def bomb_png(width: int, height: int) -> bytes:
    """A small black PNG that decodes to width x height grey pixels, every row of it there."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + crc

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    row, packer = bytes(1 + (width + 7) // 8), zlib.compressobj(9)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def bomb(folder: Path) -> Measured:
    """Peak memory of refusing a picture of 20 000 x 20 000 pixels in a small file."""
    from vtonlab.utils.images import read_image

    path = folder / "bomb.png"
    path.write_bytes(bomb_png(20_000, 20_000))
    was_refused = []

    def attempt() -> float:
        return peak_bytes(lambda: was_refused.append(refused(lambda: read_image(path)))) * (
            1 if was_refused == [True] else -1
        )

    grown = forked(attempt)
    text = f"{abs(grown) / 2**20:.1f} MiB over base, {path.stat().st_size / 1000:.1f} kB file"
    return Measured(text + ("" if grown >= 0 else ", not refused"), 0 <= grown < 50 * 2**20)


KINDS = {
    "a.jpg": dict(format="JPEG", quality=90),
    "b.jpg": dict(format="JPEG", quality=90, progressive=True),
    "c.png": dict(format="PNG"),
    "d.webp": dict(format="WEBP", quality=90),
    "e.webp": dict(format="WEBP", lossless=True),
}
CUTS = (0.3, 0.7, -12, -2)  # a share of the file that is kept, or bytes taken off its end


def picture(seed: int = 0, size: tuple[int, int] = (96, 72)) -> np.ndarray:
    """Smooth colours with noise: JPEG files of it have a long middle."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]]
    wave = np.stack([np.sin(x / 9 + k) * np.cos(y / (7 + k)) for k in range(3)], -1)
    noisy = 127 + 90 * wave + rng.normal(0, 12, (*size, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def encoded(kind: str, seed: int = 0) -> bytes:
    """A picture as the bytes of a file."""
    buffer = io.BytesIO()
    Image.fromarray(picture(seed)).save(buffer, **KINDS[kind])
    return buffer.getvalue()


def truncated(folder: Path) -> Measured:
    """Of pictures cut short in five formats at four places, how many are refused."""
    from vtonlab.utils.images import read_image

    missed = []
    for kind in KINDS:
        data = encoded(kind)
        path = folder / kind
        path.write_bytes(data)
        read_image(path)
        for cut in CUTS:
            path.write_bytes(data[: int(len(data) * cut)] if cut > 0 else data[:cut])
            if not refused(lambda path=path: read_image(path)):
                missed.append(f"{kind} at {cut}")
    total = len(KINDS) * len(CUTS)
    return Measured(f"{total - len(missed)} of {total}{named(missed)}", not missed)


def zone_plate(side: int = 512) -> np.ndarray:
    """Rings that grow finer outwards: what aliasing does is plain to see. uint8 (side, side, 3)."""
    y, x = np.mgrid[:side, :side] - side / 2
    wave = 127.5 + 127.5 * np.cos(np.pi * (x**2 + y**2) / side)
    return np.repeat(np.round(wave).astype(np.uint8)[..., None], 3, 2)


def resizing(folder: Path) -> Measured:
    """Mean absolute difference of both resizers from Pillow's bicubic, in grey levels."""
    import torch

    from vtonlab.ops.resize import resize, resize_picture

    plate, size = zone_plate(), (192, 144)
    bytes_, floats = (
        np.asarray(Image.fromarray(plane).resize((size[1], size[0]), Image.BICUBIC), np.float64)
        for plane in (plate, plate[..., 0].astype(np.float32))
    )
    tensor = torch.from_numpy(plate[..., 0]).float()[None]
    worst = max(
        float(np.abs(resize_picture(plate, size) - bytes_).mean()),
        float(np.abs(resize(tensor, size)[0].numpy() - floats).mean()),
    )
    return Measured(f"{worst:.1e} (uint8 and float)", worst < 0.01)


def damaged_middles(folder: Path) -> Measured:
    """Of 20 JPEG files with 200 random bytes in the middle, how many the match store refuses."""
    from vtonlab.structures import Correspondences
    from vtonlab.structures.match_store import MatchStore
    from vtonlab.utils.images import read_image

    matches = {"matcher": {"type": "SIFTMatcher"}, "root": str(folder / "matches")}
    store = MatchStore.create(matches, folder, "train", {})
    rng = np.random.default_rng(0)
    found = silent = 0
    for number in range(20):
        path = folder / f"{number}.jpg"
        path.write_bytes(encoded("a.jpg", number))
        store.write(str(number), "garment", Correspondences.empty(), files={"person": path})
        data = bytearray(path.read_bytes())
        middle = len(data) // 2
        data[middle : middle + 200] = rng.integers(0, 255, 200, dtype=np.uint8).tobytes()
        path.write_bytes(data)
        silent += not refused(lambda path=path: read_image(path))
        again = MatchStore(store.directory)
        found += refused(
            lambda path=path, again=again, name=str(number): again.read(
                name, "garment", {"person": path}
            )
        )
    text = f"{found} of 20 by the hashes of the match store; {20 - silent} of 20 by decoding alone"
    return Measured(text, found == 20)
