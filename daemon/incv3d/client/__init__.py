"""The Python client of a running daemon.

>>> from incv3d.client import Client
>>> with Client("tcp://127.0.0.1:5555") as client:            # doctest: +SKIP
...     print(client.classify("cat.jpg").predictions[0].label)
tabby
"""

from incv3d.client.client import (
    Client,
    ClientError,
    NoAnswer,
    NoEntry,
    Published,
    Refused,
    events,
    results,
)
from incv3d.protocol.curve_keys import KeyFileError

__all__ = [
    "Client",
    "ClientError",
    "KeyFileError",
    "NoAnswer",
    "NoEntry",
    "Published",
    "Refused",
    "events",
    "results",
]
