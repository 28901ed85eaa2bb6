"""Where outputs go, what they may replace, and how their paths are shown."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import QEMU, Site


def doit(site: Site, *words: str) -> list[str]:
    return [sys.executable, "-m", "doit", *words, f"SVSM={site.tree_name}"]


@pytest.mark.parametrize("name", ["svsm", "q.igvm", "q.igvm.launch-digest.json", "q.igvm.provenance.json.sig"])
@pytest.mark.parametrize("kind", ["file", "link", "folder"])
def test_what_is_not_ours_is_named_and_nothing_is_built(name: str, kind: str, site: Site) -> None:
    place = site.bin / name
    site.bin.mkdir()
    match kind:
        case "file":
            place.write_text("#!/bin/sh\n# a script of the user's\n")
        case "link":
            place.symlink_to("/nowhere")
        case _:
            place.mkdir()
    recipe = site.recipe()
    outcome = site.doit(recipe)
    assert (outcome.status, outcome.built) == (2, set())
    named, remedy = outcome.told("foreign-file")
    assert named.startswith(f"error: {place} ") and "BIN=PATH" in remedy
    assert f"note: a build would fail immediately: {named.removeprefix('error: ')}" in site.doit("why", recipe).told(
        "foreign-file"
    )
    assert [path.name for path in site.bin.iterdir() if path.name != ".coconut"] == [name]
    assert place.is_symlink() or place.is_dir() or place.read_text().endswith("user's\n")


def test_a_file_that_comes_while_a_run_is_at_work_is_left_alone(site: Site) -> None:
    script = site.tree / "kernel" / "build.rs"
    write = f'std::fs::create_dir_all("{site.bin}").unwrap(); std::fs::write("{site.bin}/svsm", "mine").unwrap();'
    script.write_text(script.read_text().replace("fn main() {", f"fn main() {{ {write}"))
    outcome = site.doit(site.recipe(), "kernel:svsm")
    assert outcome.status == 1
    (line,) = outcome.told("foreign-file")
    assert f" {site.bin}/svsm: " in line
    assert (site.bin / "svsm").read_text() == "mine"


def test_what_is_ours_stays_so_without_its_record_and_what_earlier_versions_placed_is_known_by_it(site: Site) -> None:
    recipe, ledger = site.recipe(), site.bin / ".coconut" / "placed"
    site.build(recipe)
    before = site.contents()
    site.build("forget", recipe)  # as from a killed run
    site.build(recipe)
    assert site.contents() == before
    written = sorted(set(ledger.read_text().splitlines()))
    ledger.unlink()
    site.build("graph", recipe)
    assert sorted(set(ledger.read_text().splitlines())) == sorted([*written, '"graph.svg"'])
    ledger.unlink()
    assert site.build(recipe).built == set()
    variant = {**QEMU, "igvm": {"qemu": {"output": "q.igvm", "policy": "0x30001"}}}
    assert "igvm:qemu" in site.build(site.recipe(variant)).built


def test_what_was_cleaned_is_nobodys_until_somebody_puts_a_file_there(site: Site) -> None:
    recipe = site.recipe()
    site.build(recipe)
    site.build("clean", recipe)
    (site.bin / "svsm").write_text("mine")
    outcome = site.doit(recipe)
    assert (outcome.status, (site.bin / "svsm").read_text()) == (2, "mine")


@pytest.mark.parametrize("by", ["this version", "an older one"])
def test_a_file_of_the_users_that_is_named_like_one_of_an_images_is_not_cleaned(by: str, site: Site) -> None:
    recipe, ledger = site.recipe(), site.bin / ".coconut" / "placed"
    site.build(recipe)
    mine = site.bin / "q.igvm.boot-digest.hex"  # of a platform that the image is not for
    mine.write_text("mine")
    if by == "an older one":
        ledger.unlink()
    site.build("clean", recipe)
    assert [path.name for path in site.bin.iterdir() if path.name != ".coconut"] == [mine.name]
    assert mine.read_text() == "mine"


def test_a_copy_that_shares_its_inodes_shares_no_state(site: Site, tmp_path: Path, registry_crates: Path) -> None:
    """As from ``cp -al``, which makes a second checkout from hard links."""
    recipe = site.recipe()
    site.build(recipe)
    first = site.contents()
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-al", str(site.folder), str(copy)], check=True)
    source = copy / "svsm" / "kernel" / "src" / "main.rs"
    text = source.read_text()
    source.unlink()  # as saved by an editor
    source.write_text(text + '\n#[used]\nstatic MARK: [u8; 6] = *b"copied";\n')
    other = replace(site, folder=copy, target=shutil.copytree(registry_crates, tmp_path / "target"))
    assert "igvm:qemu" in other.build(recipe).built
    assert b"copied" in (copy / "bin" / "svsm").read_bytes()
    assert site.contents() == first
    assert site.build(recipe).built == set() and other.build(recipe).built == set()


def test_a_folder_with_files_of_others_is_taken_only_by_its_name(site: Site) -> None:
    folder = site.tree / "bin"
    folder.mkdir()
    try:
        (folder / "svsm").write_text("by xbuild")
        outcome = site.run(doit(site, "list", site.recipe()))
        assert (outcome.status, outcome.ids) == (2, {"foreign-folder"})
        assert f" '{folder}' " in outcome.err and "(svsm)" in outcome.err
        assert [path.name for path in folder.iterdir()] == ["svsm"]
        assert site.run(doit(site, "list", site.recipe(), "BIN=svsm/bin")).status == 0
        (folder / "svsm").unlink()
        assert site.run(doit(site, "list", site.recipe())).status == 0  # empty
    finally:
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def test_pictures_replace_no_file_of_others_and_make_no_folders(site: Site) -> None:
    recipe, place = site.recipe(), site.bin / "graph.svg"
    site.bin.mkdir()
    place.write_text("mine")
    outcome = site.doit("graph", recipe)
    assert (outcome.status, place.read_text()) == (2, "mine")
    (line,) = outcome.told("foreign-file")
    assert line.startswith("error: bin/graph.svg ") and line.endswith(" -o")
    assert site.build("graph", recipe, "-o", "g.svg").out == "g.svg: written\n"
    assert site.build("graph", recipe, "-o", "g.svg").out == "g.svg: written\n"  # it is used if it is named
    outcome = site.doit("graph", recipe, "-o", "none/g.svg")
    (line,) = outcome.told("no-such-folder")
    assert outcome.status == 2
    assert line.startswith("error: -o: 'none/g.svg': ") and line.endswith(f" {site.folder}/none")
    place.unlink()
    for _ in range(2):
        assert site.build("graph", recipe).out == "bin/graph.svg: written\n"


def test_paths_are_as_seen_from_where_the_user_stands(site: Site, tmp_path: Path) -> None:
    stand = tmp_path / "a" / "b"
    stand.mkdir(parents=True)
    recipe = site.recipe()
    words = [
        "-f",
        str(site.folder / "dodo.py"),
        f"RECIPE={site.folder / 'r.json'}",
        f"SVSM={site.tree}",
        f"BIN={site.bin}",
    ]
    there = Path(*([".."] * len(stand.relative_to("/").parts)), site.bin.relative_to("/"))
    outcome = site.run([sys.executable, "-m", "doit", *words], cwd=stand)
    assert outcome.status == 0, outcome.text
    shown = next(line for line in outcome.out.splitlines() if "launch digest" in line).partition(":")[0]
    assert (stand / shown).resolve() == (site.bin / "q.igvm").resolve() and not Path(shown).is_absolute()
    assert there.name == "bin"
    outcome = site.run([sys.executable, "-m", "doit", "graph", "-o", "g.svg", *words], cwd=stand)
    assert outcome.out == "g.svg: written\n" and (stand / "g.svg").is_file()
    assert site.build(recipe).built == set()
