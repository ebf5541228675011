"""Make heads: pictures of the owner's classes, their features, a classifier, and an honest report."""
