"""Send load over ZeroMQ and MQTT, and report the results."""
