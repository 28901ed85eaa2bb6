"""What differs between two sides, in build order: causes before their effects."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from itertools import zip_longest
from typing import Any

from coconut_tasks.compare.headers import changed_headers
from coconut_tasks.compare.image import every_page
from coconut_tasks.compare.pages import PageChanges, Pages, changed_pages
from coconut_tasks.compare.side import ANY, NATIVE_ZERO, Side
from coconut_tasks.compare.spots import Spot, spots
from coconut_tasks.compare.values import ONLY_NEW, ONLY_OLD, Change, only
from coconut_tasks.dataclass import dataclass
from coconut_tasks.errors import UsageError
from coconut_tasks.igvm.platforms import MEASURED
from coconut_tasks.layout import Layout
from coconut_tasks.steps.command_diff import command_diff
from coconut_tasks.wording import MEASUREMENTS

SECTIONS = (
    "recipe",
    "options",
    "source",
    "tools",
    "commands",
    "environment",
    "files",
    "settings",
    "parts",
    "registers",
    "headers",
)
"""What is compared before the pages, in this order."""
CAUSES = SECTIONS[:8]
_ONLY_A_VARIANT = re.compile(r"a different \S+(, a different \S+)*")
_NOT_IN_THE_DIGEST = {
    "policy": "not part of the launch digest: it is in the attestation report",
    "check_kvm": "it does not change the launch digest",
}
_OF_SNP = (NATIVE_ZERO, "platform")
_IN_THE_DIGEST = dict.fromkeys(_OF_SNP, "this alone changes the launch digest")
"""What is said of launch settings."""


@dataclass(frozen=True, slots=True)
class Changes:
    """How two sides differ."""

    old: Side
    new: Side
    sections: Mapping[str, tuple[Change, ...]]
    """The ``SECTIONS`` with differences."""
    compared: tuple[str, ...]
    """What both have, in words."""
    only: tuple[tuple[str, tuple[str, ...]], ...]
    """The name of a side, and what only that side has."""
    pages: PageChanges | None = None
    """None if the pages of one are unknown."""
    spots: tuple[Spot, ...] = ()
    """Where the images differ, if nothing else shows it."""

    @property
    def same_digests(self) -> dict[str, bool]:
        """Whether each platform's digest is the same, where both sides have it."""
        old, new = self.old.digests, self.new.digests
        return {word: old[word] == new[word] for word in MEASURED if word in old and word in new}

    @property
    def other_digests(self) -> list[str]:
        """The platforms whose digests differ."""
        return [word for word, same in self.same_digests.items() if not same]

    @property
    def same_digest(self) -> bool | None:
        """SEV-SNP's; None if one has none, or it is unknown."""
        return self.same_digests.get("snp")

    @property
    def same_bytes(self) -> bool | None:
        """Whether the two images are the same file; None if that is unknown."""
        return None if None in (self.old.sha256, self.new.sha256) else self.old.sha256 == self.new.sha256

    @property
    def same(self) -> bool:
        """Whether nothing that is known about both differs."""
        return not self.sections and not self.image_differs and self.same_bytes is not False

    @property
    def image_differs(self) -> bool:
        """Whether what the build made differs, as far as that is known."""
        pages = self.pages is not None and self.pages.any
        made = any(name in self.sections for name in ("parts", "registers", "headers"))
        return pages or made or bool(self.other_digests) or self.same_bytes is False

    @property
    def by_settings_alone(self) -> bool:
        """Whether the digests differ only by how the same pages are measured."""
        pages = self.pages
        return self.other_digests == ["snp"] and pages is not None and not pages.any and pages.counted_otherwise > 0

    @property
    def is_explained(self) -> bool:
        """Whether any recorded change can be the cause of what differs."""
        causes = [change for name in CAUSES for change in self.sections.get(name, ()) if change.is_cause]
        if self.other_digests or (self.pages is not None and self.pages.any):
            causes = [change for change in causes if change.subject not in _NOT_IN_THE_DIGEST]
        if any(word != "snp" for word in self.other_digests):
            causes = [change for change in causes if change.subject not in _OF_SNP]
        return bool(causes)

    @property
    def both_are_records(self) -> bool:
        """Whether both say what the image was made of."""
        return self.old.is_build_record and self.new.is_build_record


def compare(old: Side, new: Side) -> Changes:
    """Compare everything that is known about both.

    Raises:
        UsageError: they have nothing in common.
    """
    old, new = _of_a_platform(old, new), _of_a_platform(new, old)
    old, new = _measured_alike(old, new), _measured_alike(new, old)
    compared: list[str] = []
    only_in: dict[str, list[str]] = {}
    sections: dict[str, tuple[Change, ...]] = {}

    def known(what: str, a: object, b: object) -> bool:
        if a is not None and b is not None:
            compared.append(what)
        elif a is not None or b is not None:
            only_in.setdefault(old.name if a is not None else new.name, []).append(what)
        return a is not None and b is not None

    for word, term in MEASUREMENTS.items():
        known(term, old.digests.get(word), new.digests.get(word))
    known("image file", old.sha256, new.sha256)
    for name, words, of, make in _COMPARED:
        if known(words, of(old), of(new)) and (found := tuple(make(old, new))):
            sections[name] = found
    both = _pages(old, new)
    if both or not (old.pages and new.pages):  # they may be of different platforms
        known("pages", both or old.pages or None, both or new.pages or None)
    pages = changed_pages(old, new, both) if both else None
    if _is_by_registers(old, new, pages):
        sections["registers"] = (_OTHER_REGISTERS,)
    if known("headers", old.headers, new.headers) and (found := tuple(changed_headers(old, new, _told(pages)))):
        sections["headers"] = found
    if not compared:
        raise UsageError("nothing-in-common", f"{old.name} and {new.name} have nothing in common to compare")
    changes = Changes(old, new, sections, tuple(compared), tuple((a, tuple(b)) for a, b in only_in.items()), pages)
    return replace(changes, spots=_spots(changes))


def _told(pages: PageChanges | None) -> Mapping[str, Set[int]]:
    """The addresses of changed pages, as ``changed_headers`` takes them."""
    if pages is None:
        return {}
    return {word: pages.addresses(word) for word in pages.platforms or ("",)}


def _spots(changes: Changes) -> tuple[Spot, ...]:
    """Where the images differ, if nothing else shows it."""
    old, new, pages = changes.old.data, changes.new.data, changes.pages
    told = (pages is not None and pages.any) or any(name in changes.sections for name in ("registers", "headers"))
    if told or changes.same_bytes is not False or old is None or new is None:
        return ()
    return tuple(spots(bytes(old), bytes(new)))


def _of_a_platform(side: Side, other: Side) -> Side:
    """A digest that can be of several platforms is of the one for which the other side has it, else of the first for which that has any."""
    if ANY not in side.digests:
        return side
    digests = dict(side.digests)
    digest = digests.pop(ANY)
    if digest in digests.values():
        return replace(side, digests=digests)
    words = [word for word, one in MEASURED.items() if 2 * one.size == len(digest) and word not in digests]
    known = [word for word in words if word in other.digests]
    native = other.as_native_zero()
    same = [word for word in known if digest in (other.digests[word], native.digests[word])]
    doubts = side.doubts
    if len(known) > 1 and not same:
        terms = [MEASUREMENTS[word] for word in known]
        doubts = (*doubts, f"its digest is neither {' nor '.join(terms)} of {other.name}")
    word = next(iter((*same, *known, *words)))
    return replace(side, digests={**digests, word: digest}, doubts=doubts)


def _measured_alike(side: Side, other: Side) -> Side:
    """How an image is to be measured stands in no image: it is measured as the other one was."""
    if side.native_zero is not None or not (other.native_zero or other.is_digest_alone):
        return side
    native = side.as_native_zero()
    if other.native_zero:
        return native
    # How a digest alone was measured, nobody says: in the way in which both are the same, if there is one.
    digest = other.digests.get("snp")
    if side.digests.get("snp") == digest or native.digests.get("snp") != digest:
        return side
    return replace(
        native,
        doubts=(
            *side.doubts,
            f"it has this launch digest with its pages without data measured as zero pages ({NATIVE_ZERO})",
        ),
    )


def _pages(old: Side, new: Side) -> Pages:
    """What each platform measures for which both are; all pages if there is none."""
    found: Pages = {word: (old.pages[word], new.pages[word]) for word in old.pages if word in new.pages}
    if not found and old.headers is not None and new.headers is not None:
        return {"": (every_page(old.headers), every_page(new.headers))}
    return found


def _is_by_registers(old: Side, new: Side, pages: PageChanges | None) -> bool:
    """Whether only registers can be why VBS has different boot digests."""
    unknown = old.registers is None or new.registers is None
    differ = unknown and old.digests.get("vsm") != new.digests.get("vsm")
    both = "vsm" in old.digests and "vsm" in new.digests
    return both and differ and pages is not None and "vsm" in pages.platforms and not pages.differ_for("vsm")


_OTHER_REGISTERS = Change(
    "VSM contexts", told="different, since VBS measures the same pages and has another digest", platforms=("vsm",)
)


def _recipe(old: Side, new: Side) -> Iterator[Change]:
    same_text = old.recipe_sha256 == new.recipe_sha256
    if old.recipe is None or new.recipe is None:
        if None not in (old.recipe_sha256, new.recipe_sha256) and not same_text:
            yield Change(new.recipe_name or "recipe", old.recipe_sha256, new.recipe_sha256, "its text changed")
        return
    found = list(_fields(old.recipe, new.recipe, ""))
    yield from found
    if not found and None not in (old.recipe_sha256, new.recipe_sha256) and not same_text:
        told = "only its text changed, none of its fields"
        name = new.recipe_name or "recipe"
        yield Change(name, old.recipe_sha256, new.recipe_sha256, told, is_cause=False)


def _fields(old: Any, new: Any, path: str) -> Iterator[Change]:
    if isinstance(old, dict) and isinstance(new, dict):
        for name in {**old, **new}:
            yield from _fields(old.get(name), new.get(name), f"{path}/{name}")
    # To Python, 1 and true are equal.
    elif old != new or isinstance(old, bool) != isinstance(new, bool):
        yield Change(path or "/", old, new)


def _options(old: Side, new: Side) -> Iterator[Change]:
    yield from _of_mappings(old.options or {}, new.options or {})


def _source(old: Side, new: Side) -> Iterator[Change]:
    assert old.source is not None and new.source is not None
    a, b = old.source, new.source
    if a.commit != b.commit:
        yield Change("commit", a.commit, b.commit)
    if a.modified != b.modified:
        yield Change("modified files", list(a.modified), list(b.modified))
    elif a.diff != b.diff:
        yield Change("modified files", a.diff, b.diff, f"other changes in {', '.join(b.modified) or 'them'}")


def _tools(old: Side, new: Side) -> Iterator[Change]:
    a, b = old.tools or {}, new.tools or {}
    for name in {**a, **b}:
        before, after = a.get(name, {}), b.get(name, {})
        pairs: dict[tuple[str | None, str | None], list[str]] = {}
        if set(before.values()) == set(after.values()):
            for step in before:
                if step in after and before[step] != after[step]:
                    pairs.setdefault((before[step], after[step]), []).append(step)
        elif len(set(before.values())) <= 1 and len(set(after.values())) <= 1:
            one, other = next(iter(before.values()), None), next(iter(after.values()), None)
            pairs[one, other] = list({**before, **after})
        else:
            for step in {**before, **after}:
                if before.get(step) != after.get(step):
                    pairs.setdefault((before.get(step), after.get(step)), []).append(step)
        for (one, other), steps in pairs.items():
            told = _version_change(one, other)
            yield Change(name, one, other, told, steps=tuple(sorted(filter(None, steps))))


def _version_change(old: str | None, new: str | None) -> str:
    """The first line that differs in the tool's version text."""
    if old is None or new is None:
        return ONLY_NEW if old is None else ONLY_OLD
    lines = zip_longest(old.splitlines(), new.splitlines(), fillvalue="")
    one, other = next(((a, b) for a, b in lines if a != b), (old, new))
    return f"{one or 'nothing'} → {other or 'nothing'}"


def _commands(old: Side, new: Side) -> Iterator[Change]:
    a, b = old.steps or {}, new.steps or {}
    for name in {**a, **b}:
        if name not in a or name not in b:
            yield Change(name, name in a or None, name in b or None, ONLY_NEW if name not in a else ONLY_OLD)
            continue
        before, after = a[name].commands, b[name].commands
        if told := command_diff(before, after, [_own_folder(name)]):
            cause = not _ONLY_A_VARIANT.fullmatch(told)
            yield Change(name, _as_lists(before), _as_lists(after), told, is_cause=cause)


def _own_folder(step: str) -> str:
    """The folder of a step's outputs: their paths differ because something else does."""
    stage, _, component = step.partition(":")
    part = {"fs": stage, "firmware": stage, "measure": f"measure-{component}"}.get(stage, component)
    return Layout("bin").variant(part, "0" * 12)


def _as_lists(commands: Sequence[tuple[Sequence[str], Sequence[str]]]) -> list[dict[str, list[str]]]:
    return [{"env": list(env), "argv": list(argv)} for env, argv in commands]


def _environment(old: Side, new: Side) -> Iterator[Change]:
    a, b = old.steps or {}, new.steps or {}
    found: dict[tuple[str, str | None, str | None], list[str]] = {}
    for name in a:
        if name not in b:
            continue
        before, after = a[name].environment, b[name].environment
        for variable in {**before, **after}:
            one, other = before.get(variable), after.get(variable)
            if one != other:
                found.setdefault((variable, one, other), []).append(name)
    for (variable, one, other), steps in found.items():
        yield Change(variable, one, other, steps=tuple(steps))


def _files(old: Side, new: Side) -> Iterator[Change]:
    a, b = old.files or {}, new.files or {}
    for name in sorted({**a, **b}):
        one, other = a.get(name), b.get(name)
        if one == other or "" in (one, other):  # it is unknown what was read
            continue
        told = "added" if one is None else "removed" if other is None else "changed"
        steps = (new.file_steps or {}).get(name) or (old.file_steps or {}).get(name) or ()
        yield Change(name, one, other, told, steps=steps)


def _settings(old: Side, new: Side) -> Iterator[Change]:
    a, b = old.settings or {}, new.settings or {}
    for name in a:
        if name in b and a[name] != b[name]:
            note = (_NOT_IN_THE_DIGEST | _IN_THE_DIGEST).get(name, "")
            yield Change(name, a[name], b[name], note=note)


def _parts(old: Side, new: Side) -> Iterator[Change]:
    yield from _of_mappings(old.parts or {}, new.parts or {})


def _registers(old: Side, new: Side) -> Iterator[Change]:
    known = [word for word in MEASURED if word in old.digests or word in new.digests]
    a, b = (_named_registers(side.registers or ()) for side in (old, new))
    note = only(("vsm",), known)
    for name in {**a, **b}:
        one, other = a.get(name), b.get(name)
        if one != other:
            told = ONLY_NEW if one is None else ONLY_OLD if other is None else f"{one} → {other}"
            yield Change(name, one, other, told, note=note, platforms=("vsm",))
    if a == b and list(a) != list(b):
        yield Change("order", list(a), list(b), "different", note=note, platforms=("vsm",))


def _named_registers(registers: Sequence[tuple[int, int, bytes]]) -> dict[str, str]:
    counted: Counter[tuple[int, int]] = Counter()
    found = {}
    for vtl, name, value in registers:
        counted[vtl, name] += 1
        number = f" ({counted[vtl, name]})" if counted[vtl, name] > 1 else ""
        found[f"register {name:#x} of VTL {vtl}{number}"] = f"{int.from_bytes(value, 'little'):#x}"
    return found


def _of_mappings(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[Change]:
    for name in {**old, **new}:
        if old.get(name) != new.get(name):
            yield Change(name, old.get(name), new.get(name))


_COMPARED: Sequence[tuple[str, str, Callable[[Side], object], Callable[[Side, Side], Iterator[Change]]]] = (
    ("recipe", "recipe", lambda side: side.recipe or side.recipe_sha256, _recipe),
    ("options", "options", lambda side: side.options, _options),
    ("source", "source tree", lambda side: side.source, _source),
    ("tools", "tools", lambda side: side.tools, _tools),
    ("commands", "commands", lambda side: side.steps, _commands),
    ("environment", "environment", lambda side: side.steps, _environment),
    ("files", "input files", lambda side: side.files, _files),
    ("settings", "launch settings", lambda side: side.settings or None, _settings),
    ("parts", "parts", lambda side: side.parts, _parts),
    ("registers", "registers", lambda side: side.registers, _registers),
)
"""Section, its name in words, where a side has it, and what compares it."""
