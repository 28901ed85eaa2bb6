"""How the no-op grows with modules and source files, compared with ninja on the same graph.

The tools are stand-ins, since a no-op runs none of them; the graph, the records and the files are real.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from contenders import ninja_program
from measure import DODO, DOIT, environment, ratio, timed

from coconut_tasks.igvm.launch import MeasureOptions
from coconut_tasks.igvm.measure import measure

CARGO = """#!{python}
import json, os, sys
if "-V" in sys.argv:
    sys.exit(print("cargo 1.0.0 (stand-in)"))
name = sys.argv[sys.argv.index("--package") + 1]
folder = os.path.join(os.getcwd(), "kernel" if name == "svsm" else os.path.join("mods", name))
deps = os.path.join(os.getcwd(), "target", "debug", "deps")
os.makedirs(deps, exist_ok=True)
made, out = os.path.join(deps, name + "-0123456789abcdef"), os.path.join(os.path.dirname(deps), name)
for path in (made, out):
    if os.path.exists(path):
        os.unlink(path)
with open(made, "w") as file:
    file.write({tool!r} if name in ("igvmbuilder", "igvmmeasure", "packit") else name)
os.chmod(made, 0o755)
os.link(made, out)
sources = [entry.path for entry in os.scandir(os.path.join(folder, "src"))]
with open(made + ".d", "w") as file:
    file.write(made + ": " + " ".join(sources) + chr(10))
print(json.dumps(dict(
    reason="compiler-artifact", package_id="path+file://" + folder + "#" + name + "@0.1.0", manifest_path=folder + "/Cargo.toml",
    target=dict(name=name, kind=["bin"]), profile=dict(test=False), filenames=[out], executable=out, fresh=False)))
"""
TOOL = """#!/bin/sh
case $1 in
pack) echo fs > "$5" ;;
--sort) cp {image} "$3" ;;
*) echo "Launch Digest: {digest}" ;;
esac
"""


IMAGE = Path(__file__).parent.parent / "tests" / "igvm" / "1-1706.igvm"
"""Any small IGVM file with a launch digest, since the measure step also computes it itself."""


def make_tree(folder: Path, modules: int, files: int) -> None:
    """Create a tree of the given size; the files are old, as in a checkout from yesterday."""
    tree, bin = folder / "tree", folder / "path"
    digest = measure(IMAGE.read_bytes(), MeasureOptions()).digest.hex()
    bin.mkdir(parents=True)
    for name, text in (
        ("cargo", CARGO.format(python=sys.executable, tool=TOOL.format(image=IMAGE, digest=digest))),
        ("objcopy", '#!/bin/sh\ncp "$4" "$5"\n'),
    ):
        (bin / name).write_text(text)
        (bin / name).chmod(0o755)
    packages = {f"m{number:04}": tree / "mods" / f"m{number:04}" for number in range(modules)}
    for name in ("igvmbuilder", "igvmmeasure", "packit"):
        packages[name] = tree / "mods" / name
    packages["svsm"] = tree / "kernel"
    for name, package in packages.items():
        (package / "src").mkdir(parents=True)
        (package / "Cargo.toml").write_text(f'[package]\nname = "{name}"\nversion = "0.1.0"\n')
        for number in range(max(1, files // modules) if name.startswith("m") else 1):
            (package / "src" / f"f{number}.rs").write_text(f"// {name} {number}\n")
    (tree / "Cargo.toml").write_text("[workspace]\n[workspace.metadata.coconut-tasks]\nsample = true\n")
    (folder / "dodo.py").write_text(DODO)
    recipe = {
        "igvm": {"qemu": {"output": "q.igvm", "platforms": ["snp"]}},
        "kernel": {"svsm": {}},
        "fs": {"modules": {name: {} for name in packages if name.startswith("m")}},
    }
    (folder / "r.json").write_text(json.dumps(recipe))
    # The same graph for ninja: a step for each module with all its files, one for the image, one for the rest.
    lines = ["rule touch", "  command = cat $in > $out"]
    for name, package in packages.items():
        sources = " ".join(str(path) for path in sorted(package.rglob("*")) if path.is_file())
        lines.append(f"build out/{name}: touch {sources}")
    lines.append("build out/fs: touch " + " ".join(f"out/{name}" for name in packages if name.startswith("m")))
    lines += [
        "build out/igvm: touch out/fs out/svsm out/igvmbuilder",
        "build out/digest: touch out/igvm out/igvmmeasure",
        "",
    ]
    (folder / "build.ninja").write_text("\n".join(lines))


def table(sizes: Sequence[int], files: int, runs: int) -> None:
    """Print the table."""
    print("| modules | files | no-op | µs a file | peak | ninja no-op | ninja peak | ratio, run by run |")
    print("|---|---|---|---|---|---|---|---|")
    for modules in sizes:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make_tree(folder, modules, files)
            env = environment(PATH=f"{folder / 'path'}:{os.environ['PATH']}")
            ours, theirs = [*DOIT, "RECIPE=r.json", "SVSM=tree"], [ninja_program()]
            for argv in (ours, theirs, ours, theirs):  # build, and once more so that all stats are settled
                timed(argv, folder, env)
                time.sleep(0.1)
            pairs = [(timed(ours, folder, env), timed(theirs, folder, env)) for _ in range(runs)]
            (ours_s, ours_m), (ninja_s, ninja_m) = (
                (statistics.median(pair[side][0] for pair in pairs), max(pair[side][1] for pair in pairs))
                for side in (0, 1)
            )
            times = [[pair[side][0] for pair in pairs] for side in (0, 1)]
            micro = ours_s / files * 1e6
            print(
                f"| {modules} | {files} | {ours_s:.3f} s | {micro:.0f} | {ours_m:.0f} MiB "
                f"| {ninja_s:.3f} s | {ninja_m:.0f} MiB | {ratio(*times):.1f} |",
                flush=True,
            )
