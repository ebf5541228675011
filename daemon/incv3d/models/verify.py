"""Verify that the files of a stored model match the checksums noted on import."""

from __future__ import annotations

from pathlib import Path

from incv3d.engines import prepared_model
from incv3d.engines.base import SessionError
from incv3d.engines.prepared_model import open_prepared
from incv3d.models.conversions import converted_precisions, open_conversion
from incv3d.models.entry import ModelError
from incv3d.models.files import sha256_of
from incv3d.models.prepare import prepared_folder
from incv3d.models.store import ModelStore, StoredModel
from incv3d.models.taught.store import TaughtStore


def verify_model(store: ModelStore, name: str) -> list[str]:
    """Return the faults of the model `name`, one line each with a remedy; empty if there are none.

    Reads all of its files.
    """
    try:
        model = store.get(name)
    except ModelError as error:
        return [str(error)]
    again = f"remove it and get it again: incv3d model remove {name}"
    findings = [
        *_differs(model.network, model.manifest.sha256, again),
        *_differs(model.labels, model.manifest.labels_sha256, again),
        *_prepared_findings(model),
        *_conversion_findings(model),
    ]
    golden = model.entry.golden
    if golden and not (model.directory / golden.image).is_file():
        findings.append(f"{model.directory / golden.image}: is missing; {again}")
    elif golden:
        findings += _differs(model.directory / golden.image, model.manifest.golden_sha256, again)
    return findings


def _differs(path: Path, sha256: str, remedy: str) -> list[str]:
    """Return a fault if the file differs from the noted checksum; an empty `sha256` matches any file."""
    try:
        found = sha256_of(path)
    except OSError as error:
        return [f"{path}: cannot be read: {error.strerror}; {remedy}"]
    if sha256 and found != sha256:
        return [f"{path}: damaged: its SHA-256 is {found} instead of {sha256}; {remedy}"]
    return []


def _prepared_findings(model: StoredModel) -> list[str]:
    folder = prepared_folder(model)
    if not folder.exists():
        return []  # not prepared until it is first needed
    remedy = f"remove that folder (rm -r {folder}); the next start prepares the model again"
    try:
        index = open_prepared(folder).index
    except SessionError as error:
        return [f"{error}; {remedy}"]
    if index.source_sha256 != model.manifest.sha256:
        return [f"{folder}: prepared from another graph; {remedy}"]
    return [
        *_differs(folder / prepared_model.GRAPH, index.graph_sha256, remedy),
        *_differs(folder / prepared_model.WEIGHTS, index.weights_sha256, remedy),
    ]


def _conversion_findings(model: StoredModel) -> list[str]:
    findings = []
    for precision in converted_precisions(model.directory):
        try:
            conversion = open_conversion(model, precision)
        except ModelError as error:
            findings.append(str(error))
            continue
        remedy = f"convert it again: incv3d model convert {model.name} --to {precision}"
        findings += _differs(conversion.network, conversion.facts.sha256, remedy)
    return findings


def verify_taught(store: TaughtStore, name: str) -> list[str]:
    """Return the faults of the taught model `name`, one line each with a remedy; empty if there are none."""
    try:
        return store.get(name).damages()
    except ModelError as error:
        return [str(error)]
