"""Find the configured model without loading or fetching anything."""

from __future__ import annotations

import contextlib
from pathlib import Path

from incv3d.config.schema import Config
from incv3d.engines import EngineName, engine_for
from incv3d.models.bundled import imagenet_labels
from incv3d.models.catalog import load_catalog
from incv3d.models.conversions import converted_precisions
from incv3d.models.entry import ModelError, mark_lasting
from incv3d.models.file_kinds import format_of, kind_of
from incv3d.models.labels import Labels, parse_rows, read_labels
from incv3d.models.prepare import prepared_folder
from incv3d.models.readiness import needs_conversion
from incv3d.models.resolve import AUTO, CUSTOM, EMBEDDED, PREFERRED, get_model, needs_fetch
from incv3d.models.store import ModelStore, StoredModel
from incv3d.pipeline.engine_choice import known_choice
from incv3d.pipeline.loader import check_engine, uses_custom
from incv3d.pipeline.session_spec import spec_of
from incv3d.pipeline.taught import find_taught

IMAGENET_OUTPUTS = 1000


def find_stored(config: Config, store: ModelStore) -> StoredModel | None:
    """Return the configured model if it is in the store.

    :returns: None if the daemon would fetch, build or import it at startup.
    :raises ModelError: startup would fail too.
    """
    name = config.model.name
    if uses_custom(config):
        # Imported here because it takes time, and most configurations have no custom model.
        from incv3d.models.custom import find_custom

        return find_custom(config.custom, CUSTOM if name == AUTO else name, store)
    if config.model.fetch_wait_s and needs_fetch(name, store):
        return None
    if name not in (AUTO, EMBEDDED):
        return get_model(name, store)
    for each in (PREFERRED, EMBEDDED) if name == AUTO else (EMBEDDED,):
        with contextlib.suppress(ModelError):  # a damaged model is fetched or built again
            return store.get(each)
    return None


def network_engine(config: Config, model: StoredModel | None) -> EngineName:
    """Return the engine that runs the configured model.

    :param model: as :func:`find_stored` returns it.
    :raises ConfigError: the configured engine cannot run it.
    """
    asked = config.session.engine
    if model is None:
        if uses_custom(config):
            format_ = format_of(kind_of(Path(config.custom.file)))
        else:
            known = load_catalog().get(config.model.name)
            format_ = known.format if known else "graphdef"
        return "litert" if needs_conversion(asked, format_) else engine_for(format_).name
    check_engine(asked, model)
    if choice := known_choice(config, model, spec_of(config, model)):
        return choice.candidate.engine
    converted = (
        model.entry.format == "graphdef"
        and asked != "tensorflow"
        and bool(converted_precisions(model.directory))
    )
    needs = needs_conversion(asked, model.entry.format)
    return "litert" if converted or needs else engine_for(model.entry.format).name


def runs_prepared_graph(config: Config, store: ModelStore) -> bool:
    """Return whether the configured model is in the store with a prepared graph, which TensorFlow runs.

    :raises ModelError: startup would fail too.
    :raises ConfigError: the configured engine cannot run it.
    """
    config = find_taught(config, store).config
    model = find_stored(config, store)
    return (
        model is not None
        and network_engine(config, model) == "tensorflow"
        and prepared_folder(model).is_dir()
    )


def labels_of(config: Config, model: StoredModel | None) -> Labels | None:
    """Return the labels of the configured model, or None if they arrive with it at startup.

    :param model: as :func:`find_stored` returns it.
    :raises ModelError: the labels are damaged.
    """
    with mark_lasting():
        if model:
            return read_labels(model.labels, model.entry.outputs)
    if not uses_custom(config) and config.model.name in (AUTO, EMBEDDED):
        rows = imagenet_labels()
        return parse_rows("ImageNet's labels", rows, IMAGENET_OUTPUTS)
    return None
