"""Real builds in which cargo alone would be wrong: whatever happened before, the result must be that of a clean build.

Most tests build a small package whose build script puts the files of its folder ``data`` into the program.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from conftest import QEMU, Site, host_triple
from packages import (
    FEATURE,
    MAIN,
    MARK,
    OLD,
    TASK,
    WATCH_DATA,
    WRAPPER,
    Environment,
    Package,
    for_a_while,
    made_from_nothing,
    programs,
    replaced,
    write_as_old,
)

from coconut_tasks.inputs.files import MOST_BEHIND_A_LINK

pytestmark = [pytest.mark.long, pytest.mark.freshness]
TO_COME = 4_000_000_000

# What a build script reads


@dataclass(frozen=True)
class Case:
    """What a build script prints for cargo, the files in its folder, and a change."""

    name: str
    lines: str
    before: Callable[[Path], object]
    change: Callable[[Path], object]

    def __str__(self) -> str:
        return self.name

    def assert_reaches_the_program_of(self, package: Package) -> None:
        """After the change, a program built before it equals a clean build, and differs from the old one."""
        self.before(package.data)
        package.settle()
        first = package.programs
        self.change(package.data)
        package.assert_builds_as_from_nothing()
        assert package.programs != first


def write(name: str, text: str) -> Callable[[Path], object]:
    def do(data: Path) -> None:
        (data / name).parent.mkdir(exist_ok=True)
        (data / name).write_text(text)

    return do


def two_files(data: Path) -> None:
    write("a", "1")(data)
    write("b", "2")(data)


def two_links_to_one_folder(data: Path) -> None:
    write("../real/x", "1")(data)
    for name in "ab":
        (data / name).symlink_to("../real")


def a_package_inside(data: Path) -> None:
    write("p/a", "1")(data)
    write("p/Cargo.toml", "")(data)


def another_folder(data: Path) -> None:
    write("a", "1")(data)
    write("../../data.old/z", "9")(data)


def swap(data: Path) -> None:
    """The folder that replaces it is older."""
    data.rename(data.parent.parent / "data.new")
    (data.parent.parent / "data.old").rename(data)


CASES = [
    Case("a file that is removed", "", two_files, lambda data: (data / "a").unlink()),
    Case("a new file with an old time", "", write("a", "1"), lambda data: write_as_old(data / "c", "3")),
    Case(
        "a file of which cargo is not told",
        'println!("cargo:rerun-if-changed=build.rs");',
        write("a", "1"),
        write("a", "2"),
    ),
    Case("a file in a package inside", WATCH_DATA, a_package_inside, write("p/a", "2")),
    Case("an empty folder", WATCH_DATA, write("a", "1"), lambda data: (data / "new").mkdir()),
    Case("the first of two links", WATCH_DATA, two_links_to_one_folder, lambda data: (data / "a").unlink()),
    Case("the second of two links", WATCH_DATA, two_links_to_one_folder, lambda data: (data / "b").unlink()),
    Case("an older folder in its place", WATCH_DATA, another_folder, swap),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_a_build_script_reads_reaches_the_program(case: Case, package: Package) -> None:
    package.write_script(case.lines)
    case.assert_reaches_the_program_of(package)


def manifest_with(line: str) -> Callable[[Path], object]:
    def do(data: Path) -> None:
        text = '[package]\nname = "tst"\nversion = "0.1.0"\nedition = "2024"\n{}[workspace]\n'
        (data.parent / "Cargo.toml").write_text(text.format(line))

    return do


def configured(table: str) -> Callable[[Path], object]:
    def do(data: Path) -> None:
        (data.parents[2] / ".cargo" / "config.toml").write_text(f"[env]\n{table}\n")

    return do


SECRETS = [
    Case(
        "a file outside of its package",
        'fs::read_to_string("../../shared.txt")',
        write("../../../shared.txt", "1"),
        write("../../../shared.txt", "2"),
    ),
    Case(
        "a file that is found from the manifest's folder",
        'fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared.txt"))',
        write("../../../shared.txt", "1"),
        write("../../../shared.txt", "2"),
    ),
    Case("a hidden file", 'fs::read_to_string(".env")', write("../.env", "1"), write("../.env", "2")),
    Case(
        "a table of its manifest",
        'fs::read_to_string("Cargo.toml").map(|text| text.replace("\\n", " "))',
        manifest_with("[package.metadata]\nsize = 1\n"),
        manifest_with("[package.metadata]\nsize = 2\n"),
    ),
    Case(
        "a field of its manifest",
        'env::var("CARGO_PKG_HOMEPAGE")',
        manifest_with('homepage = "http://a"\n'),
        manifest_with('homepage = "http://b"\n'),
    ),
    Case(
        "a variable of cargo's configuration",
        'env::var("FOO")',
        configured('FOO = "one"'),
        configured('FOO = { value = "two", force = true }'),
    ),
]


@pytest.mark.parametrize("case", SECRETS, ids=str)
def test_what_a_build_script_names_and_tells_cargo_nothing_of_reaches_the_program(
    case: Case, lone_package: Package
) -> None:
    lone_package.write_script(f'{WATCH_DATA} println!("cargo:rustc-env=VALUE={{}}", {case.lines}.unwrap());')
    lone_package.main.write_text('fn main() { println!("{}", env!("VALUE")); }\n')
    case.assert_reaches_the_program_of(lone_package)


def test_a_variable_that_a_build_script_tells_cargo_nothing_of_reaches_the_program(lone_package: Package) -> None:
    lone_package.write_script(f'{WATCH_DATA} println!("cargo:rustc-env=VALUE={{:?}}", env::var("CFLAGS"));')
    lone_package.main.write_text('fn main() { println!("{}", env!("VALUE")); }\n')
    lone_package.settle()
    first = lone_package.programs
    lone_package.assert_builds_as_from_nothing({"CFLAGS": "-O3"})
    assert lone_package.programs != first


SECTION = "SECTIONS {{ .mark : {{ KEEP(*(.mark)) BYTE({}) }} }} INSERT AFTER .data;\n"


def by_the_build_script(package: Package, script: Path) -> None:
    package.write_script(f'{WATCH_DATA} println!("cargo:rustc-link-arg-bin=tst=-Wl,-T,../../scripts/{script.name}");')


def by_the_configuration(package: Package, script: Path) -> None:
    flags = f'rustflags = ["-Clink-arg=-T{script}"]'
    package.configuration.write_text(f"[target.{host_triple()}]\n{flags}\n")


@pytest.mark.parametrize("named", [by_the_build_script, by_the_configuration])
def test_a_linker_script_outside_of_its_package_reaches_the_program(
    named: Callable[[Package, Path], None], lone_package: Package
) -> None:
    folder = lone_package.site.tree / "scripts"
    folder.mkdir()
    (folder / "main.lds").write_text(f"INCLUDE {folder}/more.lds\n")
    (folder / "more.lds").write_text(SECTION.format("0x41"))
    named(lone_package, folder / "main.lds")
    lone_package.settle()
    first = lone_package.programs
    (folder / "more.lds").write_text(SECTION.format("0x42"))
    lone_package.assert_builds_as_from_nothing()
    assert lone_package.programs != first


def test_a_file_is_found_through_a_link_as_the_system_finds_it(package: Package) -> None:
    """``link/../value`` is beside the folder that the link leads to, not beside the link."""
    line = 'println!("cargo:rerun-if-changed=link/../value");'
    package.write_script(
        f'{line} println!("cargo:rustc-env=VALUE={{}}", fs::read_to_string("link/../value").unwrap());'
    )
    package.main.write_text('fn main() { println!("{}", env!("VALUE")); }\n')
    elsewhere = package.site.folder / "elsewhere"
    (elsewhere / "sub").mkdir(parents=True)
    (package.folder / "link").symlink_to(elsewhere / "sub")
    (elsewhere / "value").write_text("value-1")
    package.settle()
    first = package.programs
    (elsewhere / "value").write_text("value-2")
    package.assert_builds_as_from_nothing()
    assert package.programs != first


def test_a_package_that_is_a_link_has_the_files_beside_its_real_folder(package: Package) -> None:
    elsewhere = package.site.folder / "elsewhere"
    elsewhere.mkdir()
    package.folder.rename(elsewhere / "tst")
    package.folder.symlink_to(elsewhere / "tst")
    package.main.write_text('fn main() { println!("{}", include_str!("../../common.txt")); }\n')
    (elsewhere / "common.txt").write_text("common-1")
    package.settle()
    first = package.programs
    (elsewhere / "common.txt").write_text("common-2")
    package.assert_builds_as_from_nothing()
    assert package.programs != first


def test_a_file_that_a_test_programs_dependency_reads_reaches_the_program(package: Package) -> None:
    package.recipe["fs"]["modules"]["tst"]["type"] = "test"
    tree = package.site.tree
    library = tree / "ext" / "lib"
    (library / "src").mkdir(parents=True)
    (tree / "ext" / "Cargo.toml").write_text('[workspace]\nmembers = ["lib"]\n')
    (library / "Cargo.toml").write_text('[package]\nname = "elib"\nversion = "1.0.0"\nedition = "2021"\n')
    (library / "src" / "lib.rs").write_text('pub const V: &str = include_str!("../../shared.txt");\n')
    manifest = package.folder / "Cargo.toml"
    manifest.write_text(manifest.read_text() + '[dependencies]\nelib = { path = "../../ext/lib" }\n')
    replaced(tree / "Cargo.toml", "[workspace]\n", '[workspace]\nexclude = ["ext"]\n')
    package.main.write_text('fn main() {}\n\n#[test]\nfn x() {\n    println!("{}", elib::V);\n}\n')
    shared = tree / "ext" / "shared.txt"
    shared.write_text("shared-1")
    package.settle()
    first = package.programs
    shared.write_text("shared-2")
    package.assert_builds_as_from_nothing()
    assert package.programs != first


def test_a_source_in_a_vendored_package_reaches_the_program(lone_package: Package) -> None:
    """cargo assumes that such a package never changes."""
    vendored = lone_package.site.tree / "vendor" / "foo"
    (vendored / "src").mkdir(parents=True)
    (vendored / "Cargo.toml").write_text('[package]\nname = "foo"\nversion = "1.0.0"\nedition = "2021"\n')
    (vendored / ".cargo-checksum.json").write_text('{"files":{}}')
    source = vendored / "src" / "lib.rs"
    source.write_text('pub const V: &str = "foo-1";\n')
    configuration = lone_package.configuration
    replacement = '\n[source.crates-io]\nreplace-with = "v"\n[source.v]\ndirectory = "vendor"\n'
    configuration.write_text(configuration.read_text() + replacement)
    manifest = lone_package.folder / "Cargo.toml"
    manifest.write_text(manifest.read_text() + '[dependencies]\nfoo = "1"\n')
    lone_package.main.write_text('fn main() { println!("{}", foo::V); }\n')
    lone_package.settle()
    first = lone_package.programs
    source.write_text('pub const V: &str = "foo-2";\n')
    lone_package.assert_builds_as_from_nothing()
    assert lone_package.programs != first


def big_folder(package: Package) -> Path:
    """A file outside the tree, behind a link in the package."""
    big = package.site.folder / "big"
    big.mkdir()
    for i in range(MOST_BEHIND_A_LINK + 1):
        write_as_old(big / str(i), "")
    (package.data / "result").symlink_to(big)
    return big


@pytest.mark.parametrize("line", ["", WATCH_DATA])
def test_what_cargo_alone_sees_behind_a_link_to_a_big_folder_reaches_the_program(line: str, package: Package) -> None:
    package.write_script(line)
    big = big_folder(package)
    package.build()
    outcome = package.build()
    link = package.data / "result"
    (warning,) = outcome.told("inputs-not-known")
    assert all(name in warning for name in ("warning: ", f" {TASK} ", " cargo ", " tst, ", f" {link} ")), warning
    assert outcome.built == package.build().built == {TASK}
    first = package.programs
    (big / "7").write_text("seven")
    package.build()
    assert package.programs == package.made_from_nothing() != first


def test_a_link_to_a_big_folder_that_git_ignores_costs_nothing_until_it_is_not_ignored(package: Package) -> None:
    package.write_script("")
    big, tree = big_folder(package), package.site.tree
    (tree / ".gitignore").write_text("result\n")
    for words in (["init"], ["add", "user/tst/Cargo.toml"]):
        subprocess.run(["git", *words], cwd=tree, check=True, capture_output=True)
    package.settle()
    first = package.programs
    (big / "7").write_text("seven")
    assert package.build().built == set()
    (tree / ".gitignore").unlink()
    package.build()
    assert package.programs == package.made_from_nothing() != first


def test_a_link_to_a_big_folder_behind_which_cargo_does_not_look_costs_nothing(package: Package) -> None:
    package.write_script('println!("cargo:rerun-if-changed=build.rs");')
    big = big_folder(package)
    package.settle()
    (big / "7").write_text("seven")
    assert package.build().built == set()


def test_a_macro_that_prints_hides_none_of_cargos_messages(lone_package: Package) -> None:
    source = lone_package.site.tree / "user" / "loud" / "src" / "lib.rs"
    source.parent.mkdir(parents=True)
    manifest = '[package]\nname = "loud"\nversion = "0.1.0"\nedition = "2021"\n[lib]\nproc-macro = true\n[workspace]\n'
    source.parents[1].joinpath("Cargo.toml").write_text(manifest)
    says = "".join(
        f"print!({json.dumps(text)});" for text in ('{{"reason":"x"}}\n', "no end of a line", '{{"reason": 1')
    )
    source.write_text(
        f'#[proc_macro]\npub fn m(_: proc_macro::TokenStream) -> proc_macro::TokenStream {{ {says} "".parse().unwrap() }}\n'
    )
    own = lone_package.folder / "Cargo.toml"
    own.write_text(own.read_text() + '[dependencies]\nloud.path = "../loud"\n')
    lone_package.main.write_text("loud::m!{}\n" + MAIN.format("ONE"))
    lone_package.settle()
    lone_package.main.write_text("loud::m!{}\n" + MAIN.format("TWO"))
    lone_package.assert_builds_as_from_nothing()


# Configuration


def test_the_configuration_of_another_home_reaches_the_program(lone_package: Package) -> None:
    home = lone_package.site.folder / "home"
    (home / ".cargo").mkdir(parents=True)
    (home / ".cargo" / "config.toml").write_text('[build]\nrustflags = ["-Copt-level=3"]\n')
    # Only cargo's own files are in the other home, not the toolchain.
    rustup = os.environ.get("RUSTUP_HOME", str(Path.home() / ".rustup"))
    env: Environment = {"CARGO_HOME": None, "RUSTUP_HOME": rustup}
    lone_package.settle(env)
    first = lone_package.programs
    lone_package.assert_builds_as_from_nothing({**env, "HOME": str(home)})
    assert lone_package.programs != first


def test_a_variable_that_is_read_with_a_build_folder_of_its_own_reaches_the_program(package: Package) -> None:
    configuration = package.configuration
    configuration.write_text(configuration.read_text().replace("[build]", '[build]\nbuild-dir = "build-folder"'))
    package.main.write_text('fn main() { println!("{:?}", option_env!("ASKED")); }\n')
    package.settle()
    first = package.programs
    package.assert_builds_as_from_nothing({"ASKED": "two"})
    assert package.programs != first


def test_a_configuration_that_is_included_reaches_the_program(package: Package) -> None:
    configuration = package.configuration
    configuration.write_text('include = ["extra.toml"]\n' + configuration.read_text())
    extra = configuration.with_name("extra.toml")
    extra.write_text("[profile.dev]\nopt-level = 0\n")
    package.settle()
    extra.write_text("[profile.dev]\nopt-level = 3\n")
    package.assert_builds_as_from_nothing()


def test_a_workspace_that_is_not_above_its_package_reaches_the_program(lone_package: Package) -> None:
    place = lone_package.site.tree / "spaces" / "main"
    place.mkdir(parents=True)
    root = place / "Cargo.toml"
    inherited = '[workspace]\nmembers = ["../../user/tst"]\n[workspace.package]\ndescription = "{}"\n[profile.dev]\nopt-level = {}\n'
    root.write_text(inherited.format("one", 0))
    manifest = lone_package.folder / "Cargo.toml"
    replaced(manifest, "[workspace]\n", 'workspace = "../../spaces/main"\ndescription.workspace = true\n')
    (lone_package.folder / "Cargo.lock").rename(place / "Cargo.lock")
    lone_package.main.write_text('fn main() { println!("{}", env!("CARGO_PKG_DESCRIPTION")); }\n')
    lone_package.settle()
    for text in (inherited.format("two", 0), inherited.format("two", 3)):
        before = lone_package.programs
        root.write_text(text)
        lone_package.assert_builds_as_from_nothing()
        assert lone_package.programs != before


def test_a_variable_of_cargos_configuration_that_cargo_is_told_of_reaches_the_program(lone_package: Package) -> None:
    lone_package.write_script(
        f'{WATCH_DATA} println!("cargo:rerun-if-env-changed=FOO"); println!("cargo:rustc-env=VALUE={{:?}}", env::var("FOO"));'
    )
    lone_package.main.write_text('fn main() { println!("{} {:?}", env!("VALUE"), option_env!("BAR")); }\n')
    tables = ('FOO = "1"\nBAR = "1"', 'FOO = "2"\nBAR = "1"', 'FOO = "2"\nBAR = "2"')
    configured(tables[0])(lone_package.data)
    lone_package.settle()
    for table in tables[1:]:
        before = lone_package.programs
        configured(table)(lone_package.data)
        lone_package.assert_builds_as_from_nothing()
        assert lone_package.programs != before


# Files of others in the target folder


def test_a_checkout_that_was_copied_with_all_that_was_built_is_built_for_itself(
    package: Package, tmp_path: Path
) -> None:
    beside: Environment = {"CARGO_TARGET_DIR": None}
    package.settle(beside)
    first = package.programs
    shutil.copytree(package.site.folder, tmp_path / "copy", symlinks=True)
    package.site.folder = tmp_path / "copy"
    package.say("TWO")
    package.build(env=beside)
    assert package.programs == package.made_from_nothing()
    assert package.programs != first


def test_two_checkouts_with_one_target_folder_get_programs_of_their_own(package: Package, tmp_path: Path) -> None:
    shutil.copytree(package.site.folder, tmp_path / "other", symlinks=True)
    package.say("TWO")
    package.build()
    other = Package(replace(package.site, folder=tmp_path / "other"), package.recipe)
    other.assert_builds_as_from_nothing()
    package.assert_builds_as_from_nothing()


def test_a_source_that_was_another_one_for_another_target_folder_is_built_as_it_is(
    package: Package, tmp_path: Path
) -> None:
    first, second = ({"CARGO_TARGET_DIR": str(tmp_path / name)} for name in ("first", "second"))
    package.settle({**first})
    with for_a_while(package.main, MAIN.format("TWO")):
        package.build(env={**first})
    package.build(env={**second})
    package.assert_builds_as_from_nothing({**first})


def test_an_older_source_that_one_set_of_features_saw_is_seen_by_the_other(package: Package) -> None:
    manifest = package.folder / "Cargo.toml"
    manifest.write_text(manifest.read_text() + FEATURE)
    other = deepcopy(package.recipe)
    other["fs"]["modules"]["tst"]["features"] = "ff"
    package.settle()
    package.say("TWO")
    package.build(recipe=other)
    os.utime(package.main, (OLD, OLD))
    package.build()
    assert package.programs == made_from_nothing(package.site, TASK, recipes=(package.recipe, other))


@pytest.mark.parametrize("hand", ["cargo", "another output folder"])
def test_what_another_hand_compiled_of_a_source_that_was_put_back_is_not_used(hand: str, package: Package) -> None:
    package.settle()
    with for_a_while(package.main, MAIN.format("TWO")):
        if hand == "cargo":
            log = package.site.log("module:tst")
            command = log.splitlines()[0].removeprefix("$ ").split()
            assert package.site.run(command, cwd=package.site.tree).status == 0
        else:
            package.build(f"BIN={package.site.folder / 'bin2'}")
    manifest = package.folder / "Cargo.toml"
    manifest.write_text(manifest.read_text() + "# so that cargo is asked\n")
    package.assert_builds_as_from_nothing()


def kernel_from_nothing(site: Site) -> set[str]:
    return made_from_nothing(site, "kernel:svsm", recipes=(QEMU,))


def test_what_a_failed_build_compiled_of_a_source_that_was_put_back_is_not_used(site: Site) -> None:
    recipe = site.recipe()
    kernel, common = site.tree / "kernel" / "src" / "main.rs", site.tree / "common" / "src" / "lib.rs"
    site.build("kernel:svsm", recipe)
    with (
        for_a_while(common, common.read_text() + MARK.format("of the failure")),
        for_a_while(kernel, f"{kernel.read_text()}this is no Rust\n"),
    ):
        assert site.doit("kernel:svsm", recipe).status == 1
    kernel.write_text(kernel.read_text() + MARK.format("new code"))
    site.build("kernel:svsm", recipe)
    assert b"of the failure" not in (site.bin / "svsm").read_bytes()
    assert programs(site.bin, "kernel:svsm") == kernel_from_nothing(site)


def test_what_cargo_compiled_before_the_output_folder_went_is_not_used_for_a_source_that_was_put_back(
    site: Site,
) -> None:
    recipe = site.recipe()
    kernel = site.tree / "kernel" / "src" / "main.rs"
    site.build("kernel:svsm", recipe)
    with for_a_while(kernel, kernel.read_text() + MARK.format("for a while")):
        site.build("kernel:svsm", recipe)
    shutil.rmtree(site.bin)
    site.build("kernel:svsm", recipe)
    assert b"for a while" not in (site.bin / "svsm").read_bytes()
    assert programs(site.bin, "kernel:svsm") == kernel_from_nothing(site)


def test_a_file_of_another_package_that_was_put_back_is_seen(site: Site) -> None:
    recipe = site.recipe()
    kernel, text = site.tree / "kernel" / "src" / "main.rs", site.tree / "user" / "hello" / "text.txt"
    text.write_text("first content")
    include = '\n#[used]\nstatic TEXT: &[u8] = include_bytes!("../../user/hello/text.txt");\n'
    kernel.write_text(kernel.read_text() + include)
    site.build("kernel:svsm", recipe)
    with for_a_while(text, "other content"):
        site.build("kernel:svsm", recipe)
        assert b"other content" in (site.bin / "svsm").read_bytes()
    site.build("kernel:svsm", recipe)
    assert programs(site.bin, "kernel:svsm") == kernel_from_nothing(site)


# Packages that cargo no longer knows


def test_a_module_of_another_workspace_in_doubt_does_not_stop_the_kernel(lone_package: Package) -> None:
    """``cargo clean`` fails for a package that is not in the workspace."""
    site = lone_package.site
    recipe = site.recipe(lone_package.recipe)
    lone_package.settle()
    first = lone_package.programs
    with for_a_while(lone_package.main, MAIN.format("TWO")):
        lone_package.build()
        assert lone_package.programs != first
    assert site.build("kernel:svsm", recipe).built == {"kernel:svsm"}
    assert site.build("kernel:svsm", recipe).built == set()
    lone_package.assert_builds_as_from_nothing()


def test_a_package_that_left_the_workspace_does_not_stop_the_kernel(site: Site) -> None:
    recipe = site.recipe()
    workspace, manifest = site.tree / "Cargo.toml", site.tree / "kernel" / "Cargo.toml"
    source = site.tree / "extra" / "src" / "lib.rs"
    source.parent.mkdir(parents=True)
    (site.tree / "extra" / "Cargo.toml").write_text('[package]\nname = "extra"\nversion = "0.1.0"\nedition = "2024"\n')
    source.write_text("#![no_std]\npub const X: u8 = 1;\n")
    with (
        for_a_while(workspace, workspace.read_text().replace('"stage1",', '"stage1",\n    "extra",')),
        for_a_while(
            manifest, manifest.read_text().replace("[dependencies]", '[dependencies]\nextra.path = "../extra"')
        ),
    ):
        site.build("kernel:svsm", recipe)
    site.build("kernel:svsm", recipe)
    write_as_old(source, f"{source.read_text()}// older\n")
    kernel = site.tree / "kernel" / "src" / "main.rs"
    kernel.write_text(kernel.read_text() + MARK.format("new code"))
    assert site.build("kernel:svsm", recipe).built == {"kernel:svsm"}
    assert b"new code" in (site.bin / "svsm").read_bytes()
    assert site.build("kernel:svsm", recipe).built == set()


# Changes during a build


def test_a_source_that_changes_during_the_first_build_and_is_put_back_is_built_as_it_is(package: Package) -> None:
    with package.held(package.hold) as came_to:
        came_to(package.hold)
        old, found = package.main.read_text(), package.main.stat()
        package.say("TWO")
    package.main.write_text(old)
    os.utime(package.main, ns=(found.st_atime_ns, found.st_mtime_ns))
    package.assert_builds_as_from_nothing()


def test_a_change_during_a_build_that_was_undone_before_its_end_is_noticed(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    """rustc read a content that existed only for a moment."""
    wrapper, second = package.site.folder / "wrapper.sh", package.site.folder / "hold2"
    wrapper.write_text(WRAPPER.replace("HOLD", str(second)))
    wrapper.chmod(0o755)
    monkeypatch.setenv("RUSTC_WRAPPER", str(wrapper))
    package.settle()
    package.say("ZERO")
    package.build()
    package.say("ONE")
    package.write_data(y="2")
    with package.held(package.hold, second) as came_to:
        came_to(package.hold)
        package.say("TWO")
        package.hold.unlink()
        came_to(second)
        package.say("ONE")
    package.assert_builds_as_from_nothing()


def test_a_file_that_vanishes_during_a_build_stops_nothing(package: Package) -> None:
    package.settle()
    swap = package.main.with_name(".main.rs.swp")
    swap.write_text("an editor's")
    package.write_data(x="1")
    with package.held(package.hold) as came_to:
        came_to(package.hold)
        swap.unlink()
    package.assert_builds_as_from_nothing()


# No unnecessary builds


def test_a_lock_file_that_cargo_rewrites_for_a_new_version_is_asked_about_once_more(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    replaced(site.tree / "Cargo.toml", 'version = "0.1.0"', 'version = "0.1.1"')
    assert "kernel:svsm" in site.build(recipe).built
    assert 'version = "0.1.1"' in (site.tree / "Cargo.lock").read_text()
    assert not site.build(recipe).built & {"igvm:qemu", "measure:qemu"}
    assert site.build(recipe).built == set()


@pytest.mark.parametrize("when", [1, OLD, TO_COME])
def test_files_that_have_one_time_whichever_it_is_are_built_as_they_are_and_not_for_ever(
    when: int, package: Package
) -> None:
    """As from git archives, images of reproducible builds and wrong clocks."""

    def set_times() -> None:
        for path in package.folder.rglob("*"):
            os.utime(path, (when, when))

    package.write_data(x="1")
    set_times()
    package.settle()
    for mark, text in (("TWO", "1"), ("TWO", "2")):
        first = package.programs
        package.say(mark)
        package.write_data(x=text)
        set_times()
        package.assert_builds_as_from_nothing()
        assert package.programs != first


def test_a_link_that_is_switched_between_files_of_one_time_and_size_reaches_the_program(package: Package) -> None:
    """cargo compares times, so it does not notice this for files that a build script reads."""
    for name in ("one", "two"):
        write_as_old(package.site.folder / name, f"value-{name}")
    link = package.data / "link"
    for line in ("", WATCH_DATA):
        package.write_script(line)
        for name in ("one", "two"):
            link.unlink(missing_ok=True)
            link.symlink_to(package.site.folder / name)
            os.utime(link, (OLD, OLD), follow_symlinks=False)
            package.assert_builds_as_from_nothing()


def test_a_variable_that_only_another_set_of_features_reads_makes_nothing_stale(package: Package) -> None:
    manifest = package.folder / "Cargo.toml"
    manifest.write_text(manifest.read_text() + FEATURE)
    source = '#[cfg(feature = "ff")]\npub const ASKED: Option<&str> = option_env!("ASKED");\n'
    package.main.write_text(source + package.main.read_text())
    other = deepcopy(package.recipe)
    other["fs"]["modules"]["tst"]["features"] = "ff"
    package.build(recipe=other)
    package.build()
    assert package.build(env={"ASKED": "1"}).built == set()
    assert package.build(env={"ASKED": "1"}, recipe=other).built == {TASK}


def test_variants_that_differ_in_what_their_build_script_generates_keep_their_programs(package: Package) -> None:
    package.write_script('println!("cargo:rerun-if-env-changed=FOO");')
    replaced(package.folder / "build.rs", "String::new()", 'env::var("FOO").unwrap()')
    one, two = deepcopy(package.recipe), deepcopy(package.recipe)
    one["fs"]["modules"]["tst"]["env"] = {"FOO": "1"}
    two["fs"]["modules"]["tst"]["env"] = {"FOO": "2"}
    for recipe in (one, two, one, two):
        package.build(recipe=recipe)
    for recipe in (one, two, one, two):
        assert package.build(recipe=recipe).built == set()
    shutil.rmtree(package.site.target)
    assert package.build(recipe=two).built == set()
    assert package.programs == made_from_nothing(package.site, TASK, recipes=(one, two))


def test_a_target_folder_inside_of_the_package_is_no_input(package: Package) -> None:
    package.site.target = package.folder / "target"
    package.build()
    package.build()
    assert package.build().built == set()
    package.site.build("kernel:svsm", package.site.recipe(package.recipe))
    assert package.build().built == set()
    package.assert_builds_as_from_nothing()
