"""What makes which step stale: on the sample, for real. The result must always be that of a clean build."""

from __future__ import annotations

import os
import shutil
from copy import deepcopy
from pathlib import Path

import pytest
from conftest import QEMU, Site

OLD = 1_500_000_000


def kernel_text(site: Site) -> Path:
    return site.tree / "kernel" / "src" / "main.rs"


def insert(path: Path, text: str) -> str:
    """The file's text with a line more at its end."""
    return path.read_text() + text


CHANGE = '\n#[used]\npub static MARK: [u8; 16] = *b"{:16}";\n'


@pytest.mark.parametrize("profile", [(), ("RELEASE=1",)])
def test_a_source_that_is_replaced_by_one_with_an_older_time_is_seen(profile: tuple[str, ...], site: Site) -> None:
    """cargo itself overlooks it: it compares times."""
    recipe = site.recipe()
    site.build(recipe, *profile)
    path = kernel_text(site)
    new = path.with_name("new.rs")
    new.write_text(insert(path, CHANGE.format("an older file")))
    os.utime(new, (OLD, OLD))
    new.replace(path)
    outcome = site.build(recipe, *profile)
    assert outcome.built == {"kernel:svsm", "igvm:qemu", "measure:qemu"}
    assert b"an older file" in (site.bin / "svsm").read_bytes()


def test_an_older_source_is_seen_by_a_variant_that_is_new(site: Site) -> None:
    """What cargo compiled for one variant is not taken for another one that was never built."""
    shared = site.tree / "common" / "src" / "lib.rs"
    site.build(site.recipe())
    shared.write_text(insert(shared, '\n#[unsafe(no_mangle)]\npub static SHARED_MARK: [u8; 8] = *b"replaced";\n'))
    os.utime(shared, (OLD, OLD))
    content = deepcopy(QEMU)
    content["kernel"]["svsm"] = {"features": "vtpm,enable-gdb"}
    site.build(site.recipe(content))
    kept = site.contents()["svsm"]
    for folder in (site.bin, site.target / "x86_64-unknown-linux-gnu", site.target / "x86_64-unknown-none"):
        shutil.rmtree(folder, ignore_errors=True)
    site.build(site.recipe(content))
    assert site.contents()["svsm"] == kept
