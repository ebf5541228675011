"""Which engines a model can be timed with, and what each needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from incv3d.models.conversions import Precision, converted_precisions, open_conversion
from incv3d.models.entry import ModelError
from incv3d.models.prepare import ensure_prepared
from incv3d.models.store import ModelStore, StoredModel
from incv3d.pipeline.loader import available_cores, input_spec
from incv3d.tools.bench.errors import BenchUsageError
from incv3d.tools.bench.measurements import Unavailable
from incv3d.tools.bench.onnx_export import ensure_onnx
from incv3d.tools.bench.other_runtimes import INSTALL, PEERS
from incv3d.tools.bench.worker_protocol import Engine, Job

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
    """The engines that `words` names, separated by commas; ``all``: every one of `known`.

    :raises BenchUsageError: when one is not known.
    """
    if words == "all":
        return list(known)
    chosen: list[Engine] = []
    for word in filter(None, (each.strip() for each in words.split(","))):
        found = next((each for each in known if each == word), None)
        if found is None:
            raise BenchUsageError(f"{option}: no `{word}`; possible are {', '.join(known)}, or all")
        if found not in chosen:
            chosen.append(found)
    if not chosen:
        raise BenchUsageError(f"{option}: names nothing; possible are {', '.join(known)}, or all")
    return chosen


def converted_file(model: StoredModel, precision: Precision) -> Path:
    """The flatbuffer that `model` was converted to.

    :raises ModelError: when there is none, or it is damaged.
    """
    if precision not in converted_precisions(model.directory):
        raise ModelError(f"no {precision} conversion: incv3d model convert {model.name} --to {precision}")
    return open_conversion(model, precision).network


def plan(
    engines: Sequence[Engine],
    model: StoredModel,
    store: ModelStore,
    picture: Path,
    threads: int,
    cache_filters: bool,
    progress: Callable[[str], None],
) -> tuple[list[Job], list[Unavailable]]:
    """A job for each of `engines`, and those for which there is none, with the reason.

    What has to be made first (the prepared form, an ONNX file) is made.

    :param threads: cores that one run may use; 0: all, and the plain Session as TensorFlow itself sets it.
    :param cache_filters: whether the lean Session keeps its filters in the processor's layout.
    """
    jobs: list[Job] = []
    unavailable: list[Unavailable] = []
    if model.entry.format == "tflite":
        reason = f"`{model.name}` is kept as .tflite, which LiteRT runs as it is"
        unavailable += [Unavailable(engine=each, reason=reason) for each in engines if each in OURS]
        engines = ["litert", *(each for each in engines if each in THEIRS)]
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
            spec = replace(spec, format="tflite", input="", output="", jpeg_input="", picture_input="")
        jobs.append(
            Job(
                engine=engine,
                spec=spec,
                pixels=input_spec(model.entry),
                prepared=str(prepared or ""),
                picture=str(picture),
                default_threads=not threads,
            )
        )
    return jobs, unavailable


def _network(
    engine: Engine, model: StoredModel, store: ModelStore, progress: Callable[[str], None]
) -> tuple[Path, Path | None]:
    """The network's file in the format of `engine`, and the folder of its prepared form."""
    if engine in PEERS:
        if model.entry.format != "graphdef":
            raise ModelError(f"`{model.name}` is kept as .tflite; there is no graph to convert")
        missing = [name for name in (PEERS[engine], "tf2onnx") if find_spec(name) is None]
        if missing:
            raise ModelError(f"{missing[0]} is not installed; {INSTALL}")
        return ensure_onnx(model, store, progress), None
    if engine == "litert-float32" or engine == "litert-int8":
        return converted_file(model, "float32" if engine == "litert-float32" else "int8"), None
    if engine == "lean":
        prepared = ensure_prepared(model, store, progress)
        if prepared is None:
            raise ModelError(f"{model.name} could not be prepared")
        return model.network, prepared
    return model.network, None


def expected_mb(job: Job) -> float:
    """About how much memory a process with this job takes, MiB: seen here, and a little more.

    Inception-v3's 91 MB of graph took the plain Session 1730, the lean one 360, the others 310 at most;
    EfficientNet-Lite0's 18 MB took 860, 360 and 100.
    """
    network_mb = job.spec.file.stat().st_size / MIB
    if job.engine == "plain":
        return 650 + 12 * network_mb
    if job.engine == "lean":
        return 350 + network_mb * (1 + job.spec.cache_filters)
    return 150 + 3 * network_mb


def available_mb(meminfo: Path = Path("/proc/meminfo")) -> float:
    """``MemAvailable`` of proc(5), MiB; infinite where it cannot be told."""
    try:
        lines = meminfo.read_text("ascii", "replace").splitlines()
    except OSError:
        return float("inf")
    found = next((line for line in lines if line.startswith("MemAvailable:")), None)
    return int(found.split()[1]) / 1024 if found else float("inf")


def fitting(jobs: Sequence[Job], free_mb: float) -> tuple[list[Job], list[Unavailable], bool]:
    """The jobs that `free_mb` of memory is enough for, the others, and whether those fit all at once."""
    fit, unavailable = [], []
    for job in jobs:
        needed = expected_mb(job)
        if needed > free_mb:
            reason = f"too little memory: it takes about {needed:.0f} MB, {free_mb:.0f} MB are available"
            unavailable.append(Unavailable(engine=job.engine, reason=reason))
        else:
            fit.append(job)
    return fit, unavailable, sum(map(expected_mb, fit)) <= free_mb
