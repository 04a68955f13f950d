"""Run trials on Ray; the only package that imports it."""
