"""What the ring of packets keeps."""

from __future__ import annotations

from incv3d.clips.ring import PacketRing
from incv3d.frames import EncodedPacket


def packet(at: float, is_key: bool, size: int = 10) -> EncodedPacket:
    return EncodedPacket(bytes(size), at, is_key)


def filled(ring: PacketRing, seconds: int, key_every: int = 1, size: int = 10) -> PacketRing:
    for tenth in range(10 * seconds):
        ring.add(packet(tenth / 10, tenth % (10 * key_every) == 0, size))
    return ring


def test_it_keeps_the_latest_seconds_from_a_key_frame_on() -> None:
    ring = filled(PacketRing(5.0, 10**6), 60)
    kept = ring.between(0.0, 100.0)
    assert kept[0].is_key and kept[0].at == 54.0
    assert kept[-1].at == 59.9
    assert ring.size_bytes == sum(len(each.data) for each in kept)


def test_its_bytes_are_bounded_and_the_oldest_go_first() -> None:
    ring = filled(PacketRing(50.0, 1000), 60)
    assert ring.size_bytes <= 1000
    assert ring.between(0.0, 100.0)[-1].at == 59.9


def test_a_stream_without_key_frames_costs_no_more() -> None:
    ring = filled(PacketRing(50.0, 500), 60, key_every=30)
    assert ring.size_bytes <= 500


def test_it_begins_with_the_key_frame_nearest_to_the_wish() -> None:
    ring = filled(PacketRing(30.0, 10**6), 30, key_every=2)
    assert ring.between(10.9, 12.0)[0].at == 10.0
    assert ring.between(11.1, 12.0)[0].at == 12.0
    assert [each.at for each in ring.between(10.0, 10.2)] == [10.0, 10.1, 10.2]


def test_what_a_clip_still_needs_is_kept_if_it_fits() -> None:
    ring = PacketRing(1.0, 10**6)
    for tenth in range(300):
        ring.add(packet(tenth / 10, True), keep_since=5.0)
    assert ring.between(5.0, 30.0)[0].at == 5.0


def test_packets_before_the_first_key_frame_are_useless() -> None:
    ring = PacketRing(5.0, 10**6)
    ring.add(packet(0.0, False))
    assert ring.size_bytes == 0 and ring.between(0.0, 1.0) == []
