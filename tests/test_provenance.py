"""Provenance: it is true, complete, and never of another build."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from conftest import QEMU, Site, commit, git, remove_what_was_made
from google.protobuf.json_format import MessageToDict, ParseDict
from igvm_files import igvm, page, platform
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage

from coconut_tasks.actions.measure import measure, pages_of
from coconut_tasks.evidence.link import Link, link_text, read_link
from coconut_tasks.evidence.pages import blocks_of, page_texts
from coconut_tasks.evidence.statement import ImageBuild, Tool, files_text, materials_of, statement
from coconut_tasks.igvm.launch import MeasuredPage, MeasureOptions
from coconut_tasks.igvm.measure import measure_pages
from coconut_tasks.igvm.snp import PAGE_KINDS
from coconut_tasks.inputs import commit as asking
from coconut_tasks.inputs.commit import find_source
from coconut_tasks.inputs.environment import reproducible_environment
from coconut_tasks.inputs.files import Files, Since
from coconut_tasks.inputs.git import Repository, SourceRevision, ask_git, find_repository
from coconut_tasks.reproducible.remap import by_length, machine_prefixes
from coconut_tasks.steps.action import Measurement
from coconut_tasks.steps.command import Command
from coconut_tasks.workspace.workspace import Reproducible, open_workspace

MODULES: dict[str, Any] = {"fs": {"modules": {"userinit": {"path": "/init"}}}}


def find_commit(tree: str, environment: dict[str, str], names: dict[str, str]) -> SourceRevision | None:
    return find_source(find_repository(tree, environment), environment, names)


def commit_files(tree: str, environment: dict[str, str]) -> list[str]:
    return list(find_repository(tree, environment).files)


def at(site: Site, *names: str) -> dict[str, str]:
    return {name: str(site.tree / name) for name in names}


def read(site: Site, name: str = "q.igvm") -> dict[str, Any]:
    found = json.loads((site.bin / f"{name}.provenance.json").read_text())
    assert isinstance(found, dict)
    return found


def dependencies(found: dict[str, Any], kind: str) -> dict[str, Any]:
    listed = found["predicate"]["buildDefinition"]["resolvedDependencies"]
    return {one["name"]: one for one in listed if one["annotations"]["kind"] == kind}


def byproducts(found: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [one for one in found["predicate"]["runDetails"]["byproducts"] if one["annotations"]["kind"] == kind]


def assert_valid(found: dict[str, Any]) -> None:
    """in-toto's library accepts it and knows all its fields."""
    message = ParseDict(found, StatementMessage())
    Statement.copy_from_pb(message).validate()
    # Numbers in a Struct are floats, which equal the original ones.
    assert MessageToDict(message) == found
    assert MessageToDict(ParseDict(found["predicate"], Provenance())) == found["predicate"]
    described = (
        found["predicate"]["buildDefinition"]["resolvedDependencies"] + found["predicate"]["runDetails"]["byproducts"]
    )
    # in-toto's specification requires this of each ResourceDescriptor, but its Python library does not check it.
    assert not [one for one in described if not one.keys() & {"uri", "digest", "content"}]


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# Content


def test_a_statement_is_true_and_complete(repository: Site) -> None:
    site = repository
    content = {**QEMU, **MODULES}
    recipe = site.recipe(content, "svsm/r.json")
    head = commit(site)
    outcome = site.build(recipe, "FEATURES=enable-gdb", env={"CARGO_REGISTRY_TOKEN": "hunter2"})
    found, text = read(site), (site.bin / "q.igvm.provenance.json").read_text()

    assert_valid(found)
    assert found["predicateType"] == "https://slsa.dev/provenance/v1"

    assert found["subject"] == [
        {
            "name": "q.igvm",
            "digest": {
                "sha256": sha256(site.bin / "q.igvm"),
                "sevSnpLaunchDigest": outcome.digests["q.igvm"],
                "tdxMrtd": (site.bin / "q.igvm.mrtd.hex").read_text().strip(),
            },
        }
    ]
    asked = found["predicate"]["buildDefinition"]["externalParameters"]
    assert asked == {
        "recipe": {"name": "r.json", "content": content},
        "target": "qemu",
        "options": {"FEATURES": "svsm:enable-gdb"},
    }
    assert dependencies(found, "recipe")["r.json"]["digest"] == {"sha256": sha256(site.tree / "r.json")}
    assert dependencies(found, "source") == {
        "source tree": {"name": "source tree", "digest": {"gitCommit": head}, "annotations": {"kind": "source"}}
    }

    # All files of the packages, by content.
    files = dependencies(found, "file")
    for folder in ("kernel", "boot/bldr", "boot/layout", "common", "tools", "user/userinit", "user/userlib", "release"):
        for path in (site.tree / folder).rglob("*"):
            if path.is_file():
                name = str(path.relative_to(site.tree))
                assert files[name]["digest"] == {"sha256": sha256(path)}, name
    assert {"Cargo.toml", "Cargo.lock", ".cargo/config.toml"} <= files.keys()
    assert set(files["kernel/src/main.rs"]["annotations"]["steps"]) == {"kernel:svsm"}
    assert not [name for name in files if "stage1" in name or "hello" in name], "which this recipe does not need"

    # git's own files depend on when this clone was made.
    assert not [name for name in files if ".git/" in name]
    assert site.tree.joinpath(".git", "logs", "HEAD").exists()

    # The exact commands, in an order in which they can run.
    planned = json.loads(site.build("plan", "--json", "-f", "dodo.py", recipe, "FEATURES=enable-gdb").out)["steps"]
    commands = {step["name"]: [command["argv"] for command in step["commands"]] for step in planned}
    told = found["predicate"]["buildDefinition"]["internalParameters"]["steps"]
    assert {step["name"] for step in told} == commands.keys() - {"version:git", "provenance:qemu"}
    for step in told:
        assert [command["argv"] for command in step["commands"]] == commands[step["name"]]

    tools = dependencies(found, "tool")
    rustc = subprocess.run(["rustc", "-vV"], cwd=site.tree, capture_output=True, text=True, check=True).stdout.strip()
    assert tools["rustc"]["annotations"]["version"] == rustc
    assert "GNU objcopy" in tools["objcopy"]["annotations"]["version"]
    assert tools["objcopy"]["digest"] == {"sha256": sha256(Path(shutil.which("objcopy") or ""))}

    parts = {one["name"]: one["digest"]["sha256"] for one in byproducts(found, "part")}
    assert parts["kernel:svsm"] == sha256(site.bin / "svsm")
    assert parts["fs:image"] == sha256(site.bin / "svsm-fs.bin")
    assert {"tool:igvmbuilder", "tool:igvmmeasure", "module:userinit", "igvm:qemu"} <= parts.keys()

    # Nothing about the machine or the user.
    assert not [word for word in ("hunter2", str(site.folder), f'"{Path.home()}') if word in text]
    # Numbers have their original notation.
    assert not re.search(r"\d\.0\b(?!\.)[,\n]", text)


def test_the_measurement_in_it_can_be_computed_from_its_pages(site: Site) -> None:
    content = deepcopy({**QEMU, **MODULES})
    content["igvm"]["qemu"]["measure-native-zeroes"] = True
    outcome = site.build(site.recipe(content))
    measured, for_tdx = byproducts(read(site), "measurement")
    notes = measured["annotations"]
    assert {name: notes[name] for name in ("platform", "policy", "check_kvm", "measure_native_zeroes")} == {
        "platform": "snp", "policy": "0x30000", "check_kvm": True, "measure_native_zeroes": True,
    }  # fmt: skip
    assert measured["digest"] == {"sha256": sha256(site.bin / measured["name"])}
    chain, types = bytes(48), PAGE_KINDS
    for text in notes["pages"]:
        gpa, kind, content_hash = text.split()[:3]
        hashed = bytes(48) if content_hash == "-" else bytes.fromhex(content_hash)
        chain = hashlib.sha384(chain + hashed + struct.pack("<HB5xQ", 0x70, types[kind], int(gpa, 16))).digest()
    assert chain.hex() == notes["digest"] == outcome.digests["q.igvm"]
    # TDX measures the same content, but no VMSA, and nothing that SEV-SNP fills in.
    told = for_tdx["annotations"]
    assert (told["platform"], told["digest"]) == ("tdp", (site.bin / "q.igvm.mrtd.hex").read_text().strip())
    assert {text.split()[1] for text in told["pages"]} <= {"normal", "unmeasured"}
    assert {text for text in told["pages"] if " kernel:svsm+" in text} == {
        text for text in notes["pages"] if " kernel:svsm+" in text
    }
    # Each part is found completely and in order, except for its zero pages.
    for step, file in (("kernel:svsm", "svsm"), ("kernel:bldr", "bldr"), ("fs:image", "svsm-fs.bin")):
        data = (site.bin / file).read_bytes()
        offsets = [int(text.rpartition("+")[2], 16) for text in notes["pages"] if f" {step}+" in text]
        full = [at for at in range(0, len(data), 4096) if data[at : at + 4096].strip(b"\0")]
        assert set(full) <= set(offsets) and offsets == sorted(offsets)


def test_a_target_without_a_measurement_has_a_provenance_too(site: Site) -> None:
    content = deepcopy(QEMU)
    content["igvm"]["qemu"] = {"output": "q.igvm", "platforms": ["native"]}
    site.build(site.recipe(content))
    found = read(site)
    assert found["subject"][0]["digest"] == {"sha256": sha256(site.bin / "q.igvm")}
    assert not byproducts(found, "measurement")


# It is never out of date


@pytest.mark.parametrize(
    ("change", "built"),
    [
        ("nothing", set()),
        ("recipe", {"provenance:qemu"}),
        ("unread", {"kernel:svsm", "provenance:qemu"}),
        ("unused feature", {"provenance:qemu"}),
        ("statement", set()),
        ("link", {"tool:igvmmeasure", "provenance:qemu"}),
    ],
)
def test_it_is_made_again_when_and_only_when_what_it_says_has_changed(change: str, built: set[str], site: Site) -> None:
    words = [site.recipe()]
    site.build(*words)
    before = (site.bin / "q.igvm.provenance.json").read_bytes()
    match change:
        case "recipe":
            (site.folder / "r.json").write_text(json.dumps(QEMU))
        case "unread":
            (site.tree / "kernel" / "notes.txt").write_text("of no use to anybody")
        case "unused feature":
            words.append("FEATURES=nobody:x")
        case "statement":
            (site.bin / "q.igvm.provenance.json").write_bytes(before.replace(b"kernel", b"kernal"))
        case "link":
            (link,) = (site.bin / ".coconut" / "links").glob("tool-igvmmeasure-*")
            link.write_bytes(link.read_bytes().replace(b"sha256:", b"sha256:0"))
            built = {"tool:igvmmeasure"}
    assert site.build(*words).built == built
    after = (site.bin / "q.igvm.provenance.json").read_bytes()
    assert (after == before) is (change in ("nothing", "statement", "link"))
    assert site.build(*words).built == set()
    if change == "unread":
        assert "kernel/notes.txt" in dependencies(read(site), "file")


def test_the_commit_and_what_differs_from_it_are_kept_up_to_date(repository: Site) -> None:
    site = repository
    recipe = site.recipe(QEMU, "svsm/r.json")
    commit(site)
    site.build(recipe)
    assert "modified" not in dependencies(read(site), "source")["source tree"]["annotations"]
    # A commit without changes of input files changes only the version and the provenance.
    (site.tree / "README.md").write_text("other words\n")
    head = commit(site)
    assert {"version:git", "provenance:qemu"} <= site.build(recipe).built
    assert dependencies(read(site), "source")["source tree"]["digest"] == {"gitCommit": head}

    main = site.tree / "kernel" / "src" / "main.rs"
    main.write_text(main.read_text() + "\n// changed\n")
    (site.tree / "kernel" / "new.txt").write_text("not in git\n")
    (site.tree / "stage1" / "stage1.S").write_text("nobody reads it\n")
    site.build(recipe)
    notes = dependencies(read(site), "source")["source tree"]["annotations"]
    assert notes["modified"] == ["kernel/new.txt", "kernel/src/main.rs"]
    words = ["--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--binary", "--full-index", "HEAD", "--"]
    shown = subprocess.run(["git", "diff", *words, "kernel/src/main.rs"], cwd=site.tree, capture_output=True).stdout
    assert notes["diff"] == f"sha256:{hashlib.sha256(shown).hexdigest()}"
    # The same files under a new commit.
    commit(site)
    assert "provenance:qemu" in site.build(recipe).built
    assert "modified" not in dependencies(read(site), "source")["source tree"]["annotations"]


def test_what_the_build_wrote_into_the_source_is_no_part_of_it(repository: Site) -> None:
    site = repository
    generated = {
        "libtpm/src/constants.rs",
        *(f"libtpm/fnv/{name}" for name in ("config.h", "fnv.o", "fnv.d", "libfnv.a", "missing")),
    }
    recipe = site.recipe(QEMU, "svsm/r.json")
    commit(site)

    def told() -> tuple[set[str], list[str]]:
        site.build(recipe)
        assert site.build(recipe).built == set()
        statement = read(site)
        assert_valid(statement)
        names = dependencies(statement, "file").keys()
        assert "libtpm/fnv/config.h.in" in names and all((site.tree / name).exists() for name in generated)
        return generated & names, dependencies(statement, "source")["source tree"]["annotations"].get("modified", [])

    assert told() == (set(), [])
    main = site.tree / "kernel" / "src" / "main.rs"
    main.write_text(main.read_text() + "\n// an edit after which no script runs\n")
    assert told() == (set(), ["kernel/src/main.rs"])
    constants = site.tree / "libtpm" / "c" / "tpm.h"
    constants.write_text(constants.read_text() + "#define TPM_MORE 1\n")
    assert told() == (set(), ["kernel/src/main.rs", "libtpm/c/tpm.h"])
    # Nothing is recorded, and generated Rust is rewritten. Files that make does not rewrite may be the user's.
    shutil.rmtree(site.bin)
    (site.target / ".coconut-tasks.sqlite3").unlink()
    left = {name for name in generated if not name.endswith(".rs")}
    assert told() == (left, sorted({"kernel/src/main.rs", "libtpm/c/tpm.h", *left}))
    for name in left:
        (site.tree / name).unlink()
    assert told() == (set(), ["kernel/src/main.rs", "libtpm/c/tpm.h"])
    # Another program wrote it.
    config = site.tree / "libtpm" / "fnv" / "config.h"
    config.write_text(config.read_text() + "/* mine */\n")
    (site.tree / "kernel" / "new.rs").write_text("")
    assert told() == (
        {"libtpm/fnv/config.h"},
        ["kernel/new.rs", "kernel/src/main.rs", "libtpm/c/tpm.h", "libtpm/fnv/config.h"],
    )
    remove_what_was_made(site.tree)  # this test leaves files for other tests


def test_what_is_remembered_makes_no_difference(repository: Site) -> None:
    site = repository
    recipe = site.recipe(QEMU, "svsm/r.json")
    first = commit(site)
    main, notes = site.tree / "kernel" / "src" / "main.rs", site.tree / "kernel" / "notes.txt"
    good, cache = main.read_text(), site.bin / ".coconut" / "commit.json"
    told = []

    def build() -> None:
        site.build(recipe)
        text = (site.bin / "q.igvm.provenance.json").read_bytes()
        assert_valid(json.loads(text))
        told.append(dependencies(json.loads(text), "source")["source tree"]["annotations"].get("modified"))
        kept = cache.read_bytes()
        cache.unlink()
        site.build("forget", "provenance", recipe)
        assert site.build(recipe).built == {"provenance:qemu"}
        assert (site.bin / "q.igvm.provenance.json").read_bytes() == text
        cache.write_bytes(kept)

    build()
    main.write_text(f"{good}\n// changed\n")
    build()
    main.write_text(good)
    build()
    main.write_text(f"{good}\n// another commit\n")
    commit(site)
    build()
    git(site, "checkout", "-q", first)
    build()
    main.chmod(0o755)
    notes.write_text("new\n")
    build()
    assert told == [None, ["kernel/src/main.rs"], None, None, None, ["kernel/notes.txt", "kernel/src/main.rs"]]


def test_what_images_share_is_asked_once_in_a_run(repository: Site) -> None:
    site = repository
    content = deepcopy(QEMU)
    content["igvm"] = {name: {**QEMU["igvm"]["qemu"], "output": f"{name}.igvm"} for name in ("qemu", "vanadium")}
    content["igvm"]["hyper-v"] = {"output": "h.igvm", "platforms": ["snp", "tdp", "vsm"]}
    # A build calls these only by their own paths.
    log, real = site.folder / "calls", {name: shutil.which(name) or "" for name in ("git", "objcopy")}
    (site.folder / "wrapped").mkdir()
    for name, path in real.items():
        wrapper = site.folder / "wrapped" / name
        wrapper.write_text(f'#!/bin/sh\necho "{name} $1" >> "{log}"\nexec "{path}" "$@"\n')
        wrapper.chmod(0o755)
    env: dict[str, str | None] = {"PATH": f"{site.folder / 'wrapped'}:{os.environ['PATH']}"}
    recipe, words = site.recipe(content), ("ls-tree", "hash-object", "diff", "--version")

    def asked() -> list[str]:
        calls = log.read_text().splitlines()
        log.unlink()
        return [call for call in calls if call.endswith(words)]

    site.build(recipe, env=env)
    assert sorted(asked()) == ["git ls-tree", "objcopy --version"]
    for number in (1, 2):
        main = site.tree / "kernel" / "src" / "main.rs"
        main.write_text(f"{main.read_text()}\n// {number}\n")
        built = site.build(recipe, env=env).built
        assert {"provenance:qemu", "provenance:vanadium", "provenance:hyper-v"} <= built
        assert sorted(asked()) == ["git diff", "git hash-object", "objcopy --version"]
    for name in ("qemu", "vanadium", "h"):
        found = read(site, f"{name}.igvm")
        assert_valid(found)
        assert found["subject"][0]["digest"]["sha256"] == sha256(site.bin / f"{name}.igvm")
        notes = dependencies(found, "source")["source tree"]["annotations"]
        assert notes["modified"] == ["kernel/src/main.rs"]
        assert dependencies(found, "file")["kernel/src/main.rs"]["digest"] == {"sha256": sha256(main)}
        steps = [step["name"] for step in found["predicate"]["buildDefinition"]["internalParameters"]["steps"]]
        assert len([step for step in steps if step.startswith("igvm:")]) == 1


def test_a_tree_without_a_repository_has_no_commit_until_it_is_in_one(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe, env={"GIT_CEILING_DIRECTORIES": "/"})
    assert not dependencies(read(site), "source")
    git(site, "init", "-q", "-b", "main")
    try:
        head = commit(site)
        assert "provenance:qemu" in site.build(recipe).built
        assert dependencies(read(site), "source")["source tree"]["digest"] == {"gitCommit": head}
    finally:
        shutil.rmtree(site.tree / ".git")


def test_what_a_step_makes_is_not_modified_where_the_output_folder_is_in_the_tree(repository: Site) -> None:
    site = repository
    recipe = site.recipe(QEMU, "svsm/r.json")
    (site.tree / ".gitignore").write_text("git_version.rs\n/target\n/bin\n")
    commit(site)
    site.build(recipe, "BIN=svsm/bin")
    found = json.loads((site.tree / "bin" / "q.igvm.provenance.json").read_text())
    assert dependencies(found, "source")["source tree"]["annotations"] == {"kind": "source"}
    # A folder of the tree with that name, and the output folder somewhere else.
    site.build(recipe)
    assert dependencies(read(site), "source")["source tree"]["annotations"] == {"kind": "source"}


def test_a_repository_that_a_variable_names_is_seen(repository: Site) -> None:
    """Usually the version shows it; here the version is the same, and no build script reads it."""
    site = repository
    recipe = site.recipe()
    (site.tree / "release" / "build.rs").write_text("fn main() {}\n")
    head = commit(site)
    git(site, "tag", "-a", "-m", "x", "v1")
    site.build(recipe)
    assert dependencies(read(site), "source")["source tree"]["digest"] == {"gitCommit": head}
    other = site.folder / "other"
    shutil.copytree(site.tree / ".git", other / ".git")
    git(site, "-C", str(other), "tag", "-d", "v1")
    git(site, "-C", str(other), "commit", "-q", "--allow-empty", "-m", "y")
    git(site, "-C", str(other), "tag", "-a", "-m", "x", "v1")
    named: dict[str, str | None] = {"GIT_DIR": str(other / ".git"), "GIT_WORK_TREE": str(site.tree)}
    assert "provenance:qemu" in site.build(recipe, env=named).built
    assert dependencies(read(site), "source")["source tree"]["digest"] == {
        "gitCommit": git(site, "-C", str(other), "rev-parse", "HEAD")
    }
    assert "provenance:qemu" in site.build(recipe).built
    assert dependencies(read(site), "source")["source tree"]["digest"] == {"gitCommit": head}


def test_of_a_commit_that_came_while_the_steps_ran_nothing_is_claimed_that_was_read_before(repository: Site) -> None:
    site = repository
    recipe = site.recipe(QEMU, "svsm/r.json")
    builder = site.tree / "tools" / "igvmbuilder" / "src" / "main.rs"
    switch = 'std::process::Command::new("git").args(["checkout", "-q", "other"]).status().unwrap();'
    builder.write_text(
        re.sub(r"^fn main\(\)([^{]*)\{", rf"fn main()\1{{ {switch}", builder.read_text(), flags=re.MULTILINE)
    )
    commit(site)
    git(site, "checkout", "-q", "-b", "other")
    main = site.tree / "kernel" / "src" / "main.rs"
    main.write_text(main.read_text() + "\n// other\n")
    other = commit(site)
    git(site, "checkout", "-q", "main")
    digest = sha256(main)
    assert "igvm:qemu" in site.build(recipe).built
    found = read(site)
    assert dependencies(found, "file")["kernel/src/main.rs"]["digest"] == {"sha256": digest}
    source = dependencies(found, "source")["source tree"]
    assert source["digest"] == {"gitCommit": other} and source["annotations"]["modified"] == ["kernel/src/main.rs"]
    site.build(recipe)
    assert "modified" not in dependencies(read(site), "source")["source tree"]["annotations"]


def test_what_comes_while_cargo_works_is_told_as_it_is_in_the_end(repository: Site) -> None:
    site = repository
    recipe = site.recipe(QEMU, "svsm/r.json")
    folder, elsewhere = site.tree / "kernel" / "texts", site.folder / "texts"
    folder.mkdir()
    (folder / "note.txt").write_text("a text\n")
    commit(site)
    site.build(recipe)
    main = site.tree / "kernel" / "src" / "main.rs"
    mark = "\n#[used]\npub static {}: u8 = 1;\n"
    main.write_text(main.read_text() + mark.format("ONE"))
    site.build(recipe)
    main.write_text(main.read_text() + mark.format("TWO"))
    # By then, statements are prepared as far as possible. Neither the content nor the time of a file changes.
    wrapper, real = site.folder / "wrapped" / "cargo", shutil.which("cargo")
    wrapper.parent.mkdir()
    wrapper.write_text(
        f'#!/bin/sh\n"{real}" "$@" || exit\n'
        f'case "$1" in build) mv "{folder}" "{elsewhere}" && ln -s "{elsewhere}" "{folder}";; esac\n'
    )
    wrapper.chmod(0o755)
    built = site.build(recipe, env={"PATH": f"{wrapper.parent}:{os.environ['PATH']}"}).built
    assert {"kernel:svsm", "provenance:qemu"} <= built
    text = (site.bin / "q.igvm.provenance.json").read_bytes()
    told = dependencies(json.loads(text), "source")["source tree"]["annotations"]["modified"]
    assert told == ["kernel/src/main.rs", "kernel/texts/note.txt"]
    site.build("forget", "provenance", recipe)
    assert site.build(recipe).built == {"provenance:qemu"}
    assert (site.bin / "q.igvm.provenance.json").read_bytes() == text


def test_of_a_recipe_that_is_edited_while_it_is_built_the_text_that_was_built_is_told(site: Site) -> None:
    recipe = site.recipe(QEMU, "svsm/r.json")
    builder = site.tree / "tools" / "igvmbuilder" / "src" / "main.rs"
    edit = 'if std::fs::remove_file("now").is_ok() { std::fs::write("r.json", std::fs::read("later.json").unwrap()).unwrap(); }'
    builder.write_text(
        re.sub(r"^fn main\(\)([^{]*)\{", rf"fn main()\1{{ {edit}", builder.read_text(), flags=re.MULTILINE)
    )
    text = (site.tree / "r.json").read_bytes()
    for later in (text + b"\n", text.replace(b'"vtpm"', b'"vtpm,uefivars"')):
        (site.tree / "r.json").write_bytes(text)
        (site.tree / "later.json").write_bytes(later)
        (site.tree / "now").touch()
        shutil.rmtree(site.bin, ignore_errors=True)
        assert "igvm:qemu" in site.build(recipe).built
        assert (site.tree / "r.json").read_bytes() == later
        assert dependencies(read(site), "recipe")["r.json"]["digest"] == {"sha256": hashlib.sha256(text).hexdigest()}
        asked = read(site)["predicate"]["buildDefinition"]["externalParameters"]
        assert asked["recipe"]["content"] == json.loads(text)
        assert "provenance:qemu" in site.build(recipe).built
        assert dependencies(read(site), "recipe")["r.json"]["digest"] == {"sha256": hashlib.sha256(later).hexdigest()}
        assert site.build(recipe).built == set()


def test_it_never_stands_beside_an_image_that_it_is_not_of(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    source = site.tree / "tools" / "igvmmeasure" / "src" / "main.rs"
    good = source.read_text()
    source.write_text(good.replace("fn main() ", "fn main() { std::process::exit(3) }\nfn unused() ", 1))
    content = deepcopy(QEMU)
    content["igvm"]["qemu"]["policy"] = "0x30001"
    assert site.doit(site.recipe(content)).status == 1
    assert {"q.igvm"} == {name for name in site.contents() if name.startswith("q.igvm")}
    source.write_text(good)
    site.build(site.recipe(content))
    assert read(site)["subject"][0]["digest"]["sha256"] == sha256(site.bin / "q.igvm")
    # Only the image, from another recipe: the sidecars of the first one are removed.
    other = site.recipe(QEMU, "other.json")
    site.build("igvm:qemu", other)
    assert {"q.igvm"} == {name for name in site.contents() if name.startswith("q.igvm")}


def test_of_a_file_that_changed_while_it_was_read_no_digest_is_claimed(site: Site) -> None:
    makefile = site.tree / "Makefile"
    rule = "\nbin/own: in.txt | bin\n\tcp /bin/true $@\n\tsleep 0.05\n\techo more >> in.txt\n"
    makefile.write_text(makefile.read_text() + rule)
    (site.tree / "in.txt").write_text("first\n")
    content = deepcopy(QEMU)
    content["kernel"]["tdx-stage1"] = {"type": "make", "output_file": "bin/own"}
    site.build(site.recipe(content))
    files = dependencies(read(site), "file")
    assert "digest" not in files["in.txt"]
    assert "digest" in files["Makefile"]


def test_two_recipes_for_the_same_image_are_both_on_record(site: Site) -> None:
    one, two = site.recipe(QEMU, "one.json"), site.recipe(QEMU, "two.json").removeprefix("RECIPE=")
    outcome = site.build(f"{one},{two}")
    assert {"provenance:qemu@one", "provenance:qemu@two"} <= outcome.built
    assert list(dependencies(read(site), "recipe")) == ["../two.json"], "the last one is shown"
    assert site.build(one).placed == {"provenance:qemu"}
    assert list(dependencies(read(site), "recipe")) == ["../one.json"]


# The parts


def test_a_link_says_the_same_after_a_way_through_its_text() -> None:
    link = Link(
        "a:b", [{"argv": ["x", "\udcff"], "env": {}}], {"A": None}, {"t": "1"}, {"f": None}, {"g": "sha256:0"}, ["f"]
    )
    assert read_link(link_text(link)) == link


def build(**changes: Any) -> ImageBuild:
    values: dict[str, Any] = {
        "image": "a.igvm", "sha256": "0" * 64, "recipe": "r.json", "recipe_sha256": "1" * 64, "content": {"n": 3, "x": 1.5},
        "target": "qemu", "options": {}, "links": [], "builder": {},
    }  # fmt: skip
    return ImageBuild(**{**values, **changes})


def test_a_name_that_is_no_text_can_be_told_all_the_same() -> None:
    link = Link("a:b", [], {}, {}, {"bad\udcff.rs": "sha256x:ab"}, {}, [])
    (file,) = dependencies(json.loads(statement(build(links=[link]))), "file").values()
    assert file["name"] == "bad\\xff.rs" and file["annotations"]["executable"] is True


def test_whatever_is_told_the_library_of_in_toto_takes_it() -> None:
    odd = 'a"\\\n\x7f\u2028\U0001f600\udcff'
    content = {
        odd: [odd, True, None, 1.5, 2**53, {}, []],
        "large": float("1e999"),
        "none": float("nan"),
        "half": "\ud800",
    }
    link = Link(
        f"kernel:{odd}",
        [{"argv": ["cargo", odd], "env": {odd: odd}}, {"argv": [], "env": {}}],
        {odd: odd, "UNSET": None},
        {"rustc": odd},
        {odd: "sha256:ab", "moved": None, "$HOME/x y": "sha256x:cd", "unreadable": "unreadable"},
        {f"bin/{odd}": "sha256:ef", "bin/gone": ""},
        [],
    )
    measurement = {
        "policy": "0x30000", "check_kvm": False, "measure_native_zeroes": True,
        "measurements": [{"platform": "snp", "digest": "0" * 96}, {"platform": "vsm", "digest": "1" * 64}],
    }  # fmt: skip
    pages = {"snp": ["0x1000 zero -"], "vsm": ["0x2000 error range -"]}
    source = SourceRevision("1" * 40, [odd, "plain"], "sha256:00")
    tools = [Tool("rustc", odd, odd), Tool("make", odd, odd, "ab")]
    for changes in (
        {"links": [link], "tools": tools, "options": {"FEATURES": odd}},
        {
            "links": [link, link],
            "source": source,
            "measurement": measurement,
            "measurement_sha256": "ab",
            "pages": pages,
        },
    ):
        made = build(image=odd, recipe=odd, content=content, target=odd, builder={"coconut-tasks": "1"}, **changes)
        assert_valid(json.loads(statement(made)))


@pytest.mark.parametrize("name", ["plain.c", 'q"uote\\', "con\ntrol\x7f", "ümlaut", "bad\udcff", "$HOME/x"])
@pytest.mark.parametrize("digest", ["sha256:ab", "sha256x:cd", "", None, "unreadable"])
def test_the_files_are_written_as_any_other_resource_is(name: str, digest: str | None) -> None:
    links = [Link(step, [], {}, {}, {name: digest}, {}, []) for step in ("a", "b\n")]
    text = files_text(materials_of(links)).decode()
    assert text.isascii() and "\n" not in text, "a line for each"
    (found,) = dependencies(json.loads(statement(build(links=links))), "file").values()
    assert json.loads(text) == found
    kind, _, content = (digest or "").partition(":")
    readable = os.fsencode(name).decode(errors="backslashreplace")
    assert (found["name"], found["annotations"]["steps"]) == (readable, ["a", "b\n"])
    assert found.get("digest") == ({"sha256": content} if content else None)
    assert found["annotations"].get("executable", False) is (kind == "sha256x")


def test_a_statement_has_a_resource_on_each_line() -> None:
    materials = {f"f{number}": "sha256:ab" for number in range(50)}
    lines = statement(build(links=[Link("a", [], {}, {}, materials, {"g": "sha256:2"}, [])])).decode().splitlines()
    assert [json.loads(line.rstrip(","))["name"] for line in lines if '"kind":"file"' in line] == list(materials)


def test_the_library_of_in_toto_is_not_needed_to_write_one() -> None:
    library = "name for name in sys.modules if name.startswith(('in_toto', 'google'))"
    code = f"import coconut_tasks.actions.perform, sys; print(*sorted({library}))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == ""


def test_what_two_steps_read_in_two_states_has_no_digest() -> None:
    links = [Link(step, [], {}, {}, {"f": digest}, {}, []) for step, digest in (("a", "sha256:1"), ("b", "sha256:2"))]
    (file,) = dependencies(json.loads(statement(build(links=links))), "file").values()
    assert "digest" not in file and file["annotations"]["steps"] == ["a", "b"]
    assert file["uri"] == "file:f"


@pytest.mark.parametrize(
    ("version", "uri"),
    [
        ("rustc 1.95.0-nightly (59807616e 2026-04-14)\nbinary: rustc", "pkg:generic/rustc@1.95.0-nightly"),
        ("missing", "pkg:generic/rustc"),
    ],
)
def test_a_tool_without_a_digest_has_a_uri_as_in_toto_demands(version: str, uri: str) -> None:
    (tool,) = dependencies(json.loads(statement(build(tools=[Tool("rustc", "", version)]))), "tool").values()
    assert tool["uri"] == uri


def test_what_one_step_makes_for_another_is_no_dependency() -> None:
    links = [
        Link("a", [], {}, {}, {"f": "sha256:1"}, {"g": "sha256:2"}, []),
        Link("b", [], {}, {}, {"g": "sha256:2"}, {}, []),
    ]
    assert list(dependencies(json.loads(statement(build(links=links))), "file")) == ["f"]


def test_a_recipe_is_told_as_it_is_whatever_its_numbers_are() -> None:
    deep: Any = {}
    for _ in range(99):
        deep = {"a": deep}
    content = {"n": 3, "x": 1.5, "large": 2**60 + 1, "whole": 1.0, "deep": deep, "none": None}
    told = json.loads(statement(build(content={**content, "too large": float("1e999")})))
    asked = told["predicate"]["buildDefinition"]["externalParameters"]
    assert json.dumps(asked["recipe"]["content"], sort_keys=True) == json.dumps(
        {**content, "too large": "inf"}, sort_keys=True
    )


@pytest.mark.parametrize("native_zero", [False, True])
def test_the_pages_that_were_measured_are_told_without_another_look(native_zero: bool, tmp_path: Path) -> None:
    headers = (platform(), page(0x1000), page(0x2000, file_offset=112))
    file = tmp_path / "a.igvm"
    file.write_bytes(igvm(*headers, data=b"x" * 4096))
    options = MeasureOptions(native_zero=native_zero, tolerant=True)
    measured, pages = measure_pages(file.read_bytes(), options)
    (tmp_path / "bin" / ".coconut" / "logs").mkdir(parents=True)
    workspace = open_workspace(str(tmp_path), str(tmp_path / "bin"), {"PATH": os.environ["PATH"]})
    command = Command(("echo", f"Launch Digest: {measured.digest.hex()}"))
    action = Measurement(
        command,
        "a.igvm",
        "a.igvm",
        "a.igvm",
        "qemu",
        ("snp",),
        "0x30000",
        False,
        native_zero,
        (("snp", "hex"),),
        "json",
        "values",
        "corim",
    )
    measure(action, workspace, tmp_path / "log")
    file.unlink()
    assert pages_of("a.igvm", "snp", native_zero, workspace) == pages
    with pytest.raises(FileNotFoundError):
        pages_of("a.igvm", "snp", not native_zero, workspace)


def test_of_equal_blocks_the_one_that_goes_on_is_meant() -> None:
    a, b, c = (bytes([n]) * 4096 for n in (1, 2, 3))
    parts = {"one": a + b, "two": a + c + b"tail"}
    data = a + b + a + c + b"tail".ljust(4096, b"\0")
    hashes = [hashlib.sha384(data[at : at + 4096]).hexdigest() for at in range(0, len(data), 4096)]
    pages = [MeasuredPage(0x1000 * n, "normal", content, 4096 * n) for n, content in enumerate(hashes, 1)]
    texts = list(page_texts(pages, blocks_of(parts)))
    assert [text.split()[3] for text in texts] == ["one+0x0", "one+0x1000", "one+0x0", "two+0x1000", "two+0x2000"]


def test_moved_is_what_changed_since_an_action_began(tmp_path: Path) -> None:
    file, files = tmp_path / "f", Files()
    file.write_text("a")
    before = files.stat(str(file))
    assert before is not None
    assert not files.moved(str(file), Since(before[1] + 1))
    file.write_text("bb")
    assert files.moved(str(file), Since(before[1], {str(file): before}))
    assert files.moved(str(tmp_path / "none"), Since(0))


def test_a_change_that_the_action_can_vouch_for_is_none_until_the_next_one(tmp_path: Path) -> None:
    file, files = tmp_path / "f", Files()
    file.write_text("a")
    seen = files.stat(str(file))
    assert seen is not None
    since = Since(0, vouched={str(file): seen})
    assert not files.moved(str(file), since)
    file.write_text("bb")
    assert files.moved(str(file), since)


def test_what_changes_after_the_look_that_followed_an_action_is_for_the_next_run(tmp_path: Path) -> None:
    file, files = tmp_path / "a", Files()
    file.write_text("read")
    seen = files.look_again(str(file))
    assert seen is not None
    digest = files.digest(str(file))
    since = Since(seen[1] + 1, looked={str(file)})
    file.write_text("edited")
    assert not files.moved(str(file), since)
    state = files.state(str(file))
    assert state[1] == digest
    assert not Files().unchanged(str(file), state)
    # If a file's content at that look is unknown, only the next look shows it.
    other = Files()
    other.look_again(str(file))
    file.write_text("edited again")
    assert other.moved(str(file), Since(0, looked={str(file)}))


def test_git_is_asked_what_is_in_files_and_not_what_is_staged(repository: Site) -> None:
    site = repository
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    names = at(site, "kernel/src/main.rs", "kernel/new.rs", "none.rs", "../outside")
    head = git(site, "rev-parse", "HEAD")
    tree = str(site.tree)
    found = find_commit(tree, environment, names)
    assert found is not None and (found.commit, found.modified, found.diff) == (head, [], "")
    (site.tree / "kernel" / "new.rs").write_text("x\n")
    (site.tree / "kernel" / "src" / "main.rs").chmod(0o755)
    git(site, "add", "-A")
    git(site, "rm", "-q", "--cached", "kernel/src/console.rs")
    found = find_commit(tree, environment, {**names, **at(site, "kernel/src/console.rs")})
    assert found is not None and found.modified == ["kernel/new.rs", "kernel/src/main.rs"]
    files = commit_files(tree, environment)
    assert {f"{tree}/.git/HEAD", f"{tree}/.git/refs/heads/main", f"{tree}/.git/packed-refs"} <= set(files)
    assert find_commit(tree, {"PATH": "/nowhere"}, names) is None
    assert f"{tree}/.git/HEAD" in commit_files(tree, {"PATH": "/nowhere"})


def test_a_link_and_a_submodule_are_as_in_the_commit_if_they_are(repository: Site, tmp_path: Path) -> None:
    site, environment = repository, {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "a.c").write_text("int a;\n")
    (inner / "b.c").write_text("int b;\n")
    git(site, "-C", str(inner), "init", "-q")
    git(site, "-C", str(inner), "add", "-A")
    git(site, "-C", str(inner), "commit", "-q", "-m", "x")
    git(site, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "deps/inner")
    (site.tree / "one.rs").symlink_to("kernel/src/main.rs")
    (site.tree / "folder").symlink_to("common/src")
    (site.tree / "away.rs").symlink_to(tmp_path / "inner" / "a.c")
    (site.tree / 'two\nlines \\".rs').write_text("x")
    head = commit(site)
    names = ("one.rs", "folder/lib.rs", "deps/inner/a.c", "deps/inner/b.c", 'two\nlines \\".rs')

    def modified(*names: str) -> Any:
        found = find_commit(str(site.tree), environment, at(site, *names))
        assert found is not None and found.commit == head
        return found.modified

    try:
        assert modified(*names) == []
        assert modified("away.rs") == ["away.rs"], "what is there is not in the commit"
        main, lines = site.tree / "kernel" / "src" / "main.rs", site.tree / 'two\nlines \\".rs'
        main.write_text(main.read_text() + "// x\n")
        lines.write_text("y")
        (site.tree / "deps" / "inner" / "b.c").write_text("int c;\n")
        # Another commit of the submodule with the same file makes no difference, one with another file does.
        git(site, "-C", "deps/inner", "commit", "-q", "--allow-empty", "-m", "y")
        assert modified(*names) == ["deps/inner/b.c", "one.rs", 'two\nlines \\".rs']
        git(site, "-C", "deps/inner", "commit", "-q", "-a", "-m", "z")
        (site.tree / "folder").unlink()
        (site.tree / "folder").symlink_to("boot/layout/src")
        assert modified("deps/inner/a.c", "deps/inner/b.c", "folder/lib.rs") == ["deps/inner/b.c", "folder/lib.rs"]
        shutil.rmtree(site.tree / "deps" / "inner")
        (site.tree / "deps" / "inner").mkdir()
        (site.tree / "deps" / "inner" / "a.c").write_text("int a;\n")
        assert modified("deps/inner/a.c") == ["deps/inner/a.c"], "nobody knows what should be there"
    finally:
        for name in ("one.rs", "folder", "away.rs", 'two\nlines \\".rs'):
            (site.tree / name).unlink()
        shutil.rmtree(site.tree / "deps")


class Asked:
    """A repository with a submodule, and an object that queries it and remembers answers."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.cache = folder / "tree", folder / "state" / "commit.json"
        self.environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
        self.words: list[str] = []
        self.looked: list[str] = []
        inner = folder / "inner"
        for place, names in ((inner, ("i.c", "deep/i.h")), (self.folder, ("a.c", "b.c", "x.sh", "dir/c.c"))):
            for name in names:
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_text(f"{name}\n")
            self.git("init", "-q", "-b", "main", at=place)
            self.commit(at=place)
        (self.folder / "x.sh").chmod(0o755)
        (self.folder / "one.c").symlink_to("dir/c.c")
        (self.folder / "way").symlink_to("dir")
        self.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(inner), "sub")
        self.commit()
        look = asking._look

        def counted_ask(words: Any, *args: Any) -> Any:
            self.words.append(next(iter(words)))
            return ask_git(words, *args)

        def counted_look(path: str, commit: str) -> Any:
            self.looked.append(os.path.relpath(path, self.folder))
            return look(path, commit)

        monkeypatch.setattr(asking, "ask_git", counted_ask)
        monkeypatch.setattr(asking, "_look", counted_look)

    def git(self, *words: str, at: Path | None = None) -> None:
        who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "core.hooksPath=/dev/null"]
        subprocess.run(["git", *who, *words], cwd=at or self.folder, check=True, capture_output=True)

    def commit(self, at: Path | None = None) -> None:
        self.git("add", "-A", at=at)
        self.git("commit", "-q", "--allow-empty", "-m", "x", at=at)

    NAMES = ("a.c", "b.c", "x.sh", "dir/c.c", "one.c", "way/c.c", "sub/i.c", "sub/deep/i.h")

    def modified(self, **contents: str | None) -> Sequence[str]:
        """The answer for the current files, or for ``contents``; it must equal the answer without memory."""
        read = {name: str(self.folder / name) for name in self.NAMES}
        files = Files()
        digests = {name: contents.get(name.partition(".")[0], files.digest(path)) for name, path in read.items()}
        repository = find_repository(str(self.folder), self.environment)
        plain = find_source(repository, self.environment, read, digests)
        self.words, self.looked = [], []
        found = find_source(repository, self.environment, read, digests, self.cache)
        assert found is not None and found == plain
        return found.modified


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(tmp_path, monkeypatch)


LINKS = {"one.c", "way"}


def test_of_what_is_known_to_be_in_the_commit_git_is_not_asked_again(asked: Asked) -> None:
    assert asked.modified() == [] and asked.words == ["ls-tree", "ls-tree"]
    assert asked.modified() == [] and asked.words == [] and set(asked.looked) == LINKS
    # Only the edited file is read.
    (asked.folder / "a.c").write_text("edited\n")
    assert (
        asked.modified() == ["a.c"] and asked.words == ["hash-object", "diff"] and set(asked.looked) == {"a.c", *LINKS}
    )
    (asked.folder / "a.c").write_text("a.c\n")
    assert asked.modified() == [] and asked.words == [] and set(asked.looked) == LINKS
    # The content that was read counts, not the current one.
    (asked.folder / "a.c").write_text("edited since\n")
    assert asked.modified(a=Files().digest(str(asked.folder.parent / "inner" / "i.c"))) == ["a.c"]
    kept = Files().digest(str(asked.folder / "b.c"))
    assert asked.modified(a=kept) == ["a.c"], "which is in the commit, but not there"
    (asked.folder / "a.c").write_text("a.c\n")
    assert asked.modified(a=None) == ["a.c"], "nobody knows what was read"
    assert asked.modified(a=kept) == ["a.c"], "what is there now was not read"


def test_after_a_commit_only_what_is_new_is_read(asked: Asked) -> None:
    asked.modified()
    (asked.folder / "a.c").write_text("edited\n")
    asked.commit()
    assert asked.modified() == [] and set(asked.looked) == {"a.c", *LINKS}
    asked.git("checkout", "-q", "HEAD~1")
    assert asked.modified() == [] and set(asked.looked) == {"a.c", *LINKS}
    assert asked.modified() == [] and asked.words == []
    # The same content, but executable in the next commit.
    asked.git("update-index", "--chmod=+x", "b.c")
    asked.git("commit", "-q", "-m", "x")
    assert asked.modified() == ["b.c"]
    asked.git("checkout", "-q", "-f", "HEAD~1")
    # The files of one commit with the tree at another.
    asked.git("symbolic-ref", "HEAD", "refs/heads/main")
    assert asked.modified() == ["a.c"]
    asked.git("rm", "-q", "--cached", "b.c")
    asked.git("commit", "-q", "-m", "x")
    assert asked.modified() == ["b.c"], "no longer in the commit, as the first a.c is again"


def test_a_mode_a_link_and_a_submodule_are_looked_at_whatever_is_known(asked: Asked) -> None:
    tree = asked.folder
    asked.modified()
    (tree / "b.c").chmod(0o755)
    assert asked.modified() == ["b.c"]
    # git checks whether the owner may run a file, a build whether anybody may.
    (tree / "b.c").chmod(0o654)
    assert asked.modified() == []
    (tree / "b.c").chmod(0o755)
    assert asked.modified() == ["b.c"]
    (tree / "b.c").chmod(0o644)
    (tree / "x.sh").chmod(0o644)
    assert asked.modified() == ["x.sh"]
    (tree / "x.sh").chmod(0o755)
    # A link to the same content differs from the file, and a file in place of a link differs from the link.
    (tree / "b.c").rename(tree / "elsewhere.c")
    (tree / "b.c").symlink_to("elsewhere.c")
    (tree / "one.c").unlink()
    shutil.copyfile(tree / "dir" / "c.c", tree / "one.c")
    assert asked.modified() == ["b.c", "one.c"]
    (tree / "b.c").unlink()
    (tree / "elsewhere.c").rename(tree / "b.c")
    (tree / "one.c").unlink()
    (tree / "one.c").symlink_to("dir/c.c")
    assert asked.modified() == []
    (tree / "dir").rename(tree / "other")
    (tree / "dir").symlink_to("other")
    assert {"dir/c.c"} <= set(asked.modified())
    (tree / "dir").unlink()
    (tree / "other").rename(tree / "dir")
    # The commit says what a submodule should contain.
    (tree / "sub" / "i.c").write_text("edited\n")
    assert asked.modified() == ["sub/i.c"]
    asked.commit(at=tree / "sub")
    assert asked.modified() == ["sub/i.c"]
    asked.commit()
    assert asked.modified() == [] and asked.modified() == [] and asked.words == []
    asked.git("-C", "sub", "checkout", "-q", "HEAD~1")
    assert asked.modified() == ["sub/i.c"]


def test_what_is_beside_the_repository_is_not_its_own_however_it_is_spelt(asked: Asked) -> None:
    read = {"../inner/i.c": f"{asked.folder}/dir/../../inner/i.c", "../tree/a.c": f"{asked.folder}/../tree/a.c"}
    repository = find_repository(str(asked.folder), asked.environment)
    found = find_source(repository, asked.environment, read)
    assert found is not None and found.modified == []
    (asked.folder / "a.c").write_text("edited\n")
    found = find_source(repository, asked.environment, read)
    assert found is not None and found.modified == ["../tree/a.c"]


def test_a_repository_may_be_all_of_the_file_system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = {name: str(tmp_path.resolve() / name) for name in ("same", "other", "new")}
    for name, path in names.items():
        Path(path).write_text(name)
    listed = "".join(
        f"100644 blob {blob(name)}\t{names[path][1:]}\0" for path, name in (("same", "same"), ("other", "x"))
    )
    monkeypatch.setattr(asking, "ask_git", lambda words, *_: listed.encode() if "ls-tree" in words else b"")
    found = find_source(Repository("0" * 40, "/", ()), {}, names)
    assert found is not None and found.modified == ["new", "other"]


def blob(text: str) -> str:
    return hashlib.sha1(b"blob %d\0" % len(text) + text.encode()).hexdigest()


def test_line_ends_that_git_changes_are_no_difference(asked: Asked) -> None:
    asked.git("config", "core.autocrlf", "true")
    (asked.folder / "a.c").write_bytes(b"a.c\r\n")
    for _ in range(2):
        assert asked.modified() == [] and asked.words[-1] == "hash-object", "only git knows that"


def test_a_file_that_git_cannot_filter_is_told_and_hides_no_other(asked: Asked) -> None:
    asked.git("config", "filter.none.clean", "false")
    asked.git("config", "filter.none.required", "true")
    (asked.folder / ".git" / "info" / "attributes").write_text("a.c filter=none\n")
    (asked.folder / "a.c").write_text("edited\n")
    assert asked.modified() == ["a.c"]


@pytest.mark.parametrize("damage", ["cut", "bit", "empty", "text", "format", "folder", "other"])
def test_what_is_remembered_is_not_used_where_it_is_damaged(damage: str, asked: Asked) -> None:
    asked.modified()
    text = asked.cache.read_bytes()
    match damage:
        case "cut":
            asked.cache.write_bytes(text[: len(text) // 2])
        case "bit":
            asked.cache.write_bytes(text.replace(b"a.c", b"b.c", 1))
        case "empty":
            asked.cache.write_bytes(b"")
        case "text":
            asked.cache.write_bytes(b"[]")
        case "format":
            _, _, inner = text.partition(b"\n")
            inner = inner.replace(b'"format":1', b'"format":0')
            asked.cache.write_bytes(hashlib.sha256(inner).hexdigest().encode() + b"\n" + inner)
        case "folder":
            asked.cache.unlink()
            asked.cache.mkdir()
        case "other":
            asked.git("commit", "-q", "--allow-empty", "-m", "of another time")
    assert asked.modified() == [] and "ls-tree" in asked.words


def test_two_repositories_that_share_what_is_remembered_are_not_mixed_up(asked: Asked, tmp_path: Path) -> None:
    asked.modified()
    other, tree = tmp_path / "other", asked.folder
    asked.git("-c", "protocol.file.allow=always", "clone", "-q", "--recurse-submodules", str(tree), str(other))
    (other / "a.c").write_text("edited\n")
    asked.folder = other
    assert asked.modified() == ["a.c"]
    asked.commit()
    assert asked.modified() == []
    asked.folder = tree
    assert asked.modified() == []
    asked.git("worktree", "add", "-q", str(tmp_path / "second"))
    asked.folder = tmp_path / "second"
    (tmp_path / "second" / "b.c").write_text("edited\n")
    assert "b.c" in asked.modified()
    files = find_repository(str(asked.folder), asked.environment).files
    assert f"{tree}/.git/worktrees/second/HEAD" in files and f"{tree}/.git/refs/heads/second" in files


def test_a_repository_that_names_things_by_sha256_is_known_too(tmp_path: Path) -> None:
    init = subprocess.run(["git", "init", "-q", "--object-format=sha256", str(tmp_path / "r")], capture_output=True)
    assert init.returncode == 0
    (tmp_path / "r" / "a.c").write_text("a")
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    repository = find_repository(str(tmp_path / "r"), environment)
    assert repository.commit == "" and f"{tmp_path}/r/.git/HEAD" in repository.files, "before the first commit"
    assert find_source(repository, environment, {}) is None
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    for words in (["add", "-A"], [*who, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", *words], cwd=tmp_path / "r", check=True)
    repository = find_repository(str(tmp_path / "r"), environment)
    read, cache = {"a.c": str(tmp_path / "r" / "a.c")}, tmp_path / "commit.json"
    for _ in range(2):
        assert find_source(repository, environment, read, {}, cache) == SourceRevision(repository.commit, [])
    assert len(repository.commit) == 64


def test_where_git_looks_for_a_repository_first_is_watched(repository: Site) -> None:
    site, environment = repository, {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    inner = site.tree / "kernel"
    files = commit_files(str(inner), environment)
    assert {f"{inner}/.git", f"{inner}/.git/HEAD", f"{site.tree}/.git", f"{site.tree}/.git/HEAD"} <= set(files)
    assert f"{site.folder}/.git" not in files
    assert f"{site.folder}/.git" in commit_files(str(inner), {"PATH": "/nowhere"})


def test_how_long_the_paths_of_a_machine_are_is_not_told() -> None:
    told = set()
    for tree, home in (("/a", "/home/somebody/.cargo"), ("/home/somebody/else/svsm", "/c")):
        prefixes = tuple(by_length(machine_prefixes(tree, f"{tree}/bin", f"{tree}/bin/target", {"CARGO_HOME": home})))
        given = {"CARGO_HOME": home, "PATH": f"{home}/bin:/usr/bin"}
        environment = reproducible_environment(given, [], 0, f"{tree}/bin/compilers")
        reproducible = Reproducible("config", f"{tree}/bin/target", f"{tree}/bin/compilers", prefixes, (None,))
        workspace = open_workspace(tree, f"{tree}/bin", environment, reproducible=reproducible)
        told.add(workspace.neutral(workspace.environment["PATH"]))
        assert workspace.neutral(f"-L {tree}/x -L{home} /b{tree} {tree}b") == f"-L /svsm/x -L/cargo /b{tree} {tree}b"
    assert told == {"/bin/compilers:/cargo/bin:/usr/bin"}


def test_a_name_on_paper_leads_to_its_file() -> None:
    workspace = open_workspace("/home/me/tree", "/out", {"HOME": "/home/me", "CARGO_HOME": "/cargo"})
    names = {
        "/out/x": "bin/x", "/home/me/tree/bin/x": "./bin/x", "/home/me/tree/bin": "./bin", "/home/me/tree/binary": "binary",
        "/home/me/b": "../b", "/home/me/tree/a/b": "a/b", "/cargo/registry": "$CARGO_HOME/registry", "/etc/x": "/etc/x",
    }  # fmt: skip
    assert {path: workspace.named(path) for path in names} == names
    assert {workspace.located(name): name for name in names.values()} == names
