"""Define what a transport is, what it gets from the daemon, and what it may ask."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from incv3d.transports.errors import require_libraries

if TYPE_CHECKING:
    from incv3d.config.loading import LoadedConfig
    from incv3d.config.schema import Config
    from incv3d.frames import Frame, Refusal, Result
    from incv3d.latency.rolling import FrameCounter
    from incv3d.machine import Readings
    from incv3d.pipeline.frame_queue import FrameQueue
    from incv3d.pipeline.probe import Probe
    from incv3d.protocol import messages
    from incv3d.protocol.events import EventMessage
    from incv3d.sources.base import SourceStatus
    from incv3d.threads import Activity, OnDeath
    from incv3d.transports.admission import Admission
    from incv3d.transports.teaching import Teacher

STATES = ("starting", "ready", "stopping")
TuningState = Literal["off", "collecting", "converting", "kept", "given_up"]
"""``off``: there is nothing to tune; ``collecting``: frames are kept until there are enough for a conversion;
``kept``: an int8 conversion is in the store; ``given_up``: every try has failed."""


@dataclass(frozen=True, slots=True)
class TuningStatus:
    """What the daemon's tuning of itself is doing."""

    state: TuningState = "off"
    reason: str = ""
    """Why it is in this state, or what it is doing; in one line."""
    frames: int = 0
    """Distinct frames of the source that are kept."""
    wanted: int = 0
    """Number of frames at which a conversion begins."""
    tries: int = 0
    """Conversions so far that were not kept."""
    agreement: float | None = None
    """Top-1 agreement with the float network, from 0 to 1, of the conversion that was kept."""


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """The daemon at one moment."""

    state: str
    """One of :data:`STATES`."""
    health: str
    """``ok``, or the problem in one line."""
    silent_s: float
    """Seconds since the last round of the main loop, which runs every second."""
    model: Mapping[str, str]
    """Name, engine and versions of the model; empty while it is being loaded."""
    queue_depth: int
    queue_limit: int
    undelivered: int
    """Answers that could not be sent, since the start."""
    sources: Sequence[SourceStatus]
    machine: Readings
    tuning: TuningStatus = TuningStatus()


class DaemonQueries(Protocol):
    """Questions that a transport may ask the daemon. Any thread may call them."""

    def describe(self, operation: messages.Operation, source: str = "", after: int = 0) -> dict[str, Any]:
        """Return the answer to ``ping``, ``stats``, ``info``, or ``frame`` of a source."""

    def identity(self) -> tuple[str, str]:
        """Return the names of model and engine; both are empty while the model is being loaded."""

    def status(self) -> DaemonStatus:
        """Return the status of the daemon."""

    def source_states(self) -> Mapping[str, str]:
        """Return the state of each source, by its name; ``paused`` if all are."""

    def discarded_frames(self) -> Sequence[Frame]:
        """Return the latest frame of each source, while they are paused."""


@dataclass(frozen=True, slots=True)
class TransportContext:
    """What the daemon gives to every transport that it creates."""

    loaded: LoadedConfig
    environ: Mapping[str, str]
    """The environment, which may hold passwords."""
    frame_queue: FrameQueue
    admission: Admission
    """Queues frames, or rejects them."""
    queries: DaemonQueries
    create_teacher: Callable[[], Teacher]
    """Returns what teaches the daemon its owner's classes; called once at most."""
    probe: Probe
    """Sends a test image through the pipeline."""
    on_rejected: Callable[[Refusal], None]
    """Called for every request that does not reach the pipeline."""
    on_pause: Callable[[bool], None]
    """Called with True to pause classifying camera frames, with False to resume."""
    on_death: OnDeath
    """Called with the thread's name and the error when a thread of the transport ends with an exception."""

    @property
    def config(self) -> Config:
        """Return the configuration that the daemon started with."""
        return self.loaded.config


class Transport(ABC):
    """A way in and out over a network.

    A transport says everything about itself here: the key that turns it on, its libraries, what to check, and
    how it runs. :data:`incv3d.transports.registry.TRANSPORTS` lists the classes. A subclass overrides what it
    needs. It imports its libraries when an instance is created: a daemon without it saves the memory.

    :meth:`open`, :meth:`start` and :meth:`close` are called once each, in this order. The main thread calls
    these and most other methods. Any thread may call :meth:`deliver`, :meth:`complete`, :meth:`publish_event`
    and :meth:`status`, which must not wait for anything.
    """

    name: ClassVar[str]
    """The name in the log."""
    key: ClassVar[str]
    """The key of the configuration that turns the transport on by not being empty: ``http.bind``."""
    libraries: ClassVar[Mapping[str, str]] = {}
    """The packages that it needs, by the names of their modules."""
    closing_s: ClassVar[float | None] = None
    """The timeout for :meth:`close`; None: as long as the daemon may take to stop."""

    activities: Sequence[Activity] = ()
    """What its threads are doing, for the stall detector."""
    frame_counter: FrameCounter | None = None
    """Counts the outcome of every frame, if the transport needs to know."""

    @abstractmethod
    def __init__(self, context: TransportContext) -> None:
        """Create the transport; nothing is opened yet.

        :raises SettingError: a setting or a library is missing or wrong.
        """

    @classmethod
    def is_configured(cls, config: Config) -> bool:
        """Return whether the configuration turns this transport on."""
        section, _, key = cls.key.partition(".")
        return bool(getattr(getattr(config, section), key))

    @classmethod
    def require_libraries(cls, key: str = "") -> None:
        """Check that the libraries are installed.

        :param key: what needs them, for the message; empty: :attr:`key`.
        :raises SettingError: one is missing.
        """
        require_libraries(key or cls.key, cls.libraries)

    @classmethod
    def check(cls, loaded: LoadedConfig, environ: Mapping[str, str]) -> None:
        """Check the settings and what they name, before anything is started.

        :raises Incv3dError: a person must correct something.
        """
        cls.require_libraries()

    @classmethod
    def addresses(cls, config: Config) -> dict[str, str]:
        """Return the addresses to listen on, by their keys: ``tcp://127.0.0.1:5555`` for ``intake.bind``."""
        return {}

    def open(self) -> None:
        """Bind the addresses.

        :raises TransportError: an address cannot be used.
        """

    @abstractmethod
    def start(self) -> None:
        """Start to serve, or to connect."""

    def ready(self) -> None:
        """Accept frames: the Session is warm."""

    def reconfigure(self, config: Config) -> None:
        """Apply a new configuration; addresses stay as they are."""

    def reread_keys(self) -> None:
        """Read the clients' keys again, because a person asked for it (SIGHUP)."""

    def forget_sources(self) -> None:
        """Forget what earlier sources captured: the daemon has another source now."""

    def paused(self, is_paused: bool) -> None:
        """Note that the daemon has paused, or resumed, classifying camera frames."""

    @abstractmethod
    def deliver(self, result: Result) -> bool:
        """Answer the request that `result` belongs to, if it came through this transport, and publish it.

        :returns: False if a result that was delivered a second ago is still waiting: the transport hangs.
        """

    def skipped(self, frame: Frame) -> None:
        """Note a camera's frame that was not classified, because nothing changed in it."""

    def complete(self, result: Result) -> None:
        """Note that all transports have accepted `result`."""

    def publish_event(self, event: EventMessage, frame: Frame | None) -> None:
        """Publish that a label has entered or left.

        :param frame: the frame that decided it; None: there is none.
        """

    @property
    def undelivered(self) -> int:
        """Return how many answers could not be sent, since the start."""
        return 0

    def status(self) -> dict[str, Any]:
        """Return the keys that this transport adds to the answer to ``stats``."""
        return {}

    def stopping(self) -> None:
        """Take no more frames from a broker: the daemon is stopping."""

    @abstractmethod
    def close(self, timeout_s: float, refusal: Refusal, detail: str) -> bool:
        """Send the answers that are ready, answer all other requests with `refusal`, and close.

        :returns: False if that took longer than `timeout_s`.
        """
