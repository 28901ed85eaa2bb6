"""The launch measurements of an IGVM file: one walk over its headers for all platforms that are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from coconut_tasks.igvm import snp, vbs
from coconut_tasks.igvm.error import IgvmError
from coconut_tasks.igvm.launch import Launch, Measured, MeasuredPage, MeasureOptions, Watcher
from coconut_tasks.igvm.parse import IgvmFile, parse
from coconut_tasks.igvm.platforms import BY_NUMBER, SNP, VSM, MeasuredPlatform
from coconut_tasks.igvm.rules import Rules
from coconut_tasks.igvm.tdx import TdxLaunch
from coconut_tasks.igvm.values import Header, PageData, ParameterArea, ParameterInsert, SupportedPlatform

Data = bytes | bytearray | memoryview
LAUNCHES: Mapping[str, type[Launch]] = {one.platform.word: one for one in (snp.SnpLaunch, TdxLaunch, vbs.VbsLaunch)}
"""By the recipe's word for the platform."""


def measure(
    data: Data, options: MeasureOptions, platform: MeasuredPlatform = SNP, see: Watcher | None = None
) -> Measured:
    """A platform's measurement with all that goes with it; ``see`` is called for each page.

    For SEV-SNP it is the digest that ``igvmmeasure [--check-kvm] [--native-zero] FILE measure`` prints.

    Raises:
        IgvmError: igvmmeasure refuses the file too, except for three things that only this function refuses: variable headers that do not
            begin at a multiple of 8, more than ``MOST_PARAMETER_PAGES`` of parameters, and parameters that reach past the end of memory.
            Or the file is not for the platform, or has what the platform cannot measure.
    """
    file = parse(data)
    for launch in _walk(file, options, {platform.word}, {platform.word: see}, {}):
        return _checked(file, options, launch)
    at, missing = file.fixed.variable_header_offset, f"the file has no {platform.title} platform"
    if platform is SNP:
        raise IgvmError("no-snp", at, missing, "a launch digest needs one")
    raise IgvmError("no-platform", at, missing, f"a {platform.kind} needs one")


def measure_all(
    data: Data, options: MeasureOptions, watchers: Mapping[str, Watcher | None] = MappingProxyType({})
) -> dict[str, Measured | IgvmError]:
    """The measurements of all platforms of a file that have one, by the recipe's word and in the order of ``MEASURED``, or why a platform
    has none. A platform's watcher is called for each of its pages.

    Raises:
        IgvmError: the file breaks a rule, so it has no measurement at all.
    """
    file = parse(data)
    found: dict[str, Measured | IgvmError] = {}
    failed: dict[str, IgvmError] = {}
    launches = _walk(file, options, set(LAUNCHES), watchers, failed)
    for launch in launches:
        try:
            found[launch.platform.word] = _checked(file, options, launch)
        except IgvmError as error:
            failed[launch.platform.word] = error
    found |= failed
    return {word: found[word] for word in LAUNCHES if word in found}


def measured_pages(data: Data, options: MeasureOptions, platform: MeasuredPlatform = SNP) -> list[MeasuredPage]:
    """Every page that goes into the measurement, in order.

    Raises:
        IgvmError: as ``measure``.
    """
    return measure_pages(data, options, platform)[1]


def measure_pages(
    data: Data, options: MeasureOptions, platform: MeasuredPlatform = SNP
) -> tuple[Measured, list[MeasuredPage]]:
    """The measurement, and the pages that it is computed from.

    Raises:
        IgvmError: as ``measure``.
    """
    found: list[MeasuredPage] = []

    def see(kind: str, gpa: int, content: bytes, file_offset: int) -> None:
        found.append(MeasuredPage(gpa, kind, content.hex(), file_offset))

    return measure(data, options, platform, see), found


def snp_launch(data: Data, options: MeasureOptions) -> snp.SnpLaunch | None:
    """SEV-SNP's pages without VMSAs, which it has apart; None for a file that is not for it.

    Raises:
        IgvmError: as ``measure``.
    """
    for launch in _walk(parse(data), replace(options, vmsas=False), {SNP.word}, {}, {}):
        assert isinstance(launch, snp.SnpLaunch)
        return launch
    return None


def _walk(
    file: IgvmFile,
    options: MeasureOptions,
    words: set[str],
    watchers: Mapping[str, Watcher | None],
    failed: dict[str, IgvmError],
) -> Sequence[Launch]:
    """The launches of the platforms in ``words`` that the file has. If several are asked for, one that fails is moved to ``failed``; if
    one is, its error is raised."""
    rules = Rules(file, tolerant=options.tolerant)
    launches: list[Launch] = []
    areas: dict[int, int] = {}
    place = 0
    for header in file.headers():
        if type(header) is PageData:  # nearly all are; no rule concerns several of them
            given = header.compatibility_mask
        else:
            rules.see(header)
            given = getattr(header, "compatibility_mask", -1)
            if isinstance(header, SupportedPlatform):
                platform = BY_NUMBER.get(header.platform_type)
                if platform is not None and platform.word in words:
                    see = watchers.get(platform.word)
                    launches.append(LAUNCHES[platform.word](file, options, given, see))
                continue
            if isinstance(header, ParameterArea):
                areas[header.parameter_area_index] = header.number_of_bytes
        if not given:
            continue
        place += 1
        if given < 0:
            continue
        for launch in launches:
            if given & launch.mask:
                try:
                    _give(launch, header, place, areas, rules)
                except IgvmError as error:
                    if len(words) == 1:
                        raise
                    failed[launch.platform.word] = error
                    launches = [one for one in launches if one is not launch]
    rules.end()
    return launches


def _give(launch: Launch, header: Header, place: int, areas: Mapping[int, int], rules: Rules) -> None:
    match header:
        case PageData():
            launch.page(header, place)
        case ParameterInsert():
            launch.insert(header, areas[header.parameter_area_index])
        case _:
            launch.see(header, rules)


def _checked(file: IgvmFile, options: MeasureOptions, launch: Launch) -> Measured:
    """Raises IgvmError if the file itself expects another measurement."""
    measured = launch.finish()
    expected, found = measured.id_block, measured.digest
    if expected is None or not options.check_id_block or expected == found:
        return measured
    if launch.platform is VSM:
        raise vbs.differs(launch.expected_at, expected, found)
    other = replace(options, native_zero=not options.native_zero, check_id_block=False)
    same = measure(file.data, other).digest == expected
    raise snp.differs(launch.expected_at, expected, found, with_native_zero=other.native_zero if same else None)
