"""A cache and the whole sample: what a clean clone takes from it, once and after each step of a random walk."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import DODO, Outcome, Site, copy_sample, kernel_with_a_makefile, makefile_with_a_variable
from test_walk import Walk, crates_for_a_walk, first_dice, take_a_walk

pytestmark = [pytest.mark.long, pytest.mark.freshness]


@dataclass
class Filled:
    """A place for clones, and a cache that has what was built there first."""

    site: Site
    env: dict[str, str | None]
    """The variables for the cache. cargo's target folder is where it usually is, in the tree."""
    first: Outcome
    made: dict[str, bytes]

    def clone(self) -> None:
        """As if nothing was ever built."""
        shutil.rmtree(self.site.bin, ignore_errors=True)
        shutil.rmtree(self.site.tree, ignore_errors=True)
        copy_sample(self.site.tree)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Filled:
    """Built from nothing: of crates that are there already, a cache does not know by which tools they were made."""
    folder = tmp_path_factory.mktemp("filled")
    copy_sample(folder / "svsm")
    (folder / "dodo.py").write_text(DODO)
    site = Site(folder, folder / "svsm" / "target")
    env: dict[str, str | None] = {"COCONUT_CACHE": str(folder / "cache"), "CARGO_TARGET_DIR": None}
    return Filled(site, env, site.build(site.recipe(), env=env), site.contents())


def test_a_clone_of_the_sample_takes_all_that_takes_long_from_the_cache(filled: Filled, registry_crates: Path) -> None:
    """Images, digests and provenance are as those of the build that filled the cache."""
    site, first = filled.site, filled.first
    filled.clone()
    recipe = site.recipe()
    second = site.build(recipe, env=filled.env)
    compiled = {name for name in first.built if name.split(":")[0] in ("tool", "kernel", "module")}
    assert (second.cached, second.built) == (compiled, first.built - compiled)
    assert second.digests == first.digests != {}
    again = site.contents()
    assert {name: text for name, text in filled.made.items() if not name.endswith("provenance.json")} == {
        name: text for name, text in again.items() if not name.endswith("provenance.json")
    }
    statement = json.loads(again["q.igvm.provenance.json"])
    parts = [one for one in statement["predicate"]["runDetails"]["byproducts"] if "cached" in one["annotations"]]
    assert {part["name"] for part in parts} == compiled
    assert all(len(part["annotations"]["cached"]["action"]) == 64 for part in parts)

    def edited_clone() -> None:
        filled.clone()
        main = site.tree / "kernel" / "src" / "main.rs"
        main.write_text(main.read_text() + "#[used]\nstatic NEW: u8 = 1;\n")

    edited_clone()
    third = site.build(recipe, env=filled.env)
    assert third.cached == compiled - {"kernel:svsm"}
    assert third.digests != first.digests
    compilations = [line for line in site.log("kernel:svsm").splitlines() if line.strip().startswith("Compiling")]
    assert {line.split()[1] for line in compilations} <= {"svsm", "release", "libtpm"}, (
        "the others write into the source"
    )
    edited_clone()
    shutil.copytree(registry_crates, site.target)
    clean = site.build(recipe, env={"CARGO_TARGET_DIR": None})
    assert (clean.cached, clean.digests) == (set(), third.digests)


def test_a_random_walk_with_a_cache_is_always_as_a_clean_build(
    filled: Filled, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """So is what a clean clone takes from the cache after each step. The clone costs time, so it takes a fifth of the steps."""
    steps = request.config.getoption("--walk") // 5
    shutil.copytree(crates_for_a_walk(request), tmp_path / "target")
    filled.clone()
    kernel_with_a_makefile(filled.site)
    makefile_with_a_variable(filled.site)
    walk = Walk(filled.site, first_dice(request), cached=filled.env)
    take_a_walk(walk, steps, tmp_path, request)
    assert walk.hits >= 3 * steps, "clones build all that they have"
