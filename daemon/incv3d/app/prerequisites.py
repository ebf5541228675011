"""Check what a configuration needs, before anything is started. All commands share this list of checks.

``run`` makes them before it loads a model or opens an address, and a reload before it changes anything;
``check-config`` and ``doctor`` report them. They find what only a person can correct. What may resolve itself
is not a mistake: an address in use, a camera or a broker that is away, a model that is not downloaded yet.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from incv3d.config.checks import split_http_address
from incv3d.config.loading import ConfigError, LoadedConfig
from incv3d.config.paths import state_directory
from incv3d.config.schema import Config
from incv3d.engines import engine_of
from incv3d.errors import Incv3dError, not_installed
from incv3d.events.outputs import check_outputs
from incv3d.events.watchlist import read_watchlists
from incv3d.frames import Frame
from incv3d.images.preprocess import ImageError, encoded_format
from incv3d.models.entry import ModelError
from incv3d.models.file_kinds import format_of, kind_of
from incv3d.models.resolve import EMBEDDED
from incv3d.models.store import StoredModel
from incv3d.notify.services import read_services
from incv3d.pipeline.configured_model import find_stored, labels_of, network_engine
from incv3d.pipeline.engine_library import require_library
from incv3d.pipeline.loader import open_store, uses_custom
from incv3d.pipeline.taught import TaughtModels, check_bases, find_taught, naming_base, read_heads
from incv3d.protocol.curve_keys import KeyFileDenied
from incv3d.sources.base import LibraryMissing
from incv3d.sources.factory import check_source
from incv3d.sources.video import PYAV
from incv3d.transports.base import Transport
from incv3d.transports.registry import TRANSPORTS

LOG = logging.getLogger(__name__)
KEY = re.compile(r"([a-z]+(?:\[\d+\])?\.[a-z_]+)((?:\.[^:\s]+)?): ")
"""The start of an error that names a key of the configuration; a group of events adds its name."""
FOR_GOOD = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL)
"""The errors of addresses that this user can never listen on, on this machine and in any network."""
Check = Callable[[LoadedConfig, Mapping[str, str]], None]


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something in the configuration, or in a file that it names, that prevents the daemon from starting."""

    key: str
    """The key of the configuration, such as ``http.token_file``; empty if it cannot be read at all."""
    what: str
    """Where it is, what is wrong and what to do, in one line."""
    is_denied: bool = False
    """Whether this user lacks the permission to read the file; the daemon's user may have it."""


class Mistakes(Incv3dError):
    """The configuration has mistakes; each has a line."""

    is_lasting = True

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("; ".join(each.what for each in mistakes))
        self._mistakes = mistakes

    @property
    def lines(self) -> list[str]:
        """Return one line for each mistake."""
        return [each.what for each in self._mistakes]


def check(loaded: LoadedConfig, environ: Mapping[str, str]) -> None:
    """Make all checks.

    :raises Mistakes: a person must correct something.
    :raises Incv3dError: something is wrong that may resolve itself.
    """
    if mistakes := find_mistakes(loaded, environ):
        raise Mistakes(mistakes)


def find_mistakes(loaded: LoadedConfig, environ: Mapping[str, str]) -> list[Mistake]:
    """Make all checks, as the user who runs this process.

    :param environ: the environment, in which systemd names the folders of a service, and may be a password.
    :raises Incv3dError: something is wrong that may resolve itself.
    """
    found = []
    for key, each in CHECKS:
        try:
            each(loaded, environ)
        except PermissionError as error:
            found.append(_mistake(loaded, key, f"{error.filename}: {error.strerror}", is_denied=True))
        except Incv3dError as error:
            if not error.is_lasting:
                raise
            is_denied = isinstance(error, KeyFileDenied) or isinstance(error.__context__, PermissionError)
            found.append(_mistake(loaded, key, str(error), is_denied))
    return found


def _mistake(loaded: LoadedConfig, key: str, said: str, is_denied: bool) -> Mistake:
    """Return a mistake whose line begins with the place of its key."""
    if (named := KEY.match(said)) and re.split(r"\W", named[1])[0] in Config.__struct_fields__:
        key, rest = named[1], said[named.end() :]
        return Mistake(key, f"{loaded.place(key)}{named[2]}: {rest}", is_denied)
    return Mistake(key, f"{loaded.place(key)}: {said}", is_denied)


def _check_files(loaded: LoadedConfig, environ: Mapping[str, str]) -> None:
    """Check the files that the daemon reads but never creates, even of parts that are turned off."""
    config = loaded.config
    named = _custom_files(config)
    if not config.mqtt.host:
        named |= {"mqtt.password_file": config.mqtt.password_file, "mqtt.ca_file": config.mqtt.ca_file}
    if not config.http.bind:
        named["http.token_file"] = config.http.token_file
    for key, path in named.items():
        if path and not Path(path).exists():
            raise ConfigError(f"{key}: {path}: no such file")


def _custom_files(config: Config) -> dict[str, str]:
    custom = config.custom
    return {
        "custom.file": custom.file,
        "custom.labels": custom.labels,
        "custom.golden_picture": custom.golden_picture,
    }


def _check_transport(transport: type[Transport], loaded: LoadedConfig, environ: Mapping[str, str]) -> None:
    if transport.is_configured(loaded.config):
        transport.check(loaded, environ)


def _check_addresses(transport: type[Transport], loaded: LoadedConfig, environ: Mapping[str, str]) -> None:
    """Check for addresses that this user may never listen on.

    One that is in use, or belongs to a network that is not up, may be available later.
    """
    addresses = transport.addresses(loaded.config) if transport.is_configured(loaded.config) else {}
    for key, address in addresses.items():
        if (number := _obstacle(address)) in FOR_GOOD:
            shown = address.removeprefix("tcp://") if key == "http.bind" else address
            raise ConfigError(f"{key}: cannot listen on {shown}: {os.strerror(number)}")


def _obstacle(address: str) -> int:
    """Return why this user cannot bind `address` (errno); 0: it can be bound. Nothing listens meanwhile."""
    if address.startswith("ipc://"):
        path = Path(address.removeprefix("ipc://"))
        if str(path).startswith("@"):
            return 0
        if not path.parent.is_dir():
            return errno.ENOENT
        return 0 if os.access(path.parent, os.W_OK | os.X_OK, effective_ids=True) else errno.EACCES
    host, port = split_http_address("", urlsplit(address).netloc)
    try:
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        return 0  # names are not looked up, which could take long
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError as error:
        return error.errno or errno.EIO
    return 0


def _check_source(loaded: LoadedConfig, environ: Mapping[str, str]) -> None:
    for place, section in loaded.config.all_sources.items():
        try:
            check_source(section, place)
        except LibraryMissing as error:
            raise ConfigError(f"{place}.type: {error}") from None


def _check_model(loaded: LoadedConfig, environ: Mapping[str, str]) -> None:
    """Check the model, as far as possible without running it, its engine, and the labels of events."""
    store = open_store(loaded.config, state_directory(environ))
    found = find_taught(loaded.config, store)
    config = found.config
    is_custom = uses_custom(config)
    if is_custom and any(path and not Path(path).exists() for path in _custom_files(config).values()):
        return  # this is reported already
    if not (store.root / "models").is_dir():
        _check_writable(store.root)
    try:
        with naming_base(found):
            model = find_stored(config, store)
    except ModelError as error:
        for key, path in _custom_files(config).items() if is_custom else ():
            if path and str(error).startswith(path):
                raise ConfigError(f"{key}: {error}") from error
        raise
    if model is None:
        _check_writable(store.root)
        if is_custom:
            _check_reader(Path(config.custom.file))
    own_name = config.custom.file if is_custom else config.model.name
    require_library(network_engine(config, model), model.name if model else own_name)
    _check_labels(config, model, found)


def _check_reader(file: Path) -> None:
    """Check that the library that reads a network's file is installed; another one may run it afterwards."""
    tensorflow = engine_of("tensorflow")
    if format_of(kind_of(file)) == tensorflow.format and not tensorflow.is_installed:
        raise ConfigError(f"custom.file: {file}: cannot be imported: {not_installed(tensorflow.package)}")


def _check_labels(config: Config, model: StoredModel | None, found: TaughtModels) -> None:
    """Check heads, the labels that the configuration names, and the golden image, as far as possible now."""
    golden = model.entry.golden if model else None
    if model is None and uses_custom(config) and config.custom.golden_picture:
        _check_picture(Path(config.custom.golden_picture))
    if model:
        check_bases(found, model.manifest.sha256)
    base_labels = labels_of(config, model) if golden or config.watches_labels else None
    labels = read_heads(found, base_labels)[0] if found.each else base_labels
    name = model.name if model else EMBEDDED
    if golden and base_labels is not None and not base_labels.matching(golden.label):
        key = "custom.golden_label" if uses_custom(config) else "model.name"
        raise ConfigError(f"{key}: {name} has no label `{golden.label}`, which its golden picture must have")
    is_known = base_labels is not None or not found.uses_base_labels
    if config.watches_labels and labels is not None and is_known:
        read_watchlists(config, labels, found.default.name if found.default else name)


def _check_picture(path: Path) -> None:
    try:
        encoded_format(Frame("golden", path.read_bytes(), None, received=0.0, captured=0.0, top_k=1))
    except OSError as error:
        raise ConfigError(f"custom.golden_picture: {path}: cannot be read: {error.strerror}") from None
    except ImageError as error:
        raise ConfigError(f"custom.golden_picture: {path}: {error}") from None


def _check_writable(folder: Path) -> None:
    """Check that this user may create files in `folder`, or create the folder.

    :raises ConfigError: it is not a folder.
    :raises PermissionError: this user may not.
    """
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir():
        raise ConfigError(f"model.store: {there}: not a folder")
    if not os.access(there, os.W_OK | os.X_OK, effective_ids=True):
        why = f"a model is to be stored there: {os.strerror(errno.EACCES)}"
        raise PermissionError(errno.EACCES, why, str(there))


def _check_clips(loaded: LoadedConfig, environ: Mapping[str, str]) -> None:
    """Check that clips can be written, and warn of sources that have none."""
    if not loaded.config.clips.folder:
        return
    PYAV.check()
    for place, section in loaded.config.all_sources.items():
        if section.type in ("picamera2", "picamera"):
            LOG.warning("%s: clips.folder: type %s delivers raw pixels: no clips", place, section.type)


def _check_notify(loaded: LoadedConfig, environ: Mapping[str, str]) -> None:
    if loaded.config.notify.urls_file:
        read_services(Path(loaded.config.notify.urls_file))


CHECKS: tuple[tuple[str, Check], ...] = (
    ("custom.file", _check_files),
    *((transport.key, partial(_check_transport, transport)) for transport in TRANSPORTS),
    *((transport.key, partial(_check_addresses, transport)) for transport in TRANSPORTS),
    ("source.path", _check_source),
    ("clips.folder", _check_clips),
    ("gpio.outputs", lambda loaded, environ: check_outputs(loaded.config)),
    ("notify.urls_file", _check_notify),
    ("model.name", _check_model),
)
"""Each with the key to name if the error names none."""
