"""Image towers, and encoders of texts and images in one space."""
