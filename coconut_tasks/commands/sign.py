"""``doit sign``: signatures for the sidecars of images that are up to date."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from coconut_tasks.errors import EXIT_FAILED, StepError, UsageError, tell
from coconut_tasks.tasks.command import text_option
from coconut_tasks.tasks.standing import from_here, stand
from coconut_tasks.tasks.task_command import ReportCommand

# The rest is imported when it is needed: doit loads these classes for its own help, for any dodo.py.


class SignCommand(ReportCommand):
    """``sign``."""

    name = "sign"
    doc_purpose = "sign what stands beside images, with a key of yours, by ssh-keygen or cosign"
    doc_description = """
        Signs provenance, launch digest, reference values and CoRIM of each image, if all is up to date. Nothing is published.
        ssh-keygen writes FILE.sig, cosign FILE.sigstore.json. A signature goes when its file is replaced.
    """
    cmd_options = (
        {
            **text_option(
                "key", "the private key; for ssh-keygen also a public one that the agent has, for cosign also a URI"
            ),
            "metavar": "FILE",
        },
        {
            **text_option("program", "what signs; without it, what the key is for"),
            "long": "with",
            "choices": (("ssh-keygen", ""), ("cosign", "")),
        },
    )
    examples = (
        "doit sign --key ~/.ssh/id_ed25519 RECIPE=config/qemu.json",
        "doit sign --key cosign.key measure:qemu  # of one image",
        "doit sign --key awskms:///alias/release --with cosign",
    )

    def _execute(self, key: str, program: str) -> int:
        from coconut_tasks.evidence.signing import key_as_given, program_for, sign
        from coconut_tasks.layout import SIGNATURES, SIGNED
        from coconut_tasks.options import process_environment
        from coconut_tasks.tasks.interrupt import listen
        from coconut_tasks.tasks.preflight import foreign_files, take_lock

        if not key:
            raise UsageError(
                "wrong-words", f"sign: with which key? for example: {self.line('sign', '--key', '~/.ssh/id_ed25519')}"
            )
        key = key_as_given(key, stand())
        program = program or program_for(key)
        nodes = self.nodes
        workspace = nodes[0].workspace
        if workspace.state.is_dir() and (problems := take_lock(workspace)):
            raise UsageError.of(problems)
        self._refuse_what_is_stale()
        places = [place for node in nodes for _, place in node.step.publish if place.endswith(SIGNED)]
        if not places:
            raise UsageError(
                "nothing-to-sign",
                "sign: these steps write nothing that is signed: name those that do, as measure:qemu, or none",
            )
        listen()
        sidecars = [Path(workspace.path(place)) for place in places]
        signatures = [f"{sidecar}{SIGNATURES[program]}" for sidecar in sidecars]
        if foreign := foreign_files(signatures, workspace):
            names = ", ".join(map(from_here, foreign))
            raise UsageError("foreign-file", f"sign: {names}: there already, and not made by this program")
        for path in signatures:
            workspace.placed.add(path)
        try:
            made = sign(sidecars, Path(workspace.bin), key, program, process_environment())
        except StepError as error:
            tell(error)
            return EXIT_FAILED
        self.outstream.write("".join(f"{from_here(path)}: written\n" for path in made))
        return 0

    def _refuse_what_is_stale(self) -> None:
        """Raises UsageError unless every step is as a build just now would leave it: a signature would vouch for something else."""
        from coconut_tasks.freshness.forecast import Fate, forecast
        from coconut_tasks.freshness.staleness import Cause

        nodes = self.nodes
        assessments = []
        for node in nodes:
            found = node.assess()
            # A step that is asked each time is never up to date; what its last run left is all that anybody can know.
            known = tuple(reason for reason in found.reasons if reason.cause is not Cause.UNKNOWN_INPUTS)
            assessments.append(replace(found, reasons=known))
        coming = forecast(assessments, nodes[0].workspace.path).values()
        stale = [one.step.name for one in coming if one.fate is not Fate.RESTS]
        if stale:
            shown = ", ".join(stale[:4]) + (f" and {len(stale) - 4} more" if len(stale) > 4 else "")
            raise UsageError("not-up-to-date", f"sign: not up to date: {shown}; build first: '{self.line('build')}'")
