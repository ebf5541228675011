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

__all__ = ["Client", "ClientError", "NoAnswer", "NoEntry", "Published", "Refused", "events", "results"]
