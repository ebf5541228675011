"""Was the machine slowed down?"""

from __future__ import annotations

import pytest

from incv3d.machine import Readings
from incv3d.tools.bench.throttle_monitor import ThrottleMonitor


@pytest.mark.parametrize(
    ("temp_c", "throttled", "slowed"),
    [
        (None, None, False),
        (60.0, 0x0, False),
        (81.0, None, True),
        (60.0, 0x4, True),  # throttled now
        (60.0, 0x1, True),  # short of voltage now
        (60.0, 0x50005, True),
        (60.0, 0x50000, False),  # since boot, not now
    ],
)
def test_only_the_current_bits_count_as_slowed_down(
    temp_c: float | None, throttled: int | None, slowed: bool
) -> None:
    assert ThrottleMonitor(read=lambda: Readings(temp_c, throttled, None)).slowed_down() is slowed


def test_it_is_read_at_most_twice_a_second() -> None:
    now, looks = [0.0], []

    def read() -> Readings:
        looks.append(now[0])
        return Readings(50.0, None, None)

    throttle = ThrottleMonitor(read=read, clock=lambda: now[0])
    for now[0] in (0.0, 0.1, 0.4, 0.5, 0.9, 1.1):
        throttle.slowed_down()
    assert looks == [0.0, 0.5, 1.1]
