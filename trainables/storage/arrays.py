"""Arrays as `.npy` files whose disk space is allocated before anything is written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray


def new_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> np.memmap:
    """Create a memory-mapped array in a new `.npy` file.

    Raises:
        OSError: The disk has no room for it. Without allocation, the first write to a page without
            room would make the kernel end the process.
    """
    table: np.memmap = np.lib.format.open_memmap(path, "w+", dtype, shape)
    with path.open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, os.fstat(file.fileno()).st_size)
    return table


def save_array(path: Path, array: NDArray[Any]) -> None:
    """Save like `np.save`, whose errors leave out why it could not write."""
    new_array(path, array.dtype, array.shape)[...] = array
