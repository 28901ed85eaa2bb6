"""``sign``: sign the sidecars of images that are up to date."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from coconut_tasks.errors import EXIT_FAILED, StepError, UsageError, tell
from coconut_tasks.tasks.command import text_option
from coconut_tasks.tasks.standing import from_here, stand
from coconut_tasks.tasks.task_command import ReportCommand

# The rest is imported where it is used: doit loads this class for its own help, with any dodo.py.


class SignCommand(ReportCommand):
    """``sign``."""

    name = "sign"
    doc_purpose = "sign the provenance and launch digests of images with ssh-keygen or cosign"
    doc_description = """
        Signs the provenance, launch digest, reference values and CoRIM of each image if everything is up to date, and publishes nothing.
        ssh-keygen writes FILE.sig, cosign writes FILE.sigstore.json. When a file is replaced, its signature is removed.
    """
    cmd_options = (
        {
            **text_option(
                "key", "the private key; for ssh-keygen also the public key of one in the agent, for cosign also a URI"
            ),
            "metavar": "FILE",
        },
        {
            **text_option("program", "the signing program [default: by the key]"),
            "long": "with",
            "choices": (("ssh-keygen", ""), ("cosign", "")),
        },
    )
    examples = (
        "doit sign --key ~/.ssh/id_ed25519 RECIPE=config/qemu.json",
        "doit sign --key cosign.key measure:qemu  # one image",
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
                "wrong-words", f"sign: no key given; for example: {self.line('sign', '--key', '~/.ssh/id_ed25519')}"
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
                "sign: these steps have no files to sign; name one that has, for example measure:qemu, or no step",
            )
        listen()
        sidecars = [Path(workspace.path(place)) for place in places]
        signatures = [f"{sidecar}{SIGNATURES[program]}" for sidecar in sidecars]
        if foreign := foreign_files(signatures, workspace):
            names = ", ".join(map(from_here, foreign))
            raise UsageError(
                "foreign-file", f"sign: {names} already exists and was not made by this program; move it away"
            )
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
        """Raises UsageError if a build would change anything, since the signatures would then be for outdated files."""
        from coconut_tasks.freshness.forecast import Fate, forecast
        from coconut_tasks.freshness.staleness import Cause

        nodes = self.nodes
        assessments = []
        for node in nodes:
            found = node.assess()
            # A step with unknown inputs is never up to date, but nothing more than its last run is known.
            known = tuple(reason for reason in found.reasons if reason.cause is not Cause.UNKNOWN_INPUTS)
            assessments.append(replace(found, reasons=known))
        coming = forecast(assessments, nodes[0].workspace.path).values()
        stale = [one.step.name for one in coming if one.fate is not Fate.RESTS]
        if stale:
            shown = ", ".join(stale[:4]) + (f" and {len(stale) - 4} more" if len(stale) > 4 else "")
            raise UsageError("not-up-to-date", f"sign: not up to date: {shown}; build first: '{self.line('build')}'")
