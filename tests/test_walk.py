"""A seeded random walk over the sample: after each change, an incremental build must have the result of a clean build, and no step may run
that the change cannot affect.

``pytest tests/test_walk.py --walk 300 --walk-seed 7`` walks further, or elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from conftest import (
    MADE,
    OTHER_FLAGS,
    Outcome,
    Site,
    kernel_with_a_makefile,
    makefile_with_a_variable,
    remove_what_was_made,
)

pytestmark = [pytest.mark.long, pytest.mark.freshness]
SIDECARS = {"provenance:qemu", "provenance:hyper-v"}
TARGETS = {"igvm:qemu", "igvm:hyper-v", "measure:qemu", "measure:hyper-v"} | SIDECARS
KERNEL = {"kernel:svsm", "kernel:bldr", "kernel:tdx-stage1"}
TOOLS = {"tool:igvmbuilder", "tool:igvmmeasure", "tool:packit"}
MODULES = {"module:userinit", "module:hello", "fs:image"}
CARGO = KERNEL | TOOLS | MODULES | TARGETS
# What the files of a folder can affect, by the sample's manifests.
REACH = {
    "kernel": {"kernel:svsm"} | TARGETS,
    "common": {"kernel:svsm", "kernel:bldr"} | MODULES | TARGETS,
    "boot/bldr": {"kernel:bldr"} | TARGETS,
    "boot/layout": {"kernel:svsm", "kernel:bldr", "tool:igvmbuilder"} | MODULES | TARGETS,  # common reads it too
    "stage1": {"kernel:tdx-stage1"} | TARGETS,
    "libtpm": {"kernel:svsm"} | TARGETS,
    "release": {"kernel:svsm"} | TARGETS,
    "user/hello": {"module:hello", "fs:image"} | TARGETS,
    "user/userlib": MODULES | TARGETS,
    "user/userinit": {"module:userinit", "fs:image"} | TARGETS,
    "tools/packit": {"tool:packit", "kernel:svsm", "fs:image"} | TARGETS,
    "tools/igvmmeasure": {"tool:igvmmeasure"} | TARGETS,
}
SOURCES = {
    "kernel/src/main.rs": "kernel",
    "kernel/src/heap.rs": "kernel",
    "common/src/lib.rs": "common",
    "boot/bldr/src/main.rs": "boot/bldr",
    "boot/layout/src/lib.rs": "boot/layout",
    "user/userinit/src/main.rs": "user/userinit",
    "user/userlib/src/lib.rs": "user/userlib",
    "tools/igvmmeasure/src/main.rs": "tools/igvmmeasure",
    "tools/packit/src/lib.rs": "tools/packit",
    "libtpm/src/lib.rs": "libtpm",
}
CARELESS = (
    'std::fs::write("made.txt", "as ever").unwrap();',
    'std::fs::write("src/made.rs", "// as ever").unwrap();',
    'println!("cargo:rerun-if-changed=nowhere");',
    'if !std::path::Path::new("left.o").exists() { std::fs::write("left.o", "object").unwrap(); }',
)
"""What build scripts do: write a file at each run, generate a source, ask to be run at each call, leave objects in the package."""
GENERATED = (
    "user/hello/made.txt",
    "user/hello/src/made.rs",
    "user/hello/left.o",
    *(f"libtpm/*/{name}" for name in MADE),
)
"""The files that they made."""
OLD = 1_500_000_000
Results = tuple[dict[str, bytes], dict[str, dict[str, Any]]]
"""The content of each file, and of each image what its provenance says."""


def recipes() -> dict[str, dict[str, Any]]:
    bldr = {"manifest": "boot/bldr/Cargo.toml", "binary": True, "objcopy": "binary"}
    made = {"type": "make", "output_file": "bin/stage1-trampoline", "objcopy": "binary"}
    built = {"manifest": "stage1/Cargo.toml", "binary": True, "objcopy": "binary"}
    return {
        "a": {
            "igvm": {"qemu": {"output": "a.igvm", "platforms": ["snp", "tdp"], "check-kvm": True}},
            "kernel": {"svsm": {"features": "vtpm"}, "bldr": bldr, "tdx-stage1": made},
        },
        "b": {
            "igvm": {"hyper-v": {"output": "b.igvm", "platforms": ["snp"]}, "qemu": {"output": "q.igvm"}},
            "kernel": {"svsm": {}, "bldr": bldr, "tdx-stage1": built},
            "fs": {"modules": {"userinit": {"path": "/init"}, "hello": {"path": "/bin/hello"}}},
        },
    }


@dataclass
class Walk:
    """The state of the walk, and which steps may be stale for each recipe and profile."""

    site: Site
    dice: random.Random
    recipes: dict[str, dict[str, Any]] = field(default_factory=recipes)
    recipe: str = "a"
    release: bool = False
    env: dict[str, str | None] = field(default_factory=dict)
    reach: dict[tuple[str, bool], set[str]] = field(default_factory=dict)
    """The steps that may be stale; without recipes and profiles that were never built."""
    number: int = 0
    tools_moved: bool = True
    cached: dict[str, str | None] | None = None
    """The variables for a cache that all recipes, profiles and feature sets share, and a clean clone after each step."""
    hits: int = 0
    last: Outcome = field(default_factory=lambda: Outcome(0, "", ""))
    """Of the last build."""
    edits: list[tuple[Path, str, set[str]]] = field(default_factory=list)
    """The files that were edited, each with its text before, and the steps that it can affect."""
    clean_builds: dict[str, Results] = field(default_factory=dict)
    """By all that decides bytes: touched files, damaged outputs and an undone edit leave that as it was."""

    def may_reach(self, tasks: set[str], recipe: str | None = None) -> None:
        for (name, _), reach in self.reach.items():
            if recipe in (None, name):
                reach |= tasks
        if tasks & TOOLS:
            self.tools_moved = True

    def write(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    # Changes. Each returns what it did.

    def edit_source(self) -> str:
        name = self.dice.choice(sorted(SOURCES))
        path = self.site.tree / name
        mark = f'\n#[used]\npub static MARK{self.number}: [u8; 4] = *b"{self.number:04}";\n'
        self.edits.append((path, path.read_text(), REACH[SOURCES[name]]))
        path.write_text(path.read_text() + self.dice.choice([mark, f"\n// comment {self.number}\n"]))
        if self.dice.random() < 0.3:
            os.utime(path, (OLD, OLD))
        self.may_reach(REACH[SOURCES[name]])
        return f"edit {name}"

    def undo_an_edit(self) -> str:
        """So that there is something in a cache."""
        if not self.edits:
            return "no edit to undo"
        path, text, reach = self.edits.pop()
        path.write_text(text)
        self.may_reach(reach)
        return f"undo the edit of {path.relative_to(self.site.tree)}"

    def edit_other_file(self) -> str:
        name, folder = self.dice.choice(
            [("kernel/svsm.lds", "kernel"), ("user/userlib/user.lds", "user/userlib"), ("stage1/stage1.S", "stage1"),
             ("stage1/stage1.inc", "stage1"), ("stage1/stage1.lds", "stage1"), ("kernel/build.rs", "kernel"),
             ("libtpm/c/tpm.c", "libtpm"), ("libtpm/c/tpm.h", "libtpm"), ("libtpm/fnv/fnv.c", "libtpm"),
             ("libtpm/fnv/config.h.in", "libtpm"), ("libtpm/build.rs", "libtpm"), ("release/build.rs", "release")]
        )  # fmt: skip
        path = self.site.tree / name
        comment = f"\n// {self.number}\n" if name.endswith(".rs") else f"\n/* {self.number} */\n"
        value = f'\nconst char mark{self.number}[] = "{self.number}";\n'
        path.write_text(path.read_text() + (self.dice.choice([comment, value]) if name.endswith(".c") else comment))
        # If make works in the source folder, it does not see older files, and we must not remove what it left there.
        if self.dice.random() < 0.3 and "/fnv/" not in name:
            os.utime(path, (OLD, OLD))
        self.may_reach(REACH[folder])
        return f"edit {name}"

    def edit_manifest(self) -> str:
        name = self.dice.choice(["kernel/Cargo.toml", "user/userinit/Cargo.toml", "Cargo.toml", ".cargo/config.toml"])
        path = self.site.tree / name
        path.write_text(path.read_text() + f"\n# {self.number}\n")
        self.may_reach(REACH.get(os.path.dirname(name), CARGO))
        return f"edit {name}"

    def let_a_script_be_careless(self) -> str:
        path = self.site.tree / "user" / "hello" / "build.rs"
        line = self.dice.choice(CARELESS)
        text = path.read_text()
        path.write_text(
            text.replace(f"    {line}\n", "") if line in text else text.replace("}\n", f"    {line}\n}}\n", 1)
        )
        self.may_reach(REACH["user/hello"])
        return f"user/hello/build.rs: {line}"

    def remove_what_a_script_made(self) -> str:
        made = [path for path in (self.site.tree / "libtpm" / "fnv").iterdir() if path.suffix in (".o", ".a")]
        if not made:
            return "nothing made"
        path = self.dice.choice(sorted(made))
        path.unlink()
        self.may_reach(REACH["libtpm"])
        return f"remove {path.name}"

    def touch(self) -> str:
        name = self.dice.choice([*sorted(SOURCES), "Cargo.lock", "Makefile", "stage1/stage1.S"])
        os.utime(self.site.tree / name)
        return f"touch {name}"

    def add_delete_or_rename(self) -> str:
        folder = self.dice.choice(["kernel/src", "common/src", "user/userinit/src"])
        package = os.path.dirname(folder)
        extra = self.site.tree / folder / "extra.rs"
        moved = extra.with_name("moved.rs")
        self.may_reach(REACH[package])
        if extra.exists():
            if self.dice.random() < 0.5:
                extra.unlink()
                return f"delete {folder}/extra.rs"
            extra.replace(moved)
            return f"rename {folder}/extra.rs"
        self.write(extra, f"// {self.number}\n")
        return f"add {folder}/extra.rs"

    def change_recipe(self) -> str:
        name = self.dice.choice(sorted(self.recipes))
        recipe = self.recipes[name]
        target = recipe["igvm"][self.dice.choice(sorted(recipe["igvm"]))]
        match self.dice.choice(["policy", "comport", "measure-native-zeroes", "no-vtom", "features", "order"]):
            case "policy":
                target["policy"] = f"0x3{self.dice.randrange(2)}000"
                self.may_reach(TARGETS, name)
            case "comport":
                target["comport"] = str(self.dice.randrange(1, 5))
                self.may_reach(TARGETS, name)
            case "measure-native-zeroes":
                target["measure-native-zeroes"] = not target.get("measure-native-zeroes", False)
                self.may_reach({"measure:qemu", "measure:hyper-v"} | SIDECARS, name)
            case "no-vtom":
                target["no-vtom"] = not target.get("no-vtom", False)
                self.may_reach(TARGETS, name)
            case "features":
                recipe["kernel"]["svsm"]["features"] = self.dice.choice(["", "vtpm", "vtpm,enable-gdb", "uefivars"])
                self.may_reach({"kernel:svsm"} | TARGETS, name)
            case _:
                self.recipes[name] = dict(reversed(recipe.items()))
                self.may_reach(SIDECARS, name)  # they contain the file's digest
        return f"recipe {name}: {self.recipes[name]}"

    def change_environment(self) -> str:
        name, value = self.dice.choice([("RUSTFLAGS", OTHER_FLAGS), ("FLAVOUR", "1")])
        if name in self.env:
            del self.env[name]
        else:
            self.env[name] = value
        self.may_reach(CARGO if name == "RUSTFLAGS" else {"kernel:tdx-stage1", "kernel:svsm"} | TARGETS)
        return f"environment {self.env}"

    def damage_an_output(self) -> str:
        files = [path for path in self.site.bin.rglob("*") if path.is_file() and path.parent.name != ".coconut"]
        outputs = sorted(path for path in files if "logs" not in path.parts and "root" not in path.parts)
        path = self.dice.choice(outputs)
        match self.dice.choice(["delete", "edit", "cut"]):
            case "delete":
                path.unlink()
            case "edit":
                path.write_bytes(path.read_bytes() + b"x")
            case _:
                path.write_bytes(path.read_bytes()[:10])
        if path.parent.name == "links":
            stage, component = path.stem[:-13].split("-", 1)
            self.may_reach({f"{stage}:{component}"} | SIDECARS)
        elif ".coconut" in path.parts:
            owner = path.name.removesuffix(".igvm")
            by_name = {"svsm-fs.bin": {"fs:image"}, "userinit": {"module:userinit"}, "hello": {"module:hello"}}
            tools = {name.partition(":")[2]: {name} for name in TOOLS}
            kernel = {name.partition(":")[2]: {name} for name in KERNEL}
            self.may_reach({**by_name, **tools, **kernel}.get(owner, TARGETS))
        return f"damage {path.relative_to(self.site.bin)}"

    def switch(self) -> str:
        self.recipe, self.release = self.dice.choice([("a", False), ("a", True), ("b", False), ("b", True)])
        return f"switch to {self.recipe}, release {self.release}"

    # The check

    def build(self, *words: str, env: dict[str, str | None]) -> set[str]:
        self.site.recipe(self.recipes[self.recipe], f"{self.recipe}.json")
        asked = [f"RECIPE={self.recipe}.json", *(["RELEASE=1"] if self.release else []), *words]
        self.last = self.site.build(*asked, env={**self.env, **env})
        return self.last.built

    def check(self, reference: Path) -> None:
        state = (self.recipe, self.release)
        env = self.cached or {}
        built = self.build(env=env)
        unreachable = built - self.reach[state] if state in self.reach else set()
        assert not unreachable
        self.reach[state] = set()
        assert self.build(env=env) == set()
        found, told = self.results(self.site.bin)
        if self.cached is not None:
            cloned = self.cloned(reference / "aside", self.cached)
            assert {name for name in found if cloned[name] != found[name]} == set()
        source = self.source()
        if source not in self.clean_builds:
            self.clean_builds[source] = self.built_from_nothing(reference)
        clean, clean_told = self.clean_builds[source]
        differ = {name for name in clean if clean[name] != found[name] and not name.endswith(".json")}
        assert not differ
        for name, parts in clean_told.items():
            for part, told_of_it in parts.items():
                assert told_of_it == told[name][part]

    def source(self) -> str:
        """A digest of the tree, the recipe and the variables."""
        tree, made = self.site.tree, {*self.made()}
        digest = hashlib.sha256(repr((self.recipes[self.recipe], self.release, sorted(self.env.items()))).encode())
        for folder, folders, names in os.walk(tree):
            folders[:] = sorted({*folders} - {"bin", "target"})
            for path in (Path(folder, name) for name in sorted(names)):
                if path not in made and path.name != "git_version.rs":
                    digest.update(f"{path.relative_to(tree)} {path.lstat().st_mode} ".encode())
                    digest.update(os.readlink(path).encode() if path.is_symlink() else path.read_bytes())
        return digest.hexdigest()

    def built_from_nothing(self, reference: Path) -> Results:
        """The results of a clean build elsewhere of the same source."""
        self.clean(reference / "target")
        shutil.rmtree(reference / "bin", ignore_errors=True)
        shutil.rmtree(self.site.tree / "bin", ignore_errors=True)
        made = self.set_aside(reference / "made")
        self.build(f"BIN={reference / 'bin'}", env={"CARGO_TARGET_DIR": str(reference / "target")})
        self.set_aside(reference / "made again")
        for path, aside in made.items():
            aside.rename(path)
        return self.results(reference / "bin")

    def results(self, bin: Path) -> Results:
        """The recipe's files in an output folder, and what is told of its images."""
        return {name: (bin / name).read_bytes() for name in self.shown()}, self.told(bin)

    def made(self) -> list[Path]:
        """The files that build scripts made in the source."""
        return sorted(path for pattern in GENERATED for path in self.site.tree.glob(pattern))

    def cloned(self, aside: Path, cached: dict[str, str | None]) -> dict[str, bytes]:
        """What a clean clone at the same place has, with the cache."""
        site = self.site
        places = [place for place in (site.tree, site.bin, site.target) if site.tree not in place.parents]
        aside.mkdir()
        for place in places:
            place.rename(aside / place.name)
        left_out = shutil.ignore_patterns("bin", "target", "git_version.rs")
        shutil.copytree(aside / site.tree.name, site.tree, symlinks=True, ignore=left_out)
        for path in self.made():
            path.unlink()
        self.build(env=cached)
        self.hits += len(self.last.cached)
        found = site.contents()
        for place in places:
            shutil.rmtree(place, ignore_errors=True)  # with hits alone, there is no target folder
            (aside / place.name).rename(place)
        aside.rmdir()
        return found

    def set_aside(self, folder: Path) -> dict[Path, Path]:
        """Files that build scripts made in the source → where they are moved, so that a clean build does not find them."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        moved = {path: folder / str(number) for number, path in enumerate(self.made())}
        for path, aside in moved.items():
            path.rename(aside)
        return moved

    def told(self, folder: Path) -> dict[str, dict[str, Any]]:
        """The provenance of each image without paths in the output folder, which differ: an outdated statement would vouch for the
        wrong thing."""
        found = {}
        for target in self.recipes[self.recipe]["igvm"].values():
            text = json.loads((folder / f"{target['output']}.provenance.json").read_text())
            built, ran = text["predicate"]["buildDefinition"], text["predicate"]["runDetails"]
            parts = {one["name"]: one["digest"] for one in ran["byproducts"] if not one["name"].startswith("measure:")}
            found[target["output"]] = {
                "subject": text["subject"],
                "parameters": built["externalParameters"],
                "dependencies": built["resolvedDependencies"],
                "parts": {name: digest for name, digest in parts.items() if not name.endswith(".json")},
                "pages": ran["byproducts"][-1]["annotations"]["pages"],
            }
        return found

    def shown(self) -> list[str]:
        """The recipe's files in bin/, without the JSON file's commands, which contain the folder."""
        recipe = self.recipes[self.recipe]
        outputs = [target["output"] for target in recipe["igvm"].values()]
        fs = ["svsm-fs.bin"] if "fs" in recipe else []
        return [*recipe["kernel"], *outputs, *(f"{name}.launch-digest.hex" for name in outputs), *fs]

    def clean(self, target: Path) -> None:
        """Remove what cargo made of our own packages; crates from the registry never change."""
        tools = ("igvmbuilder", "igvmmeasure")
        own = (
            "svsm",
            "bldr",
            "release",
            "libtpm",
            "userinit",
            "userlib",
            "hello",
            "tdx-stage1",
            "packit",
            *(tools if self.tools_moved else ()),
        )
        for folder in [*target.glob("**/.fingerprint"), *target.glob("**/build")]:
            for package in folder.iterdir():
                if package.name.startswith(own):
                    shutil.rmtree(package)
        self.tools_moved = False


def take_a_walk(walk: Walk, steps: int, reference: Path, request: pytest.FixtureRequest) -> None:
    """Change something so often, and check it each time; ``reference`` is where clean builds are made."""
    changes: list[tuple[int, Callable[[Walk], str]]] = [
        (6, Walk.edit_source), (3, Walk.edit_other_file), (2, Walk.edit_manifest), (2, Walk.touch), (3, Walk.add_delete_or_rename),
        (5, Walk.change_recipe), (2, Walk.change_environment), (5, Walk.damage_an_output), (3, Walk.switch),
        (2, Walk.let_a_script_be_careless), (1, Walk.remove_what_a_script_made),
        (6 if walk.cached else 0, Walk.undo_an_edit),
    ]  # fmt: skip
    path: list[str] = []
    walk.check(reference)
    for walk.number in range(1, steps + 1):
        (change,) = walk.dice.choices([c for _, c in changes], [w for w, _ in changes])
        path.append(change(walk))
        try:
            walk.check(reference)
        except BaseException:
            with request.getfixturevalue("capsys").disabled():
                print(
                    f"\nseed {request.config.getoption('--walk-seed')}, step {walk.number}; the last steps:",
                    *path[-8:],
                    sep="\n  ",
                )
            raise


def test_a_random_walk_is_always_as_a_clean_build(site: Site, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    shutil.copytree(crates_for_a_walk(request), tmp_path / "target")
    kernel_with_a_makefile(site)
    makefile_with_a_variable(site)
    remove_what_was_made(site.tree)
    take_a_walk(Walk(site, first_dice(request)), request.config.getoption("--walk"), tmp_path, request)


def first_dice(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(request.config.getoption("--walk-seed"))


def crates_for_a_walk(request: pytest.FixtureRequest) -> Path:
    """A short walk uses neither release nor other flags; for a longer one, cargo compiles the registry's crates for them too."""
    found = request.getfixturevalue(
        "crates_in_every_way" if request.config.getoption("--walk") > 10 else "registry_crates"
    )
    assert isinstance(found, Path)
    return found
