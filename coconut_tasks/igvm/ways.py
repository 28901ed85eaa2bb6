"""The other ways in which loaders measure the same file, each with the options that give its digest."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import product

from coconut_tasks.dataclass import dataclass
from coconut_tasks.igvm import kvm
from coconut_tasks.igvm.launch import MeasureOptions
from coconut_tasks.igvm.measure import Data, measure, snp_launch
from coconut_tasks.igvm.platforms import SNP, TDP, MeasuredPlatform
from coconut_tasks.igvm.snp import extended_by_vmsa

MOST_TRIED = 512
"""How many processors are tried."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to measure."""

    options: tuple[str, ...]
    """Those of coconut-measure that give the digest; none where it has none for it."""
    causes: tuple[str, ...]
    """What a loader does in this way, in words."""


NATIVE_ZERO = "pages without data are added as zero pages"
NO_NATIVE_ZERO = "pages without data are added as normal pages full of zeroes"
QEMU_ORDER = "pages are added in the order of QEMU's IGVM loader"
TWO_PASS = "all pages of a run are added before the first is extended"
DEBUG_SWAP = "KVM has turned on debug_swap in the VMSA, or off"


def way_of(data: Data, platform: MeasuredPlatform, native_zero: bool, wanted: Collection[str]) -> Way | None:
    """The way in which a file has one of the digests (in hex); None if none of those that are known gives it. The way with the fewest
    differences from the recipe's comes first.

    Raises:
        IgvmError: the file cannot be measured.
    """
    found = [way for digest, way in _ways(data, platform, native_zero) if digest.hex() in wanted]
    return min(found, key=lambda way: len(way.causes), default=None)


def _ways(data: Data, platform: MeasuredPlatform, native_zero: bool) -> Iterator[tuple[bytes, Way]]:
    for other, qemu in product((False, True), repeat=2):
        flag = native_zero is not other
        options = MeasureOptions(check_id_block=False, tolerant=True, qemu_order=qemu)
        told = ["--qemu-order"] if qemu else []
        causes = [QEMU_ORDER] if qemu else []
        if platform is SNP:
            options = replace(options, native_zero=flag)
            way = Way(
                (*told, *(["--native-zero"] if flag else [])),
                (*causes, *([NATIVE_ZERO if flag else NO_NATIVE_ZERO] if other else [])),
            )
            yield measure(data, options).digest, way
            yield from _with_vmsas(data, options, way)
        elif platform is TDP:
            options = replace(options, two_pass=other)
            way = Way((*told, *(["--two-pass"] if other else [])), (*causes, *([TWO_PASS] if other else [])))
            yield measure(data, options, platform).digest, way
        elif not other:
            yield measure(data, options, platform).digest, Way(tuple(told), tuple(causes))


def _with_vmsas(data: Data, options: MeasureOptions, way: Way) -> Iterator[tuple[bytes, Way]]:
    """KVM's ways to measure VMSAs: all of them last, one for each processor."""
    launch = snp_launch(data, options)
    if launch is None or len(launch.vmsas) != 1:
        return
    pages, own = launch.finish().digest, launch.vmsa_of(launch.vmsas[0])
    for swap in (False, True):
        first = kvm.with_debug_swap(own) if swap else own
        causes = (*way.causes, *((DEBUG_SWAP,) if swap else ()))
        one = extended_by_vmsa(pages, first)
        if swap:
            yield one, Way((), causes)
        for name, signature in kvm.SIGNATURES.items():
            digest, other = one, kvm.reset_vmsa(first, signature)
            for count in range(2, MOST_TRIED + 1):
                digest = extended_by_vmsa(digest, other)
                told = () if swap else (*way.options, f"--vcpus={count}", f"--vcpu-type={name}")
                yield (
                    digest,
                    Way(told, (*causes, f"KVM measures a VMSA for each of {count} processors, of type {name}")),
                )
