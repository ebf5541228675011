"""The MQTT transport: :class:`incv3d.transports.mqtt.transport.MqttTransport`."""
