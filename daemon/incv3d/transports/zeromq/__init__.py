"""The ZeroMQ transport: :class:`incv3d.transports.zeromq.transport.ZmqTransport`."""
