"""One file a command; `study.run` and `python -m study` are a few lines over them."""
