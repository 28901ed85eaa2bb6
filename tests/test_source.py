"""Where the tree, the output folder and the recipes are found."""

from __future__ import annotations

from pathlib import Path

import pytest

from coconut_tasks.errors import UsageError
from coconut_tasks.options import Options
from coconut_tasks.package import data_path
from coconut_tasks.workspace.source import default_recipe, find_recipe, find_source, is_svsm_tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The smallest SVSM tree."""
    folder = tmp_path / "svsm"
    (folder / "kernel" / "src").mkdir(parents=True)
    (folder / "Cargo.toml").write_text("[workspace]\n")
    (folder / "kernel" / "Cargo.toml").write_text('[package]\nname = "svsm"\n')
    return folder


def options(workdir: Path, svsm: str | None = None, bin: str | None = None) -> Options:
    return Options(workdir=str(workdir), svsm=svsm, bin=bin)


def test_a_named_tree_is_taken(tree: Path, tmp_path: Path) -> None:
    source = find_source(options(tmp_path, svsm="svsm"))
    assert (source.tree, source.bin, source.why) == (str(tree), str(tree / "bin"), " (SVSM)")
    assert not source.is_sample


def test_the_checkout_that_one_stands_in_is_taken_from_its_subfolders_too(tree: Path) -> None:
    source = find_source(options(tree / "kernel" / "src"))
    assert (source.tree, source.bin, source.why) == (str(tree), str(tree / "bin"), "")


def test_elsewhere_the_sample_is_taken_and_outputs_go_to_its_clone(tmp_path: Path) -> None:
    source = find_source(options(tmp_path))
    assert (source.tree, source.bin, source.why) == (
        str(data_path("sample")),
        str(data_path("sample").parent / "bin"),
        " (the embedded sample)",
    )
    assert source.is_sample


def test_the_sample_is_known_as_such_by_its_name_too(tmp_path: Path) -> None:
    source = find_source(options(tmp_path, svsm=str(data_path("sample"))))
    assert source.is_sample and source.bin == str(data_path("sample").parent / "bin")


def test_a_folder_inside_of_the_sample_has_no_output_folder_of_its_own() -> None:
    for inside in (data_path("sample"), data_path("sample") / "kernel", data_path("docs")):
        assert find_source(options(inside)).bin == str(data_path("sample").parent / "bin")


def test_files_of_others_keep_a_folder_from_being_taken_by_itself(tree: Path) -> None:
    (tree / "bin").mkdir()
    (tree / "bin" / ".gitignore").write_text("*\n")
    assert find_source(options(tree)).bin == str(tree / "bin")
    for name in "abcd":
        (tree / "bin" / name).write_text("")
    with pytest.raises(UsageError, match=r"\(a, b, c, …\): ") as error:
        find_source(options(tree))
    assert error.value.id == "foreign-folder"
    assert find_source(options(tree, bin="bin")).bin == str(tree / "bin")
    (tree / "bin" / ".coconut").mkdir()
    assert find_source(options(tree)).bin == str(tree / "bin")


def test_links_are_followed_so_that_a_tree_has_one_name(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tree)
    assert find_source(options(tmp_path, svsm="link")).tree == str(tree)


@pytest.mark.parametrize("svsm", ["nowhere", "."])
def test_a_named_folder_that_is_no_tree_is_an_error(svsm: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"^SVSM: '{svsm}' ") as error:
        find_source(options(tmp_path, svsm=svsm))
    assert error.value.id == "no-svsm-tree"


@pytest.mark.parametrize("bin", [".", "..", "/"])
def test_the_output_folder_must_not_hold_the_tree(bin: str, tree: Path) -> None:
    with pytest.raises(UsageError, match=r"^BIN: ") as error:
        find_source(options(tree, bin=bin))
    assert error.value.id == "bin-holds-the-tree"


def test_the_output_folder_must_be_a_folder(tree: Path) -> None:
    (tree / "out").write_text("")
    with pytest.raises(UsageError, match=r"^BIN: ") as error:
        find_source(options(tree, bin="out"))
    assert error.value.id == "bin-is-no-folder"


@pytest.mark.parametrize(
    ("workdir", "svsm", "bin", "layout", "name"),
    [
        ("svsm", None, None, "bin", "."),
        ("svsm", None, "out/x", "out/x", ".."),
        (".", "svsm", None, "bin", "."),
        (".", "svsm", "bin", "../bin", "svsm"),
        (".", "svsm", "/elsewhere/bin", "/elsewhere/bin", None),
    ],
)
def test_paths_in_commands_are_relative_where_tree_and_output_belong_together(
    workdir: str, svsm: str | None, bin: str | None, layout: str, name: str | None, tree: Path, tmp_path: Path
) -> None:
    source = find_source(options(tmp_path / workdir, svsm=svsm, bin=bin))
    assert (source.layout.bin, source.tree_name) == (layout, name or str(tree))


def test_a_tree_with_a_release_crate_has_a_version_file(tree: Path) -> None:
    assert not find_source(options(tree)).has_version_file
    (tree / "release" / "src").mkdir(parents=True)
    assert find_source(options(tree)).has_version_file


def test_a_recipe_is_looked_for_where_one_stands_then_in_the_tree_then_among_ours(tree: Path, tmp_path: Path) -> None:
    name = "config/qemu.json"
    assert find_recipe(name, options(tmp_path), str(tree)) == data_path("config") / "qemu.json"
    for folder in (tree, tmp_path):
        (folder / "config").mkdir()
        (folder / "config" / "qemu.json").write_text("{}")
        assert find_recipe(name, options(tmp_path), str(tree)) == folder / "config" / "qemu.json"


def test_a_missing_recipe_is_an_error_with_the_nearest_name(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "qemu-target.json").write_text("{}")
    with pytest.raises(UsageError) as error:
        find_recipe("qemu-tarjet.json", options(tmp_path), str(tree))
    assert error.value.id == "no-such-recipe"
    assert str(error.value).startswith("RECIPE: 'qemu-tarjet.json': ") and "'qemu-target.json'" in str(error.value)


def test_a_folder_is_no_recipe(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^RECIPE: 'svsm': ") as error:
        find_recipe("svsm", options(tmp_path), str(tree))
    assert error.value.id == "no-such-recipe"


def test_the_default_recipe_is_the_trees_own_where_it_has_one(tree: Path) -> None:
    assert default_recipe(options(tree), str(tree)) == "config/qemu.json"
    (tree / "configs").mkdir()
    (tree / "configs" / "qemu-target.json").write_text("{}")
    assert default_recipe(options(tree), str(tree)) == "configs/qemu-target.json"


def test_an_unreadable_manifest_makes_no_tree(tmp_path: Path) -> None:
    (tmp_path / "kernel").mkdir()
    (tmp_path / "Cargo.toml").write_bytes(b"\xff[workspace]")
    (tmp_path / "kernel" / "Cargo.toml").write_text('name = "svsm"')
    assert not is_svsm_tree(tmp_path)
