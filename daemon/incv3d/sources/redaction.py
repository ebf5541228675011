"""Remove passwords from the errors of a source; libraries quote addresses in many forms."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator, Sequence

from incv3d.config.address import Address
from incv3d.frames import Frame
from incv3d.sources.base import FrameSource, OpenSource, SourceError


def redacted_opener(open_source: OpenSource, addresses: Sequence[Address]) -> OpenSource:
    """Wrap `open_source` so that none of its errors contains a secret of `addresses`."""
    if not any(address.has_secret for address in addresses):
        return open_source

    def open_redacted() -> FrameSource:
        with _redacted(addresses, "".join(f"; {hint}" for each in addresses if (hint := each.encoding_hint))):
            return RedactedSource(open_source(), addresses)

    return open_redacted


class RedactedSource:
    """Redacts the secrets of `addresses` in the errors of `source`."""

    def __init__(self, source: FrameSource, addresses: Sequence[Address]) -> None:
        self._source = source
        self._addresses = addresses

    @property
    def lost_frames(self) -> int:
        """The count of the source."""
        return self._source.lost_frames

    @property
    def idle_until(self) -> float:
        """The value that the source reports."""
        return self._source.idle_until

    def capture(self, after: float) -> Frame | None:
        """Capture from the source, see :class:`FrameSource`."""
        with _redacted(self._addresses):
            return self._source.capture(after)

    def interrupt(self) -> None:
        """Interrupt the source."""
        self._source.interrupt()

    def close(self) -> None:
        """Close the source."""
        with _redacted(self._addresses):
            self._source.close()


@contextlib.contextmanager
def _redacted(addresses: Sequence[Address], hint: str = "") -> Iterator[None]:
    """Re-raise errors without the secrets of `addresses`.

    :param hint: appended to a SourceError.
    """

    def hide(text: str) -> str:
        for address in addresses:
            text = address.hide(text)
        return text

    try:
        yield
    except SourceError as error:
        raise type(error)(f"{hide(str(error))}{hint}") from None
    except Exception as error:
        told = "".join(traceback.format_exception(error))
        if hide(told) == told:
            raise
        # The traceback and the chained errors would be printed unredacted.
        raise SourceError(hide(f"{type(error).__name__}: {error}")) from None
