"""Programs that run beside the daemon."""
