"""The copies of first builds with which most tests start (``conftest.Firsts``) are what a build would leave."""

from __future__ import annotations

import subprocess

import pytest
from conftest import QEMU, Site


@pytest.mark.parametrize(("build", "other_code"), [(1, False), (2, False), (3, True), (4, False)])
def test_a_copy_is_up_to_date_although_a_test_had_other_c_code(build: int, other_code: bool, site: Site) -> None:
    """What build scripts leave in the source stays there between tests, so that it is not compiled each time."""
    words = ("kernel:svsm", site.recipe(QEMU, "copied.json"))
    if other_code:
        code = site.tree / "libtpm" / "fnv" / "fnv.c"
        code.write_text(code.read_text() + "int more;\n")
    site.build(*words)
    subprocess.run(["make", "--question", "-C", site.tree / "libtpm" / "fnv"], check=True)
    assert "kernel:svsm" not in site.doit("plan", *words[1:]).out.partition("up to date")[0]
