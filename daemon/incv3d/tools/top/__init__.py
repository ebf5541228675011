"""Watch a running daemon in a terminal."""
