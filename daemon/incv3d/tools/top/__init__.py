"""A running daemon, watched in a terminal."""
