"""How the no-op grows: 10, 100 and 1,000 modules with 10,000 source files in all, beside ninja on the same graph.

    .venv/bin/python bench/scale.py [--runs 9] [--files 10000]

Prints a Markdown table: wall time (median) and peak memory of a run that has nothing to do. The tools are stand-ins, as a no-op runs none
of them; the graph, the records and the files are real. ninja comes from PyPI (`pip install ninja`) or from the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DODO = "from coconut_tasks.tasks.namespace import dodo\nglobals().update(dodo())\n"
CARGO = """#!{python}
import json, os, sys
if "-V" in sys.argv:
    sys.exit(print("cargo 1.0.0 (stand-in)"))
name = sys.argv[sys.argv.index("--package") + 1]
folder = os.path.join(os.getcwd(), "kernel" if name == "svsm" else os.path.join("mods", name))
out = os.path.join(os.getcwd(), "target", name)
os.makedirs(os.path.dirname(out), exist_ok=True)
with open(out, "w") as file:
    file.write({tool!r} if name in ("igvmbuilder", "igvmmeasure", "packit") else name)
os.chmod(out, 0o755)
print(json.dumps(dict(
    reason="compiler-artifact", package_id="path+file://" + folder + "#" + name + "@0.1.0", manifest_path=folder + "/Cargo.toml",
    target=dict(name=name, kind=["bin"]), profile=dict(test=False), filenames=[out], executable=out, fresh=False)))
"""
TOOL = """#!/bin/sh
case $1 in
pack) echo fs > "$5" ;;
--sort) printf IGVM > "$3" ;;
*) echo "Launch Digest: $(printf '%096d' 0)" ;;
esac
"""


def make_tree(folder: Path, modules: int, files: int) -> None:
    """A tree of the wanted size; the files are old, as in a checkout of yesterday."""
    tree, bin = folder / "tree", folder / "path"
    bin.mkdir(parents=True)
    for name, text in (
        ("cargo", CARGO.format(python=sys.executable, tool=TOOL)),
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
        "igvm": {"qemu": {"output": "q.igvm"}},
        "kernel": {"svsm": {}},
        "fs": {"modules": {name: {} for name in packages if name.startswith("m")}},
    }
    (folder / "r.json").write_text(json.dumps(recipe))
    # The same graph for ninja: a step for each module with all of its files, one for the image, one for the rest.
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


def timed(argv: list[str], folder: Path, env: dict[str, str]) -> tuple[float, float]:
    """Wall seconds and peak MiB of one run."""
    began = time.perf_counter()
    process = subprocess.Popen(argv, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{argv} ended with {process.returncode}")
    assert isinstance(usage, resource.struct_rusage)
    return seconds, usage.ru_maxrss / 1024


def main() -> None:
    """Print the table."""
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--runs", type=int, default=9)
    flags.add_argument("--files", type=int, default=10_000)
    given = flags.parse_args()
    ninja = shutil.which("ninja")
    if ninja is None:
        raise SystemExit("ninja is not installed: pip install ninja")
    print("| modules | files | no-op | µs a file | peak | ninja no-op | ninja peak | ratio, run by run |")
    print("|---|---|---|---|---|---|---|---|")
    for modules in (10, 100, 1000):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make_tree(folder, modules, given.files)
            env = {**os.environ, "PATH": f"{folder / 'path'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
            ours, theirs = [sys.executable, "-m", "doit", "RECIPE=r.json", "SVSM=tree"], [ninja]
            for argv in (ours, theirs, ours, theirs):  # build, and once more so that all stats are settled
                timed(argv, folder, env)
                time.sleep(0.1)
            pairs = [(timed(ours, folder, env), timed(theirs, folder, env)) for _ in range(given.runs)]
            (ours_s, ours_m), (ninja_s, ninja_m) = (
                (statistics.median(pair[side][0] for pair in pairs), max(pair[side][1] for pair in pairs))
                for side in (0, 1)
            )
            ratio = statistics.median(a[0] / b[0] for a, b in pairs)
            micro = ours_s / given.files * 1e6
            print(
                f"| {modules} | {given.files} | {ours_s:.3f} s | {micro:.0f} | {ours_m:.0f} MiB "
                f"| {ninja_s:.3f} s | {ninja_m:.0f} MiB | {ratio:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
