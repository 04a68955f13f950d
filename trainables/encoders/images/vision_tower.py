"""Image towers from transformers (CLIP, SigLIP, BLIP-2), and loading of all image towers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from trainables.data.formats.images import open_picture
from trainables.data.pictures import Picture
from trainables.encoders.families import IMAGES, WITH_IMAGES, checkpoint_digest
from trainables.encoders.files.formats import load_part
from trainables.encoders.files.modules import read_config
from trainables.encoders.images.cells import PatchTower
from trainables.encoders.images.image_tower import EMBEDDED, ImageTower, Pixels
from trainables.errors import UserError

PROCESSORS = {
    "CLIPImageProcessor": "CLIPImageProcessorPil",
    "CLIPFeatureExtractor": "CLIPImageProcessorPil",
    "SiglipImageProcessor": "SiglipImageProcessorPil",
    "Siglip2ImageProcessor": "Siglip2ImageProcessorPil",
    "BlipImageProcessor": "BlipImageProcessorPil",
}
"""Image processors named by checkpoints, and the class to use for each: if torchvision is
installed, transformers would choose another, whose pixels differ."""


class VisionTower(ImageTower):
    """Vision transformer of a CLIP, MetaCLIP 2, SigLIP, SigLIP 2 or BLIP-2 checkpoint.

    Pictures are kept as bytes after resizing and cropping; scaling to the mean and deviation of
    the pre-training is part of the forward pass.
    """

    def __init__(self, model: nn.Module, processor: Any, digest: str) -> None:
        """Assemble a tower from its parts; `load_image_tower` reads them.

        Args:
            model: Returns `image_embeds`, or `pooler_output` if it has no projection.
            processor: Instance of a class in `PROCESSORS`.
            digest: Digest of the checkpoint.
        """
        super().__init__()
        self.model, self.processor, self.digest = model, processor, digest
        config: Any = model.config
        if config.model_type == "blip-2":
            self.similarity = "max_dot"
        scale = processor.rescale_factor if processor.do_rescale else 1.0
        mean = processor.image_mean if processor.do_normalize else [0.0] * 3
        deviation = processor.image_std if processor.do_normalize else [1.0] * 3
        self.scale = float(scale)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32), persistent=False)
        self.register_buffer("std", torch.tensor(deviation, dtype=torch.float32), persistent=False)

    @property
    def processor_digest(self) -> str:
        """Digest of the processor's class and settings, and of Pillow's version, which resizes."""
        settings = json.dumps(self.processor.to_dict(), sort_keys=True, default=str)
        text = f"{type(self.processor).__name__} {settings} {PIL.__version__}"
        return hashlib.sha256(text.encode()).hexdigest()[:20]

    def prepare(self, pictures: Sequence[Picture]) -> Pixels:
        """Return `pixel_values` as uint8 (n, 3, height, width); patches and mask for SigLIP 2."""
        opened = [open_picture(picture) for picture in pictures]
        arrays = self.processor(
            images=opened, return_tensors="np", do_rescale=False, do_normalize=False
        )
        return {name: np.asarray(value) for name, value in arrays.items()}

    def forward(self, pixels: Mapping[str, Tensor]) -> Tensor:
        """Return (n, d) float32 vectors of length 1; (n, query tokens, d) for BLIP-2."""
        values = self.scaled(pixels["pixel_values"])
        others = {k: v.to(values.device) for k, v in pixels.items() if k != "pixel_values"}
        outputs = self.model(pixel_values=values, **others)
        vectors = getattr(outputs, "image_embeds", None)
        vectors = outputs.pooler_output if vectors is None else vectors
        return F.normalize(vectors.float(), dim=-1)

    def scaled(self, values: Tensor) -> Tensor:
        """Scale bytes of pictures or patches as in the pre-training: float32, same shape."""
        mean, std = self.get_buffer("mean"), self.get_buffer("std")
        if values.ndim == 4:
            mean, std = mean.view(3, 1, 1), std.view(3, 1, 1)
        else:  # patches (n, m, side * side * 3), with colour last
            repeats = values.shape[-1] // 3
            mean, std = mean.repeat(repeats), std.repeat(repeats)
        return (values.to(mean.device, torch.float32) * self.scale - mean) / std

    def save(self, folder: Path) -> None:
        """Write weights, config and processor like transformers."""
        self.model.save_pretrained(folder)  # type: ignore[operator]
        self.processor.save_pretrained(folder)

    def width(self) -> int:
        """Length of a vector."""
        config: Any = self.model.config
        projected = getattr(self.model, "visual_projection", None) or getattr(
            self.model, "vision_projection", None
        )
        return int(config.hidden_size if projected is None else projected.out_features)


def load_image_tower(folder: Path, digest: str | None = None) -> ImageTower:
    """Load an image tower in float32, from weights that may also hold a text tower.

    Args:
        folder: A checkpoint, or an encoder saved by this project.
        digest: Digest of the checkpoint, if already known.

    Raises:
        UserError: There is no image tower, its weights lack a part, or its processor is unknown.
    """
    inside = folder / IMAGES if (folder / IMAGES).is_dir() else folder
    kind = read_config(inside, str(folder))["model_type"]
    if kind == EMBEDDED:
        return PatchTower.load(inside, digest or checkpoint_digest(folder))
    if kind not in WITH_IMAGES:
        known = ", ".join(sorted(name for name in WITH_IMAGES if "vision" not in name))
        raise UserError(
            f"{folder}: a {kind} has no image tower; choose a checkpoint of {known}, or name a "
            "text tower and the checkpoint whose pictures it knows as TEXT+IMAGES"
        )
    model = load_part(inside, WITH_IMAGES[kind], "vision_config")
    return VisionTower(model, _processor(inside), digest or checkpoint_digest(folder))


def _processor(folder: Path) -> Any:
    """Load the image processor that a checkpoint names, in a class that needs no torchvision."""
    import transformers

    settings: dict[str, Any] = {}
    for name in ("processor_config.json", "preprocessor_config.json"):
        if not settings and (folder / name).is_file():
            content = json.loads((folder / name).read_text(encoding="utf-8"))
            settings = content.get("image_processor") or (content if "size" in content else {})
            settings = settings or (content if "patch_size" in content else {})
    declared = str(settings.get("image_processor_type") or settings.get("feature_extractor_type"))
    kind = PROCESSORS.get(declared.removesuffix("Fast").removesuffix("Pil"))
    if kind is None:
        raise UserError(
            f"{folder}: preprocessor_config.json names the image processor {declared}; known are "
            f"{', '.join(PROCESSORS)}. Restore the checkpoint's file, or choose another one"
        )
    return getattr(transformers, kind).from_dict(settings)
