"""Choose the engines to time a model with, and prepare what each needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from incv3d.engines.tensorflow import TENSORFLOW, plain_session_mb
from incv3d.models.conversions import Precision, StoredConversion, converted_precisions, open_conversion
from incv3d.models.entry import ModelError
from incv3d.models.packed_weights import ensure_ready
from incv3d.models.prepare import require_tensorflow
from incv3d.models.store import ModelStore, StoredModel
from incv3d.pipeline.session_spec import available_cores, input_spec
from incv3d.tools.bench.errors import BenchUsageError
from incv3d.tools.bench.measurements import Unavailable
from incv3d.tools.bench.onnx_export import ensure_onnx
from incv3d.tools.bench.other_runtimes import INSTALL, MODULES
from incv3d.tools.bench.worker_protocol import Engine, EngineJob

OURS: tuple[Engine, ...] = ("plain", "lean", "litert-float32", "litert-int8")
THEIRS: tuple[Engine, ...] = ("onnxruntime", "openvino", "opencv")
TITLES: dict[str, str] = {
    "plain": "plain Session",
    "lean": "lean Session",
    "litert": "LiteRT",
    "litert-float32": "LiteRT float32",
    "litert-int8": "LiteRT int8",
    "onnxruntime": "ONNX Runtime",
    "openvino": "OpenVINO",
    "opencv": "OpenCV DNN",
}
MIB = 1024 * 1024


def choose(words: str, known: Sequence[Engine], option: str) -> list[Engine]:
    """Return the engines named in `words`, separated by commas; ``all`` stands for all of `known`.

    :raises BenchUsageError: if one is unknown.
    """
    if words == "all":
        return list(known)
    chosen: list[Engine] = []
    for word in filter(None, (each.strip() for each in words.split(","))):
        found = next((each for each in known if each == word), None)
        if found is None:
            raise BenchUsageError(
                f"{option}: unknown engine `{word}`; choose from {', '.join(known)}, or all"
            )
        if found not in chosen:
            chosen.append(found)
    if not chosen:
        raise BenchUsageError(f"{option}: no engine given; choose from {', '.join(known)}, or all")
    return chosen


def conversion_of(model: StoredModel, precision: Precision) -> StoredConversion:
    """Return the conversion of `model` to `precision`.

    :raises ModelError: if it does not exist or is damaged.
    """
    if precision not in converted_precisions(model.directory):
        raise ModelError(f"not converted to {precision}: incv3d model convert {model.name} --to {precision}")
    return open_conversion(model, precision)


def default_engines() -> str:
    """Return the engines to time if none is given: those that do not need TensorFlow where it is missing."""
    return "plain,lean" if TENSORFLOW.is_installed else "litert-float32,litert-int8"


def plan(
    engines: Sequence[Engine],
    model: StoredModel,
    store: ModelStore,
    image: Path,
    threads: int,
    cache_filters: bool,
    progress: Callable[[str], None],
) -> tuple[list[EngineJob], list[Unavailable]]:
    """Return a job for each of `engines`, and the engines that cannot run the model, with the reason.

    Creates what an engine needs first (the prepared form, an ONNX file).

    :param threads: cores per run; 0: all, and TensorFlow's default for the plain Session.
    :param cache_filters: whether the lean Session caches its filters in the processor's layout.
    """
    jobs: list[EngineJob] = []
    unavailable: list[Unavailable] = []
    if model.entry.format != "graphdef":
        own: Engine = "litert" if model.entry.format == "tflite" else "onnxruntime"
        reason = f"`{model.name}` is {model.entry.network_in_words}, which {TITLES[own]} runs directly"
        unavailable += [Unavailable(engine=each, reason=reason) for each in engines if each in OURS]
        engines = [own, *(each for each in engines if each in THEIRS and each != own)]
    for engine in engines:
        try:
            network, prepared = _network(engine, model, store, progress)
        except ModelError as error:
            unavailable.append(Unavailable(engine=engine, reason=str(error)))
            continue
        spec = replace(
            model.session_spec(threads or available_cores()), file=network, cache_filters=cache_filters
        )
        if engine.startswith("litert-"):
            spec = replace(spec, format="tflite", input="", output="", jpeg_input="", image_input="")
        elif engine == "onnxruntime" and model.entry.format != "onnx":
            spec = replace(spec, format="onnx", input="", output="", jpeg_input="", image_input="")
        jobs.append(
            EngineJob(
                engine=engine,
                spec=spec,
                pixels=input_spec(model.entry),
                prepared=str(prepared or ""),
                image=str(image),
                default_threads=not threads,
            )
        )
    return jobs, unavailable


def _network(
    engine: Engine, model: StoredModel, store: ModelStore, progress: Callable[[str], None]
) -> tuple[Path, Path | None]:
    """Return the network's file in the format of `engine`, and what makes its Session start fast."""
    if engine in MODULES:
        if model.entry.format == "tflite":
            raise ModelError(
                f"`{model.name}` is a .tflite model; only frozen graphs can be converted to ONNX"
            )
        is_onnx = model.entry.format == "onnx"
        needed = (MODULES[engine],) if is_onnx else (MODULES[engine], "tf2onnx")
        missing = [name for name in needed if find_spec(name) is None]
        if missing:
            raise ModelError(f"{missing[0]} is not installed; {INSTALL}")
        return (model.network if is_onnx else ensure_onnx(model, store, progress)), None
    if engine == "litert-float32" or engine == "litert-int8":
        conversion = conversion_of(model, "float32" if engine == "litert-float32" else "int8")
        return conversion.network, ensure_ready(model, store, progress, conversion)
    if engine in ("plain", "lean"):
        require_tensorflow()
    if engine == "lean":
        prepared = ensure_ready(model, store, progress)
        if prepared is None:
            raise ModelError(f"{model.name} could not be prepared")
        return model.network, prepared
    if engine == "litert":
        return model.network, ensure_ready(model, store, progress)
    return model.network, None


def expected_mb(job: EngineJob) -> float:
    """Estimate the memory of a process with this job, MiB, a little above what was measured.

    With Inception-v3, a graph of 91 MB, the plain Session took 1730, the lean one 360, the others at most
    310; with EfficientNet-Lite0, 18 MB, they took 860, 360 and 100.
    """
    network_mb = job.spec.file.stat().st_size / MIB
    if job.engine == "plain":
        return plain_session_mb(job.spec.file.stat().st_size) + network_mb
    if job.engine == "lean":
        return 350 + network_mb * (1 + job.spec.cache_filters)
    return 150 + 3 * network_mb


def fitting(
    jobs: Sequence[EngineJob], free_mb: float | None
) -> tuple[list[EngineJob], list[Unavailable], bool]:
    """Return the jobs that fit into `free_mb` of memory, the others, and whether all fit at the same time.

    :param free_mb: None: unknown, so that all are tried.
    """
    free_mb = math.inf if free_mb is None else free_mb
    fit, unavailable = [], []
    for job in jobs:
        needed = expected_mb(job)
        if needed > free_mb:
            reason = f"too little memory: it needs about {needed:.0f} MB, {free_mb:.0f} MB are available"
            unavailable.append(Unavailable(engine=job.engine, reason=reason))
        else:
            fit.append(job)
    return fit, unavailable, sum(map(expected_mb, fit)) <= free_mb
