"""Generate load over ZeroMQ and MQTT, and report it."""
