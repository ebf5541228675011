"""Convert a model to LiteRT and keep it if it agrees."""
