"""The HTTP transport: :class:`incv3d.transports.http.transport.HttpTransport`."""
