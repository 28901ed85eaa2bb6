"""The text of help: for one command, and the table of all commands."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from doit.cmd_base import Command
from doit.cmdparse import CmdOption

from coconut_tasks.called import called
from coconut_tasks.tasks.table import GROUPS
from coconut_tasks.variables import TABLE, VARIABLES

UNTOLD = {"dep_file", "backend", "check_file_uptodate", "par_type", "auto_delayed_regex", "pdb", "failure_verbosity"}
"""Options of doit that these tasks refuse or ignore: help does not show them."""
_TEXTS = {
    "always": "also run steps that are up to date",
    "continue": "after a failed step, keep running the steps that do not need it",
    "verbosity": "what other tasks of the dodo.py print: 0 nothing, 1 errors, 2 everything [default: 1]",
    "reporter": "report progress with one of doit's reporters",
    "outfile": "write the report to a file [default: stdout]",
    "dryrun": "show what would be removed, but remove nothing",
    "cleandep": "also clean the steps that the given ones need",
    "cleanall": "clean all steps",
    "cleanforget": "also forget the steps",
    "forget_all": "forget all steps",
    "forget_sub": "also forget the steps that the given ones need",
    "forget_disable_default": "forget nothing if no step is given",
    "num_process": "run up to N steps at once [default: the number of cores]",
    "single": "run only the given steps, not the ones that they need",
    "dodoFile": "load the tasks from this file [default: dodo.py]",
    "cwdPath": "run in this folder [default: the folder of the dodo.py]",
    "seek_file": "also look for dodo.py in parent folders",
    "subtasks": "also show each step",
    "status": "show the state: R would run, U up to date, I ignored",
    "private": "also show tasks whose names start with _",
    "list_deps": "also show the files that each step reads",
    "template": "format each line with a template",
    "sort": "sort by [default: name]",
    "hide_status": "leave out why a step is stale",
}
"""Help on doit's options; doit's own texts do not fit these tasks."""
VALUES = {
    "dodoFile": "FILE",
    "cwdPath": "DIR",
    "outfile": "FILE",
    "num_process": "N",
    "verbosity": "N",
    "reporter": "NAME",
}
"""The names of the values of doit's options."""
_SECTIONS = {"task loader": "dodo.py", "what is built": "build"}


def overview(purposes: Mapping[str, str]) -> str:
    """What this program does, and its commands; ``purposes`` maps their names to what they are for."""
    how = called()
    lines = [*_wrap(_PURPOSE), "", "usage", *(f"  {how.program} {words}" for words in _USAGES[how.is_coconut])]
    names = {"run": "(none)"}
    for group, members in GROUPS.items():
        rows = [(names.get(name, name), purposes[name]) for name in members if name in purposes]
        lines += ["", group, *two_columns(rows, 12)]
    if how.is_coconut:
        # verify's own option is in its help.
        flags = [
            (" ".join(filter(None, (", ".join(one.flags), one.metavar))), one.about)
            for one in TABLE
            if one.flags and one.name != "EXPECT"
        ]
        lines += ["", "options of every command that works on builds", *two_columns(flags)]
    else:
        lines += [
            "",
            "variables, anywhere on the command line",
            *two_columns([(f"{n}=", about) for n, about in VARIABLES.items()]),
        ]
    lines += ["", "examples", *_examples(_EXAMPLES[how.is_coconut])]
    lines += ["", "exit status", *two_columns(_STATUSES), ""]
    lines += _wrap(
        f"'{how.command('help', 'COMMAND')}' shows details; '{how.command('help', 'ID')}' explains the message that ends with [ID]"
    )
    return "\n".join(lines)


_PURPOSE = "coconut-tasks builds COCONUT-SVSM recipes into IGVM files, computes their launch digests, and rebuilds only what is stale."
_USAGES = (
    ("[STEP ...] RECIPE=FILE [VARIABLE=value ...]", "COMMAND [OPTIONS] [STEP ...] RECIPE=FILE [VARIABLE=value ...]"),
    ("COMMAND [OPTIONS] [RECIPE ...] [STEP ...]",),
)
"""Of doit, of coconut."""
_EXAMPLES = (
    (
        "doit RECIPE=config/qemu.json  # build what is stale and measure the images",
        "doit RECIPE=config/qemu.json RELEASE=1 FEATURES=attest",
        "doit why  # what the next build would do, and why",
        "doit list --all  # the steps; to build a single one: doit igvm:qemu",
    ),
    (
        "coconut build configs/qemu-target.json  # build what is stale and measure the images",
        "coconut build --release --features attest configs/qemu-target.json",
        "coconut why configs/qemu-target.json  # what the next build would do, and why",
        "coconut list configs/qemu-target.json  # the steps; to build a single one: coconut build igvm:qemu",
    ),
)
_STATUSES = (
    ("0", "success"),
    ("1", "a step failed, or a comparison found a difference"),
    ("2", "wrong usage, an invalid recipe, or something that a build needs is missing"),
)


def help_text(command: Command, variables: Mapping[str, str] | None = None) -> str:
    """Purpose, usage, options, variables and examples of a command; ``variables`` are the ones that it uses."""
    how = called()
    name = how.program if how.is_xbuild else how.command(command.name)
    usage = " ".join((name, "[OPTIONS]", usage_of(command, by_coconut=how.is_coconut))).rstrip()
    lines = [*_wrap(f"{name}: {command.doc_purpose}"), "", "usage", f"  {usage}"]
    if command.doc_description:
        lines += ["", *_wrapped(as_called(command.doc_description))]
    sections: dict[str, list[CmdOption]] = {"": []}
    for option in command.cmdparser.options:
        if (option.short or option.long) and option.name not in UNTOLD:
            sections.setdefault(_SECTIONS.get(option.section, ""), []).append(option)
    for section, options in sections.items():
        rows = [row for option in options for row in _option_rows(option)]
        if not section:
            rows.append(("-h, --help", "show this help"))
        lines += ["", f"{section} options" if section else "options", *two_columns(rows)]
    if variables:
        lines += [
            "",
            "variables, anywhere on the command line",
            *two_columns([(f"{n}=…", text) for n, text in variables.items()]),
        ]
    if examples := getattr(command, "examples", ()):
        lines += ["", "examples", *_examples(examples)]
    lines += ["", f"'{how.command('--help')}' lists all commands"]
    return "\n".join(lines)


def usage_of(command: Command, *, by_coconut: bool) -> str:
    """The part of the usage after a command's options."""
    usage: str = command.doc_usage.replace("/TARGET...", " ...").replace("TASK", "STEP")
    if not by_coconut:
        return usage
    own = usage.replace("[VARIABLE=value ...]", "").replace("EXPECT=value", "DIGEST|FILE").strip()
    on_builds = "STEP" in own or own != usage
    if not on_builds or command.name == "help":
        return own
    first, _, rest = own.partition(" ")
    return f"{first} [RECIPE ...] {rest}" if "|" in first and rest else f"[RECIPE ...] {own}".strip()


def _examples(examples: Sequence[str]) -> Iterator[str]:
    parts = [as_called(example).partition("  # ") for example in examples]
    width = max((len(line) for line, _, what in parts if what), default=0)
    width = width if width <= _width() // 2 + 10 else 0
    for line, _, what in parts:
        yield f"  {line:{width}}  # {what}".rstrip() if what else f"  {line}"


def as_called(text: str) -> str:
    """A text about ``doit`` in the words of the program that was called: its name, its flags, and for ``coconut`` the recipes of a tree."""
    how = called()
    text = re.sub(r"\bdoit\b(?! itself)", "coconut" if how.is_xbuild else how.program, text)
    if not how.is_coconut:
        return text
    names = "|".join(VARIABLES)
    text = re.sub(rf"(?<![\w-])({names})=([^\s`']*)", lambda found: how.setting(found[1], found[2]), text)
    text = re.sub(rf"(?<=`)({names})(?=`)|\bEXPECT\b", lambda found: how.option(found[0]), text)
    text = text.replace(" list --all", " list")  # its default, and getopt would take --all for --all-features
    for ours, theirs in _RECIPES.items():
        text = text.replace(ours, theirs)
    return text


_RECIPES = {
    "config/*.json": "configs/*.json",
    "config/qemu.json": "configs/qemu-target.json",
    "config/hyperv.json": "configs/hyperv-target.json",
    "config/all-targets.json": "configs/all-targets.json",
}
"""The recipes of the sample → those of an SVSM tree, where ``coconut`` is used."""


def _option_rows(option: CmdOption) -> Iterator[tuple[str, str]]:
    value = "" if option.type is bool else VALUES.get(option.name, option.metavar.replace("ARG", "VALUE"))
    names = [f"-{option.short}{value and ' ' + value}"] if option.short else []
    names += [f"--{option.long}{value and '=' + value}"] if option.long else []
    words = _TEXTS.get(option.name) or option.help % {"default": option.default}
    text, bracket, default = " ".join(words.split()).partition(" [default: ")
    if option.choices:
        text += f" [possible values: {', '.join(option.choices)}]"
    if bracket and default not in ("False]", "None]", "]"):
        text += f"{bracket}{default}"
    yield ", ".join(names), text
    if option.inverse:
        yield f"--{option.inverse}", f"the opposite of --{option.long}"


def two_columns(rows: Sequence[tuple[str, str]], least: int = 0) -> Iterator[str]:
    """Lines of a name and its text; the first column has at least ``least`` characters."""
    width = min(24, max(least, *(len(left) for left, _ in rows)))
    for left, right in rows:
        indent = " " * (width + 4)
        wrapped = _wrap(right, indent) or [indent]
        if len(left) > width:
            yield f"  {left}"
        else:
            wrapped[0] = f"  {left:{width}}  {wrapped[0].lstrip()}"
        yield from (line.rstrip() for line in wrapped)


def _wrapped(text: str) -> Iterator[str]:
    """Paragraphs filled to the width; an empty line, or one that is indented, ends a paragraph."""
    paragraph: list[str] = []
    for line in (*textwrap.dedent(text).strip().splitlines(), ""):
        if line and not line.startswith(" ") and not line.startswith("Exit status"):
            paragraph.append(line)
            continue
        yield from _wrap(" ".join(paragraph))
        paragraph = [line] if line.startswith("Exit status") else []
        if line.startswith(" "):
            yield f"  {line}"
    yield from _wrap(" ".join(paragraph))


def _wrap(text: str, indent: str = "") -> list[str]:
    # Do not break names of options and files: people copy them.
    return textwrap.wrap(
        text, _width(), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )


def _width() -> int:
    """The columns of the terminal, within limits for easy reading; 100 without a terminal."""
    return max(40, min(shutil.get_terminal_size((100, 24)).columns, 120))
