"""What is served over HTTP, where the configuration asks for it: health and metrics."""

from incv3d.transports.http.errors import HttpError
from incv3d.transports.http.transport import HttpTransport

__all__ = ["HttpError", "HttpTransport"]
