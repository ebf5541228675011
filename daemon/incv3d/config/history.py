"""The section `history`: how long the daemon remembers what was seen."""

from __future__ import annotations

from typing import Annotated

import msgspec

from incv3d.config.section import MIB, Section


class HistorySection(Section, frozen=True, kw_only=True):
    """Whether visits of watched labels are kept, for how long, and how many bytes."""

    enabled: bool = True
    keep_days: Annotated[int, msgspec.Meta(ge=1, le=36_500)] = 731
    max_bytes: Annotated[int, msgspec.Meta(ge=MIB)] = 256 * MIB
