"""Read a launch measurement in all its forms. Only this module knows the forms: each is an entry of a table.

A word that is nearly a digest is an error that says what it is instead, since it was meant as one.
"""

from __future__ import annotations

import json
import posixpath
import re
import struct
from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from coconut_tasks.dataclass import dataclass
from coconut_tasks.wording import MEASUREMENTS, either, printable, shown

# Imports for single forms are local, since each command line is checked for digests before anything else.

FORMS = (
    "a launch digest or MRTD in hex or base64, or a file that contains one: output of igvmmeasure or coconut-measure, an .igvm file, "
    "a file that a build wrote beside it, an SEV-SNP attestation report, or a TD report or quote"
)
"""The forms of a launch measurement for messages; ``docs/commands-build.md`` names all forms."""
REPORT_SIZE = 0x4A0
"""Size in bytes of an attestation report (SEV-SNP firmware ABI, structure ATTESTATION_REPORT)."""
TD_REPORT_SIZE = 1024
"""Size in bytes of a TD report (Intel TDX Module ABI specification, structure TDREPORT_STRUCT)."""
DIGITS = 96
"""Number of hex digits of a launch digest or MRTD, which is a SHA-384."""
VBS_DIGITS = 64
"""Number of hex digits of a VBS boot digest, which is a SHA-256."""
_BYTES = DIGITS // 2
_CHARACTERS = DIGITS * 4 // 6
"""Number of base64 characters; 48 bytes need no padding."""
_POLICY, _POLICY_DEBUG = 0x08, 19
"""Offset of the guest policy in a report, 8 bytes, and its bit that allows the host to debug the guest."""
_MEASUREMENT = 0x90
"""Offset of the launch digest in a report."""
_VERSIONS = range(1, 256)
"""Versions of a report, its first 4 bytes; 5 is the latest known. They distinguish a report from other files of 1184 bytes."""
_MOST_TEXT = 4 << 20
"""Limit on the characters of a text that is not JSON: igvmmeasure prints a few hundred KiB if it shows each page."""
_TD_REPORT_MRTD = 0x210
"""Offset of MRTD in a TD report: TDINFO_STRUCT is at 0x200, and begins with ATTRIBUTES and XFAM, 8 bytes each."""
_TDX = 0x81
"""REPORTTYPE.TYPE of a TD report, and TEE type of a TD quote."""
_QUOTE_MRTD = {4: 48 + 136, 5: 48 + 6 + 136}
"""Offset of MRTD in a quote, by the quote's version (Intel TDX DCAP quoting library, quote format): a header of 48 bytes, in version 5
the type and size of the body, then the body, where MRTD is behind TEE_TCB_SVN, two measurements of the TDX module, and four bit fields."""
_QUOTE_START = struct.Struct("<HHI")
"""A quote's version, the type of the key that attests it, and its TEE type."""
_QUOTE_BODY = 584
"""Bytes of the shortest body of a quote."""
_CORIM = b"\xd9\x01\xf5"
"""CBOR tag 501."""


@dataclass(frozen=True, slots=True)
class LaunchDigest:
    """A launch measurement from a file or a command line."""

    digest: str
    """In lower-case hex."""
    image: str = ""
    """The path of its IGVM file; empty if unknown."""
    native_zero: str = ""
    """The digest of the same image with pages without data measured as zero pages; empty if only one digest is known."""
    platform: str = ""
    """The recipe's word for the platform that it is of; empty if its form does not say."""
    may_be_debugged: bool = False
    """Whether it is in a report of a guest that its host may debug, and so read and change."""


class NotADigest(Exception):
    """It is not a launch digest, or contains none. The message says what it is, for example ``95 hex digits; expected 96``, or is empty."""


def digests_in(data: bytes | bytearray) -> tuple[LaunchDigest, ...]:
    """The launch digests in a file's content, each once; at least one. Either all of them have the name of their image, or none.

    Raises:
        NotADigest: there is none, or one is invalid.
    """
    for form in _BINARY:
        if (found := form(data)) is not None:
            return _each_once(found)
    text = _text(data)
    if text is None:
        raise NotADigest(_raw_miss(len(data)))
    return digests_in_text(text)


def digests_in_text(text: str) -> tuple[LaunchDigest, ...]:
    """The launch digests in a text; see ``digests_in``.

    Raises:
        NotADigest: see ``digests_in``.
    """
    if len(text) > _MOST_TEXT and not text.startswith(("{", "[")):
        raise NotADigest(f"more than {_MOST_TEXT >> 20} MiB of text")
    lines = text.removeprefix("\ufeff").splitlines()
    # Keep line numbers for messages.
    text = "\n".join("" if line.lstrip().startswith("#") else line for line in lines)
    for form in _TEXT:
        if (found := form(text)) is not None:
            return _each_once(found)
    raise NotADigest("it is empty")


def digest_in(word: str) -> str | None:
    """A word that is a launch digest or an MRTD, in lower-case hex; None for any other word."""
    for spelling in _SPELLINGS:
        if found := spelling.fullmatch(word):
            digits = found["digits"]
            if len(digits) == DIGITS:
                return digits.lower()
            # 64 hex digits are a SHA-256, and 64 lower-case letters a name; a digest in base64 looks like that once in 10^14.
            if not _HEX.fullmatch(digits) and digits.lower() != digits != digits.upper():
                return b64decode(digits.translate(_URL_SAFE), validate=True).hex()
    return None


def boot_digest_in(word: str) -> str | None:
    """A word that is a VBS boot digest, in lower-case hex; None for any other word. It may be a SHA-256 of something else."""
    found = _BOOT.fullmatch(word)
    return found["digits"].lower() if found else None


def looks_like_digest(word: str) -> bool:
    """Whether a word is, or is meant as, a launch measurement: no name of a step or a command looks like one."""
    return (digest_in(word) or boot_digest_in(word)) is not None or near_miss(word) != ""


def near_miss(word: str) -> str:
    """What is wrong with a word that is nearly a launch digest: ``95 hex digits; expected 96``; empty if it does not look like one."""
    return "" if (digest_in(word) or boot_digest_in(word)) is not None else _miss(word, DIGITS)


def _miss(word: str, digits: int) -> str:
    """What is wrong with a word that should have this number of hex digits; empty if it does not look like a digest."""
    if found := _OTHER_HASH.match(word):
        return f"a SHA-{found[1]}; a launch digest is a SHA-384"
    prefix = _PREFIX.match(word)
    rest = word[prefix.end() :] if prefix else word
    if _HEX.fullmatch(rest) and (prefix or len(rest) >= 32):
        what = f", the length of {_LENGTHS[len(rest)]}" if len(rest) in _LENGTHS else ""
        return f"{len(rest)} hex digits{what}; expected {digits}"
    if _CUT.fullmatch(rest):
        return "a digest that was shortened for display"
    if abs(len(rest) - DIGITS) <= 4:
        strange = [(at, char) for at, char in enumerate(rest, 1) if not _HEX.fullmatch(char)]
        if len(strange) <= DIGITS // 8:
            at, char = strange[0]
            return f"{shown(char)} at position {at} is not a hex digit"
    letters = rest.rstrip("=")
    if _LETTERS.fullmatch(letters) and (prefix or (abs(len(letters) - _CHARACTERS) <= 4 and _is_mixed(letters))):
        return f"{len(letters)} characters of base64; expected {_CHARACTERS}"
    return ""


# One word

_HASH = r"(?i:sha-?384)[:=-]"
_SPELLINGS = tuple(
    re.compile(spelling, re.ASCII)
    for spelling in (
        rf"(?:0[xX]|{_HASH})?(?P<digits>[0-9a-fA-F]{{{DIGITS}}})",
        # Also sha384-BASE64 as in HTML (subresource integrity), and the URL-safe alphabet.
        rf"(?:{_HASH})?(?P<digits>[0-9a-zA-Z+/]{{{_CHARACTERS}}}|[0-9a-zA-Z_-]{{{_CHARACTERS}}})",
    )
)
_BOOT = re.compile(rf"(?:0[xX]|(?i:sha-?256)[:=-])?(?P<digits>[0-9a-fA-F]{{{VBS_DIGITS}}})", re.ASCII)
_URL_SAFE = str.maketrans("-_", "+/")
_HEX = re.compile("[0-9a-fA-F]+")
_LETTERS = re.compile(r"[0-9a-zA-Z+/_-]+")
_PREFIX = re.compile(rf"0[xX]|{_HASH}")
_OTHER_HASH = re.compile(r"(?i:sha-?)(1|224|256|512)[:=-][0-9a-zA-Z+/]{20}")
_CUT = re.compile(r"[0-9a-fA-F]{8,}(…|\.\.\.)")
_LENGTHS = {32: "an MD5", 40: "a SHA-1", 64: "a SHA-256", 128: "a SHA-512"}


def _is_mixed(word: str) -> bool:
    return all(any(test(char) for char in word) for test in (str.isupper, str.islower, str.isdigit))


def _checked(word: Any, where: str = "", platform: Any = "") -> str:
    """The digest in a word, of that platform if it is given. Raises NotADigest."""
    if platform not in ("", *MEASUREMENTS):  # what a newer version expects must not be left out
        raise NotADigest(f"{where}a measurement for platform {shown(platform)}; expected {either(list(MEASUREMENTS))}")
    if digest := boot_digest_in(word) if platform == "vsm" else digest_in(word):
        return digest
    wrong = _miss(word, VBS_DIGITS if platform == "vsm" else DIGITS)
    raise NotADigest(where + (wrong or f"{shown(word)} is not a launch digest"))


# Binary files


def _of_image(data: bytes | bytearray) -> Iterable[LaunchDigest] | None:
    """An IGVM file, with the digests of all its platforms."""
    from coconut_tasks.igvm import MAGIC
    from coconut_tasks.igvm.error import IgvmError
    from coconut_tasks.igvm.launch import MeasureOptions
    from coconut_tasks.igvm.measure import measure_all

    if data[: len(MAGIC)] != MAGIC:
        return None
    try:
        plain, native = (
            measure_all(data, MeasureOptions(native_zero=native, check_id_block=False, tolerant=True))
            for native in (False, True)
        )
    except IgvmError as error:
        raise NotADigest(f"an IGVM file without a launch digest: {error}") from error
    found = []
    errors = []
    for platform, one in plain.items():
        other = native[platform]
        if isinstance(one, IgvmError) or isinstance(other, IgvmError):
            errors.append(one)
        elif platform == "snp":
            found.append(_of_snp(one.digest, other.digest, one.id_block))
        else:
            found.append(LaunchDigest(one.digest.hex(), platform=platform))
    if not found:
        why = errors[0] if errors else "it is for no platform that measures"
        raise NotADigest(f"an IGVM file without a launch digest: {why}")
    return found


def _of_snp(plain: bytes, native: bytes, expected: bytes | None) -> LaunchDigest:
    """An image does not say how its pages without data are measured, but an ID block has the digest that the firmware checks."""
    if expected is None:
        return LaunchDigest(plain.hex(), native_zero=native.hex(), platform="snp")
    if expected not in (plain, native):
        raise NotADigest(
            f"an IGVM file whose ID block expects launch digest {expected.hex()}, but its pages have {plain.hex()}"
        )
    return LaunchDigest(expected.hex(), platform="snp")


def _of_corim(data: bytes | bytearray) -> Iterable[LaunchDigest] | None:
    """A ``.corim``."""
    from coconut_tasks.evidence.reference_values import digests_of_corim

    if not data.startswith(_CORIM):
        return None
    found = []
    for platform, digest in digests_of_corim(bytes(data)):
        size = VBS_DIGITS // 2 if platform == "vsm" else _BYTES
        if not isinstance(digest, bytes) or len(digest) != size:
            is_ = f"{len(digest)} bytes" if isinstance(digest, bytes) else shown(digest)
            raise NotADigest(f"a CoRIM with {is_} as {MEASUREMENTS[platform]}; expected {size} bytes")
        found.append(LaunchDigest(digest.hex(), platform=platform))
    if not found:
        raise NotADigest("a CoRIM without a launch digest for AMD SEV-SNP, Intel TDX or Microsoft VBS")
    return found


def _of_report(data: bytes | bytearray) -> Iterable[LaunchDigest] | None:
    """An attestation report in the format that guests receive."""
    if len(data) != REPORT_SIZE or int.from_bytes(data[:4], "little") not in _VERSIONS:
        return None
    debug = _number(data, _POLICY) >> _POLICY_DEBUG & 1
    digest = data[_MEASUREMENT : _MEASUREMENT + _BYTES].hex()
    return [LaunchDigest(digest, platform="snp", may_be_debugged=bool(debug))]


def _of_td_report(data: bytes | bytearray) -> Iterable[LaunchDigest] | None:
    """A TD report as the TDX module writes it."""
    if len(data) != TD_REPORT_SIZE or data[0] != _TDX or data[1] or data[3]:
        return None
    return [_mrtd_at(data, _TD_REPORT_MRTD)]


def _of_quote(data: bytes | bytearray) -> Iterable[LaunchDigest] | None:
    """A TD quote."""
    version, key_type, tee_type = _QUOTE_START.unpack_from(data.ljust(_QUOTE_START.size, b"\0"))
    at = _QUOTE_MRTD.get(version, 0)
    # An attestation report begins with its version in 4 bytes, so that it has no key type.
    if not at or not key_type or tee_type != _TDX or len(data) < at - 136 + _QUOTE_BODY:
        return None
    return [_mrtd_at(data, at)]


def _mrtd_at(data: bytes | bytearray, at: int) -> LaunchDigest:
    """MRTD, and the TD's attributes, which are in front of XFAM in front of it."""
    debug = _number(data, at - 16) & 1
    return LaunchDigest(data[at : at + _BYTES].hex(), platform="tdp", may_be_debugged=bool(debug))


def _number(data: bytes | bytearray, at: int) -> int:
    return int.from_bytes(data[at : at + 8], "little")


def _of_raw(data: bytes | bytearray) -> Iterable[LaunchDigest] | None:
    """The raw bytes of a digest."""
    return [LaunchDigest(data.hex())] if len(data) == _BYTES and _text(data) is None else None


_BINARY: tuple[Callable[[bytes | bytearray], Iterable[LaunchDigest] | None], ...] = (
    _of_image,
    _of_corim,
    _of_quote,
    _of_report,
    _of_td_report,
    _of_raw,
)
"""In this order: forms with known first bytes, then forms of a known size."""


def _raw_miss(size: int) -> str:
    """What is wrong with binary data that has none of the forms."""
    if size <= 2 * _BYTES:
        return f"{size} raw bytes; expected {_BYTES}"
    if abs(size - REPORT_SIZE) <= 2 * _BYTES:
        return f"{size} raw bytes; an attestation report has {REPORT_SIZE}, and starts with its version"
    if abs(size - TD_REPORT_SIZE) <= 2 * _BYTES:
        return f"{size} raw bytes; a TD report has {TD_REPORT_SIZE}, and starts with byte {_TDX:#x}"
    return ""


def _text(data: bytes | bytearray) -> str | None:
    """Data as printable text; None if it is not. Some shells write UTF-16."""
    try:
        text = data.decode("utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError:
        return None
    return None if _CONTROL.search(text) else text


_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")


# Text


def _of_json_text(text: str) -> Iterable[LaunchDigest] | None:
    if not text.lstrip().startswith(("{", "[", '"')):
        return None
    try:
        return list(_of_json(json.loads(text)))
    except RecursionError:
        raise NotADigest("JSON nested too many levels deep") from None
    except ValueError as error:
        raise NotADigest(f"invalid JSON: {error}") from error


def _of_json(found: Any) -> Iterator[LaunchDigest]:
    if isinstance(found, str):  # as printed by jq
        yield _of_word(found)
        return
    if isinstance(found, list) and found:
        for one in found:
            yield from _of_json(one)
        return
    for what, names, read in _DOCUMENTS:
        if isinstance(found, dict) and any(name in found for name in names):
            try:
                digests = list(read(found))
            except (AttributeError, KeyError, TypeError):
                digests = []
            if not digests:
                raise NotADigest(f"{what} without a launch digest")
            yield from digests
            return
    raise NotADigest("JSON without a launch digest")


def _of_word(word: str, where: str = "", image: str = "") -> LaunchDigest:
    """A digest alone. 64 hex digits can only be a VBS boot digest. Raises NotADigest."""
    if digest := boot_digest_in(word):
        return LaunchDigest(digest, image, platform="vsm")
    return LaunchDigest(_checked(word, where), image)


def _of_statement(found: Any) -> Iterator[LaunchDigest]:
    from coconut_tasks.evidence.statement import LAUNCH_DIGESTS

    for subject in found["subject"]:
        for platform, name in LAUNCH_DIGESTS.items():
            if name in subject["digest"]:
                digest = _checked(subject["digest"][name], platform=platform)
                yield LaunchDigest(digest, _named(subject["name"]), platform=platform)


def _of_reference_values(found: Any) -> Iterator[LaunchDigest]:
    from coconut_tasks.evidence.reference_values import TRUSTEE_NAMES

    for name, platform in TRUSTEE_NAMES.items():
        values = found.get(name, [])
        for value in [values] if isinstance(values, str) else values:
            yield LaunchDigest(_checked(value), platform=platform)


def _of_inspect(found: Any) -> Iterator[LaunchDigest]:
    for file in found["files"]:
        image = _named(file["file"])
        launch = file["launch_digest"] or {}
        if "digest" in launch:
            native = _checked(launch["native_zero_digest"])
            yield LaunchDigest(_checked(launch["digest"]), image, native, "snp")
        yield from _of_platforms([one for one in file.get("measurements", ()) if one["platform"] != "snp"], image)


def _of_build(found: Any) -> Iterator[LaunchDigest]:
    for image in found["images"]:
        name = _named(image["path"])
        if "measurements" in image:
            yield from _of_platforms(image["measurements"], name)
        elif image["digest"] is not None:
            yield LaunchDigest(_checked(image["digest"]), name, platform="snp")


def _of_measurement(found: Any) -> Iterator[LaunchDigest]:
    image = _named(found["igvm"]["file"] if "igvm" in found else "")
    if "measurements" in found:
        yield from _of_platforms(found["measurements"], image)
    else:  # format 1, or written by another tool
        platform = found.get("platform", "snp")
        yield LaunchDigest(_checked(found["digest"], platform=platform), image, platform=platform)


def _of_platforms(measurements: Any, image: str) -> Iterator[LaunchDigest]:
    """Objects with ``platform`` and ``digest``."""
    for one in measurements:
        platform = one["platform"]
        if one.get("digest") is not None:
            yield LaunchDigest(_checked(one["digest"], platform=platform), image, platform=platform)


_DOCUMENTS: tuple[tuple[str, Sequence[str], Callable[[Any], Iterator[LaunchDigest]]], ...] = (
    ("a provenance statement", ("subject",), _of_statement),
    ("a file of reference values", ("snp_launch_measurement", "mr_td"), _of_reference_values),
    ("the output of 'inspect --json'", ("files",), _of_inspect),
    ("the output of 'run --json'", ("images",), _of_build),
    (
        "a launch measurement",
        ("digest", "measurements"),
        _of_measurement,
    ),  # .launch-digest.json, coconut-measure --json
)
"""JSON documents: name, the members that identify it, and its reader."""


def _of_output(text: str) -> Iterable[LaunchDigest] | None:
    """The output of tools, with other lines in between. A line names the image, the digest, or both."""
    found: list[LaunchDigest] = []
    image = ""
    told: set[str] = set()
    for line in map(str.strip, text.splitlines()):
        match = next((match for form in _LINES if (match := form.fullmatch(line))), None)
        if match is None:
            continue
        groups = match.groupdict()
        if "image" in groups:
            image, told = groups["image"], set()
        for name, platform in _OF_PLATFORM.items():
            if (digest := groups.get(name)) is not None:
                image = "" if platform in told else image  # a second one is of another image, whose name is not known
                told.add(platform)
                where = f"line '{printable(line.partition(digest)[0].strip() if digest else line)}': "
                found.append(LaunchDigest(_checked(digest, where, platform), _named(image), platform=platform))
        if "native" in groups and found:
            found[-1] = replace(found[-1], native_zero=_checked(groups["native"], "with native zero pages: "))
    return found or None


_OF_PLATFORM = {"digest": "snp", "mrtd": "tdp", "boot": "vsm"}
"""The groups of ``_LINES`` with a digest."""
_STARTS = (r"(?P<image>.+?):\s+", r"(?>(?P<image>.+?):\s+\S+ [KM]?i?B, )(?:.*, )?")
"""The start of a line with an image's name: without and with its size, as at the end of a run. The second takes the first size that
is there, since a line of a hostile file might have any number of them."""
_LINES = tuple(
    re.compile(line)
    for line in (
        # igvmmeasure, so also 'doit log measure:…'
        r"igvmmeasure '(?P<image>.*)'",
        r"Launch Digest:\s*(?P<digest>.*)",
        # doit inspect
        r"(?P<image>.+?): IGVM version \d.*",
        r"SEV-SNP launch digest:\s*(?P<digest>.*)",
        r"with native zero pages:\s*(?P<native>.*)",
        r"VBS boot digest:\s*(?P<boot>.*)",
        # doit inspect and tools for TDX
        r"(?i:(?:TDX )?MR_?TD):\s*(?P<mrtd>.*)",
        # coconut-measure, doit diff, the end of a run
        *(
            start + end
            for start in _STARTS
            for end in (
                r"(?:SEV-SNP )?launch digest (?P<digest>\S+)(?: \(\d+ processors of type \S+\))?",
                r"(?:TDX )?MRTD (?P<mrtd>\S+)",
                r"VBS boot digest (?P<boot>\S+)",
            )
        ),
    )
)


def _of_report_text(text: str) -> Iterable[LaunchDigest] | None:
    """The output of snpguest and similar tools about an attestation report."""
    if not (labels := _LABEL.findall(text)):
        return None
    found = [LaunchDigest(_joined(digits).lower(), platform="snp") for digits in _LABELLED.findall(text)]
    if len(found) != len(labels):
        raise NotADigest(f"'Measurement:' without {DIGITS} hex digits after it")
    return found


_LABEL = re.compile(r"^[^\w\n]*Measurement:", re.MULTILINE | re.IGNORECASE)
# The next label may begin with a letter that is a hex digit.
_LABELLED = re.compile(
    rf"{_LABEL.pattern}\s*(?:0x)?((?:[0-9a-f][\s:]*){{{DIGITS - 1}}}[0-9a-f])\b(?![\s:]*[0-9a-f]+\b)", _LABEL.flags
)  # fmt: skip


def _of_spread_hex(text: str) -> Iterable[LaunchDigest] | None:
    """Hex with colons or blanks or on several lines, for example from xxd -p, od or openssl."""
    digits = _joined(text)
    words = text.split()
    if words == [digits] or not _HEX.fullmatch(digits) or any(map(digest_in, words)):
        return None
    return [LaunchDigest(_checked(digits))]


def _joined(text: str) -> str:
    return re.sub(r"[\s:]", "", text)


def _of_list(text: str) -> Iterable[LaunchDigest] | None:
    """One or several digests on each line, each with an optional name of its image after it, or before it as in ``sha384sum --tag``."""
    lines = [(number, re.sub(r"\s#.*", "", line).strip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line]
    found: list[LaunchDigest] = []
    for number, line in lines:
        where = f"line {number}: " if len(lines) > 1 else ""
        if tagged := _TAGGED.fullmatch(line):
            found.append(_of_word(tagged["digest"], where, _named(tagged["image"])))
            continue
        first, *others = line.split(maxsplit=1)
        if others and all(digest_in(word) or boot_digest_in(word) for word in line.split()):
            found += map(_of_word, line.split())
        elif looks_like_digest(first):
            found.append(_of_word(first, where, _named("".join(others).removeprefix("*"))))
        else:
            raise NotADigest(where and f"{where}{shown(line)} is not a launch digest")
    return found or None


_TAGGED = re.compile(r"SHA(?:2-|-)?(?:384|256) ?\((?P<image>.*)\) ?= ?(?P<digest>\S+)")
_TEXT: tuple[Callable[[str], Iterable[LaunchDigest] | None], ...] = (
    _of_json_text,
    _of_output,
    _of_report_text,
    _of_spread_hex,
    _of_list,
)
"""In this order: forms with a label, then forms recognised only by their digits."""


def _named(image: str) -> str:
    """The name of an image; empty for an input without a name, for example a pipe."""
    if not isinstance(image, str):
        raise TypeError(image)
    return posixpath.normpath(image) if image and not _PIPE.fullmatch(image) else ""


_PIPE = re.compile(r"-|/dev/stdin|/dev/fd/\d+|/proc/\w+/fd/\d+")


def _each_once(found: Iterable[LaunchDigest]) -> tuple[LaunchDigest, ...]:
    digests = tuple(dict.fromkeys(found))
    if len({not one.image for one in digests}) > 1:
        raise NotADigest("only some of its launch digests have the name of an image; expected all or none")
    return digests
