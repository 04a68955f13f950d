"""Colour scales of heatmaps: sequential for amounts, diverging for differences."""

from __future__ import annotations

Colour = tuple[int, int, int]

VIRIDIS: tuple[Colour, ...] = (
    (68, 1, 84),
    (72, 40, 120),
    (62, 74, 137),
    (49, 104, 142),
    (38, 130, 142),
    (31, 158, 137),
    (53, 183, 121),
    (110, 206, 88),
    (181, 222, 43),
    (253, 231, 37),
)
"""Dark for low, light for high: monotonic in lightness, so readable without colour vision."""

DIVERGING: tuple[Colour, ...] = (
    (179, 88, 6),
    (224, 130, 20),
    (253, 184, 99),
    (254, 224, 182),
    (247, 247, 247),
    (209, 229, 240),
    (146, 197, 222),
    (67, 147, 195),
    (33, 102, 172),
)
"""Orange below zero, blue above."""


def at(scale: tuple[Colour, ...], share: float) -> Colour:
    """Interpolate the colour at a share of the scale, clipped to 0..1."""
    position = min(max(share, 0.0), 1.0) * (len(scale) - 1)
    index = min(int(position), len(scale) - 2)
    fraction = position - index
    first, second = scale[index], scale[index + 1]
    return tuple(round(a + fraction * (b - a)) for a, b in zip(first, second, strict=True))  # type: ignore[return-value]


def css(colour: Colour) -> str:
    """Format as a CSS hex colour."""
    return "#{:02x}{:02x}{:02x}".format(*colour)


def ink_on(colour: Colour) -> str:
    """Return black or white, whichever contrasts more by WCAG's relative luminance."""
    channels = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
    luminance = 0.2126 * channels[0] + 0.7152 * channels[1] + 0.0722 * channels[2]
    return "#000000" if (luminance + 0.05) / 0.05 > 1.05 / (luminance + 0.05) else "#ffffff"
