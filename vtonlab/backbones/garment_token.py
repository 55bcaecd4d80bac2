"""One token that describes a garment picture: CLIP, a mapper, a projection (Paint-by-Example)."""

import json
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vtonlab.registry import BACKBONES
from vtonlab.utils.bounded import read_json, read_tensors

CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
_WEIGHTS = ("model.safetensors", "diffusion_pytorch_model.safetensors")
_CONFIG = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "image_size",
    "patch_size",
    "projection_dim",
)


@BACKBONES.register_module()
class GarmentTokenEncoder(nn.Module):
    """Garment picture -> CLIP's pooled feature -> transformer on that one token -> LayerNorm ->
    linear: the global condition of StableVITON's UNet (METHODS.md 4.1).

    Names of parameters are those of diffusers' ``PaintByExampleImageEncoder``, whose folders
    :meth:`from_pretrained` reads. A plain CLIP folder is read too; mapper and projection are then
    new.

    Args:
        hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, image_size,
            patch_size: of the CLIP vision tower; the defaults are ViT-L/14.
        projection_dim: width of the token, the UNet's ``cross_attention_dim``.
        mapper_layers: blocks of the mapper; None takes a fifth of the CLIP layers, rounded up as in
            Paint-by-Example (5 of 24).
        seed: of the random weights it starts with. Most of it never trains and is not in
            checkpoints, so that a toy's random CLIP must be the same wherever it is built.
    """

    def __init__(
        self,
        *,
        hidden_size: int = 1024,
        intermediate_size: int = 4096,
        num_hidden_layers: int = 24,
        num_attention_heads: int = 16,
        image_size: int = 224,
        patch_size: int = 14,
        projection_dim: int = 768,
        mapper_layers: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        from transformers import CLIPVisionConfig

        self.config = CLIPVisionConfig(
            hidden_size=hidden_size,
            intermediate_size=intermediate_size,
            num_hidden_layers=num_hidden_layers,
            num_attention_heads=num_attention_heads,
            image_size=image_size,
            patch_size=patch_size,
            projection_dim=projection_dim,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self._make_layers(mapper_layers or (num_hidden_layers + 1) // 5)
        for name, values in (("mean", CLIP_MEAN), ("std", CLIP_STD)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def _make_layers(self, mapper_layers: int) -> None:
        from diffusers.models.attention import BasicTransformerBlock
        from transformers import CLIPVisionModel

        width = self.config.hidden_size
        self.model = CLIPVisionModel(self.config)
        blocks = [
            BasicTransformerBlock(width, 1, width, activation_fn="gelu", attention_bias=True)
            for _ in range(mapper_layers)
        ]
        self.mapper = nn.ModuleDict({"blocks": nn.ModuleList(blocks)})
        self.final_layer_norm = nn.LayerNorm(width)
        self.proj_out = nn.Linear(width, self.config.projection_dim)
        self.uncond_vector = nn.Parameter(torch.randn(1, 1, self.config.projection_dim))

    def clip_picture(self, pictures: Tensor, antialias: bool = True) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] as CLIP takes them: stretched to its square, (B, 3, S,
        S) in CLIP's normalisation.
        """
        size = (self.config.image_size, self.config.image_size)
        pixels = F.interpolate(pictures, size, mode="bilinear", antialias=antialias)
        return ((pixels + 1) / 2 - self.mean) / self.std

    def features(self, pictures: Tensor, antialias: bool = True) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] to (B, 1, hidden_size), before the projection.

        Args:
            antialias: shrink them with antialiasing.
        """
        pixels = self.clip_picture(pictures, antialias)
        dtype = self.proj_out.weight.dtype
        states = self.model(pixel_values=pixels.to(dtype)).pooler_output[:, None]  # (B, 1, C)
        for block in self.mapper["blocks"]:
            states = block(states)
        return self.final_layer_norm(states)

    def forward(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] to one token each, (B, 1, projection_dim)."""
        return self.proj_out(self.features(pictures))

    def save_pretrained(self, folder: str | Path) -> None:
        """``config.json`` and ``model.safetensors`` in ``folder``."""
        from safetensors.torch import save_file

        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = {name: getattr(self.config, name) for name in _CONFIG}
        config["mapper_layers"] = len(self.mapper["blocks"])
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n")
        state = {name: value.contiguous() for name, value in self.state_dict().items()}
        save_file(state, folder / _WEIGHTS[0])

    @classmethod
    def from_pretrained(
        cls,
        path: str,
        *,
        subfolder: str | None = None,
        torch_dtype: torch.dtype = torch.float32,
        revision: str | None = None,
        use_safetensors: bool = True,
    ) -> "GarmentTokenEncoder":
        """From a local folder or a hub name, as diffusers' classes do.

        Raises:
            OSError: files cannot be had.
            ValueError: the weights do not fit; names what is missing or left over.
        """
        config = read_json(_file(path, subfolder, revision, "config.json"))
        config = config.get("vision_config", config)
        known = {name: config[name] for name in (*_CONFIG, "mapper_layers") if name in config}
        model = cls(**known)
        if torch.get_default_device().type != "meta":  # there shapes alone are asked for
            model.load(_read_weights(path, subfolder, revision))
        return model.to(torch_dtype)

    def load(self, state: dict[str, Tensor]) -> None:
        """Take weights of this class, of ``PaintByExampleImageEncoder`` or of a plain CLIP.

        Raises:
            ValueError: names the keys that are missing or left over.
        """
        state = {_our_name(key): value for key, value in state.items() if not _is_text(key)}
        if not any(key.startswith("mapper.") for key in state):  # a plain CLIP
            own = self.state_dict()
            state |= {k: v for k, v in own.items() if not k.startswith("model.") and k not in state}
        missing, surplus = self.load_state_dict(state, strict=False)
        if missing or surplus:
            raise ValueError(
                f"garment token weights do not fit: {len(missing)} missing, such as {missing[:2]}, "
                f"{len(surplus)} left over, such as {surplus[:2]}"
            )


def _is_text(key: str) -> bool:
    """Keys of a CLIP checkpoint that are not its vision tower, and constants."""
    text = ("text_model.", "text_projection", "visual_projection", "logit_scale")
    return key.startswith(text) or key.endswith("position_ids")


def _our_name(key: str) -> str:
    key = key.replace("vision_model.", "")  # older transformers had one level more
    own = ("model.", "mapper.", "final_layer_norm.", "proj_out.", "uncond_vector")
    return key if key.startswith(own) else f"model.{key}"


def _file(path: str, subfolder: str | None, revision: str | None, name: str) -> Path:
    if Path(path).is_dir():
        found = Path(path) / (subfolder or "") / name
        if not found.is_file():
            raise FileNotFoundError(f"no {name} in {found.parent}")
        return found
    from huggingface_hub import hf_hub_download

    return Path(hf_hub_download(path, name, subfolder=subfolder, revision=revision))


def _read_weights(path: str, subfolder: str | None, revision: str | None) -> dict[str, Tensor]:
    errors = []
    for name in _WEIGHTS:
        try:
            return read_tensors(_file(path, subfolder, revision, name))
        except OSError as error:
            errors.append(error)
    raise errors[0]
