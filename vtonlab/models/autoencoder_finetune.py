"""Fine-tuning the decoder of a VAE on photographs of people (METHODS.md 4.4, D8)."""

from mmengine.model import BaseModel
from torch import Tensor, nn

from vtonlab.evaluation.base import NotComputableError
from vtonlab.evaluation.perceptual import TRUNKS, build_lpips
from vtonlab.evaluation.weights import find_weights
from vtonlab.models.adapters import keep_only_trained, train_only
from vtonlab.models.results import to_uint8
from vtonlab.registry import BACKBONES, MODELS


@MODELS.register_module()
class AutoencoderFinetune(BaseModel):
    """``|x - D(E(x))| + lpips_weight LPIPS(x, D(E(x)))`` over the decoder of an ``AutoencoderKL``;
    the encoder, and so the latents that a diffusion model knows, stay as they are.

    Args:
        backbone: the ``AutoencoderKL``.
        size: (height, width) of the pictures.
        lpips_weight: weight of the perceptual distance; 0 leaves it out.
        lpips_net: its trunk, ``"alex"``, ``"vgg"`` or ``"squeeze"``.
        trainable: name patterns of what trains.

    Raises:
        FileNotFoundError: the trunk's weights cannot be had.
        ValueError: an unknown trunk.
    """

    train_only_prefixes = ("lpips.",)  # left out of exports

    def __init__(
        self,
        *,
        backbone: dict,
        size: tuple[int, int],
        lpips_weight: float = 1.0,
        lpips_net: str = "vgg",
        trainable: tuple[str, ...] = ("decoder.*", "post_quant_conv.*"),
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        preprocessor = MODELS.build(data_preprocessor or dict(type="TryOnDataPreprocessor"))
        super().__init__(data_preprocessor=preprocessor, init_cfg=init_cfg)
        if lpips_net not in TRUNKS:
            raise ValueError(f"lpips_net={lpips_net!r}: choose one of {', '.join(TRUNKS)}")
        self.backbone = BACKBONES.build(backbone)
        train_only(self.backbone, trainable)
        self.size, self.lpips_weight = tuple(size), lpips_weight
        self.lpips = _load_lpips(lpips_net) if lpips_weight else None
        keep_only_trained(self)

    def forward(self, mode: str = "tensor", step: int = 0, **batch) -> dict | list:
        """``mode="loss"``: ``loss_l1`` and ``loss_lpips``; ``mode="predict"``: result dicts with
        ``image``, ``target`` and ``mask``, as metrics take them.
        """
        pictures = batch["person"]
        decoded = self.decode(self.encode(pictures))
        if mode == "loss":
            return self.loss(decoded, pictures)
        if mode == "predict":
            return self._results(batch, decoded)
        raise ValueError(f"mode={mode!r}: AutoencoderFinetune answers 'loss' and 'predict'")

    def loss(self, decoded: Tensor, pictures: Tensor) -> dict[str, Tensor]:
        """Both losses of pictures (B, 3, H, W) in [-1, 1]."""
        losses = {"loss_l1": (decoded - pictures).abs().mean()}
        if self.lpips is not None:
            distance = self.lpips(decoded.clamp(-1, 1), pictures, normalize=False)
            losses["loss_lpips"] = self.lpips_weight * distance.mean()
        return losses

    def encode(self, pictures: Tensor) -> Tensor:
        """The mode of the posterior."""
        return self.backbone.encode(pictures.to(self.backbone.dtype)).latent_dist.mode()

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures (B, 3, H, W), about [-1, 1]."""
        return self.backbone.decode(latents).sample.float()

    def checkpoint_meta(self) -> dict:
        """Facts written into checkpoints and compared when one is loaded."""
        return dict(model=type(self).__name__, backbone=type(self.backbone).__name__)

    def _results(self, batch: dict, decoded: Tensor) -> list[dict]:
        images, targets = to_uint8(decoded), to_uint8(batch["person"])
        masks = batch["mask"][:, 0].byte().cpu().numpy()
        return [
            {key: batch[key][n] for key in ("id", "garment_id", "category", "index")}
            | dict(image=images[n], target=targets[n], mask=masks[n], repainted=images[n])
            for n in range(len(images))
        ]


def _load_lpips(net: str) -> nn.Module:
    try:
        return build_lpips(net, find_weights(TRUNKS[net]))
    except NotComputableError as error:
        raise FileNotFoundError(f"lpips_net={net!r}: {error}") from error
