"""The section `gpio`: pins that are switched by labels."""

from __future__ import annotations

from typing import Annotated

import msgspec

from incv3d.config.address import Address
from incv3d.config.section import Section

OutputValue = bool | int | float | str | list[str]
KINDS = {
    "pin": "the number of a GPIO (BCM) from 0 to 27",
    "label": "a label or a list of labels",
    "source": "the name of a source or a region",
    "pulse_s": "a number of seconds, at most 3600",
    "active_low": "true or false",
}
"""The keys of an output, and what each must be."""


class Output(Section, frozen=True, kw_only=True):
    """A pin, and the labels that switch it on."""

    pin: Annotated[int, msgspec.Meta(ge=0, le=27)]
    label: str | list[str] = []
    source: str = ""
    pulse_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0.0
    active_low: bool = False

    @property
    def labels(self) -> list[str]:
        """The labels that switch it; empty: all that are watched."""
        return [self.label] if isinstance(self.label, str) else self.label


class GpioSection(Section, frozen=True, kw_only=True):
    """Pins that are on while a label is there, or for a moment when it enters."""

    outputs: dict[str, dict[str, OutputValue]] = {}

    def __post_init__(self) -> None:
        pins: dict[int, str] = {}
        for name, output in self.read_outputs.items():
            if output.pin in pins:
                other = Address(pins[output.pin])
                raise ValueError(f"outputs.{Address(name)}.pin: GPIO {output.pin} is also that of `{other}`")
            pins[output.pin] = name

    @property
    def read_outputs(self) -> dict[str, Output]:
        """The outputs, by name."""
        return {name: _read_output(name, given) for name, given in self.outputs.items()}


def _read_output(name: str, given: dict[str, OutputValue]) -> Output:
    """Return an output.

    :raises ValueError: it is not one.
    """
    place = f"outputs.{Address(name)}"
    if unknown := next((key for key in given if key not in KINDS), ""):
        raise ValueError(f"{place}: `{Address(unknown)}` is unknown; an output has {', '.join(KINDS)}")
    if "pin" not in given:
        raise ValueError(f"{place}: its `pin` is missing; it must be {KINDS['pin']}")
    for key, value in given.items():
        try:
            msgspec.convert({"pin": 0, key: value}, Output)
        except msgspec.ValidationError:
            raise ValueError(f"{place}.{key}: must be {KINDS[key]}") from None
    return msgspec.convert(given, Output)
