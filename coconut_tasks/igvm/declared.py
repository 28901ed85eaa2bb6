"""The platforms that a file declares, and how each of them measures a header.

For each platform there is a word: a kind as in ``launch.MeasuredPage``, without options of a loader; ``registers`` for a context of VSM
isolation; ``none`` for what does not go into the measurement, ``refused`` for what makes it impossible, and ``unknown``.
"""

from __future__ import annotations

from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.launch import Launch
from coconut_tasks.igvm.measure import LAUNCHES
from coconut_tasks.igvm.platforms import BY_NUMBER
from coconut_tasks.igvm.values import (
    PAGE_DATA_TYPES,
    ErrorRange,
    Header,
    PageData,
    ParameterInsert,
    SupportedPlatform,
    VpContext,
)


class DeclaredPlatforms:
    """Give each header to ``see``, in order."""

    def __init__(self) -> None:
        self._types: dict[int, int] = {}
        """Compatibility mask → platform type, the one declared last."""
        self._masks: dict[str, int] = {}
        """Word of a platform that measures → its compatibility mask."""

    @property
    def words(self) -> frozenset[str]:
        """The platforms that measure."""
        return frozenset(self._masks)

    def see(self, header: Header) -> None:
        if isinstance(header, SupportedPlatform):
            mask, kind = header.compatibility_mask, header.platform_type
            self._types[mask] = kind
            platform = BY_NUMBER.get(kind)
            if platform is not None:
                self._masks[platform.word] = mask

    def type_of(self, mask: int) -> int | None:
        """The platform type of a mask."""
        return self._types.get(mask)

    def measured(self, header: Header) -> dict[str, str]:
        """The word for each platform that measures and that the header is for; empty for headers of a kind that nobody measures."""
        if not isinstance(header, PageData | VpContext | ParameterInsert | ErrorRange):
            return {}
        given = header.compatibility_mask
        return {
            word: self._word(launch, header) for word, launch in LAUNCHES.items() if given & self._masks.get(word, 0)
        }

    def _word(self, launch: type[Launch], header: Header) -> str:
        if not isinstance(header, PageData):
            return launch.other_kind(header, self._types.get(getattr(header, "compatibility_mask", 0))) or "none"
        if header.data_type not in PAGE_DATA_TYPES:
            return "unknown"
        kind = launch.page_kind(header)
        try:
            if kind:
                launch.check(header)
        except IgvmError:
            return "refused"
        return kind or "none"
