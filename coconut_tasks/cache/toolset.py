"""The tools of this machine that decide bytes, by content: Rust toolchains, C compilers and what belongs to them, libclang, make and more.

``freshness.staleness`` looks at Rust's toolchain and make only, by version: who replaces another compiler knows that, and it is on the same
machine. A result that travels needs all of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from coconut_tasks.effects.place import read_object, write_cache
from coconut_tasks.inputs.files import RACY_NS
from coconut_tasks.inputs.toolchain import Toolchain

_DRIVERS = ("cc", "gcc", "c++", "g++", "cpp", "clang", "clang++")
_COMPILERS = re.compile(r"((HOST|TARGET)_)?(CC|CXX)(_\w+)?|CARGO_TARGET_\w+_LINKER")
"""Variables that name further ones, with options or with a program before them, as in ``ccache clang-19 -m64``."""
_PROGRAMS = (
    *("as", "ld", "ld.bfd", "ld.gold", "ld.lld", "lld", "rust-lld", "mold", "ar", "ranlib", "nm", "objcopy", "strip"),
    *("make", "gmake", "cmake", "ninja", "pkg-config", "perl", "python3", "sh", "bash", "sed", "awk", "grep", "m4"),
    *("autoconf", "autoreconf", "autom4te", "automake", "aclocal", "libtoolize", "autoheader", "flex", "bison"),
    *("bindgen", "rustfmt", "llvm-config", "protoc", "nasm", "yasm", "ccache", "distcc"),
)
"""What build scripts and makefiles usually start, besides what their texts name (``programs_in``)."""
_ASKED_PROGRAMS = ("cc1", "as", "ld")
_BESIDE_CC1 = ("cc1plus", "collect2", "lto-wrapper", "lto1", "liblto_plugin.so")
_SHARED = ("autoconf", "automake*", "aclocal*", "libtool", "autoconf-archive", "bison")
"""Folders of macros beside the tools of autoconf, in ``share``."""
_LIBCLANG = ("lib/llvm-*/lib", "lib", "lib64", "lib/*-linux-*", "local/lib", "local/llvm*/lib")
"""Where clang-sys looks for libclang, below ``/usr``."""
_LINKED = re.compile(r".*\.(a|o)|lib[^/]*\.so")
_SCRIPT_SIZE = 1 << 16
"""The most bytes of a ``.so`` that may be a linker script."""
_WORD = re.compile(r"[A-Za-z_][\w.+-]*")
_STARTED = re.compile(r'Command::new\(\s*"([A-Za-z_][\w.+-]*)"')
"""A program that a script starts, or tries to start: it may come later."""
_BIG = 1 << 20
"""From how many bytes on a file takes longer to read than to be remembered by itself."""
_KEPT = 1000
"""How many contents and answers are remembered: 70 are of the tools that one environment finds."""
_Stat = tuple[int, int, int, int]
"""When a file was written and changed, in nanoseconds, its size in bytes, and its inode."""
READ_BY_COMPILERS = (
    *("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "LIBRARY_PATH", "COMPILER_PATH", "GCC_EXEC_PREFIX"),
    *("LD_LIBRARY_PATH", "LD_PRELOAD", "LD_RUN_PATH", "LIBCLANG_PATH", "LLVM_CONFIG_PATH", "CLANG_PATH"),
    *("PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "PKG_CONFIG_SYSROOT_DIR", "PERL5LIB", "PERL5OPT", "PYTHONPATH"),
)
"""Variables by which compilers and other tools find what they read, and which nobody has to name."""


class Toolset:
    """Looks at each tool once, and remembers contents by stats in a file of the user's cache folder."""

    def __init__(self, environment: Mapping[str, str], memory: Path, without: str = "") -> None:
        """``memory`` is that file; ``without`` is a folder of PATH in which not to look."""
        folders = environment.get("PATH", os.defpath).split(os.pathsep)
        self._path = os.pathsep.join(folder for folder in folders if folder != without)
        self._environment = {**environment, "PATH": self._path, "LC_ALL": "C"}
        self.memory, self.without = memory, without
        self.newest_program_ns = 0
        """The latest change time of a program that was asked for by ``program``."""
        self._known: dict[str, Any] = read_object(memory)
        self._used: dict[str, Any] = {}
        self._programs: dict[str, str | None] = {}

    def rust(self, toolchain: Toolchain | None) -> str:
        """A digest of a Rust toolchain: rustc, what it loads, cargo, and the libraries and linkers for each installed target."""
        if toolchain is None:
            return "missing"
        root = toolchain.sysroot
        named = {f"bin/{name}": os.path.join(root, "bin", name) for name in ("rustc", "cargo")}
        if not os.path.isfile(named["bin/cargo"]) and (cargo := self._find("cargo")):
            named["bin/cargo"] = cargo
        named |= {f"loaded/{os.path.basename(path)}": path for path in self._loaded(named["bin/rustc"])}
        rustlib = os.path.join(root, "lib", "rustlib")
        for target in _names(rustlib):
            if target not in ("src", "etc") and os.path.isdir(os.path.join(rustlib, target)):
                named |= dict(_below(os.path.join(rustlib, target), f"rustlib/{target}"))
        return _digest([toolchain.rustc, toolchain.cargo, self._content(named)])

    def others(self) -> str:
        """A digest of all other tools: C compilers with their headers and libraries, linkers, libclang, make, autoconf."""
        named: dict[str, str] = {}
        folders: list[str] = []
        headers: dict[str, None] = {}
        libraries: dict[str, None] = {}
        for name in (*_DRIVERS, *self._named_compilers()):
            if (driver := self._find(name)) is not None:
                answer = self._asked(driver)
                named |= {f"{name}/": driver, **{f"{name}/{one}": path for one, path in answer["programs"].items()}}
                named |= {f"{name}/loaded/{os.path.basename(path)}": path for path in answer["loaded"]}
                folders += [name, *answer["headers"], "", *answer["libraries"], ""]
                headers |= dict.fromkeys(answer["headers"])
                libraries |= dict.fromkeys(answer["libraries"])
        inner = [folder for folder in headers if any(folder.startswith(f"{other}/") for other in headers)]
        # Of each folder on its own: another compiler is no reason to read thousands of headers again.
        below = [dict(_below(folder, folder)) for folder in sorted(headers.keys() - set(inner))]
        below += [{path: path for path in _linked_in(folder)} for folder in sorted({*map(os.path.realpath, libraries)})]
        for name in _PROGRAMS:
            if (path := self._find(name)) is not None:
                named[name] = path
        for tool in ("autoconf", "automake", "libtoolize", "bison"):
            if (path := self._find(tool)) is not None:
                share = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(path))), "share")
                for place in (found for one in _SHARED for found in sorted(Path(share).glob(one))):
                    named |= dict(_below(str(place), str(place)))
        named |= {f"libclang/{os.path.basename(path)}": path for path in self._libclang()}
        return _digest([folders, self._content(named), *map(self._content, below)])

    def program(self, name: str) -> str | None:
        """The digest of a program in PATH; None if there is none."""
        if name not in self._programs:
            path = self._find(name)
            self._programs[name] = None if path is None else self._content({name: path})
            if path is not None and (found := _stat(path)) is not None:
                self.newest_program_ns = max(self.newest_program_ns, found[1])
        return self._programs[name]

    def programs_in(self, texts: Iterable[str]) -> set[str]:
        """The words of texts that are programs in PATH, and the programs that scripts start, whether they are there or not."""
        every = list(texts)
        words = {word for text in every for word in _WORD.findall(text)}
        return (words & self._all_names).union(*map(_STARTED.findall, every))

    def _named_compilers(self) -> list[str]:
        values = (value for name, value in self._environment.items() if _COMPILERS.fullmatch(name))
        return sorted({word for value in values for word in value.split() if word not in _DRIVERS and word[0] != "-"})

    @property
    def _all_names(self) -> set[str]:
        if not hasattr(self, "_names"):
            self._names = {name for folder in self._path.split(os.pathsep) if folder for name in _names(folder)}
        return self._names

    def save(self) -> None:
        """Remember for the next run."""
        new = {key: value for key, value in self._used.items() if key not in self._known}
        if new:
            unused = {key: value for key, value in self._known.items() if key not in self._used}
            kept = list((unused | self._used).items())[-_KEPT:]
            self.memory.parent.mkdir(parents=True, exist_ok=True)
            write_cache(self.memory, json.dumps(dict(kept)).encode())

    def _find(self, name: str) -> str | None:
        return shutil.which(name, path=self._path)

    def _content(self, named: Mapping[str, str]) -> str:
        """A digest of the names and contents of files; one that cannot be read counts as absent."""
        stats = {name: found for name, path in sorted(named.items()) if (found := _stat(path)) is not None}
        newest = max((found[1] for found in stats.values()), default=0)
        key = _digest(["content", [(name, named[name], found) for name, found in stats.items()]])

        def read() -> str:
            # A task for each of thousands of small files would take longer than reading them.
            names, workers = list(stats), os.cpu_count() or 1
            parts = [names[start::workers] for start in range(workers)]
            with ThreadPoolExecutor(workers) as pool:
                found = pool.map(lambda part: [(name, self._file(named[name], stats[name])) for name in part], parts)
                return _digest(sorted(pair for part in found for pair in part))

        return str(self._remembered(key, read, newest))

    def _file(self, path: str, stat: _Stat) -> str:
        """The digest of a file's content; that of a big one is known again when another one changes."""
        if stat[2] < _BIG:
            return _read(path)
        return str(self._remembered(_digest(["file", os.path.realpath(path), stat]), lambda: _read(path), stat[1]))

    def _remembered(self, key: str, make: Any, newest_ns: int) -> Any:
        import time

        if key in self._used:
            return self._used[key]
        if key in self._known:
            self._used[key] = self._known[key]
            return self._known[key]
        began_ns = time.time_ns()
        value = make()
        if newest_ns < began_ns - RACY_NS:  # else a file may change again with the same stat
            self._used[key] = value
        return value

    def _asked(self, driver: str) -> dict[str, Any]:
        """What a compiler says of itself: its programs, where it looks for headers and libraries, what it loads."""
        driver = os.path.realpath(driver)
        variables = [self._environment.get(name) for name in READ_BY_COMPILERS]
        key = _digest(["asked", driver, _stat(driver), variables, self._path])
        known = self._used.get(key, self._known.get(key))
        if isinstance(known, dict) and all(_stat(path) == tuple(was) for path, was in known.get("stats", ())):
            self._used[key] = known
            return known
        asked = ((name, self._program_of(driver, name)) for name in _ASKED_PROGRAMS)
        programs = {name: path for name, path in asked if path}
        inner = os.path.dirname(programs.get("cc1", ""))
        beside = {name: os.path.join(inner, name) for name in _BESIDE_CC1 if inner}
        programs |= {name: path for name, path in beside.items() if os.path.isfile(path)}
        said = self._run([driver, "-E", "-v", "-x", "c", os.devnull])[1]
        _, _, listed = said.partition("#include <...> search starts here:\n")
        headers = [os.path.normpath(line.strip()) for line in listed.partition("\nEnd of search")[0].splitlines()]
        searched = self._run([driver, "-print-search-dirs"])[0].partition("libraries: =")[2].partition("\n")[0]
        libraries = dict.fromkeys(os.path.normpath(folder) for folder in searched.split(os.pathsep) if folder)
        answer = {
            "programs": programs,
            "headers": [folder for folder in headers if os.path.isdir(folder)],
            "libraries": [folder for folder in libraries if os.path.isdir(folder)],
            "loaded": self._loaded(driver, *programs.values()),
            "stats": [(path, _stat(path)) for path in programs.values()],
        }
        self._used[key] = answer
        return answer

    def _program_of(self, driver: str, name: str) -> str | None:
        path = self._run([driver, f"-print-prog-name={name}"])[0].strip()
        return path if os.path.isabs(path) else self._find(path) if path else None

    def _libclang(self) -> Iterator[str]:
        given = self._environment.get("LIBCLANG_PATH")
        folders = [Path(given), Path(given).parent] if given else []
        folders += [found for place in _LIBCLANG for found in sorted(Path("/usr").glob(place))]
        found: dict[str, str] = {}
        for folder in folders:
            for name in _names(str(folder)):
                if name.startswith("libclang") and ".so" in name and not name.startswith("libclang-cpp"):
                    found.setdefault(os.path.realpath(folder / name), name)
        yield from sorted(found)

    def _loaded(self, *programs: str) -> list[str]:
        """The shared libraries of programs."""
        stats = [_stat(program) for program in programs]

        def ask() -> list[str]:
            said = self._run(["ldd", *programs])[0]
            return sorted(set(re.findall(r"(?:=> |^\s+)(/\S+) \(0x", said, re.MULTILINE)))

        newest = max((stat[1] for stat in stats if stat), default=0)
        found: list[str] = self._remembered(_digest(["loaded", programs, stats]), ask, newest)
        return found

    def _run(self, argv: list[str]) -> tuple[str, str]:
        try:
            done = subprocess.run(
                argv, env=self._environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
            )
        except OSError:
            return "", ""
        return done.stdout, done.stderr


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _stat(path: str) -> _Stat | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def _below(folder: str, name: str) -> Iterator[tuple[str, str]]:
    """Every file below a folder by its name, which begins with ``name``; links are followed, but not in circles."""
    left = [(folder, name, frozenset({os.path.realpath(folder)}))]
    while left:
        place, called, way = left.pop()
        try:
            entries = list(os.scandir(place))
        except OSError:
            continue
        for entry in entries:
            here = f"{called}/{entry.name}"
            try:
                if not entry.is_dir():
                    yield here, entry.path
                elif not entry.is_symlink():
                    left.append((entry.path, here, way))
                elif (real := os.path.realpath(entry.path)) not in way:
                    left.append((entry.path, here, way | {real}))
            except OSError:
                continue


def _linked_in(folder: str) -> Iterator[str]:
    """What a linker may take from a folder: objects, archives, and linker scripts; other shared libraries only by their names."""
    for name in _names(folder):
        path = os.path.join(folder, name)
        if _LINKED.fullmatch(name) and (not name.endswith(".so") or _is_small(path)):
            yield path


def _is_small(path: str) -> bool:
    try:
        return os.stat(path).st_size < _SCRIPT_SIZE
    except OSError:
        return False


def _read(path: str) -> str:
    try:
        with open(path, "rb", buffering=0) as file:
            data = file.read(_SCRIPT_SIZE)
            if len(data) < _SCRIPT_SIZE:  # most are headers, for which this takes half the time
                return hashlib.sha256(data).hexdigest()
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "unreadable"


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
