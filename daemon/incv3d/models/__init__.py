"""Known models, the model store, and preparing models to run."""
