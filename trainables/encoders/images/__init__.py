"""Encoders that see: image towers, and texts and images in one space."""
