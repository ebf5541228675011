"""Hypothesis strategies for the wire format: valid, nearly valid, and nothing like it."""

from __future__ import annotations

import io
import json
import random
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from incv3d.frames import CHANNELS

Parts = list[bytes]

FIELDS = ("v", "op", "id", "encoding", "width", "height", "captured_at", "age_ms", "ttl_ms", "top_k")
IMAGEZMQ_FIELDS = ("msg", "dtype", "shape")
NUMBERS = st.sampled_from([0, -1, 1e308, 10**400, float("nan"), float("inf"), 2**63, -(2**64), 65_536, 0.5])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10) | NUMBERS
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(
    st.sampled_from((*FIELDS, *IMAGEZMQ_FIELDS)),
    JSON | st.sampled_from([1, "jpeg", "bgr24", "uint8", "ping", [2, 2, 3]]),
    max_size=6,
)


def picture(kind: str, width: int = 24, height: int = 16) -> bytes:
    """A small picture in one of Pillow's formats."""
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, kind)
    return out.getvalue()


PICTURES = {kind.lower(): picture(kind) for kind in ("JPEG", "PNG", "WEBP", "BMP")}
IDS = st.none() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=20)


def encoded(document: Any) -> bytes:
    return json.dumps(document).encode()


@st.composite
def headers(draw: st.DrawFn, encoding: str, **fields: Any) -> dict[str, Any]:
    """A native header that is right."""
    optional: dict[str, st.SearchStrategy[Any]] = {
        "id": IDS,
        "captured_at": st.floats(0, 4e9),
        "ttl_ms": st.floats(1, 1e9),
        "top_k": st.integers(1, 1000),
    }
    chosen = draw(st.lists(st.sampled_from(sorted(optional)), unique=True))
    optional["age_ms"] = st.floats(0, 1e11)
    if "captured_at" in chosen and draw(st.booleans()):
        chosen[chosen.index("captured_at")] = "age_ms"
    return {"v": 1, "encoding": encoding, **fields, **{name: draw(optional[name]) for name in chosen}}


@st.composite
def native(draw: st.DrawFn) -> Parts:
    """An encoded picture or raw pixels under a right header."""
    encoding = draw(st.sampled_from([*PICTURES, *CHANNELS]))
    if encoding in PICTURES:
        return [encoded(draw(headers(encoding))), draw(st.sampled_from(sorted(PICTURES.values())))]
    width, height = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    data = bytes(width * height * CHANNELS[encoding])
    return [encoded(draw(headers(encoding, width=width, height=height))), data]


@st.composite
def imagezmq_messages(draw: st.DrawFn) -> Parts:
    """What imagezmq's ``ImageSender`` sends."""
    name = draw(st.text(max_size=20))
    if draw(st.booleans()):
        return [encoded({"msg": name}), draw(st.sampled_from(sorted(PICTURES.values())))]
    channels = draw(st.sampled_from([[], [1], [3], [4]]))
    shape = [draw(st.integers(1, 20)), draw(st.integers(1, 20)), *channels]
    return [encoded({"msg": name, "dtype": "uint8", "shape": shape}), bytes(int(np.prod(shape)))]


OPERATIONS = st.builds(
    lambda op, id: [encoded({"v": 1, "op": op, "id": id})], st.sampled_from(["ping", "stats", "info"]), IDS
)
BARE = st.sampled_from(sorted(PICTURES.values())).map(lambda data: [data])
VALID = native() | imagezmq_messages() | OPERATIONS | BARE
"""Requests of the wire format. One may still have expired."""


@st.composite
def nearly_valid(draw: st.DrawFn) -> Parts:
    """A native request with one thing wrong: a field, or data of another kind or length."""
    first, data = draw(native())
    header = json.loads(first)
    match draw(st.sampled_from(["change", "remove", "add", "data"])):
        case "change":
            header[draw(st.sampled_from(FIELDS))] = draw(JSON)
        case "remove":
            header.pop(draw(st.sampled_from(sorted(header))))
        case "add":
            header[draw(st.text(max_size=5))] = draw(JSON)
        case "data":
            data = draw(st.sampled_from([b"", data[:-1], data + b"\0", *PICTURES.values()]))
    return [encoded(header), data]


NESTED = st.builds(
    lambda opening, depth: [opening * depth, b"x"],
    st.sampled_from([b"[", b'{"v":', b'{"v":1,"id":[']),
    st.integers(1, 20_000),
)
GARBAGE = st.lists(st.binary(max_size=60), min_size=1, max_size=7)
ANY_JSON = st.builds(
    lambda document, data: [encoded(document), *data],
    DOCUMENTS | JSON,
    st.sampled_from([[], [b""], [PICTURES["jpeg"]], [bytes(12)]]),
)
MESSAGES = VALID | nearly_valid() | ANY_JSON | GARBAGE | NESTED
"""Everything that a peer may send in one multipart message of any content."""


def mutated(parts: Parts, rng: random.Random) -> Parts:
    """`parts` with a few bytes flipped, cut off, doubled or inserted, or a part more or less."""
    parts = [bytes(part) for part in parts]
    for _ in range(rng.choice([1, 1, 2, 5])):
        where = rng.randrange(len(parts))
        data = bytearray(parts[where])
        place = rng.randrange(len(data) + 1)
        match rng.randrange(7):
            case 0 if data:
                data[place % len(data)] ^= 1 << rng.randrange(8)
            case 1:
                del data[place:]
            case 2:
                del data[place : place + rng.randrange(1, 30)]
            case 3:
                data[place:place] = rng.randbytes(rng.randrange(1, 30))
            case 4:
                data[place:place] = data[place : place + 50]
            case 5:
                # Lengths and sizes in the headers of pictures.
                data[place : place + 2] = rng.choice([b"\0\0", b"\xff\xff", b"\x7f\xff"])
            case 6:
                if rng.random() < 0.5 and len(parts) > 1:
                    del parts[where]
                    continue
                parts.insert(where, bytes(data))
        parts[where] = bytes(data)
    return parts[:7]
