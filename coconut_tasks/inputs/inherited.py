"""The user's environment for builds: without variables that another program set for its own children.

A git hook, ``git rebase --exec``, ``cargo run`` and make start programs with variables that describe another repository, package or
makefile. If these reached a build, its version and keys would differ from a build on the command line, for no visible reason.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from coconut_tasks.inputs.environment import OF_MAKE, without_jobs
from coconut_tasks.inputs.git import OF_ONE_REPOSITORY
from coconut_tasks.options import CACHE_VARIABLES
from coconut_tasks.variables import BY_NAME

_OF_CARGOS_CHILDREN = (
    r"CARGO(_(MANIFEST_(DIR|PATH|LINKS)|PKG_.*|(BIN|CRATE)_NAME"
    r"|BIN_EXE_.*|PRIMARY_PACKAGE|TARGET_TMPDIR|RUSTC_CURRENT_DIR|MAKEFLAGS))?"
)
"""Variables that cargo sets for what ``cargo run``, ``cargo test`` or a subcommand starts (The Cargo Book, "Environment Variables")."""
_OF_MAKES_CHILDREN = ("MAKEFLAGS", "MAKELEVEL", "MAKEOVERRIDES", "MAKE_TERMERR", "MAKE_TERMOUT", "MFLAGS")
"""Variables that make sets for the commands of its rules, besides those on its command line, which the user chose."""
_ASKED_FOR = ("env", "cli")
"""Values of RUSTUP_TOOLCHAIN_SOURCE if the user asked for RUSTUP_TOOLCHAIN, rather than rustup finding it."""
OF_OPTIONS = {**{one.name: one for one in BY_NAME.values() if one.known_to_makefiles}, "V": BY_NAME["VERBOSE"]}
"""Variables that mean the same as an option of this program, with that option. With them a makefile would build half a release, and with
``ifdef`` even if the value is 0."""
_EMPTY_IS_UNSET = (
    *("RUSTC", "RUSTDOC", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "CARGO_HOME", "RUSTUP_HOME", "HOME"),
    *OF_MAKE,
)


def for_builds(environment: Mapping[str, str], tree: str, workdir: str, *, is_copy: bool = False) -> dict[str, str]:
    """The environment of tools that run in the tree. ``workdir`` is the user's working folder; both are absolute. For a copy, the variables
    name the repository."""
    found = {
        name: value
        for name, value in environment.items()
        if (value or name not in _EMPTY_IS_UNSET)
        and name not in OF_OPTIONS
        and name not in CACHE_VARIABLES
        and not _is_of_cargos_children(name)
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
    # As cargo and rustup find it if HOME is not set.
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:  # in a container, a user may have only a number
        return ""


def _is_of_cargos_children(name: str) -> bool:
    return name.startswith("CARGO") and re.fullmatch(_OF_CARGOS_CHILDREN, name) is not None


def _drop_rustups(found: dict[str, str], environment: Mapping[str, str]) -> None:
    if environment.get("RUSTUP_TOOLCHAIN_SOURCE", _ASKED_FOR[0]) not in _ASKED_FOR:
        found.pop("RUSTUP_TOOLCHAIN", None)
    found.pop("RUSTUP_TOOLCHAIN_SOURCE", None)
    if found.get("RUSTUP_HOME") == os.path.join(found.get("HOME", ""), ".rustup"):
        del found["RUSTUP_HOME"]  # rustup sets it for its children even if the user did not


def _drop_libraries(found: dict[str, str], environment: Mapping[str, str]) -> None:
    """cargo puts the package's folders first, up to those of its compiler; older versions of rustup did so with its toolchain."""
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
    """The options, jobs and variables of the make that started this program belong to its own makefile."""
    flags = found.get("MAKEFLAGS", "")
    if "MAKELEVEL" in found:
        flags = ""
    elif "--jobserver-" in flags:
        # Children do not inherit its pipe, and its descriptor may belong to another file by now.
        flags = without_jobs(flags)
    for name in _OF_MAKES_CHILDREN:
        found.pop(name, None)
    if flags:
        found["MAKEFLAGS"] = flags


def _is_of_this_repository(found: Mapping[str, str], tree: str, workdir: str) -> bool:
    """Whether the user chose the repository, with a work tree that contains the tree. A hook also sets an index."""
    work_tree = found.get("GIT_WORK_TREE")
    if not work_tree or "GIT_DIR" not in found or "GIT_INDEX_FILE" in found or "GIT_PREFIX" in found:
        return False
    top = os.path.realpath(os.path.join(workdir, work_tree))
    return f"{os.path.realpath(tree)}{os.sep}".startswith(top.rstrip(os.sep) + os.sep)
