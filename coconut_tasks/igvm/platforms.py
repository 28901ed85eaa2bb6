"""The platforms that measure a guest at launch, and the terms for their measurements."""

from __future__ import annotations

from coconut_tasks.dataclass import dataclass
from coconut_tasks.igvm.values import SEV_SNP, TDX, VSM_ISOLATION


@dataclass(frozen=True, slots=True)
class MeasuredPlatform:
    """A platform with a launch measurement."""

    word: str
    """The recipe's word for it."""
    number: int
    """Its ``IgvmPlatformType``."""
    title: str
    """Its name in messages."""
    kind: str
    """What its measurement is called."""
    algorithm: str
    """The hash of the measurement, as in ``hashlib``."""
    size: int
    """Bytes of the measurement."""


SNP = MeasuredPlatform("snp", SEV_SNP, "SEV-SNP", "SEV-SNP launch digest", "sha384", 48)
TDP = MeasuredPlatform("tdp", TDX, "TDX", "TDX MRTD", "sha384", 48)
VSM = MeasuredPlatform("vsm", VSM_ISOLATION, "VSM isolation", "VBS boot digest", "sha256", 32)
MEASURED = {one.word: one for one in (SNP, TDP, VSM)}
"""By the recipe's word, in the order in which they are shown."""
BY_NUMBER = {one.number: one for one in MEASURED.values()}
