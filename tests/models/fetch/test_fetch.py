"""Fetching a model: it is in the store, whole and checked, or the store is as it was."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from archives import packed
from incv3d.models.catalog import load_catalog
from incv3d.models.entry import ModelError
from incv3d.models.fetch.download import RetryPolicy
from incv3d.models.fetch.fetch import (
    FetchRequest,
    FetchResult,
    fetch_model,
    manual_fetch_error,
    remove_download,
)
from incv3d.models.fetch.http_client import DownloadError, UnreachableError
from incv3d.models.store import ModelStore
from webserver import Site, serve, web_server

QUICK = RetryPolicy(connect_s=5, read_s=5, attempts=2, pause_s=0.01)


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with web_server({"/model.tgz": packed(tmp_path)}) as site:
        yield site


def fetch(store: ModelStore, name: str, url: str = "", policy: RetryPolicy = QUICK, **more) -> FetchResult:
    return fetch_model(
        store, FetchRequest(name, url, **more), policy, lambda have, total: None, lambda line: None
    )


def downloads(store: ModelStore) -> list[str]:
    return sorted(path.name for path in (store.root / "downloads").iterdir() if path.suffix != ".lock")


def sha256(site: Site) -> str:
    return hashlib.sha256(site.files["/model.tgz"]).hexdigest()


def test_a_network_of_ones_own_is_fetched_and_its_archive_removed(store, site) -> None:
    fetched = fetch(store, "mine", site.url(), like="inception-v3")
    assert (fetched.model.name, fetched.sha256) == ("mine", sha256(site))
    assert store.get("mine").entry.source == site.url() and store.get("mine").entry.golden is None
    assert downloads(store) == []


def test_a_model_that_is_there_is_fetched_again_only_when_asked(store, site) -> None:
    fetch(store, "mine", site.url())
    assert fetch(store, "mine", site.url()).sha256 == "" and len(site.asked) == 1
    assert fetch(store, "mine", site.url(), replace=True).sha256 == sha256(site) and len(site.asked) == 2


def test_a_checksum_that_is_given_is_demanded(store, site) -> None:
    fetch(store, "mine", site.url(), sha256=sha256(site))
    with pytest.raises(DownloadError, match=f"its SHA-256 is {sha256(site)} instead of {'0' * 64}"):
        fetch(store, "other", site.url(), sha256="0" * 64)
    with pytest.raises(ModelError, match="`xyz` is not a SHA-256"):
        fetch(store, "other", site.url(), sha256="xyz")
    assert store.names() == ["mine"] and downloads(store) == []


def test_a_file_that_is_no_model_is_refused_and_removed(store, site) -> None:
    for content, complaint in (
        (b"garbage" * 100, "not a frozen GraphDef"),
        (site.files["/model.tgz"][:-200], r"mine\.part: "),
    ):
        site.files["/model.tgz"] = content
        with pytest.raises(ModelError, match=complaint):
            fetch(store, "mine", site.url())
        assert store.models() == [] and downloads(store) == []


def test_a_file_that_must_be_right_is_kept_when_it_cannot_be_imported(store, site) -> None:
    with pytest.raises(ModelError, match="not an HDF5 file"):
        fetch(store, "mine", site.url(), sha256=sha256(site), like="inception-v3-keras")
    assert downloads(store) == ["mine.json", "mine.part"]
    fetch(store, "mine", site.url(), sha256=sha256(site), like="inception-v3")
    assert len(site.asked) == 1 and downloads(store) == []


def test_without_a_network_the_way_by_hand_is_told(store, monkeypatch) -> None:
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    with pytest.raises(
        UnreachableError, match=r"no network: storage\.googleapis\.com: the proxy: "
    ) as caught:
        fetch(store, "inception-v3")
    advice = str(manual_fetch_error(caught.value, FetchRequest("inception-v3")))
    assert advice.endswith("elsewhere, copy it here, and run: incv3d model import FILE")
    own = FetchRequest("mine", "http://x.example/y", like="inception-v3")
    assert str(manual_fetch_error(caught.value, own)).endswith("import FILE --name mine --like inception-v3")


@pytest.mark.parametrize(
    ("order", "complaint"),
    [
        (
            FetchRequest("mine"),
            r"`mine` is not a known model \(birds, inception-v3, .*\); to fetch another, use --url URL",
        ),
        (FetchRequest("efficientnet-lite0"), "is built by incv3d on first use, not fetched"),
        (FetchRequest("inception-v3", like="inception-v3"), "omit --like"),
        (
            FetchRequest("inception-v3-2016", sha256="0" * 64),
            "the published SHA-256 of inception-v3-2016 is 7045b",
        ),
        (FetchRequest("../mine", "http://x/y"), "is not a valid model name"),
        (FetchRequest("mine", "file:///etc/passwd"), "`file:///etc/passwd` is not a URL like https://"),
        (FetchRequest("mine", "http://"), "is not a URL like https://"),
        (FetchRequest("mine", "http://x:99999/"), "is not a URL like https://"),
        (FetchRequest("mine", "model.tgz"), "is not a URL like https://"),
    ],
)
def test_orders_that_cannot_be_filled_are_explained(store, order, complaint) -> None:
    with pytest.raises(ModelError, match=complaint):
        fetch_model(store, order, QUICK, lambda have, total: None, lambda line: None)
    assert store.models() == []


def test_a_mirror_is_held_to_the_published_size(store, site) -> None:
    with pytest.raises(DownloadError, match="instead of 88931400"):
        fetch(store, "inception-v3", site.url())


@pytest.fixture
def unpublished(site, monkeypatch) -> Site:
    """A known model for whose file no checksum was published."""
    entry = load_catalog()["inception-v3"]
    known = msgspec.structs.replace(entry, url=site.url(), archive_bytes=None, graph_bytes=None, golden=None)
    for module in ("fetch.fetch", "importing"):
        monkeypatch.setattr(
            f"incv3d.models.{module}.load_catalog", lambda: {"known": known, "inception-v3": entry}
        )
    monkeypatch.setattr("incv3d.models.importing.unpack_2016", None)
    return site


def test_the_first_fetch_notes_the_checksum_and_later_ones_are_held_to_it(
    store, unpublished, tmp_path
) -> None:
    first = fetch(store, "known").sha256
    noted = json.loads((store.root / "checksums.json").read_text())
    assert noted["known"]["sha256"] == first and noted["known"]["url"] == unpublished.url()
    assert fetch(store, "known", replace=True).sha256 == first
    unpublished.files["/model.tgz"] = packed(tmp_path, more=b"other")
    with pytest.raises(DownloadError, match=f"had {first} .*incv3d model fetch known --accept-new"):
        fetch(store, "known", replace=True)
    assert store.names() == ["known"] and downloads(store) == []
    accepted = fetch(store, "known", replace=True, accept_new=True).sha256
    assert accepted != first
    assert json.loads((store.root / "checksums.json").read_text())["known"]["sha256"] == accepted


def test_a_fetch_that_failed_notes_no_checksum(store, unpublished) -> None:
    unpublished.files["/model.tgz"] = b"garbage"
    with pytest.raises(ModelError, match="not a frozen GraphDef"):
        fetch(store, "known")
    assert not (store.root / "checksums.json").exists()


def test_a_damaged_note_of_checksums_is_named(store, unpublished) -> None:
    store.root.mkdir()
    (store.root / "checksums.json").write_text("{")
    with pytest.raises(ModelError, match=r"checksums\.json: damaged .* remove it"):
        fetch(store, "known")


def test_too_little_room_is_said_before_anything_is_asked_for(site, tmp_path, small_disk) -> None:
    small = ModelStore(small_disk)
    with pytest.raises(ModelError, match=r"inception-v3 needs 472 MB, but only 1 MB are free; free"):
        fetch(small, "inception-v3", site.url())
    assert site.asked == []
    site.files["/model.tgz"] = os.urandom(600_000)
    with pytest.raises(ModelError, match=r"mine needs 3 MB, but only 1 MB are free"):
        fetch(small, "mine", site.url())
    assert small.models() == [] and downloads(small) == []


def test_a_disk_that_fills_up_meanwhile_is_one_line_and_is_left_as_it_was(site, small_disk) -> None:
    small = ModelStore(small_disk)
    site.files["/model.tgz"] = os.urandom(3_000_000)
    site.steps = [serve(with_length=False)]
    with pytest.raises(ModelError, match="cannot be written: No space left on device"):
        fetch(small, "mine", site.url())
    assert small.models() == [] and downloads(small) == []


def test_what_a_broken_download_left_can_be_removed(store, site) -> None:
    site.steps = [serve(stop_after=100), serve(stop_after=0)]
    with pytest.raises(DownloadError, match="are kept"):
        fetch(store, "mine", site.url())
    assert remove_download(store, "mine") and not remove_download(store, "mine")
    assert downloads(store) == []


def test_waiting_for_another_fetch_ends_at_the_deadline(store, site, monkeypatch) -> None:
    monkeypatch.setattr("incv3d.models.fetch.fetch.POLL_S", 0.01)
    said: list[str] = []
    policy = RetryPolicy(deadline=time.monotonic() + 0.1)

    def meanwhile(have: int, total: int | None) -> None:
        with pytest.raises(DownloadError, match=r"another fetch of mine is under way; .* took too long"):
            fetch_model(store, FetchRequest("mine", site.url()), policy, meanwhile, said.append)

    fetch_model(store, FetchRequest("mine", site.url()), QUICK, meanwhile, said.append)
    assert said == ["another fetch of mine is under way; waiting for it"] and store.names() == ["mine"]
