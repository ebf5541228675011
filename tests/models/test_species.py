"""Birds, insects and plants: fetched with their labels, checked, and found by Latin and common names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from PIL import Image

from incv3d.models.catalog import load_catalog
from incv3d.models.entry import ModelEntry, ModelError
from incv3d.models.fetch.download import RetryPolicy
from incv3d.models.fetch.fetch import FetchRequest, FetchResult, fetch_model, manual_fetch_error
from incv3d.models.fetch.http_client import DownloadError, UnreachableError
from incv3d.models.importing import import_model
from incv3d.models.labels import Label, Labels, read_labels
from incv3d.models.store import ModelStore
from processes import run_incv3d
from tiny_flatbuffers import bytes_network
from webserver import Site, answer, serve, web_server

QUICK = RetryPolicy(connect_s=5, read_s=5, attempts=2, pause_s=0.01)
NAMES = ("birds", "insects", "plants")
OUTPUTS = {"birds": 965, "insects": 1022, "plants": 2102}


def labels_of(outputs: int) -> bytes:
    named = [f"Genus species{chr(97 + n % 26)}{'x' * (n // 26)} (Common {n})" for n in range(outputs - 1)]
    return "\n".join([*named, "background", ""]).encode()


def files_of(entry: ModelEntry) -> tuple[str, str]:
    """The paths of a network and its labels on a mirror."""
    return "/" + entry.url.rpartition("/")[2], "/" + entry.labels_url.rpartition("/")[2]


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(tmp_path / "store")


@pytest.fixture
def site() -> Iterator[Site]:
    """A mirror of all three, with networks made here."""
    files = {}
    for name in NAMES:
        network, labels = files_of(load_catalog()[name])
        files |= {network: bytes_network(OUTPUTS[name]), labels: labels_of(OUTPUTS[name])}
    with web_server(files) as site:
        yield site


@pytest.fixture
def known(site: Site, monkeypatch: pytest.MonkeyPatch) -> dict[str, ModelEntry]:
    """The catalog as if the mirror's files were the published ones."""
    catalog = load_catalog()
    for name in NAMES:
        network, labels = files_of(catalog[name])
        content = site.files[network]
        published: dict[str, object] = {"url": site.url(network), "labels_url": site.url(labels)}
        if catalog[name].archive_sha256:
            published |= {
                "archive_bytes": len(content),
                "archive_sha256": hashlib.sha256(content).hexdigest(),
                "labels_sha256": hashlib.sha256(site.files[labels]).hexdigest(),
                "golden": msgspec.structs.replace(catalog[name].golden, score=None),
            }
        catalog[name] = msgspec.structs.replace(catalog[name], **published)
    for module in ("fetch.fetch", "importing"):
        monkeypatch.setattr(f"incv3d.models.{module}.load_catalog", lambda: catalog)
    return catalog


Fetch = Callable[..., FetchResult]


@pytest.fixture
def fetch(store: ModelStore) -> Fetch:
    def fetched(name: str, **more: object) -> FetchResult:
        request = FetchRequest(name, **more)
        return fetch_model(store, request, QUICK, lambda have, total: None, lambda line: None)

    return fetched


def downloads(store: ModelStore) -> list[str]:
    return sorted(path.name for path in (store.root / "downloads").iterdir() if path.suffix != ".lock")


@pytest.mark.parametrize("name", NAMES)
def test_a_fetch_brings_the_network_and_its_labels(store, site, known, fetch: Fetch, name: str) -> None:
    model = fetch(name).model
    assert model.entry == known[name] and model.network.read_bytes() == site.files[files_of(known[name])[0]]
    labels = read_labels(model.labels, OUTPUTS[name])
    assert labels[0].name == "Genus speciesa (Common 0)" and labels[OUTPUTS[name] - 1].name == "background"
    assert downloads(store) == [] and len(site.asked) == 2
    golden = {"grace_hopper.jpg"} if known[name].golden else set()
    assert {path.name for path in model.directory.iterdir()} == {
        "labels.tsv", "manifest.json", "model.tflite", *golden,
    }  # fmt: skip
    recorded = store.root / "checksums.json"
    assert recorded.exists() == (not known[name].archive_sha256)


def test_the_first_fetch_of_a_file_without_a_checksum_records_it(store, site, known, fetch: Fetch) -> None:
    first = fetch("plants").sha256
    assert json.loads((store.root / "checksums.json").read_text())["plants"]["sha256"] == first
    site.files[files_of(known["plants"])[0]] = bytes_network(OUTPUTS["plants"], best=7)
    with pytest.raises(DownloadError, match=f"had {first} .*incv3d model fetch plants --accept-new"):
        fetch("plants", replace=True)


@pytest.mark.parametrize(
    ("name", "network", "labels", "complaint"),
    [
        ("plants", bytes_network(2101), None, "the network has 2101 outputs, but must have 2102"),
        ("plants", bytes_network(2102, side=192), None, "custom.width is 224, but .* has shape 1x192x192x3"),
        ("plants", None, labels_of(2101), "2101 labels for a network with 2102 outputs"),
        ("plants", None, b"<html>", "labels"),
        ("plants", b"<html>not found", None, "LiteRT cannot load it"),
        ("birds", bytes_network(965, best=3), None, "SHA-256"),
        ("birds", None, labels_of(965).replace(b"Common", b"Rare"), "SHA-256 is .* instead of"),
    ],
)
def test_other_files_are_refused_and_the_store_stays_as_it_was(
    store, site, known, fetch: Fetch, name: str, network: bytes | None, labels: bytes | None, complaint: str
) -> None:
    for path, content in zip(files_of(known[name]), (network, labels), strict=True):
        site.files[path] = content or site.files[path]
    with pytest.raises(ModelError, match=complaint) as caught:
        fetch(name)
    assert "\n" not in str(caught.value) and store.models() == []


def test_labels_that_cannot_be_fetched_leave_the_network_for_the_next_attempt(
    store, site, known, fetch: Fetch
) -> None:
    network, labels = files_of(known["birds"])
    site.steps = [serve(), answer(404)]
    with pytest.raises(DownloadError, match="404"):
        fetch("birds")
    assert store.models() == [] and "birds.part" in downloads(store)
    fetch("birds")
    assert [path for path, _ in site.asked] == [network, labels, labels]


def test_a_mirror_has_the_labels_next_to_the_network(store, site, known, fetch: Fetch) -> None:
    network, labels = files_of(known["birds"])
    site.files |= {f"/here{network}": site.files[network], f"/here{labels}": site.files[labels]}
    fetch("birds", url=site.url(f"/here{network}"))
    assert [path for path, _ in site.asked] == [f"/here{network}", f"/here{labels}"]


def test_by_hand_both_files_are_needed(store, site, known, tmp_path: Path) -> None:
    network, labels = (tmp_path / path[1:] for path in files_of(known["birds"]))
    network.write_bytes(site.files[files_of(known["birds"])[0]])
    with pytest.raises(ModelError, match=rf"its labels are missing: put {labels.name} in the same folder"):
        import_model(store, network)
    with pytest.raises(ModelError, match=rf"its labels are missing: put {labels.name} in the same folder"):
        import_model(store, network, name="garden")
    labels.write_bytes(b"others")
    with pytest.raises(ModelError, match=r"damaged: it is not the published file; to use it, add --labels"):
        import_model(store, network)
    labels.write_bytes(site.files[files_of(known["birds"])[1]])
    assert import_model(store, network).name == "birds"
    translated = tmp_path / "vogelnamen.txt"
    translated.write_text("\n".join(f"Vogel {n}" for n in range(965)))
    model = import_model(store, network, labels=translated, replace=True)
    assert read_labels(model.labels, 965)[3].name == "Vogel 3"


def test_without_a_network_the_way_by_hand_names_both_files() -> None:
    said = str(manual_fetch_error(UnreachableError("no network"), FetchRequest("birds")))
    assert "inat_bird_quant.tflite and https://" in said and "inat_bird_labels.txt elsewhere" in said
    assert said.endswith("copy both here, and run: incv3d model import FILE")
    said = str(manual_fetch_error(UnreachableError("no network"), FetchRequest("plants")))
    assert said.endswith("incv3d model import FILE --name plants")


def test_a_species_is_found_by_either_of_its_names() -> None:
    names = (
        "Ara macao (Scarlet Macaw)", "Circus cyaneus hudsonius (Northern Harrier (American))", "background",
        "Ara", "bottle (green)",
    )  # fmt: skip
    labels = Labels([Label(number, "", name) for number, name in enumerate(names)], len(names))
    for pattern, found in (
        ("Scarlet Macaw", 0),
        ("ara  macao", 0),
        ("Ara macao (Scarlet Macaw)", 0),
        ("*macaw*", 0),
        ("northern harrier (american)", 1),
        ("background", 2),
        ("ara", 3),
    ):
        assert labels.matching(pattern) == (found,), pattern
    assert labels.matching("bottle") == () and labels.matching("Macaw") == ()
    assert "Scarlet Macaw" in labels.closest("Scarlet Macow")


def test_a_model_that_is_not_fetched_yet_needs_litert_only(tmp_path: Path) -> None:
    from incv3d.config.loading import load_config
    from incv3d.pipeline.configured_model import network_engine

    path = tmp_path / "incv3d.yaml"
    path.write_text("model: {name: birds}\n")
    assert network_engine(load_config(str(path)).config, None) == "litert"


@pytest.fixture(scope="module")
def published(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A state directory with Coral's own birds and insects, fetched from a mirror on this machine."""
    state = tmp_path_factory.mktemp("species")
    folder = shared / "models/coral"
    files = {f"/{path.name}": path.read_bytes() for path in folder.iterdir()}
    with web_server(files) as site:
        for name in ("birds", "insects"):
            entry = load_catalog()[name]
            done = run_incv3d(state, "model", "fetch", name, "--url", site.url(files_of(entry)[0]))
            assert done.returncode == 0, done.stderr
            assert f"fetched {name}: {OUTPUTS[name]} outputs" in done.stdout
    return state


@pytest.mark.parametrize(
    ("name", "image", "label", "score"),
    [
        ("birds", "parrot.jpg", "Ara macao (Scarlet Macaw)", 0.797),
        ("birds", "owl.jpg", "Athene cunicularia (Burrowing Owl)", 0.949),
        ("birds", "grace_hopper.bmp", "background", 0.867),
        ("insects", "dragonfly.bmp", "Micrathyria hagenii (Thornbush Dasher)", 0.539),
    ],
)
def test_the_published_networks_know_these_animals(
    shared: Path, published: Path, tmp_path: Path, name: str, image: str, label: str, score: float
) -> None:
    config = tmp_path / "incv3d.yaml"
    config.write_text(f"model: {{name: {name}}}\nsession: {{preprocess: exact}}\n")
    picture = str(shared / "images" / image)
    done = run_incv3d(published, "classify", "--json", "--config", str(config), picture)
    assert done.returncode == 0, done.stderr
    best = json.loads(done.stdout)["predictions"][0]
    assert best["label"] == label and best["score"] == pytest.approx(score, abs=0.02)
    shown = run_incv3d(published, "model", "show", name).stdout
    assert "LiteRT flatbuffer" in shown and "grace_hopper.jpg is `background`" in shown
    assert run_incv3d(published, "model", "verify", name).stdout == f"{name}: ok\n"


def test_events_name_a_species_by_its_common_name(published: Path, tmp_path: Path) -> None:
    config = tmp_path / "incv3d.yaml"
    for wanted, status in (("Scarlet Macaw", 0), ("Scarlet Macow", 2)):
        config.write_text(f"model: {{name: birds}}\nevents: {{allow: [{wanted}]}}\n")
        done = run_incv3d(published, "check-config", "--config", str(config))
        assert done.returncode == status, done.stderr
    assert "Scarlet Macaw" in done.stderr


def test_the_tiny_network_stands_for_the_published_one(tmp_path: Path, store, site, known, fetch) -> None:
    """It runs, and its classes are told apart, so that the tests above test something."""
    fetch("birds")
    Image.new("RGB", (64, 48), "red").save(tmp_path / "red.png")
    Image.new("RGB", (64, 48), "black").save(tmp_path / "black.png")
    config = tmp_path / "incv3d.yaml"
    config.write_text(f"model: {{name: birds, store: {store.root}, top_k: 1}}\n")
    pictures = (str(tmp_path / "red.png"), str(tmp_path / "black.png"))
    done = run_incv3d(tmp_path / "state", "classify", "--json", "--config", str(config), *pictures)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line)["predictions"][0]["label"] for line in done.stdout.splitlines()]
    assert found == ["Genus speciesa (Common 0)", "background"]
