"""The user's environment as builds are to have it: without what another program set for its own children.

A git hook, ``git rebase --exec``, ``cargo run`` and make start programs with variables that speak of another repository, another package or
another makefile. Where they reached a build, its version and its keys would be others than from the command line, and nobody would have
asked for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from coconut_tasks.inputs.environment import OF_MAKE, without_jobs
from coconut_tasks.inputs.git import OF_ONE_REPOSITORY
from coconut_tasks.variables import BY_NAME

_OF_CARGOS_CHILDREN = (
    r"CARGO(_(MANIFEST_(DIR|PATH|LINKS)|PKG_.*|(BIN|CRATE)_NAME"
    r"|BIN_EXE_.*|PRIMARY_PACKAGE|TARGET_TMPDIR|RUSTC_CURRENT_DIR|MAKEFLAGS))?"
)
"""What cargo sets for a program that ``cargo run``, ``cargo test`` or a subcommand starts (The Cargo Book, "Environment Variables")."""
_OF_MAKES_CHILDREN = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MAKE_TERMERR", "MAKE_TERMOUT", "MFLAGS")
"""What make sets for the commands of its rules, beside the variables of its own command line, which are a user's choice."""
_ASKED_FOR = ("env", "cli")
"""Values of RUSTUP_TOOLCHAIN_SOURCE with which RUSTUP_TOOLCHAIN is what somebody asked for, and not what rustup found."""
OF_OPTIONS = {**{one.name: one for one in BY_NAME.values() if one.known_to_makefiles}, "V": BY_NAME["VERBOSE"]}
"""Variables that ask for what an option of this program asks for, with the option. A makefile would build by them half a release, and with
``ifdef`` also where the value is 0."""
_EMPTY_IS_UNSET = (
    *("RUSTC", "RUSTDOC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_HOME", "RUSTUP_HOME", "HOME"),
    *OF_MAKE,
)


def for_builds(environment: Mapping[str, str], tree: str, workdir: str, *, is_copy: bool = False) -> dict[str, str]:
    """What reaches tools that work in the tree. ``workdir`` is where the user stands; both are absolute. Of a copy, the variables name
    the repository."""
    found = {
        name: value
        for name, value in environment.items()
        if (value or name not in _EMPTY_IS_UNSET) and name not in OF_OPTIONS and not _is_of_cargos_children(name)
    }
    _drop_rustups(found, environment)
    _drop_makes(found)
    _drop_libraries(found, environment)
    if not is_copy and not _is_of_this_repository(found, tree, workdir):
        for name in OF_ONE_REPOSITORY:
            found.pop(name, None)
    if "HOME" not in found and (home := _home_of_the_user()):
        found["HOME"] = home
    if "CARGO_HOME" in found:
        found["CARGO_HOME"] = os.path.join(workdir, found["CARGO_HOME"])  # cargo starts in the tree
    return found


def _home_of_the_user() -> str:
    # As cargo and rustup find it where HOME is not set.
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # in a container, a user may have a number only
        return ""


def _is_of_cargos_children(name: str) -> bool:
    return name.startswith("CARGO") and re.fullmatch(_OF_CARGOS_CHILDREN, name) is not None


def _drop_rustups(found: dict[str, str], environment: Mapping[str, str]) -> None:
    if environment.get("RUSTUP_TOOLCHAIN_SOURCE", _ASKED_FOR[0]) not in _ASKED_FOR:
        found.pop("RUSTUP_TOOLCHAIN", None)
    found.pop("RUSTUP_TOOLCHAIN_SOURCE", None)
    if found.get("RUSTUP_HOME") == os.path.join(found.get("HOME", ""), ".rustup"):
        del found["RUSTUP_HOME"]  # rustup names it to its children also where nobody set it


def _drop_libraries(found: dict[str, str], environment: Mapping[str, str]) -> None:
    """cargo puts the folders of the package that it runs first, up to those of its compiler; rustup did so with its toolchain before."""
    folders = found.pop("LD_LIBRARY_PATH", "").split(os.pathsep)
    if "CARGO_MANIFEST_DIR" in environment:
        compilers = (place for place, folder in enumerate(folders) if re.search("/lib/rustlib/[^/]+/lib$", folder))
        del folders[: next(compilers, -1) + 1]
    if folders and "RUST_RECURSION_COUNT" in environment:
        toolchain = environment.get("RUSTUP_TOOLCHAIN", "").rpartition("/")[2]
        if folders[0].endswith(f"/{toolchain}/lib"):
            del folders[0]
    if value := os.pathsep.join(folders):
        found["LD_LIBRARY_PATH"] = value


def _drop_makes(found: dict[str, str]) -> None:
    """The options, jobs and variables of the make that started this program are of its own makefile."""
    flags = found.get("MAKEFLAGS", "")
    if "MAKELEVEL" in found:
        flags = ""
    elif "--jobserver-" in flags:
        # Its pipe reaches no child, and under its number another file may be open by now.
        flags = without_jobs(flags)
    for name in _OF_MAKES_CHILDREN:
        found.pop(name, None)
    if flags:
        found["MAKEFLAGS"] = flags


def _is_of_this_repository(found: Mapping[str, str], tree: str, workdir: str) -> bool:
    """Whether somebody says, by a work tree that the tree is in, which repository is meant. A hook names an index of its own, too."""
    work_tree = found.get("GIT_WORK_TREE")
    if not work_tree or "GIT_DIR" not in found or "GIT_INDEX_FILE" in found or "GIT_PREFIX" in found:
        return False
    top = os.path.realpath(os.path.join(workdir, work_tree))
    return f"{os.path.realpath(tree)}{os.sep}".startswith(top.rstrip(os.sep) + os.sep)
