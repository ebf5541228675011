"""Download models and verify them."""
