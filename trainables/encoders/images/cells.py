"""Image tower of the embedded world: which glyphs a picture shows, regardless of position.

Random Fourier features (Rahimi & Recht 2007) of each of sixteen cells are summed. Cells of one
glyph agree and others hardly do, so the sum tells which glyphs a picture shows. Captions of scenes
do not mention positions, so the sum ignores them. The tower has never seen a caption; a text tower
learns which words go with which features.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from trainables.data.formats.images import open_picture
from trainables.data.pictures import Picture
from trainables.encoders.images.image_tower import EMBEDDED, ImageTower, Pixels

INITIAL = 1
"""Version of the vectors, part of every digest; raised by every change that alters a vector."""

SIDE, CELL = 4, 12
"""Number of cells along each side of a picture, and pixels along each side of a cell."""

FEATURES = 256
"""Number of features of a picture."""

WAVE = 0.7
"""Standard deviation of frequencies, for channels from 0 to 1. Two different glyphs differ in at
least 24 pixels, so their features hardly agree at such frequencies."""

SEED = 0


class PatchTower(ImageTower):
    """Fixed features of cells, followed by a projection that a live tower trains."""

    def __init__(self, width: int) -> None:
        """Draw all weights from a fixed seed, so that every call gives equal ones.

        Args:
            width: Length of a vector.
        """
        super().__init__()
        rng = np.random.default_rng([SEED, FEATURES])
        size = CELL * CELL * 3
        # torch, as a trial sets its threads; no buffers, as pictures are decoded on the CPU
        self.waves = [torch.from_numpy(rng.normal(0, WAVE, (size, FEATURES)).astype(np.float32))]
        self.waves += [torch.from_numpy(rng.uniform(0, 2 * np.pi, FEATURES).astype(np.float32))]
        self.projection = nn.Linear(FEATURES, width, bias=False)
        with torch.no_grad():
            drawn = rng.normal(0, FEATURES**-0.5, (width, FEATURES)).astype(np.float32)
            self.projection.weight.copy_(torch.from_numpy(drawn))
        self.digest = cells_digest(width)

    @property
    def processor_digest(self) -> str:
        """Digest of all that `prepare` depends on."""
        return cells_digest(0)

    def prepare(self, pictures: Sequence[Picture]) -> Pixels:
        """Compute `features`, float32 (n, `FEATURES`)."""
        side = SIDE * CELL
        features = np.empty((len(pictures), FEATURES), np.float32)
        for row, picture in enumerate(pictures):
            image = open_picture(picture)
            if image.size != (side, side):
                image = image.resize((side, side), Image.Resampling.BILINEAR)
            pixels = np.asarray(image, np.float32) / 255
            cells = pixels.reshape(SIDE, CELL, SIDE, CELL, 3).swapaxes(1, 2)
            rows = torch.from_numpy(np.ascontiguousarray(cells).reshape(SIDE * SIDE, -1))
            features[row] = (rows @ self.waves[0] + self.waves[1]).cos().sum(0).numpy()
        return {"features": features}

    def forward(self, pixels: Mapping[str, Tensor]) -> Tensor:
        """Project features to (n, width) vectors of length 1."""
        return F.normalize(self.projection(pixels["features"]), dim=-1)

    def save(self, folder: Path) -> None:
        """Write the projection; all other weights are constants of this file."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        config = {"model_type": EMBEDDED, "width": self.width(), "initial": INITIAL}
        (folder / "config.json").write_text(json.dumps(config) + "\n", encoding="utf-8")
        weight = self.projection.weight.detach().contiguous()
        save_file({"projection.weight": weight}, folder / "model.safetensors")

    @classmethod
    def load(cls, folder: Path, digest: str) -> PatchTower:
        """Read what `save` wrote."""
        from safetensors.torch import load_file

        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        tower = cls(int(config["width"]))
        tower.load_state_dict(load_file(folder / "model.safetensors"))
        tower.digest = digest
        return tower

    def width(self) -> int:
        """Length of a vector."""
        return self.projection.out_features


def cells_digest(width: int) -> str:
    """Return 20 hexadecimal digits that identify the tower of this width."""
    parts = [INITIAL, SIDE, CELL, FEATURES, WAVE, SEED, width]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]
