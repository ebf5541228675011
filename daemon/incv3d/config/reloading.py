"""What a reload does with each key of the configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

Effect = Literal["session", "source", "events", "at once", "restart"]
"""``session``: the model is loaded again while the old one serves; ``source``: the source is closed and
opened again; ``events``: a new event monitor is created; ``at once``: the next use of the key reads the new
value; ``restart``: only a restart applies it, and the log says so."""

KEYS: Mapping[Effect, str] = {
    "session": """
        model.name model.top_k
        custom.file custom.labels custom.preset custom.input custom.output custom.signature
        custom.width custom.height custom.layout custom.pixel_range custom.mean custom.std
        custom.channel_order custom.fit custom.crop_fraction custom.resize_to custom.interpolation
        custom.scores custom.golden_picture custom.golden_label custom.golden_score custom.golden_tolerance
        session.engine session.preprocess session.threads session.overlap_runs
        intake.max_pixels
    """,
    "source": """
        source.type source.name source.model source.path source.addresses source.camera source.width
        source.height source.transform source.regions source.skip_unchanged source.change_threshold
        source.unchanged_max_s source.controls source.fps source.loop source.watch source.every_frame
        source.rtsp_transport source.interval_s source.max_fps source.stall_timeout_s
    """,
    "events": """
        events.allow events.deny events.groups events.labels events.threshold events.frames events.needed
        events.silence_s events.zmq source.events
        saving.folder saving.when saving.min_interval_s saving.max_files saving.max_bytes
        saving.min_free_bytes
    """,
    "at once": """
        model.fetch_wait_s session.warmup_runs session.run_limit_s session.tune session.tune_over_s
        intake.queue_limit intake.peer_limit intake.queue_bytes intake.ttl_ms
        latency.interval_s latency.window_s latency.window_frames latency.max_bytes latency.keep
        history.enabled history.keep_days history.max_bytes
        notify.urls_file notify.rules gpio.outputs
        source.active daemon.place
        daemon.grace_s daemon.memory_limit_mb daemon.log_level
    """,
    "restart": """
        model.store session.cache_filters
        intake.bind intake.publish intake.keys intake.insecure intake.max_message_bytes
        latency.log
        clips.folder clips.before_s clips.after_s clips.max_s clips.ring_bytes clips.max_files clips.max_bytes
        clips.min_free_bytes
        http.bind http.token_file http.page
        mqtt.host mqtt.port mqtt.username mqtt.password_file mqtt.tls mqtt.ca_file mqtt.prefix mqtt.name
        mqtt.discovery mqtt.image mqtt.interval_s mqtt.threshold mqtt.queue_limit mqtt.frames mqtt.group
        mqtt.receive_maximum
    """,
}
"""Every key, by its effect; a test compares them with the schema. ``session.cache_filters`` needs a restart
because the first Session decides it for the whole process (``TF_ONEDNN_ASSUME_FROZEN_WEIGHTS``)."""

EFFECTS: Mapping[str, Effect] = {key: effect for effect, keys in KEYS.items() for key in keys.split()}
FIXED_BY_TENSORFLOW = frozenset({"session.threads"})
"""Keys that take a restart once TensorFlow has run: every later Session of the process uses the pool of
threads that the first one made (``LocalDevice`` in tensorflow/core/common_runtime/local_device.cc)."""


def effect_of(key: str) -> Effect:
    """Return what a reload does with a key, ``source.path``, or one of the list, ``sources.door.path``."""
    if not key.startswith("sources."):
        return EFFECTS[key]
    _, _, own = key.removeprefix("sources.").partition(".")
    return EFFECTS[f"source.{own}"] if own else "source"
