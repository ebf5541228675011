"""Check what a configuration needs, before anything is started. All commands share this list of checks.

``run`` makes them before it loads a model or listens, and a reload before it changes anything;
``check-config`` and ``doctor`` report them. They find what only a person can correct. What can pass by itself
is no mistake: an address in use, a camera or a broker that is away, a model that is still to be downloaded.
"""

from __future__ import annotations

import errno
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from incv3d.config.checks import split_http_address
from incv3d.config.loading import ConfigError, LoadedConfig
from incv3d.config.paths import state_directory
from incv3d.config.schema import Config
from incv3d.engines import engine_of
from incv3d.errors import Incv3dError, pip_install
from incv3d.events.watchlist import read_watchlist
from incv3d.frames import Frame
from incv3d.images.preprocess import ImageError, encoded_format
from incv3d.models.entry import ModelError
from incv3d.models.resolve import EMBEDDED
from incv3d.models.store import StoredModel
from incv3d.pipeline.configured_model import find_stored, labels_of, network_engine
from incv3d.pipeline.loader import open_store, uses_custom
from incv3d.protocol.curve_keys import KeyFileDenied
from incv3d.sources.base import LibraryMissing
from incv3d.sources.factory import check_source
from incv3d.transports.http.transport import need_libraries
from incv3d.transports.mqtt.errors import need_library
from incv3d.transports.zeromq.access import required_keys

KEY = re.compile(r"([a-z]+\.[a-z_]+)((?:\.[^:\s]+)?): ")
"""How an error begins that names a key of the configuration; a group of events has a name more."""
FOR_GOOD = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EINVAL)
"""Why an address can never be listened on, whatever else runs on this machine and wherever it is."""
Check = Callable[[LoadedConfig, Mapping[str, str]], None]


@dataclass(frozen=True, slots=True)
class Mistake:
    """Something in the configuration, or that it names, that a daemon cannot start with."""

    key: str
    """Of the configuration, ``http.token_file``."""
    what: str
    """Where it stands, what is wrong and what to do, in one line."""
    is_denied: bool = False
    """Whether this user lacks the permission to read the file; the daemon's user may have it."""


class Mistakes(Incv3dError):
    """The configuration has mistakes, each of which has a line."""

    exit_status = 2
    is_lasting = True

    def __init__(self, mistakes: list[Mistake]) -> None:
        super().__init__("; ".join(each.what for each in mistakes))
        self._mistakes = mistakes

    @property
    def lines(self) -> list[str]:
        """One for each mistake."""
        return [each.what for each in self._mistakes]


def check(loaded: LoadedConfig, environ: Mapping[str, str]) -> None:
    """Make all checks.

    :raises Mistakes: what only a person can correct.
    :raises Incv3dError: what may pass by itself.
    """
    if mistakes := find_mistakes(loaded, environ):
        raise Mistakes(mistakes)


def find_mistakes(loaded: LoadedConfig, environ: Mapping[str, str]) -> list[Mistake]:
    """Make all checks, as the user who runs this process.

    :param environ: where systemd names the folders of a service, and where the broker's password may be.
    :raises Incv3dError: what may pass by itself.
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
    """Begin the line with the place where the key was given."""
    if (named := KEY.match(said)) and named[1].split(".")[0] in Config.__struct_fields__:
        key, rest = named[1], said[named.end() :]
        return Mistake(key, f"{loaded.place(key)}{named[2]}: {rest}", is_denied)
    return Mistake(key, f"{loaded.place(key)}: {said}", is_denied)


def _check_files(loaded: LoadedConfig, environ: Mapping[str, str]) -> None:
    """Files that the daemon reads and never makes, also those of a part that is not in force."""
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


def _check_keys(loaded: LoadedConfig, environ: Mapping[str, str]) -> None:
    required_keys(loaded, environ)


def _check_addresses(loaded: LoadedConfig, environ: Mapping[str, str]) -> None:
    """Addresses that this user may never listen on. One in use, or of a network that is not up, may pass."""
    config = loaded.config
    addresses = {"intake.bind": config.intake.bind, "intake.publish": config.intake.publish}
    if config.http.bind:
        addresses["http.bind"] = f"tcp://{config.http.bind}"
    for key, address in addresses.items():
        if address and (number := _obstacle(address)) in FOR_GOOD:
            shown = address.removeprefix("tcp://") if key == "http.bind" else address
            raise ConfigError(f"{key}: cannot listen on {shown}: {os.strerror(number)}")


def _obstacle(address: str) -> int:
    """Return why nothing could be bound to `address` (errno); 0: it could. Nothing ever listens for it."""
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


def _check_http(loaded: LoadedConfig, environ: Mapping[str, str]) -> None:
    section = loaded.config.http
    if section.bind:
        need_libraries("http.bind")
        if section.token_file:
            from incv3d.transports.http.auth import read_token

            read_token(Path(section.token_file))


def _check_mqtt(loaded: LoadedConfig, environ: Mapping[str, str]) -> None:
    section = loaded.config.mqtt
    if section.host:
        need_library("mqtt.host")
        from incv3d.transports.mqtt.broker import broker_of
        from incv3d.transports.mqtt.topics import Topics, check_frames, own_name

        broker_of(section, environ)
        if section.frames:
            check_frames(section.frames, Topics(section.prefix, own_name(section.name)))


def _check_source(loaded: LoadedConfig, environ: Mapping[str, str]) -> None:
    try:
        check_source(loaded.config.source)
    except LibraryMissing as error:
        raise ConfigError(f"source.type: {error}") from None


def _check_model(loaded: LoadedConfig, environ: Mapping[str, str]) -> None:
    """The model, as far as it can be told without running it, its engine, and the labels of events."""
    config = loaded.config
    is_custom = uses_custom(config)
    if is_custom and any(path and not Path(path).exists() for path in _custom_files(config).values()):
        return  # said already
    store = open_store(config, state_directory(environ))
    if not (store.root / "models").is_dir():
        _check_writable(store.root)
    try:
        model = find_stored(config, store)
    except ModelError as error:
        for key, path in _custom_files(config).items() if is_custom else ():
            if path and str(error).startswith(path):
                raise ConfigError(f"{key}: {error}") from error
        raise
    if model is None:
        _check_writable(store.root)
    engine = engine_of(network_engine(config, model))
    if find_spec(engine.module) is None:
        name = model.name if model else config.model.name
        raise ConfigError(
            f"session.engine: {name} runs on {engine.name}, whose library is missing: "
            f"{pip_install(engine.package)}"
        )
    _check_labels(config, model)


def _check_labels(config: Config, model: StoredModel | None) -> None:
    """The labels that the configuration names, and the golden picture, as far as they can be told now."""
    golden = model.entry.golden if model else None
    if model is None and uses_custom(config) and config.custom.golden_picture:
        _check_picture(Path(config.custom.golden_picture))
    if not (golden or config.events.enabled) or (labels := labels_of(config, model)) is None:
        return
    name = model.name if model else EMBEDDED
    if golden and not labels.matching(golden.label):
        key = "custom.golden_label" if uses_custom(config) else "model.name"
        raise ConfigError(f"{key}: {name} has no label `{golden.label}`, which its golden picture must have")
    if config.events.enabled:
        read_watchlist(config.events, labels, name)


def _check_picture(path: Path) -> None:
    try:
        encoded_format(Frame("golden", path.read_bytes(), None, received=0.0, captured=0.0, top_k=1))
    except OSError as error:
        raise ConfigError(f"custom.golden_picture: {path}: cannot be read: {error.strerror}") from None
    except ImageError as error:
        raise ConfigError(f"custom.golden_picture: {path}: {error}") from None


def _check_writable(folder: Path) -> None:
    """Check that this user may make files in `folder`, or make it.

    :raises ConfigError: what is there is no folder.
    :raises PermissionError: this user may not.
    """
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    if not there.is_dir():
        raise ConfigError(f"model.store: {there}: not a folder")
    if not os.access(there, os.W_OK | os.X_OK, effective_ids=True):
        why = f"a model is to be stored there: {os.strerror(errno.EACCES)}"
        raise PermissionError(errno.EACCES, why, str(there))


CHECKS: tuple[tuple[str, Check], ...] = (
    ("custom.file", _check_files),
    ("intake.keys", _check_keys),
    ("intake.bind", _check_addresses),
    ("http.bind", _check_http),
    ("mqtt.host", _check_mqtt),
    ("source.path", _check_source),
    ("model.name", _check_model),
)
"""With the key that a check is about whose error names none."""
