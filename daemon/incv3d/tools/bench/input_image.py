"""Choose the image that a benchmark classifies."""

from __future__ import annotations

from pathlib import Path

from incv3d.config.intake import LARGEST_IMAGE
from incv3d.frames import Frame, image_format
from incv3d.images.demo import demo_folder
from incv3d.images.preprocess import ImageError, Preprocessor
from incv3d.models.store import StoredModel
from incv3d.pipeline.session_spec import input_spec
from incv3d.tools.bench.errors import BenchUsageError

BUNDLED = "coffee.jpg"


def choose_image(image: str | None, model: StoredModel) -> Path:
    """Return the file `image`, or else the model's own image, or else a bundled photograph.

    :raises BenchUsageError: if it is not a JPEG that can be decoded.
    """
    if image:
        path = Path(image)
        read_jpeg(path, model)
        return path.absolute()
    golden = model.directory / model.entry.golden.image if model.entry.golden else None
    own = golden and golden.suffix.lower() in (".jpg", ".jpeg") and golden.is_file()
    return golden if golden and own else demo_folder() / BUNDLED


def read_jpeg(path: Path, model: StoredModel) -> bytes:
    """Read the JPEG at `path`, and check that it can be decoded.

    :raises BenchUsageError: if it cannot.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise BenchUsageError(f"--image: {path}: cannot be read: {error.strerror}") from None
    if image_format(data) != "jpeg":
        raise BenchUsageError(f"--image: {path}: not a JPEG")
    try:
        frame = Frame("bench", data, "jpeg", received=0.0, captured=0.0)
        Preprocessor(input_spec(model.entry), LARGEST_IMAGE, "exact").decode(frame)
    except ImageError as error:
        raise BenchUsageError(f"--image: {path}: {error}") from None
    return data
