"""The picture that a benchmark classifies."""

from __future__ import annotations

from pathlib import Path

from incv3d.config.schema import LARGEST_IMAGE
from incv3d.frames import Frame, picture_format
from incv3d.images.demo import demo_folder
from incv3d.images.preprocess import ImageError, Preprocessor
from incv3d.models.store import StoredModel
from incv3d.pipeline.loader import input_spec
from incv3d.tools.bench.errors import BenchUsageError

BUNDLED = "coffee.jpg"


def choose_picture(image: str | None, model: StoredModel) -> Path:
    """The file that `image` names; else the model's own picture, else a bundled photograph.

    :raises BenchUsageError: when it is no JPEG that can be decoded.
    """
    if image:
        path = Path(image)
        read_jpeg(path, model)
        return path.absolute()
    golden = model.directory / model.entry.golden.picture if model.entry.golden else None
    own = golden and golden.suffix.lower() in (".jpg", ".jpeg") and golden.is_file()
    return golden if golden and own else demo_folder() / BUNDLED


def read_jpeg(path: Path, model: StoredModel) -> bytes:
    """The bytes of the JPEG at `path`, which is decoded on trial.

    :raises BenchUsageError: when it is none.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BenchUsageError(f"--image: {path}: cannot be read: {error.strerror}") from None
    if picture_format(data) != "jpeg":
        raise BenchUsageError(f"--image: {path}: not a JPEG")
    try:
        frame = Frame("bench", data, "jpeg", received=0.0, captured=0.0)
        Preprocessor(input_spec(model.entry), LARGEST_IMAGE, "exact").decode(frame)
    except ImageError as error:
        raise BenchUsageError(f"--image: {path}: {error}") from None
    return data
