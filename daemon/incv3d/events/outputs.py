"""Switch pins by labels: a lamp, a relay, the flap of a feeder."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from incv3d.config.gpio import Output
from incv3d.config.loading import ConfigError
from incv3d.config.schema import Config
from incv3d.errors import one_line, pip_install
from incv3d.events.labelled_image import ImageToSave
from incv3d.frames import Frame
from incv3d.protocol.events import EventMessage

if TYPE_CHECKING:
    from gpiozero import DigitalOutputDevice

LOG = logging.getLogger(__name__)
KEY = "gpio.outputs"
PACKAGE = "gpiozero"


@dataclass(frozen=True, slots=True)
class _Pin:
    output: Output
    device: DigitalOutputDevice


class Outputs:
    """Holds the pins. An :class:`incv3d.events.listener.EventListener`.

    A pin is on while one of its labels is present at a source whose state is ``ok``, or for ``pulse_s`` when
    one enters. All pins are off when the daemon ends, and until the first label.

    :raises ConfigError: gpiozero is missing, or cannot use a pin.
    """

    def __init__(self, config: Config) -> None:
        self._lock = threading.Lock()
        self._states: Mapping[str, str] = {}
        self._present: set[tuple[str, str, str]] = set()
        self._pulsed_by: dict[str, str] = {}
        """The source of the latest pulse, by output."""
        self._pins = _open(config.gpio.read_outputs)

    def take_event(self, event: EventMessage, frame: Frame | None) -> None:
        """Switch the pins that the label is about."""
        seen = event.source, event.label, event.synset
        with self._lock:
            if event.event == "left":
                self._present.discard(seen)
            else:
                self._present.add(seen)
                for name, pin in self._pins.items():
                    if pin.output.pulse_s and _is_about(pin.output, seen) and self._is_alive(event.source):
                        pin.device.blink(pin.output.pulse_s, 0, n=1)
                        self._pulsed_by[name] = event.source
            self._switch()

    def take_image(self, image: ImageToSave, path: Path) -> None:
        """Do nothing."""

    def reconfigure(self, config: Config) -> None:
        """Use other pins from now on."""
        wanted = config.gpio.read_outputs
        with self._lock:
            if wanted == {name: pin.output for name, pin in self._pins.items()}:
                return
            _close(self._pins)
            self._pins = {}
            try:
                self._pins = _open(wanted)
            except ConfigError as error:
                LOG.error("%s; no pin is switched", error)
            self._switch()

    def look(self, now: float, states: Mapping[str, str]) -> None:
        """Switch off what belongs to sources that no longer work."""
        with self._lock:
            self._states = states
            self._switch()

    def status(self) -> dict[str, Any]:
        """Return, for ``stats``, which outputs are on."""
        with self._lock:
            on = {name: bool(pin.device.value) for name, pin in self._pins.items()}
        return {"outputs": on} if on else {}

    def close(self, deadline: float) -> None:
        """Switch all pins off, and release them."""
        with self._lock:
            _close(self._pins)
            self._pins = {}

    def _switch(self) -> None:
        for name, pin in self._pins.items():
            if pin.output.pulse_s:
                if not self._is_alive(self._pulsed_by.get(name, "")):
                    pin.device.off()
                continue
            on = any(_is_about(pin.output, seen) and self._is_alive(seen[0]) for seen in self._present)
            if on != bool(pin.device.value):
                pin.device.value = on

    def _is_alive(self, source: str) -> bool:
        """Return whether what a source showed is still so; frames of clients have no source."""
        return self._states.get(source.partition(".")[0], "ok") == "ok"


def check_outputs(config: Config) -> None:
    """Check that the library is there, if there are outputs.

    :raises ConfigError: it is not.
    """
    if config.gpio.outputs:
        _require_library()


def _require_library() -> None:
    if find_spec(PACKAGE) is None:
        raise ConfigError(f"{KEY}: {PACKAGE} is not installed: {pip_install(PACKAGE, 'lgpio')}")


def _open(outputs: Mapping[str, Output]) -> dict[str, _Pin]:
    if not outputs:
        return {}
    _require_library()
    from gpiozero import DigitalOutputDevice

    pins: dict[str, _Pin] = {}
    for name, output in outputs.items():
        try:
            device = DigitalOutputDevice(output.pin, active_high=not output.active_low)
        except Exception as error:  # noqa: BLE001 - each of gpiozero's libraries has errors of its own
            _close(pins)
            raise ConfigError(f"{KEY}.{name}: GPIO {output.pin} cannot be used: {one_line(error)}") from None
        pins[name] = _Pin(output, device)
    return pins


def _close(pins: Mapping[str, _Pin]) -> None:
    for pin in pins.values():
        pin.device.off()
        pin.device.close()


def _is_about(output: Output, seen: tuple[str, str, str]) -> bool:
    source, label, synset = seen
    wanted = [each.casefold() for each in output.labels]
    is_label = not wanted or label.casefold() in wanted or synset in wanted
    return is_label and (output.source in ("", source) or source.startswith(f"{output.source}."))
