"""MQTT: results and state for others, commands from them, and frames that a fleet of daemons shares.

:class:`incv3d.transports.mqtt.transport.MqttTransport` is what the daemon holds. The library is imported
only where a broker is configured.
"""
