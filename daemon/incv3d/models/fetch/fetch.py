"""Fetch a model into the store: downloaded, checked, imported; one fetch of a model at a time."""

from __future__ import annotations

import contextlib
import fcntl
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from incv3d.models.catalog import load_catalog
from incv3d.models.entry import ModelEntry, ModelError
from incv3d.models.fetch.checksums import FILE as CHECKSUMS
from incv3d.models.fetch.checksums import ChecksumRecord, record, recorded
from incv3d.models.fetch.download import Deadline, Download, DownloadRequest, Progress, lines_of_progress
from incv3d.models.fetch.http_client import DownloadError, UnreachableError, shown
from incv3d.models.files import sha256_of
from incv3d.models.importing import import_model
from incv3d.models.store import ModelStore, StoredModel, check_name

DOWNLOADS = "downloads"
SHA256 = re.compile(r"[0-9a-f]{64}")
POLL_S = 0.2


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """What is to be fetched. A known model needs its name only.

    :param url: a mirror of a known model; or where a network of one's own lies.
    :param like: for a network of one's own: the known model whose tensors and input it has.
    :param sha256: what the file must have.
    :param replace: whether a model of this name may be there already.
    :param accept_new: take a file whose checksum differs from the one that an earlier fetch noted.
    """

    name: str
    url: str = ""
    like: str | None = None
    sha256: str = ""
    replace: bool = False
    accept_new: bool = False


@dataclass(frozen=True, slots=True)
class FetchResult:
    """A model that is in the store now."""

    model: StoredModel
    sha256: str
    """Of the file that was downloaded; empty: the model was there already."""


def fetch_model(
    store: ModelStore,
    order: FetchRequest,
    patience: Deadline,
    progress: Progress,
    say: Callable[[str], None],
    check: Callable[[StoredModel], None] = lambda model: None,
) -> FetchResult:
    """Have the model that `order` names in the store, fetched if it is not there.

    What was downloaded stays in the store's ``downloads`` for a later attempt until it was imported, or was
    found to be wrong. A second fetch of the same model waits for the first.

    :param progress: told of the download.
    :param say: told, in one line, of a wait for another fetch.
    :param check: what the model must pass before it gets its name.
    :raises UnreachableError: there is no network.
    :raises ModelError: whatever else is in the way; the store is then as before.
    """
    entry = _known(order)
    folder = store.root / DOWNLOADS
    with _disk_errors_explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        waiting = f"another fetch of {order.name} is under way; waiting for it"
        with _alone(folder / f"{order.name}.lock", patience, waiting, say):
            if order.name in store.names() and not order.replace:
                remove_download(store, order.name)  # of a fetch that was killed at its very end
                return FetchResult(store.get(order.name), sha256="")
            return _fetch(store, order, entry, patience, progress, check)


def fetch_in_time(store: ModelStore, name: str, wait_s: float, say: Callable[[str], None]) -> None:
    """Have the known model `name` in the store within `wait_s` seconds, for a caller that can do without.

    :param say: told, in one line, of every tenth of the download.
    :raises ModelError: when that cannot be; what was downloaded is kept for the next time.
    """
    patience = Deadline(deadline=time.monotonic() + wait_s)
    say(f"fetching {name} (at most {wait_s:g} s; model.fetch_wait_s)")
    fetch_model(store, FetchRequest(name), patience, lines_of_progress(name, say), say)


def remove_download(store: ModelStore, name: str) -> bool:
    """Remove what a fetch of the model `name` that broke off left; whether there was any."""
    files = [store.root / DOWNLOADS / f"{check_name(name)}{suffix}" for suffix in (".part", ".json")]
    there = [file for file in files if file.exists()]
    with _disk_errors_explained(store.root / DOWNLOADS):
        for file in there:
            file.unlink(missing_ok=True)
    return bool(there)


def _known(order: FetchRequest) -> ModelEntry | None:
    """The catalog's entry of the model that is ordered; None for a network of one's own."""
    check_name(order.name)
    if order.sha256 and not SHA256.fullmatch(order.sha256):
        raise ModelError(f"`{order.sha256}` is no SHA-256: 64 hexadecimal digits in small letters")
    catalog = load_catalog()
    entry = catalog.get(order.name)
    if entry is None:
        if not order.url:
            known = ", ".join(name for name, each in sorted(catalog.items()) if each.url)
            raise ModelError(f"no known model `{order.name}` (known: {known}); another one needs --url URL")
        return None
    if not entry.url:
        raise ModelError(f"`{order.name}` comes with incv3d and is not fetched; it is built when first used")
    if order.like:
        raise ModelError(f"`{order.name}` is a known model; leave out --like, or give another name")
    if entry.archive_sha256 and order.sha256 not in ("", entry.archive_sha256):
        raise ModelError(
            f"the published SHA-256 of {order.name} is {entry.archive_sha256}; no other is taken"
        )
    return entry


def _fetch(
    store: ModelStore,
    order: FetchRequest,
    entry: ModelEntry | None,
    patience: Deadline,
    progress: Progress,
    check: Callable[[StoredModel], None],
) -> FetchResult:
    before = recorded(store.root, order.name) if entry and not entry.archive_sha256 else None
    size_bytes = entry.archive_bytes if entry else None
    url = order.url or (entry.url if entry else "")
    published = entry.archive_sha256 if entry else ""
    unpacked = entry.graph_bytes if entry else None

    def ensure_room(missing_bytes: int) -> None:
        # The graph, and once more its weights, prepared.
        needed = missing_bytes + 2 * (unpacked or size_bytes or missing_bytes)
        free = shutil.disk_usage(store.root).free
        if needed > free:
            raise ModelError(
                f"{store.root}: {order.name} needs {needed / 1e6:.0f} MB there, {free / 1e6:.0f} MB are "
                f"free; make room, or keep models elsewhere (model.store)"
            )

    wanted = DownloadRequest(url, size_bytes, published or order.sha256)
    download = Download(store.root / DOWNLOADS, order.name, wanted, patience, progress, ensure_room)
    try:
        file = download.run()
    except OSError:  # a full disk: what came would only keep it full
        download.discard()
        raise
    found = wanted.sha256 or sha256_of(file)
    if before and before.sha256 != found and not (order.accept_new or order.sha256):
        download.discard()
        raise DownloadError(_differs(store, order.name, before, found, url))
    try:
        model = import_model(store, file, order.name, order.like, order.replace, shown(url), check)
    except ModelError:
        if not wanted.sha256:  # a file that must be right is kept for a better moment
            download.discard()
        raise
    if entry and not published:
        with store.exclusively():
            record(store.root, order.name, found, file.stat().st_size, shown(url))
    download.discard()
    return FetchResult(model, found)


def _differs(store: ModelStore, name: str, before: ChecksumRecord, found: str, url: str) -> str:
    return (
        f"{shown(url)}: its SHA-256 is {found}; the first fetch of {name}, on {before.recorded_at[:10]}, "
        f"brought {before.sha256} (noted in {store.root / CHECKSUMS}). Either the file was changed there, or "
        f"somebody is in between. To take it all the same: incv3d model fetch {name} --accept-new"
    )


@contextlib.contextmanager
def _alone(lock: Path, patience: Deadline, waiting: str, say: Callable[[str], None]) -> Iterator[None]:
    with lock.open("w") as file:
        said = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not said:
                    say(waiting)
                    said = True
                if patience.left_s <= 0:
                    raise DownloadError(f"{waiting} took too long") from None
                time.sleep(POLL_S)
        yield


@contextlib.contextmanager
def _disk_errors_explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ModelError(f"{error.filename or folder}: cannot be written: {error.strerror}") from None


def by_hand(error: UnreachableError, order: FetchRequest) -> ModelError:
    """What a person without a network can do, besides what went wrong."""
    entry = load_catalog().get(order.name)
    url = shown(order.url or (entry.url if entry else ""))
    name = "" if entry else f" --name {order.name}" + (f" --like {order.like}" if order.like else "")
    return ModelError(f"{error}. Fetch {url} elsewhere, copy it here, and: incv3d model import FILE{name}")
