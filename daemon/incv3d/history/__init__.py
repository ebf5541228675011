"""Keep what was seen: visits of labels, and counts by hour, in one file, for years."""
