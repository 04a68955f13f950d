"""Architectures of encoders: classes and configurations of transformers, without weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainables.data.formats.reading import metadata
from trainables.encoders.embedded import embedded_config, embedded_size, is_embedded
from trainables.encoders.families import IMAGES, SEEING, WITH_IMAGES
from trainables.encoders.files.checkpoints import JOINT, parts_of
from trainables.encoders.files.modules import load_config, read_config, read_layout
from trainables.encoders.files.packaged import PACKAGED
from trainables.errors import UserError

if TYPE_CHECKING:
    from torch import nn

KNOWN: dict[str, dict[str, Any]] = metadata("encoders.yaml")
"""Values of `config.json` of published encoders by hub id, plus `Architecture.dense` as `dense`."""


@dataclass(frozen=True)
class Architecture:
    """Configurations that determine an encoder's architecture.

    Attributes:
        config: Configuration of the checkpoint with the text tower, whole if it has two towers.
        dense: Length of a text's vector after a dense layer in a file of its own; 0 without one.
        images: Configuration of the checkpoint with the image tower; None if unknown or absent.
    """

    config: Any
    dense: int = 0
    images: Any = None

    @property
    def text(self) -> Any:
        """Configuration of the text transformer."""
        part = "qformer_config" if self.config.model_type == "blip-2" else "text_config"
        return getattr(self.config, part, self.config)

    @property
    def vision(self) -> Any:
        """Configuration of the image transformer; None if unknown or absent."""
        return getattr(self.images, "vision_config", self.images)

    def build_text(self) -> tuple[nn.Module, nn.Sequential]:
        """Build the text transformer and the layers after pooling, as `TextEncoder.load` does."""
        import transformers
        from torch import nn

        from trainables.encoders.files.formats import Dense, part_of, transformer_class
        from trainables.encoders.text_tower import BARE, PROJECTED, QueryText, split

        kind = self.config.model_type
        if kind not in SEEING:
            cls, options = transformer_class(self.config)
            model = cls(self.config, **options)
        else:
            names = BARE if self.dense else PROJECTED
            model = getattr(transformers, names[kind])(part_of(self.config, "text_config"))
            if not self.dense:
                return split(kind, model)
            model = QueryText(model) if kind == "blip-2" else model
        after = [Dense(self.text.hidden_size, self.dense)] if self.dense else []
        return model, nn.Sequential(*after)

    def build_images(self) -> tuple[nn.Module, nn.Sequential]:
        """Build the image transformer with its projection, and no layers after it."""
        import transformers
        from torch import nn

        from trainables.encoders.files.formats import part_of

        cls = getattr(transformers, WITH_IMAGES[self.images.model_type])
        return cls(part_of(self.images, "vision_config")), nn.Sequential()


def architecture(name: str, folder: str | None) -> Architecture:
    """Return the architecture of an encoder.

    Args:
        name: Hub id, folder or `embedded/<size>`, or two checkpoints joined by `+`.
        folder: Folder with its files, or two joined by `+`; None if they are not at hand.

    Raises:
        UserError: Its size is not known.
    """
    if is_embedded(name):
        return Architecture(embedded_config(embedded_size(name)))
    if folder is None:
        last = KNOWN.get(name.split(JOINT)[-1], {})
        return _from_table(name, _config(last) if last.get("model_type") in WITH_IMAGES else None)
    parts = parts_of(folder)
    first, vision = parts[0], parts[-1]
    vision = vision / IMAGES if (vision / IMAGES).is_dir() else vision
    sees = read_config(vision, name)["model_type"] in WITH_IMAGES
    images = load_config(vision) if sees else None
    if read_config(first, name)["model_type"] == "M-CLIP":  # its config.json has no sizes
        return _from_table(name, images)
    return Architecture(load_config(first), _dense(first), images)


def known_values(name: str) -> dict[str, Any]:
    """Return the entry of `KNOWN` for an encoder, of two joined by `+` for the text encoder.

    Raises:
        UserError: It has no entry.
    """
    name = name.split(JOINT)[0]
    name = PACKAGED[name].hub_id if name in PACKAGED else name
    if name not in KNOWN:
        raise UserError(
            f"encoder {name!r} is not at hand, and its size is not known; fetch it once with "
            f"`hf download {name}`, or choose one of {', '.join(KNOWN)}"
        )
    return KNOWN[name]


def _from_table(name: str, images: Any) -> Architecture:
    values = known_values(name)
    return Architecture(_config(values), values.get("dense", 0), images)


def _config(values: dict[str, Any]) -> Any:
    from transformers import AutoConfig

    sizes = {key: value for key, value in values.items() if key not in ("model_type", "dense")}
    return AutoConfig.for_model(values["model_type"], **sizes)


def _dense(folder: Path) -> int:
    """Return the length of a text's vector after dense layers and truncation; 0 without layers."""
    layout = read_layout(folder)
    sizes = [layer.settings["outputs"] for layer in layout.layers if layer.kind == "Dense"]
    return min([*sizes[-1:], layout.dimensions or sizes[-1]]) if sizes else 0
