"""A supervised camera, and a server that plays a camera over HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import pytest

from watched_camera import Watched, watching
from webcams import Request, WebCamera, web_camera


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[Request], None]], WebCamera]]:
    with contextlib.ExitStack() as stack:
        yield lambda answer, tls=None: stack.enter_context(web_camera(answer, tls))


@pytest.fixture
def watch() -> Iterator[Callable[..., Watched]]:
    with watching() as make:
        yield make
