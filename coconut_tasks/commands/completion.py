"""``completion``: scripts for bash, zsh and fish, and the program that they call, ``python -m`` this module.

Its arguments are the words as typed so far, from the program to the word at the cursor.
It prints a line for each candidate: the word, a tab, a short description.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from coconut_tasks.called import called
from coconut_tasks.commands.build import xbuild
from coconut_tasks.commands.candidates import Candidate, CommandLine, Flag, Known, candidates
from coconut_tasks.commands.coconut import command_of
from coconut_tasks.errors import UsageError
from coconut_tasks.options import Options, process_environment
from coconut_tasks.tasks.command import OwnCommand, none_of, options_first
from coconut_tasks.tasks.dodo_file import dodo_file, is_ours
from coconut_tasks.tasks.help_text import VALUES, usage_of
from coconut_tasks.tasks.table import COCONUT, MEASURE, MEASURE_PURPOSE
from coconut_tasks.variables import variables_of
from coconut_tasks.wording import either

_BASH = r"""# Completion of coconut, coconut-build, doit and ./doitw for bash.
_coconut_complete() {
    local line=${COMP_LINE:0:COMP_POINT} word value cut= breaks i
    local -a words=()
    COMPREPLY=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        # bash splits words at = and : too; these commands only at blanks.
        if ((i == 0)) || [[ $line == [[:blank:]]* ]]; then
            words+=("")
            line=${line#"${line%%[![:blank:]]*}"}
        fi
        ((i == COMP_CWORD)) && word=$line
        words[${#words[@]} - 1]+=$word
        line=${line#"$word"}
    done
    # bash appends candidates to the last of its own words.
    word=${words[${#words[@]} - 1]}
    breaks=${COMP_WORDBREAKS//[!=:]/}
    [[ $breaks ]] && cut=${word%"${word##*[$breaks]}"}
    while IFS=$'\t' read -r value _; do
        [[ $value == *[=/] ]] && compopt -o nospace 2>/dev/null
        value=${value#"$cut"}
        [[ $value == *[!A-Za-z0-9_./:=,@%+-]* ]] && printf -v value %q "$value"
        COMPREPLY+=("$value")
    done < <(PYTHON "${words[@]}" 2>/dev/null)
}
complete -o nosort -F _coconut_complete doit doitw coconut coconut-build 2>/dev/null ||
    complete -F _coconut_complete doit doitw coconut coconut-build
"""

_ZSH = r"""# Completion of coconut, coconut-build, doit and ./doitw for zsh.
_coconut_complete() {
    local line value about
    local -a whole whole_shown open open_shown
    for line in "${(@f)$(PYTHON "${(@)words[1,CURRENT-1]}" "$PREFIX" 2>/dev/null)}"; do
        value=${line%%$'\t'*} about=${line#*$'\t'}
        [[ -n $value ]] || continue
        if [[ $value == *[=/] ]]; then
            open+=("$value") open_shown+=("$value${about:+  -- $about}")
        else
            whole+=("$value") whole_shown+=("$value${about:+  -- $about}")
        fi
    done
    (( $#whole )) && compadd -l -d whole_shown -a whole
    (( $#open )) && compadd -l -S '' -d open_shown -a open
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }
compdef _coconut_complete doit doitw coconut coconut-build
"""

_FISH = r"""# Completion of coconut, coconut-build, doit and ./doitw for fish.
function __coconut_candidates
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    PYTHON $before "$current" 2>/dev/null
end
for program in doit doitw coconut coconut-build
    complete -c $program -f -k -a '(__coconut_candidates)'
end
"""

_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


class CompletionCommand(OwnCommand):
    """``completion``: prints a script, which will call the Python that prints it."""

    name = "completion"
    doc_purpose = "print the completion script for bash, zsh or fish"
    doc_usage = "bash|zsh|fish"
    doc_description = """
        To install it, once:
          bash   echo 'source <(doit completion bash)' >> ~/.bashrc
          zsh    echo 'source <(doit completion zsh)' >> ~/.zshrc
          fish   doit completion fish > ~/.config/fish/conf.d/coconut-tasks.fish

        The script completes all programs of coconut-tasks: commands, steps, options, variables and values.
        If doit is not in PATH, use its path in the virtual environment, or the absolute path of ./doitw.
    """
    examples = (
        "source <(doit completion bash)  # in this shell only",
        "doit completion zsh",
        "doit completion fish",
    )

    def execute(self, opt_values: Any, pos_args: Sequence[str]) -> int:
        self.given_variables()
        shells = either(list(_SCRIPTS))
        if len(pos_args) != 1:
            raise UsageError(
                "wrong-words",
                f"completion: expected {shells}; for example: {called().command('completion', 'bash')}",
            )
        shell = pos_args[0]
        if shell not in _SCRIPTS:
            raise UsageError("no-such-choice", f"completion: {none_of(shell, _SCRIPTS)}")
        # -P, since code from the current folder must not run while the user types.
        ask = f"{shlex.quote(sys.executable)} -P -m {__spec__.name}"
        print(_SCRIPTS[shell].replace("PYTHON", ask, 1), end="")
        return 0


def main(words: Sequence[str]) -> int:
    """Print the candidates for the words typed so far. Errors are not printed, since they would appear in the user's line."""
    typed = [_unquoted(word) for word in words]
    found: list[Candidate] = []
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            options = Options(environment=process_environment(), workdir=os.getcwd())
            found = candidates(typed, options, _known(typed[0]))
    except (Exception, SystemExit):
        return 0
    print("".join(f"{one.value}\t{' '.join(one.about.split())}\n" for one in found), end="")
    return 0


def _unquoted(word: str) -> str:
    return re.sub(r"\\(.)", r"\1", word).lstrip("'\"")


def _known(program: str) -> Known:
    if os.path.basename(program) in ("coconut", "coconut-build"):
        return Known(dict(_of_coconut(os.path.basename(program))), asked=_asked)
    from coconut_tasks.tasks.program import command_classes

    dodo = dodo_file()
    if os.path.basename(program) == "doitw" and not dodo.exists():
        dodo = Path(os.path.expanduser(program)).parent / "dodo.py"
    ours = is_ours(dodo)
    lines = {name: _command_line(command, ours) for name, command in sorted(command_classes().items())}
    return Known(lines, dodo, ours, _listed)


def _of_coconut(program: str) -> Iterator[tuple[str, CommandLine]]:
    if program == "coconut-build":
        command = xbuild()
        yield "build", CommandLine("RECIPE", command.doc_purpose, tuple(_all_flags(command)))
        return
    for name in COCONUT:
        if name == MEASURE:
            yield name, CommandLine("FILE.igvm", MEASURE_PURPOSE)
            continue
        command = command_of(name)
        flags = tuple(_all_flags(command))
        yield name, CommandLine(usage_of(command, by_coconut=True), command.doc_purpose, flags)


def _all_flags(command: Any) -> Iterator[Flag]:
    for option in command.cmdparser.options:
        yield from _flags(vars(option))


def _asked(name: str, words: Sequence[str]) -> Options:
    command = command_of(name)
    params, rest = command.cmdparser.parse(options_first(words, command.cmdparser))
    command.loader.take(params, rest)
    asked: Options = command.loader.asked()
    return asked


def _command_line(command: Any, ours: bool) -> CommandLine:
    from coconut_tasks.tasks.program import is_on_tasks, options_of

    variables: tuple[str, ...] = getattr(command, "variables", ())
    if is_on_tasks(command):
        variables = tuple(variables_of(command.name)) if ours else ()
    flags = tuple(flag for option in options_of(command) for flag in _flags(option))
    return CommandLine(command.doc_usage, command.doc_purpose, flags, variables)


def _flags(option: dict[str, Any]) -> Iterator[Flag]:
    short, long = option.get("short"), option.get("long")
    names = tuple(name for name in (short and f"-{short}", long and f"--{long}") if name)
    about = re.sub(r"\s*\[default: .*?\]", "", option.get("help", "")).strip().split("\n")[0]
    switch = option.get("type") is bool
    value = "" if switch else VALUES.get(option["name"], option.get("metavar", "VALUE").replace("ARG", "VALUE"))
    if names:
        yield Flag(names, about, value, tuple(dict(option.get("choices", ()))))
    if option.get("inverse"):
        yield Flag((f"--{option['inverse']}",), f"the opposite of --{long}")


def _listed() -> list[Candidate]:
    """The tasks of a dodo.py that is not ours, from doit's list."""
    from coconut_tasks.tasks.program import listed_tasks

    return [Candidate(*re.split(r"\s+", line, maxsplit=1)) for line in listed_tasks()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
