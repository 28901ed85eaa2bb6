"""One side of a comparison: the record of a build, or the contents of an image. None means unknown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Any, NamedTuple

from coconut_tasks.dataclass import dataclass
from coconut_tasks.errors import UsageError
from coconut_tasks.igvm.launch import MeasuredPage
from coconut_tasks.igvm.snp import chained
from coconut_tasks.igvm.values import PAGE_SIZE
from coconut_tasks.inputs.git import SourceRevision
from coconut_tasks.wording import shown

NATIVE_ZERO = "measure_native_zeroes"
"""The setting that makes pages without data be measured as pages of type zero."""


class Page(NamedTuple):
    """A page of an image."""

    gpa: int
    """Guest physical address."""
    kind: str
    """As in ``launch.MeasuredPage``; in an image that nobody measures, its type, flags and compatibility mask in words."""
    content: str = ""
    """SHA-384 of its content in hex; empty if it is not measured."""
    part: str = ""
    """The name of the part in it, for example ``kernel:svsm``; empty if unknown."""
    offset: int = 0
    """Offset of the page in that part, in bytes."""
    file_offset: int | None = None
    """Offset of its bytes in the image; 0 if it has no bytes there; None if unknown."""


@dataclass(frozen=True, slots=True)
class BuildStep:
    """The record of a step."""

    commands: Sequence[tuple[Sequence[str], Sequence[str]]]
    """``NAME=value`` words and argv of each, in the form that ``difference`` takes."""
    environment: Mapping[str, str | None]
    """Other variables that the tool saw; None for an unset one."""


ANY = ""
"""In ``Side.digests``, for a digest that can be SEV-SNP's or TDX's."""


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison."""

    name: str
    """Its name in messages."""
    form: str
    """The kind of file, in words."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """The launch measurement of each platform for which it is known, in hex, by the recipe's word; that of a digest alone of which nobody
    says the platform is by ``ANY``."""
    native_zero_digest: str | None = None
    """The launch digest of ``as_native_zero`` if the pages are unknown."""
    sha256: str | None = None
    """SHA-256 of the image, 64 hex digits."""
    settings: Mapping[str, Any] | None = None
    """Known target and launch settings, by their names in a ``.launch-digest.json``."""
    recipe_name: str = ""
    recipe_sha256: str | None = None
    """SHA-256 of the recipe's text."""
    recipe: Mapping[str, Any] | None = None
    options: Mapping[str, str] | None = None
    source: SourceRevision | None = None
    tools: Mapping[str, Mapping[str, str]] | None = None
    """Tool → step → version; the step is empty if the record does not name it."""
    files: Mapping[str, str] | None = None
    """Input file → digest; an empty digest if unknown."""
    file_steps: Mapping[str, tuple[str, ...]] | None = None
    """Input file → the steps that read it."""
    steps: Mapping[str, BuildStep] | None = None
    """Each after those whose files it reads."""
    parts: Mapping[str, str] | None = None
    """Part of the image → SHA-256."""
    pages: Mapping[str, tuple[Page, ...]] = field(default_factory=dict)
    """The measured pages of each platform for which they are known, in order."""
    registers: Sequence[tuple[int, int, bytes]] | None = None
    """VTL, name (Hyper-V TLFS) and value of each register that VBS measures, in order; None also for an image that is not for it."""
    headers: tuple[Mapping[str, Any], ...] | None = None
    """All headers of the image, in the form of ``doit inspect --json``."""
    data: bytes | bytearray | None = None
    """The bytes of the image."""
    causes_from: str = ""
    """For an image, the name of the provenance statement that says what it was made of."""
    doubts: tuple[str, ...] = ()
    """Contradictions in it."""

    @property
    def native_zero(self) -> bool | None:
        """Whether pages without data are measured as pages of type zero; None if unknown."""
        value = (self.settings or {}).get(NATIVE_ZERO)
        return value if isinstance(value, bool) else None

    @property
    def is_build_record(self) -> bool:
        """Whether it says what the image was made of."""
        return any(part is not None for part in (self.recipe, self.tools, self.files, self.steps))

    @property
    def is_digest_alone(self) -> bool:
        """Whether only a launch digest is known."""
        known = (self.sha256, self.settings, self.recipe_sha256, self.options, self.source, self.parts, self.headers)
        return bool(self.digests) and not self.is_build_record and all(part is None for part in known)

    def as_native_zero(self) -> Side:
        """The same image with pages without data measured as pages of type zero."""
        if "snp" not in self.pages:
            known = {"snp": self.native_zero_digest} if self.native_zero_digest else {}
            return replace(self, digests={**self.digests, **known})
        pages = tuple(
            page._replace(kind="zero", content="") if page.kind == "normal" and page.file_offset == 0 else page
            for page in self.pages["snp"]
        )
        return replace(
            self, pages={**self.pages, "snp": pages}, digests={**self.digests, "snp": launch_digest_of(pages)}
        )

    def bytes_of(self, page: Page) -> bytes | None:
        """The 4096 bytes of a page whose content is measured; None if unknown."""
        if self.data is None or page.file_offset is None or not page.content:
            return None
        return (
            bytes(self.data[page.file_offset : page.file_offset + PAGE_SIZE]) if page.file_offset else bytes(PAGE_SIZE)
        )


def launch_digest_of(pages: Sequence[Page]) -> str:
    """The SEV-SNP launch digest of pages; other measurements do not follow from the digests of pages."""
    return chained(MeasuredPage(page.gpa, page.kind, page.content, 0) for page in pages)


@dataclass(frozen=True, slots=True)
class Given:
    """A value in a foreign JSON file, with its position. ``None`` means null or missing."""

    source: str
    """The file's name, for messages."""
    value: Any
    place: str = ""

    def get(self, *names: str) -> Given:
        """A member, or a nested member."""
        found = self
        for name in names:
            members = found.object() or {}
            found = Given(self.source, members.get(name), f"{found.place}/{name}")
        return found

    def entries(self) -> Iterator[Given]:
        """The entries of a list."""
        for number, entry in enumerate(self._of(list, "a list") or ()):
            yield Given(self.source, entry, f"{self.place}/{number}")

    def members(self) -> Iterator[tuple[str, Given]]:
        """The members of an object."""
        for name in self.object() or {}:
            yield name, self.get(name)

    def object(self) -> dict[str, Any] | None:
        """An object."""
        found: dict[str, Any] | None = self._of(dict, "an object")
        return found

    def text(self) -> str | None:
        """A string."""
        found: str | None = self._of(str, "a string")
        return found

    def texts(self) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(entry.text() or "" for entry in self.entries())

    def flag(self) -> bool | None:
        """A boolean."""
        found: bool | None = self._of(bool, "a boolean")
        return found

    def number(self) -> int:
        """A whole number, also from ``3.0`` or ``"0x3"``; 0 if it is missing."""
        value = self.value
        if isinstance(value, str) and value.startswith("0x"):
            try:
                return int(value, 16)
            except ValueError:
                raise self.wrong("a number") from None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value // 1:
            if value is None:
                return 0
            raise self.wrong("a number")
        return int(value)

    def hex(self, digits: int) -> str | None:
        """A digest, in lower case."""
        found = self.text()
        if found is not None and (len(found) != digits or found.strip("0123456789abcdefABCDEF")):
            raise self.wrong(f"{digits} hex digits")
        return None if found is None else found.lower()

    def wrong(self, wanted: str) -> UsageError:
        """The error for a value of the wrong type."""
        return UsageError("damaged-record", f"{self.source}: {self.place or '/'}: {shown(self.value)} is not {wanted}")

    def _of(self, kind: type, wanted: str) -> Any:
        if self.value is not None and not isinstance(self.value, kind):
            raise self.wrong(wanted)
        return self.value
