"""Heads: small classifiers from a base model's features to the owner's classes, and where they are stored."""
