"""An address that may hold a password or a token, which is never printed."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from itertools import pairwise
from urllib.parse import quote, quote_plus, unquote, urlsplit

HIDDEN = "***"
SCHEME = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*):/{1,2}|//)")
LOCAL_SCHEMES = ("file", "ipc", "inproc")
KEY = re.compile(r"[/?&;,#_]([A-Za-z][\w.-]*)=")
"""Where ``key=value`` begins in a query, or in a path as ``/user=a&password=b`` or ``/user=a_password=b``."""
HARMLESS = re.compile(
    "action|audio|cam|camera|camid|ch|channel|chn|clock|cmd|codec|color|compression|date|delay|"
    "format|fps|framerate|height|img|interval|loginuse|mode|port|profile|proto|protocol|quality|"
    "rate|real_stream|res|resolution|rotation|size|snapshot|source|stream|stream_?type|subtype|"
    "transport|type|unicast|user|username|usr|video|videocodec|width"
)
"""Keys whose values may be shown. The value of any other key may be a secret."""
SECRET_WORDS = re.compile(r"pass|pwd|pw|psw|pin|secret|token|key|auth|sig|cred|code|hash|sess|sid", re.I)
SHORT_NUMBER = re.compile(r"\d{1,2}")
HOST = re.compile(r"(?:\[[0-9A-Fa-f:.%\w]+\]|[^\s:@\[\]]*)(?::(?:\d*|\*))?")
SURELY_HOST = re.compile(r"(\[|localhost|\d+\.\d+\.\d+\.\d+)|[\w.-]+(:\d+|/)")
"""A host after an ``@``, unlikely to occur in a path."""
REENCODED_SCHEMES = ("http", "https", "rtsp", "rtsps")
"""The schemes whose user names and passwords FFmpeg decodes (libavformat/httpauth.c)."""
ALLOWED_IN_LOGIN = "%:@!$&'()*+,;=-._~"
"""RFC 3986, 3.2.1; and ``@``, which every parser takes."""
SHORTEST_PIECE = 3
"""The least length of a part of a secret that is hidden on its own."""


class Address:
    """A location: a URL, a ZeroMQ address, or a path on this machine.

    ``str``, ``repr``, ``format`` and the configuration's encoders show it with ``***`` in place of its
    secrets; when in doubt, a part is taken for a secret. Only :meth:`reveal` gives the whole text, to the
    library that opens it. Immutable; two are equal if their whole texts are.
    """

    __slots__ = ("_shown", "_spans", "_text")

    def __init__(self, text: str | Address) -> None:
        plain: str = text._text if isinstance(text, Address) else text
        self._text: str = plain.strip() if "://" in plain else plain
        self._spans = _merged(_secret_spans(self._text))
        # A path that is not UTF-8 could be neither printed nor sent.
        self._shown = _masked(self._text, self._spans).encode("utf-8", "replace").decode()

    def __str__(self) -> str:
        return self._shown

    def __repr__(self) -> str:
        return repr(self._shown)

    def __format__(self, spec: str) -> str:
        return format(self._shown, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __bool__(self) -> bool:
        return bool(self._text)

    @property
    def has_secret(self) -> bool:
        """Whether the printed form hides a part of it."""
        return bool(self._spans)

    @property
    def scheme(self) -> str:
        """``rtsp``, ``http``; empty for a path."""
        found = SCHEME.match(self._text)
        return (found[1] or "").lower() if found else ""

    @property
    def is_path(self) -> bool:
        """Whether it is a local path: of a file, a folder or a device, or a pattern."""
        return "://" not in self._text or self.scheme == "file"

    def reveal(self) -> str:
        """Return the whole address, only for the library that opens it.

        Characters that are not allowed in a user name or password are percent-encoded, so that every parser
        finds the host. The scheme is in lower case, as FFmpeg needs it.
        """
        scheme = self.scheme
        if scheme not in REENCODED_SCHEMES:
            return self._text
        text = scheme + self._text[len(scheme) :]
        end = _end_of_login(text)
        if end is None:
            return text
        start = _start(text) or 0
        return f"{text[:start]}{quote(text[start:end], safe=ALLOWED_IN_LOGIN)}{text[end:]}"

    def hide(self, text: str) -> str:
        """Return `text` without the secrets of this address, in any form that a program may quote."""
        if not self._spans:
            return text
        text = text.replace(self._text, self._shown)
        for form in sorted(self._forms(), key=len, reverse=True):
            if len(form) > SHORTEST_PIECE:
                text = text.replace(form, HIDDEN)
            else:  # it may be part of any word
                text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", HIDDEN, text)
        return text

    def _forms(self) -> set[str]:
        """Return the secrets as written, decoded, encoded, in base64, and as a parser splits them."""
        forms: set[str] = set()
        for start, end in self._spans:
            secret = self._text[start:end]
            pieces = re.split(r"[/?#@:\[\]&=;]", secret)
            forms |= {secret, *(piece for piece in pieces if len(piece) >= SHORTEST_PIECE)}
        for secret in tuple(forms):
            plain = unquote(secret)
            forms |= {plain, quote(plain, safe=""), quote(plain), quote_plus(plain), repr(plain)[1:-1]}
        end_of_login = _end_of_login(self._text)
        if end_of_login is not None:
            login = self._text[_start(self._text) or 0 : end_of_login]
            forms |= {base64.b64encode(each.encode()).decode() for each in (login, unquote(login))}
        return forms - {"", HIDDEN}

    @property
    def mistake(self) -> str:
        """Why no program could open this address; empty if it can be parsed."""
        if self.is_path or self.scheme in LOCAL_SCHEMES:
            return "it does not begin with rtsp:// or http://" if self.has_secret else ""
        start = _start(self._text) or 0
        authority = self._text[start : _end_of_authority(self._text, start)]
        server = authority.rpartition("@")[2]
        if not HOST.fullmatch(server):
            return self.encoding_hint or "its host and port cannot be identified"
        try:
            parts = urlsplit(f"//{server}")
            named = bool(parts.hostname) and parts.port != 0
        except ValueError:
            named = False
        return "" if named else "its host and port cannot be identified"

    @property
    def encoding_hint(self) -> str:
        """How to write a password, if this one may contain characters that end the host part."""
        start = _start(self._text)
        at = self._text.rfind("@")
        if start is None or at < 0:
            return ""
        end = _end_of_authority(self._text, start)
        if at < end or not re.search("[:@]", self._text[start:end]) or KEY.search(self._text, end, at):
            return ""
        written = dict.fromkeys(c for c in self._text[start:at] if c in "/?#[]")
        codes = ", ".join(f"`{c}` as {quote(c, safe='')}" for c in written)
        return f"in a user name or password, write {codes}"


def _start(text: str) -> int | None:
    """Return where the login or the host of an address begins; None if `text` is a path."""
    found = SCHEME.match(text)
    if found:
        return None if (found[1] or "").lower() in LOCAL_SCHEMES else found.end()
    # Without its scheme, as in admin:secret@10.0.0.5/stream.
    return 0 if "@" in text and not text.startswith(("/", ".", "~")) else None


def _end_of_authority(text: str, start: int) -> int:
    found = re.compile("[/?#]").search(text, start)
    return found.start() if found else len(text)


def _end_of_login(text: str) -> int | None:
    """Return the position of the ``@`` after user name and password; None if a parser finds none."""
    start = _start(text)
    if start is None:
        return None
    at = text.rfind("@", start, _end_of_authority(text, start))
    return at if at >= 0 else None


def _secret_spans(text: str) -> Iterator[tuple[int, int]]:
    start = _start(text)
    if start is None:
        return
    end = _end_of_authority(text, start)
    at = text.rfind("@", start, end)
    last = text.rfind("@", end)
    if at >= 0:
        # What stands alone before the host can be a token.
        yield text.find(":", start, at) + 1 or start, at
    elif not HOST.fullmatch(text, start, end):
        end = max(end, last)
        yield text.find(":", start, end) + 1 or start, end
    if last >= 0 and ((colon := text.find(":", start, last)) >= 0 or SURELY_HOST.match(text, last + 1)):
        # A password with a / or a # in it, unless the path has an @: the two cannot be distinguished.
        yield (colon + 1 or start), last
    yield from _keyed_spans(text, end)


def _keyed_spans(text: str, start: int) -> Iterator[tuple[int, int]]:
    """Yield the values in path and query, from `start` on, that are not known to be harmless."""
    keys = [*_keys(text, start), (len(text), len(text), "")]
    query = re.compile("[?#]").search(text, start, keys[0][0])
    if query:
        yield from _bare_spans(text, query.end(), keys[0][0])
    for (_, begin, name), (end, _, _) in pairwise(keys):
        value = text[begin:end]
        if HARMLESS.fullmatch(name):
            more = re.search("[?&;#]", value)
            if more:
                yield from _bare_spans(text, begin + more.end(), end)
        elif SECRET_WORDS.search(name) or not SHORT_NUMBER.fullmatch(value):
            yield begin, end


def _keys(text: str, start: int) -> Iterator[tuple[int, int, str]]:
    """Yield each ``key=`` from `start` on: its beginning, its end, and the key in lower case."""
    for found in KEY.finditer(text, start):
        name = found[1].lower()
        before, _, last = name.rpartition("_")
        if before and not HARMLESS.fullmatch(name) and HARMLESS.fullmatch(last):
            # The end of a value and another key, as in `password=a#b_channel=1`.
            yield found.start(1) + len(before), found.end(), last
        else:
            yield found.start(), found.end(), name


def _bare_spans(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the words without a key in a query that are not known to be harmless."""
    for word in re.compile("[^?&;#]+").finditer(text, start, end):
        if not HARMLESS.fullmatch(word[0].lower()) and not SHORT_NUMBER.fullmatch(word[0]):
            yield word.span()


def _merged(spans: Iterator[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    merged: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        if start >= end:
            continue
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def _masked(text: str, spans: tuple[tuple[int, int], ...]) -> str:
    pieces, last = [], 0
    for start, end in spans:
        pieces += [text[last:start], HIDDEN]
        last = end
    return "".join([*pieces, text[last:]])
