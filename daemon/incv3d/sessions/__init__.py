"""Warmed Sessions: one module an engine behind one protocol."""
