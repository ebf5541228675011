"""Known models, the store on disk, and making a model ready to run."""
