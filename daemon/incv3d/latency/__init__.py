"""Rolling statistics; write, read, summarize and plot the latency log."""
