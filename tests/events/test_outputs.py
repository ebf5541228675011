"""Labels switch pins: gpiozero's own, which exist in memory only."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from gpiozero import Device
from gpiozero.pins.mock import MockFactory

from incv3d.config.events import EventsSection
from incv3d.config.gpio import GpioSection
from incv3d.config.loading import ConfigError
from incv3d.config.schema import Config
from incv3d.events.outputs import Outputs
from incv3d.protocol.events import EventMessage
from waiting import until

PIN = 17


def event(happening: str = "entered", label: str = "fox", source: str = "camera") -> EventMessage:
    at = "2026-12-01T12:00:00.000Z"
    return EventMessage(
        v=1, event=happening, source=source, label=label, synset="n1", score=0.8, at=at, frames=3
    )


def configured(**outputs: dict[str, object]) -> Config:
    gpio = GpioSection(outputs=outputs)  # type: ignore[arg-type]
    return Config(events=EventsSection(allow=["*"]), gpio=gpio)


@pytest.fixture
def pins() -> Iterator[MockFactory]:
    """The pins of a board."""
    before, Device.pin_factory = Device.pin_factory, MockFactory()
    yield Device.pin_factory
    Device.pin_factory.reset()
    Device.pin_factory = before


@pytest.fixture
def switch(pins: MockFactory) -> Iterator[Callable[..., Outputs]]:
    made: list[Outputs] = []

    def make(**output: object) -> Outputs:
        made.append(Outputs(configured(lamp={"pin": PIN, **output})))
        made[-1].look(0.0, {"camera": "ok"})
        return made[-1]

    yield make
    for each in made:
        each.close(0.0)


def is_on(pins: MockFactory, pin: int = PIN) -> bool:
    return bool(pins.pin(pin).state)


def test_a_pin_is_on_while_its_label_is_there(switch, pins: MockFactory) -> None:
    outputs = switch(label="fox")
    assert not is_on(pins)
    outputs.take_event(event(label="cat"), None)
    assert not is_on(pins)
    outputs.take_event(event(), None)
    assert is_on(pins) and outputs.status() == {"outputs": {"lamp": True}}
    outputs.take_event(event("left", "cat"), None)
    assert is_on(pins)
    outputs.take_event(event("left"), None)
    assert not is_on(pins)


def test_it_stays_on_until_the_last_of_its_labels_has_left(switch, pins: MockFactory) -> None:
    outputs = switch(label=["FOX", "n1"])
    outputs.take_event(event(source="camera.left"), None)
    outputs.take_event(event(source="camera.right"), None)
    outputs.take_event(event("left", source="camera.left"), None)
    assert is_on(pins)
    outputs.take_event(event("left", source="camera.right"), None)
    assert not is_on(pins)


def test_a_pulse_ends_by_itself(switch, pins: MockFactory) -> None:
    outputs = switch(pulse_s=0.05)
    outputs.take_event(event(), None)
    until(lambda: is_on(pins), "the pulse")
    until(lambda: not is_on(pins), "its end")
    outputs.look(time.monotonic(), {"camera": "ok"})
    assert not is_on(pins)


def test_a_pulse_ends_when_its_source_no_longer_works(switch, pins: MockFactory) -> None:
    outputs = switch(pulse_s=3600)
    outputs.take_event(event(), None)
    until(lambda: is_on(pins), "the pulse")
    outputs.look(1.0, {"camera": "stalled"})
    assert not is_on(pins)
    outputs.take_event(event(label="cat"), None)
    assert not is_on(pins)


@pytest.mark.parametrize("state", ["stalled", "absent", "asleep", "paused", "ended"])
def test_a_pin_is_off_while_its_source_does_not_work(switch, pins: MockFactory, state: str) -> None:
    outputs = switch()
    outputs.take_event(event(), None)
    outputs.look(1.0, {"camera": state})
    assert not is_on(pins)
    outputs.look(2.0, {"camera": "ok"})
    assert is_on(pins)


def test_only_its_source_switches_it_and_clients_may(switch, pins: MockFactory) -> None:
    outputs = switch(source="gate")
    outputs.take_event(event(), None)
    assert not is_on(pins)
    outputs.take_event(event(source="gate.left"), None)
    assert is_on(pins)
    outputs.take_event(event("left", source="gate.left"), None)
    outputs.reconfigure(configured(lamp={"pin": PIN, "source": "zmq"}))
    outputs.take_event(event(source="zmq"), None)
    assert is_on(pins)


def test_an_output_that_is_active_low_is_high_when_off(switch, pins: MockFactory) -> None:
    outputs = switch(active_low=True)
    assert is_on(pins)
    outputs.take_event(event(), None)
    assert not is_on(pins)


def test_at_the_end_all_pins_are_off(pins: MockFactory) -> None:
    outputs = Outputs(configured(lamp={"pin": PIN}, bell={"pin": 4}))
    outputs.take_event(event(), None)
    states = pins.pin(PIN).states, pins.pin(4).states
    assert is_on(pins) and is_on(pins, 4)
    outputs.close(0.0)
    assert all([state.state for state in each][-1] is not True for each in states)


def test_a_reload_changes_pins_and_leaves_others_alone(switch, pins: MockFactory) -> None:
    outputs = switch()
    outputs.take_event(event(), None)
    outputs.reconfigure(configured(lamp={"pin": PIN}))
    assert is_on(pins)
    outputs.reconfigure(configured(bell={"pin": 4, "label": "fox"}))
    assert is_on(pins, 4) and outputs.status() == {"outputs": {"bell": True}}
    outputs.reconfigure(Config())
    assert outputs.status() == {}


def test_a_board_without_pins_is_said_in_one_line(monkeypatch) -> None:
    monkeypatch.setattr(Device, "pin_factory", None)
    monkeypatch.setenv("GPIOZERO_PIN_FACTORY", "none-such")
    with pytest.raises(ConfigError, match=r"^gpio\.outputs\.lamp: GPIO 17 cannot be used: "):
        Outputs(configured(lamp={"pin": PIN}))


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ({"a": {}}, "outputs.a: its `pin` is missing; it must be the number of a GPIO"),
        ({"a": {"pin": 28}}, "outputs.a.pin: must be the number of a GPIO (BCM) from 0 to 27"),
        ({"a": {"pin": 4, "lable": "x"}}, "outputs.a: `lable` is unknown; an output has pin, label"),
        ({"a": {"pin": 4}, "b": {"pin": 4}}, "outputs.b.pin: GPIO 4 is also that of `a`"),
        ({"a": {"pin": 4, "pulse_s": -1}}, "outputs.a.pulse_s: must be a number of seconds"),
    ],
)
def test_a_mistake_in_an_output_is_named(outputs: dict[str, dict[str, object]], said: str) -> None:
    with pytest.raises(ValueError, match=r"outputs") as error:
        GpioSection(outputs=outputs)  # type: ignore[arg-type]
    assert str(error.value).startswith(said)
