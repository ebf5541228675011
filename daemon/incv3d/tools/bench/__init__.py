"""Compare this machine with the published benchmark, and measure where the time goes."""
