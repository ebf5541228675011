"""Make what the engines need to run a frozen graph, when a model is added to the store."""

from __future__ import annotations

import logging
from collections.abc import Callable

from incv3d.engines import EngineName, engine_of
from incv3d.engines.base import ModelFormat
from incv3d.errors import pip_install
from incv3d.models.entry import ModelError
from incv3d.models.flatbuffer.float32 import UnsupportedGraph, add_float32, find_float32
from incv3d.models.prepare import UnrunnableError, preparation_check
from incv3d.models.store import StoredModel

LOG = logging.getLogger(__name__)


def readiness_check(asked: str, progress: Callable[[str], None]) -> Callable[[StoredModel], None]:
    """Return a check for :meth:`ModelStore.adding` that makes a graph ready before it gets its name.

    It is converted to float32 for LiteRT, and prepared for the lean Session of TensorFlow: for each of the
    two if it is installed and may be used.

    :param asked: the configured engine.
    :param progress: called with one line per step.
    """
    prepare = preparation_check(progress)
    # ONNX Runtime runs no graphs; another configuration will choose the engine of this one.
    asked = "auto" if asked == "onnx" else asked

    def check(model: StoredModel) -> None:
        if model.entry.format != "graphdef":
            return
        litert, tensorflow = is_usable("litert", asked), is_usable("tensorflow", asked)
        if not litert and not tensorflow:
            raise no_engine(asked, model)
        if litert:
            _convert(model, progress)
        if tensorflow:
            prepare(model)

    return check


def is_usable(engine: EngineName, asked: str) -> bool:
    """Return whether an engine's library is installed, and the configuration allows the engine.

    :param asked: the configured engine.
    """
    return asked in ("auto", engine) and engine_of(engine).is_installed


def needs_conversion(asked: str, format_: ModelFormat) -> bool:
    """Return whether a model of that format needs a conversion, because LiteRT must run it.

    :param asked: the configured engine.
    """
    if format_ != "graphdef" or asked == "tensorflow":
        return False
    return asked == "litert" or (not is_usable("tensorflow", asked) and is_usable("litert", asked))


def no_engine(asked: str, model: StoredModel) -> ModelError:
    """Return the error for a machine without an engine that may run the graph of `model`."""
    litert, tensorflow = engine_of("litert"), engine_of("tensorflow")
    if asked in (litert.name, tensorflow.name):
        missing = litert if asked == litert.name else tensorflow
        return ModelError(
            f"session.engine: {asked}, whose library is missing: {pip_install(missing.package)}"
        )
    return ModelError(
        f"{model.name} runs on LiteRT or TensorFlow; install one: {pip_install(litert.package)}, or "
        f"{pip_install(tensorflow.package)}"
    )


def _convert(model: StoredModel, progress: Callable[[str], None]) -> None:
    """Convert `model` to float32, unless it has been converted elsewhere.

    A failure is only logged if TensorFlow can run the graph, or perhaps convert it.
    """
    if find_float32(model):
        return
    progress(f"converting {model.name} to float32 for LiteRT")
    has_tensorflow = engine_of("tensorflow").is_installed
    try:
        add_float32(model, model.directory)
    except UnrunnableError:
        raise
    except UnsupportedGraph as error:
        if not has_tensorflow:
            raise ModelError(f"{error}; TensorFlow may support it: {pip_install('tensorflow')}") from None
        LOG.warning("not converted for LiteRT: %s", error)
    except ModelError as error:
        if not has_tensorflow:
            raise
        LOG.warning("not converted for LiteRT: %s", error)
