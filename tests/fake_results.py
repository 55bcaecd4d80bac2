"""Results folders as tools/test.py writes them, with made-up pictures and planted scores."""

import json
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from vtonlab.evaluation.results import pair_name, write_results

LAYERS = ("blocks.0.attn", "blocks.1.attn")
GRID = (4, 3)


def picture(seed: int, size: tuple[int, int] = (32, 24)) -> np.ndarray:
    """Uint8 (H, W, 3), smooth and different for each seed."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (4, 3, 3), dtype=np.uint8))
    return np.asarray(small.resize(size[::-1], Image.BILINEAR))


def planted(pair: int, skill: float) -> dict[str, float]:
    """Scores of a pair: better with more ``skill``, for pair 1 the other way round."""
    gain = -skill if pair == 1 else skill
    return dict(l1_inside=0.4 - gain / 10 + pair / 100, ssim=0.5 + gain / 10 - pair / 200)


def fake_results(
    folder: Path,
    system: str,
    *,
    pairs: int = 6,
    skill: float = 0.0,
    attention: int = 2,
    size: tuple[int, int] = (32, 24),
    distinct: int = 1000,
    protocol: str | None = "ours",
    setting: str = "paired",
    truth: bool = True,
) -> Path:
    """One results folder; returns it.

    Args:
        attention: pairs with saved maps: each query attends to the cell of its own number plus
            ``round(skill)``.
        distinct: pictures that differ; later pairs show the same ones again.
    """
    inputs = folder.parent / "inputs"
    rows = []
    for index in range(pairs):
        person, garment = f"p{index:04d}", f"g&<{index:04d}"
        if setting == "unpaired":
            garment = f"g&<{(index + 1) % pairs:04d}"
        stem, shown = pair_name(person, garment), index % distinct
        files = {name: inputs / name / f"{shown}.png" for name in ("person", "garment", "mask")}
        generated = folder / "pictures" / f"{shown}.png"
        for number, path in enumerate([*files.values(), generated]):
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
                seed = 10 * shown + number + zlib.crc32(system.encode())
                Image.fromarray(picture(seed, size)).save(path)
        row = dict(id=person, garment_id=garment, index=index, **planted(index, skill))
        row |= dict(category=("upper_body", "dresses")[index % 2], generated_file=generated)
        row |= {f"{name}_file": path for name, path in files.items()}
        row |= dict(scored_file=generated, target_file=files["person"])
        if index < attention:
            row["attention_file"] = f"attention/{stem}.npz"
            save_attention(folder / row["attention_file"], round(skill), truth)
        rows.append(row)
    metrics = {key: float(np.mean([r[key] for r in rows])) for key in ("l1_inside", "ssim")}
    metrics |= dict(attention_pck=0.25 + skill / 4, attention_pck_chance=0.0421, pictures=pairs)
    metrics |= dict(attention_pck_layer=LAYERS[1], l1_inside_fill=0.2)
    results = dict(
        system=system,
        setting=setting,
        metrics=metrics,
        directions=dict(l1_inside="down", ssim="up", attention_pck="up", fid="down"),
        intervals=dict(ssim=[0.41, 0.59]),
        not_computed=dict(fid="no weights <here> & no network"),
        protocol=protocol and dict(name=protocol, line=f"{protocol}: 32x24, no repaint & <all>"),
        images=pairs,
        list=dict(name="test_pairs.txt", sha256="ab" * 32, pairs=pairs),
        repaint="none",
        mask_source="agnostic-mask/",
        seeds=dict(pictures=0),
        sampler=None,
        config=f"configs/{system}.py",
        checkpoint=str(folder.parent / "iter_100.pth"),
        sha256="cd" * 32,
        versions=dict(torch="2.9"),
        weights={"net.pth": dict(sha256="ef" * 32, official=False)},
        pictures=dict(generated="pictures", repainted=None, scored="pictures"),
        run=dict(command=f"python tools/test.py {system} 'x<1' && echo", date="2026-11-21"),
    )
    write_results(folder, results, rows)
    save_scalars(folder.parent / "20261121_000000", skill)
    return folder


def save_attention(path: Path, shift: int, truth: bool) -> None:
    """Every query looks mostly at the key of its own number plus ``shift``."""
    tokens = GRID[0] * GRID[1]
    maps = np.full((len(LAYERS), tokens, tokens), 0.2 / tokens, np.float32)
    for query in range(tokens):
        maps[:, query, (query + shift) % tokens] += 0.8
    maps[0] = 1 / tokens
    known = {}
    if truth:
        y, x = np.divmod(np.arange(tokens), GRID[1])
        points = np.stack([(x + 0.5) / GRID[1], (y + 0.5) / GRID[0]], 1).astype(np.float32)
        known = dict(truth=points, visible=np.arange(tokens) % 2 == 0)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        path,
        layers=np.array(LAYERS),
        query_grid=GRID,
        key_grid=GRID,
        maps=maps.astype(np.float16),
        mass=np.full((len(LAYERS), tokens), 0.73, np.float16),
        sigma=0.5,
        supervised=np.array([False, True]),
        **known,
    )


def save_scalars(run: Path, skill: float) -> None:
    """A training log: two losses, then a validation without its iteration, and half a line."""
    rows = [dict(loss_diffusion=2.0 / step, time=0.1, iter=step, step=step) for step in (50, 100)]
    rows.append(dict(attention_pck=0.2 + skill / 4, step=0))
    path = run / "vis_data" / "scalars.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(map(json.dumps, rows)) + '\n{"loss_dif', encoding="utf-8")
