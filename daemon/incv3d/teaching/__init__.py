"""Make heads: pictures of the owner's classes, their features, a classifier, and an honest report."""

CALLER_TELLS = "INCV3D_TEACH_CALLER_TELLS"
"""The environment variable by which a command leaves it to its caller to reload the daemon."""
