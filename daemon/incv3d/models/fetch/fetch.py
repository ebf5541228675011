"""Fetch a model into the store: download, verify and import it; one fetch of a model at a time."""

from __future__ import annotations

import contextlib
import fcntl
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

from incv3d.config.preprocessing import PresetName
from incv3d.models.catalog import load_catalog
from incv3d.models.entry import ModelEntry, ModelError, mark_lasting
from incv3d.models.fetch.checksums import FILE as CHECKSUMS
from incv3d.models.fetch.checksums import ChecksumRecord, find_record, save_record
from incv3d.models.fetch.download import Download, DownloadRequest, Progress, RetryPolicy, progress_lines
from incv3d.models.fetch.http_client import DownloadError, UnreachableError, redact
from incv3d.models.files import sha256_of
from incv3d.models.importing import import_model
from incv3d.models.names import check_name
from incv3d.models.store import ModelStore, StoredModel

DOWNLOADS = "downloads"
COPIES = {"graphdef": 4, "tflite": 2}
"""How often the network is written at most: the graph, its conversion to float32, the packed weights of that,
and the form prepared for TensorFlow; or a flatbuffer and its packed weights."""
SHA256 = re.compile(r"[0-9a-f]{64}")
POLL_S = 0.2
LABELS = ".LABELS"
"""Follows the name of a model in that of the download of its labels; no model's name has capitals."""


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """A model to fetch. A known model needs only its name.

    :param url: a mirror of a known model, or the address of the user's own network.
    :param like: for the user's own network: the known model with the same tensors and input.
    :param preset: for the user's own network: the preset that it was trained with.
    :param sha256: the required checksum of the file.
    :param replace: replace an existing model of this name.
    :param accept_new: accept a file whose checksum differs from the one noted by an earlier fetch.
    """

    name: str
    url: str = ""
    like: str | None = None
    preset: PresetName = "none"
    sha256: str = ""
    replace: bool = False
    accept_new: bool = False


@dataclass(frozen=True, slots=True)
class FetchResult:
    """A fetched model."""

    model: StoredModel
    sha256: str
    """Checksum of the downloaded file; empty: the model was in the store already."""


def fetch_model(
    store: ModelStore,
    order: FetchRequest,
    policy: RetryPolicy,
    progress: Progress,
    say: Callable[[str], None],
    check: Callable[[StoredModel], None] = lambda model: None,
) -> FetchResult:
    """Fetch the model named by `order` into the store, unless it is there.

    The download stays in the store's ``downloads`` for a later attempt until it has been imported, or is
    known to be wrong. A second fetch of the same model waits for the first.

    :param progress: called with the progress of the download.
    :param say: called with one line before waiting for another fetch.
    :param check: called with the model before it gets its name; an exception cancels the import.
    :raises UnreachableError: there is no network.
    :raises ModelError: the fetch failed for another reason; the store is unchanged.
    """
    with mark_lasting():
        entry = _known(order)
    folder = store.root / DOWNLOADS
    with _disk_errors_explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        waiting = f"another fetch of {order.name} is under way; waiting for it"
        with _alone(folder / f"{order.name}.lock", policy, waiting, say):
            if order.name in store.names() and not order.replace:
                remove_download(store, order.name)  # left by a fetch that was killed at its very end
                return FetchResult(store.get(order.name), sha256="")
            return _fetch(store, order, entry, policy, progress, check)


def fetch_in_time(store: ModelStore, name: str, wait_s: float, say: Callable[[str], None]) -> None:
    """Fetch the known model `name` within `wait_s` seconds, for a caller that can continue without it.

    :param say: called with one line per tenth of the download.
    :raises ModelError: the fetch failed; the download is kept for the next attempt.
    """
    policy = RetryPolicy(deadline=time.monotonic() + wait_s)
    say(f"fetching {name} (at most {wait_s:g} s; model.fetch_wait_s)")
    fetch_model(store, FetchRequest(name), policy, progress_lines(name, say), say)


def remove_download(store: ModelStore, name: str) -> bool:
    """Remove the partial download of the model `name`. Return whether there was one."""
    suffixes = (f"{labels}{part}" for labels in ("", LABELS) for part in (".part", ".json"))
    files = [store.root / DOWNLOADS / f"{check_name(name)}{suffix}" for suffix in suffixes]
    there = [file for file in files if file.exists()]
    with _disk_errors_explained(store.root / DOWNLOADS):
        for file in there:
            file.unlink(missing_ok=True)
    return bool(there)


def _known(order: FetchRequest) -> ModelEntry | None:
    """Return the catalog's entry of the requested model, or None for the user's own network."""
    check_name(order.name)
    if order.sha256 and not SHA256.fullmatch(order.sha256):
        raise ModelError(f"`{order.sha256}` is not a SHA-256 checksum: 64 lower-case hexadecimal digits")
    catalog = load_catalog()
    entry = catalog.get(order.name)
    if entry is None:
        if not order.url:
            known = ", ".join(name for name, each in sorted(catalog.items()) if each.url)
            raise ModelError(
                f"`{order.name}` is not a known model ({known}); to fetch another, use --url URL"
            )
        return None
    if not entry.url:
        raise ModelError(f"`{order.name}` is built by incv3d on first use, not fetched")
    if order.like or order.preset != "none":
        option = "--like" if order.like else "--preset"
        raise ModelError(f"`{order.name}` is a known model; omit {option}, or use another name")
    if entry.archive_sha256 and order.sha256 not in ("", entry.archive_sha256):
        raise ModelError(
            f"the published SHA-256 of {order.name} is {entry.archive_sha256}; no other is accepted"
        )
    return entry


def _fetch(
    store: ModelStore,
    order: FetchRequest,
    entry: ModelEntry | None,
    policy: RetryPolicy,
    progress: Progress,
    check: Callable[[StoredModel], None],
) -> FetchResult:
    before = find_record(store.root, order.name) if entry and not entry.archive_sha256 else None
    size_bytes = entry.archive_bytes if entry else None
    url = order.url or (entry.url if entry else "")
    published = entry.archive_sha256 if entry else ""
    unpacked = entry.graph_bytes if entry else None
    copies = COPIES["tflite" if entry and entry.format == "tflite" else "graphdef"]

    def ensure_room(missing_bytes: int) -> None:
        needed = missing_bytes + copies * (unpacked or size_bytes or missing_bytes)
        free = shutil.disk_usage(store.root).free
        if needed > free:
            raise ModelError(
                f"{store.root}: {order.name} needs {needed / 1e6:.0f} MB, but only {free / 1e6:.0f} MB are "
                f"free; free some space, or set model.store to another disk"
            )

    wanted = DownloadRequest(url, size_bytes, published or order.sha256)
    download = Download(store.root / DOWNLOADS, order.name, wanted, policy, progress, ensure_room)
    try:
        file = download.run()
    except OSError:  # a full disk: the partial download would keep it full
        download.discard()
        raise
    found = wanted.sha256 or sha256_of(file)
    if before and before.sha256 != found and not (order.accept_new or order.sha256):
        download.discard()
        raise DownloadError(_differs(store, order.name, before, found, url))
    labels, labels_file = None, None
    if entry and entry.labels_url:
        labels = _labels_download(store, order, entry, policy)
        labels_file = labels.run()
    try:
        model = _import(store, order, file, redact(url), check, labels_file)
    except ModelError:
        if not wanted.sha256:  # with a known checksum, the file is good: keep it for the next attempt
            download.discard()
            if labels:
                labels.discard()
        raise
    if entry and not published:
        with store.exclusively():
            save_record(store.root, order.name, found, file.stat().st_size, redact(url))
    download.discard()
    if labels:
        labels.discard()
    return FetchResult(model, found)


def _import(
    store: ModelStore,
    order: FetchRequest,
    file: Path,
    source: str,
    check: Callable[[StoredModel], None],
    labels: Path | None,
) -> StoredModel:
    return import_model(
        store,
        file,
        order.name,
        order.like,
        order.replace,
        source,
        check,
        labels,
        preset=order.preset,
    )


def _labels_download(
    store: ModelStore, order: FetchRequest, entry: ModelEntry, policy: RetryPolicy
) -> Download:
    """Return the download of a known model's labels; a mirror has them next to the network."""
    url = urljoin(order.url, entry.labels_url.rpartition("/")[2]) if order.url else entry.labels_url
    wanted = DownloadRequest(url, None, entry.labels_sha256)
    name = f"{order.name}{LABELS}"
    return Download(
        store.root / DOWNLOADS, name, wanted, policy, lambda have, total: None, lambda missing: None
    )


def _differs(store: ModelStore, name: str, before: ChecksumRecord, found: str, url: str) -> str:
    return (
        f"{redact(url)}: its SHA-256 is {found}; the first fetch of {name}, on {before.recorded_at[:10]}, "
        f"had {before.sha256} (noted in {store.root / CHECKSUMS}). Either that file has changed, "
        f"or the download was tampered with. To accept it: incv3d model fetch {name} --accept-new"
    )


@contextlib.contextmanager
def _alone(lock: Path, policy: RetryPolicy, waiting: str, say: Callable[[str], None]) -> Iterator[None]:
    with lock.open("w") as file:
        announced = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not announced:
                    say(waiting)
                    announced = True
                if policy.left_s <= 0:
                    raise DownloadError(f"{waiting} took too long") from None
                time.sleep(POLL_S)
        yield


@contextlib.contextmanager
def _disk_errors_explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ModelError(f"{error.filename or folder}: cannot be written: {error.strerror}") from None


def manual_fetch_error(error: UnreachableError, order: FetchRequest) -> ModelError:
    """Return the error with instructions for a machine without a network."""
    entry = load_catalog().get(order.name)
    url = redact(order.url or (entry.url if entry else ""))
    named = f" --name {order.name}" + (f" --like {order.like}" if order.like else "")
    is_recognized = entry is not None and entry.archive_bytes is not None
    files = f"{url} and {entry.labels_url}" if entry and entry.labels_url else url
    return ModelError(
        f"{error}. Fetch {files} elsewhere, copy {'both' if files != url else 'it'} here, and run: "
        f"incv3d model import FILE{'' if is_recognized else named}"
    )
