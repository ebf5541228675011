"""Ways in and out over a network: ZeroMQ, HTTP, MQTT."""
