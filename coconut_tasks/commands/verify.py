"""``verify``: build what is stale, and compare the launch digests with what somebody expects."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coconut_tasks.errors import EXIT_FAILED, EXIT_USAGE, CoconutError, UsageError, tell
from coconut_tasks.tasks.doit_commands import RunCommand
from coconut_tasks.tasks.standing import from_here
from coconut_tasks.variables import VARIABLES, VERIFY

if TYPE_CHECKING:
    from coconut_tasks.evidence.expected import Expectation
    from coconut_tasks.tasks.node import Node
    from coconut_tasks.workspace.session import Session

# The rest is imported when it is needed, as in commands.


_MOST = 64 << 20
"""Bytes that are read of a file: a provenance has about 130 for each measured page, and a name like /dev/zero has no end."""


class VerifyCommand(RunCommand):
    """``verify``: status 0 if each image has a launch digest that is expected, 1 if one has not, or a step failed."""

    name = VERIFY
    doc_purpose = "build, and compare the launch digest with the one that is expected"
    doc_usage = "[TASK ...] EXPECT=value [VARIABLE=value ...]"
    doc_description = """
        Builds as 'run' does, so that what is compared is never older than its sources. EXPECT is a launch digest in hex or base64, or a
        file that names one: as text, or the .launch-digest.json, .provenance.json or .reference-values.json of another build, or an SEV-SNP
        attestation report of which somebody else has checked the signature. If the digests differ, what changed is shown (doit diff).
        Exit status: 0 as expected, 1 not, or a step failed, 2 wrong use.
    """
    expectation: Expectation
    """Set once the session is there."""
    examples = (
        "doit verify RECIPE=config/qemu.json EXPECT=old/coconut-qemu.igvm.provenance.json",
        "doit verify EXPECT=attestation-report.bin",
        "doit verify measure:qemu RECIPE=config/all-targets.json EXPECT=$(cat qemu.hex)",
    )

    def execute(self, params: Any, args: Any) -> Any:
        if params.get("single"):
            tell(UsageError("single-verify", "verify: --single would leave out what the image is made of: without it"))
            return EXIT_USAGE
        status = super().execute(params, args)
        if status != 0 or self.session is None:
            return status
        try:
            return self._compare()
        except (CoconutError, OSError) as error:
            tell(error)
            return EXIT_USAGE

    def begin(self, session: Session) -> None:
        # Before the build: a wrong word is not to be told after minutes.
        if session.options.expect is None:
            raise UsageError("nothing-expected", f"EXPECT: {VERIFY} needs it: {VARIABLES['EXPECT']}")
        self.expectation = read_expectation(session.options.expect, session.options.absolute)
        super().begin(session)

    def check(self, steps: Sequence[Node]) -> None:
        _measured(steps, self.expectation)  # which image is meant is not to be asked after minutes

    def _compare(self) -> int:
        from coconut_tasks.reports.verified import mismatch_text, other_settings, verified_text
        from coconut_tasks.steps.action import Measurement
        from coconut_tasks.tasks.node import StepResult

        good = (StepResult.BUILT, StepResult.PLACED, StepResult.FRESH)
        assert self.run is not None
        expectation, steps = self.expectation, self.run.steps
        left_out = [node.step.name for node in steps if node.result not in good]
        if left_out:
            raise UsageError(
                "step-left-out",
                f"verify: {', '.join(left_out)} was left out, so nobody knows what a build gives: doit forget takes it in",
            )
        node = _measured(steps, expectation)
        action, workspace, measured = node.step.action, node.workspace, node.digest()
        assert isinstance(action, Measurement) and measured is not None
        image, digest = measured
        shown = from_here(image)
        if digest in expectation.expected.digests:
            sys.stdout.write(f"{verified_text(shown, digest, expectation)}\n")
            return 0
        data = Path(workspace.path(action.igvm)).read_bytes()
        hint = other_settings(data, action.native_zero, expectation.expected.digests)
        lines = [*mismatch_text(shown, digest, expectation, hint), *_what_changed(expectation, node, steps, data)]
        sys.stdout.write("".join(f"{line}\n" for line in lines))
        return EXIT_FAILED


def _measured(steps: Sequence[Node], expectation: Expectation) -> Node:
    """The one measurement among them that is to be compared.

    Raises:
        UsageError: there is none, or nobody says which.
    """
    from coconut_tasks.steps.action import Measurement

    measured = [(action.shown, node) for node in steps if isinstance(action := node.step.action, Measurement)]
    wanted = expectation.expected.image
    nodes = [node for image, node in measured if not wanted or image == wanted]
    if len(nodes) == 1:
        return nodes[0]
    if not measured:
        raise UsageError(
            "nothing-measured",
            "verify: nothing that was asked for is measured: a target with SEV-SNP, or its task, as measure:qemu",
        )
    if not nodes:
        images = ", ".join(image for image, _ in measured)
        raise UsageError("expected-of-another", f"EXPECT: {expectation.told} is of {wanted}: here are {images}")
    names = ", ".join(node.step.name for node in nodes)
    raise UsageError(
        "several-measured",
        f"EXPECT: {expectation.told} says not of which image it is: one of the tasks {names} with it",
    )


def read_expectation(value: str, absolute: Callable[[str], str]) -> Expectation:
    """What the variable ``EXPECT`` says; ``absolute`` is ``Options.absolute``.

    Raises:
        UsageError: it is neither a digest nor a file that names one.
    """
    from coconut_tasks.evidence.expected import FORMS, Expectation, Expected, digest_in, expected_in

    if digest := digest_in(value.removeprefix("sha384:")):
        return Expectation("EXPECT", Expected((digest,)))
    path = Path(absolute(value))
    try:
        with path.open("rb") as file:
            data = file.read(_MOST)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "No such file"
        raise UsageError(
            "no-launch-digest", f"EXPECT: '{value}' is no launch digest, and no file that can be read ({why}): {FORMS}"
        ) from error
    found = expected_in(data)
    if found is None:
        raise UsageError("no-launch-digest", f"EXPECT: {value} names no launch digest: {FORMS}")
    return Expectation(value, found, data, path)


def _what_changed(expectation: Expectation, node: Node, steps: Sequence[Node], image: bytes) -> Iterator[str]:
    """As ``doit diff`` tells it, where the expectation is a file that says more than a digest; ``node`` is the measurement's."""
    from coconut_tasks.commands.diff import images_beside
    from coconut_tasks.compare.changes import compare
    from coconut_tasks.compare.sides import read_side
    from coconut_tasks.reports.changes import changes_text
    from coconut_tasks.steps.action import Measurement, Provenance

    action, workspace = node.step.action, node.workspace
    assert isinstance(action, Measurement)
    try:
        old = read_side(expectation.told, expectation.content, images_beside(expectation.path))
    except UsageError:
        return  # a digest as text, or a report
    statements = [one.step.action for one in steps if isinstance(one.step.action, Provenance)]
    # Without the provenance, as where only measure:qemu was asked for, the measurement has the digest and its settings.
    sidecar = next((one.output for one in statements if one.igvm == action.igvm), action.json)
    new = read_side(
        "this build", Path(workspace.path(sidecar)).read_bytes(), lambda name: image if name == action.shown else None
    )
    yield "what changed:"
    yield from (f"  {line}" for line in changes_text(compare(old, new)))
