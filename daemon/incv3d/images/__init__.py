"""Decode, resize, compare, annotate and encode images."""
