"""``verify``: build what is stale and compare the launch digests with the expected ones."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coconut_tasks.called import called
from coconut_tasks.errors import EXIT_FAILED, EXIT_USAGE, CoconutError, UsageError, tell
from coconut_tasks.tasks.doit_commands import RunCommand
from coconut_tasks.tasks.standing import from_here
from coconut_tasks.variables import VERIFY

if TYPE_CHECKING:
    from coconut_tasks.compare.changes import Changes
    from coconut_tasks.evidence.expected import Expectation, Expected
    from coconut_tasks.steps.action import Measurement
    from coconut_tasks.tasks.node import Node
    from coconut_tasks.workspace.session import Session

# The rest is imported where it is used, as in other commands.


class VerifyCommand(RunCommand):
    """``verify``: exit status 0 if each image has an expected launch digest, 1 if one has not or a step failed."""

    name = VERIFY
    expects = True
    doc_purpose = "build and compare the launch measurement with the expected one"
    doc_usage = "[TASK ...] EXPECT=value [VARIABLE=value ...]"
    doc_description = """
        First builds what is stale. EXPECT is a launch digest or MRTD in hex or base64, a VBS boot digest in hex, a file that contains one,
        or - for standard input. The file can be an .igvm file, a file that a build wrote beside one, output of igvmmeasure, coconut-measure
        or 'doit log measure:qemu', lines like those of sha384sum, an SEV-SNP attestation report, or a TD report or quote; signatures are
        not checked. If the digests differ, it tries the other ways in which loaders measure, and shows what changed, like 'doit diff'.

        Exit status: 0 as expected, 1 not as expected or a step failed, 2 wrong usage.
    """
    expectation: Expectation
    """Set when the session starts."""
    words: Sequence[str] = ()
    """The steps on the command line."""
    kind = "verify"
    verified: Sequence[Mapping[str, Any]] | None = None
    """For JSON: each measured image; None until they are compared."""
    examples = (
        "doit verify RECIPE=config/qemu.json EXPECT=old/coconut-qemu.igvm.provenance.json",
        "doit verify EXPECT=attestation-report.bin",
        "doit verify measure:qemu RECIPE=config/all-targets.json EXPECT=measured.txt  # what igvmmeasure printed",
    )

    def execute(self, params: Any, args: Any) -> Any:
        if params.get("single"):
            tell(
                UsageError(
                    "single-verify", "verify: --single would skip the steps that the image is built from; remove it"
                )
            )
            return EXIT_USAGE
        self.words = () if self.is_own else args  # whose loader has taken them
        status = super().execute(params, args)
        if status != 0 or self.session is None:
            return status
        try:
            return self._compare()
        except BrokenPipeError:
            from coconut_tasks.tasks.interrupt import nobody_reads

            return nobody_reads()
        except (CoconutError, OSError) as error:
            tell(error)
            return EXIT_USAGE

    def begin(self, session: Session) -> None:
        # Before the build: an error in the command line must not take minutes to appear.
        _no_digest_among(self.words)
        value, absolute = session.options.expect, session.options.absolute
        if value is None:
            file = next((word for word in self.words if word == "-" or os.path.isfile(absolute(word))), "")
            meant = f" (did you mean '{called().setting('EXPECT', file)}'?)" if file else ""
            raise UsageError(
                "nothing-expected",
                f"{called().option('EXPECT')}: missing{meant}; expected a launch digest, a file with one, or - for standard input",
            )
        # After the sample is copied, the program starts again: what can be read only once is read then.
        if not (session.source.copy_to and (value == "-" or _is_pipe(absolute(value)))):
            self.expectation = read_expectation(value, absolute)
        super().begin(session)

    def check(self, steps: Sequence[Node]) -> None:
        _expected(steps, self.expectation)  # an ambiguous digest must not take minutes to be reported

    def result(self, status: int) -> Mapping[str, Any] | None:
        build = super().result(status)
        return None if build is None else {**build, "verified": self.verified}

    def _compare(self) -> int:
        from coconut_tasks.reports.verified import (
            WORDS,
            debug_text,
            mismatch_text,
            no_measurement_text,
            not_compared_text,
            other_settings,
            verified_json,
            verified_text,
        )
        from coconut_tasks.tasks.node import GOOD
        from coconut_tasks.terminal import marked, terminal_at

        assert self.run is not None
        expectation, steps = self.expectation, self.run.steps
        left_out = [node.step.name for node in steps if node.result not in GOOD]
        if left_out:
            raise UsageError(
                "step-left-out",
                f"verify: the build skips {', '.join(left_out)}, so the image may differ from a full build; "
                f"to include it again: {self.line('forget', *left_out)}",
            )
        status, terminal = 0, terminal_at(sys.stdout)
        expected = _expected(steps, expectation)
        compared = []
        for name, (node, action) in _measurements(steps).items():
            measured = node.measured()
            assert measured is not None
            image, digests = measured[0], dict(measured[1])
            shown, wanted = from_here(image), expected.get(name, ())
            if not wanted:
                platform, digest = next(iter(digests.items()))
                compared.append(verified_json(image, platform, digest, None, expectation))
                sys.stdout.write(marked(f"{not_compared_text(shown, expectation)}\n", terminal, WORDS))
            told: Changes | None = None
            for one in wanted:
                if not digests.keys() & {*one.platforms}:
                    status = EXIT_FAILED
                    compared.append(verified_json(image, one.platforms[0], None, one, expectation))
                    sys.stdout.write(marked(f"{no_measurement_text(shown, one, expectation)}\n", terminal, WORDS))
                    continue
                # A digest whose form does not say its platform is any of them.
                platform = next((other for other in one.platforms if digests[other] in one.digests), one.platforms[0])
                digest = digests[platform]
                hint, changes = "", None
                if digest in one.digests:
                    hint = debug_text(expectation)
                    lines = [verified_text(shown, digest, replace(one, platforms=(platform,)), expectation)]
                    lines += [f"  {hint}"] if hint else []
                else:
                    status = EXIT_FAILED
                    data = Path(node.workspace.path(action.igvm)).read_bytes()
                    hint = other_settings(data, action.native_zero, one)
                    lines = mismatch_text(shown, digests, one, expectation, hint)
                    changes = told = _changes(expectation, node, steps, data)
                compared.append(verified_json(image, platform, digest, one, expectation, hint, _changes_json(changes)))
                sys.stdout.write(marked("".join(f"{line}\n" for line in lines), terminal, WORDS))
            sys.stdout.writelines(f"{line}\n" for line in _changes_lines(told))
        self.verified = compared
        return status


def _no_digest_among(words: Sequence[str]) -> None:
    """Raises UsageError for a digest in the place of a step."""
    from coconut_tasks.evidence.digests import looks_like_digest, near_miss
    from coconut_tasks.wording import printable

    for word in words:
        if looks_like_digest(word):
            wrong = near_miss(word)
            raise UsageError(
                "digest-as-task",
                f"verify: expected a step, not a launch digest; use {called().setting('EXPECT', printable(word))}"
                + (f" (but this is not a valid digest: {wrong})" if wrong else ""),
            )


def _is_pipe(path: str) -> bool:
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def _measurements(steps: Sequence[Node]) -> Mapping[str, tuple[Node, Measurement]]:
    """The measurements among the steps, by the name of the image in the output folder."""
    from coconut_tasks.steps.action import Measurement

    return {action.shown: (node, action) for node in steps if isinstance(action := node.step.action, Measurement)}


def _expected(steps: Sequence[Node], expectation: Expectation) -> Mapping[str, Sequence[Expected]]:
    """Image → what is expected of it, from ``expected_of``.

    Raises:
        UsageError: no image is measured, or it is ambiguous which one is meant.
    """
    from coconut_tasks.evidence.expected import BuiltImage, expected_of

    images = [
        BuiltImage(name, node.step.name, action.native_zero, tuple(platform for platform, _ in action.hexes))
        for name, (node, action) in _measurements(steps).items()
    ]
    if not images:
        raise UsageError(
            "nothing-measured",
            "verify: nothing to compare, since no image is measured; use a recipe with a platform that measures, or name a step such as "
            "measure:qemu",
        )
    return expected_of(expectation, images)


def read_expectation(value: str, absolute: Callable[[str], str]) -> Expectation:
    """The value of the variable ``EXPECT``; ``absolute`` is ``Options.absolute``. Standard input is read to its end.

    Raises:
        UsageError: it is neither a digest nor a file that contains one.
    """
    from coconut_tasks.commands.diff import read_content
    from coconut_tasks.evidence.digests import FORMS, NotADigest, digests_in, digests_in_text
    from coconut_tasks.evidence.expected import Expectation
    from coconut_tasks.wording import printable, shown

    option, path = called().option("EXPECT"), absolute(value)
    wrong = ""
    # Both base64 and a path can contain slashes; if that file exists, it is meant.
    if value != "-" and not ("/" in value and os.path.isfile(path)):
        try:
            return Expectation(option, digests_in_text(value))
        except NotADigest as error:
            wrong = str(error)
    name = "standard input" if value == "-" else printable(value)
    try:
        data = read_content(f"{option}: {name}", 0 if value == "-" else Path(path))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "No such file"
        said = wrong or f"{shown(value)}: {why}; expected {FORMS}"
        raise UsageError("no-launch-digest", f"{option}: {said}") from error
    try:
        digests = digests_in(data)
    except NotADigest as error:
        raise UsageError(
            "no-launch-digest",
            f"{option}: {name}: {error if str(error) else f'no launch digest in it; expected {FORMS}'}",
        ) from error
    if value == "-":
        return Expectation(name, digests, data)
    native_zero = _native_zero(Path(path), data)
    if native_zero is not None:
        digests = tuple(
            replace(one, digest=one.native_zero or one.digest, native_zero="")
            if native_zero
            else replace(one, native_zero="")
            for one in digests
        )
    return Expectation(name, digests, data, Path(path))


def _native_zero(path: Path, data: bytes | bytearray) -> bool | None:
    """How an image's pages without data were measured, from the measurement beside it; None if there is none, or it is for another file."""
    from hashlib import sha256

    from coconut_tasks.compare.sides import read_side
    from coconut_tasks.igvm import MAGIC
    from coconut_tasks.layout import DIGEST_JSON

    if data[: len(MAGIC)] != MAGIC:
        return None
    try:
        side = read_side("", path.with_name(path.name + DIGEST_JSON).read_bytes())
    except (OSError, UsageError):
        return None
    return side.native_zero if side.sha256 == sha256(data).hexdigest() else None


def _changes(expectation: Expectation, node: Node, steps: Sequence[Node], image: bytes) -> Changes | None:
    """The changes that ``doit diff`` would show, if the expectation has more than a digest; ``node`` is the measurement's."""
    from coconut_tasks.commands.diff import images_beside
    from coconut_tasks.compare.changes import compare
    from coconut_tasks.compare.sides import read_side
    from coconut_tasks.steps.action import Measurement, Provenance

    action, workspace = node.step.action, node.workspace
    assert isinstance(action, Measurement)
    if not expectation.content:
        return None
    try:
        old = read_side(expectation.told, expectation.content, images_beside(expectation.path or Path("-")))
    except UsageError:
        return None  # several digests
    if old.is_digest_alone:
        return None
    statements = [one.step.action for one in steps if isinstance(one.step.action, Provenance)]
    # Without provenance, for example if only measure:qemu was built, the measurement has the digest and its settings.
    sidecar = next((one.output for one in statements if one.igvm == action.igvm), action.json)
    new = read_side(
        "this build", Path(workspace.path(sidecar)).read_bytes(), lambda name: image if name == action.shown else None
    )
    return compare(old, new)


def _changes_json(changes: Changes | None) -> Mapping[str, Any] | None:
    if changes is None:
        return None
    from coconut_tasks.reports.changes import changes_json

    return changes_json(changes)


def _changes_lines(changes: Changes | None) -> Iterator[str]:
    if changes is not None:
        from coconut_tasks.reports.changes import changes_text, changes_words
        from coconut_tasks.terminal import marked, terminal_at

        terminal = terminal_at(sys.stdout)
        yield "what changed:"
        yield from (marked(f"  {line}", terminal, changes_words(changes)) for line in changes_text(changes))
