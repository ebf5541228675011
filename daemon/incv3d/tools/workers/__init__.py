"""Run Sessions in worker processes that take turns, so that a busy machine favors none of them."""
