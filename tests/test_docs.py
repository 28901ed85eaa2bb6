"""The pages: the site builds, the examples say what really happens, the CI files do what they promise.

A ```console block is run. Its lines that begin with ``$`` are commands, in one folder a page, one after the other; what follows is
what they print. A line of ``...`` stands for any number of lines, ``…`` for anything on its line. A block that cannot be run is
```sh or ```text, with the reason in a comment before it: ``<!-- not run: … -->``.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from conftest import bring_back, environment

from coconut_tasks.commands.build import xbuild
from coconut_tasks.tasks.table import PLUGINS, REFUSED
from coconut_tasks.variables import VARIABLES

pytestmark = pytest.mark.long
ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
RUN_PAGES = ("README.md", "docs/first-steps.md", "docs/commands.md", "docs/json.md", "docs/ci.md")
"""Pages that must have an example that is run."""
NOT_RUN = re.compile(r"<!-- not run: \S.* -->")
GIT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
    **{f"GIT_{who}_{what}": "docs" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    **{f"GIT_{who}_DATE": "2026-01-01T00:00:00Z" for who in ("AUTHOR", "COMMITTER")},
}


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    """Of its opening fence, from 1."""
    language: str
    lines: list[str]
    before: str
    """The line before it that is not empty."""

    def examples(self) -> Iterator[tuple[int, str, list[str]]]:
        """Each command with its line number and what it is said to print."""
        number, command, shown = 0, "", list[str]()
        for i, line in enumerate(self.lines, self.line + 1):
            if line.startswith("$ "):
                if command:
                    yield number, command, shown
                number, command, shown = i, line[2:], []
            else:
                assert command, f"{self.page}:{i}: a console block begins with a command"
                shown.append(line)
        if command:
            yield number, command, shown


def blocks(page: Path) -> list[Block]:
    """All fenced blocks of a page."""
    found: list[Block] = []
    name = str(page.relative_to(ROOT))
    inside: list[str] | None = None
    before = ""
    for i, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        fence = re.match(r"\s*```(.*)$", line)
        if fence and inside is None:
            inside = []
            found.append(Block(name, i, fence.group(1).strip(), inside, before))
        elif fence:
            inside = None
        elif inside is not None:
            inside.append(line)
        elif line.strip():
            before = line.strip()
    assert inside is None, f"{name}: a block without an end"
    return found


def pattern(shown: list[str]) -> re.Pattern[str]:
    """What an example's output must match as a whole."""
    parts = [
        r"(?:.*\n)*?" if line.strip() == "..." else ".*?".join(map(re.escape, line.split("…"))) + "\n" for line in shown
    ]
    return re.compile("".join(parts))


@dataclass
class Checkout:
    """A checkout of this project with a stand-in for ``.venv``, in which pages are tried out."""

    folder: Path
    pristine: Path
    programs: Path
    target: Path

    def environment(self, **more: str) -> dict[str, str]:
        ours = environment(self.target)
        path = f"{self.programs}{os.pathsep}{ours['PATH']}"
        return {**ours, **GIT, "PATH": path, "NO_COLOR": "1", "TERM": "dumb", **more}

    def sh(self, command: str, cwd: Path, **more: str) -> tuple[int, str, Path]:
        """A line of shell: its status, all that it printed, and where one stands afterwards."""
        note = self.programs / "pwd"
        text = f'{command}\nstatus=$?\npwd > "{note}"\nexit $status'
        done = subprocess.run(
            ["sh", "-c", text],
            cwd=cwd,
            env=self.environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
        )
        return done.returncode, done.stdout, Path(note.read_text().strip()) if note.exists() else cwd


@pytest.fixture(scope="module")
def _checkout(tmp_path_factory: pytest.TempPathFactory, cargo_target: Path) -> Checkout:
    base = tmp_path_factory.mktemp("docs")
    pristine, folder, programs = base / "pristine", base / "coconut-tasks", base / "programs"
    # Also what is to be committed yet.
    list_files = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(list_files, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "bench/")):
            (pristine / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, pristine / name)
    git = ["git", "-c", "init.defaultBranch=main"]
    for call in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "docs"]):
        subprocess.run([*git, *call], cwd=pristine, check=True, env={**os.environ, **GIT})
    # Tests write no bytecode, so each command of a page would compile all of it.
    compile_all = ["-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "coconut_tasks"]
    subprocess.run([sys.executable, *compile_all], cwd=pristine, check=True)
    python = f'#!/bin/sh\nPYTHONPATH="{folder}" exec "{sys.executable}" '
    (pristine / ".venv" / "bin").mkdir(parents=True)
    programs.mkdir()
    for script, words in (
        (pristine / ".venv" / "bin" / "python", '"$@"'),
        (programs / "doit", f'"{folder}/.venv/bin/doit" "$@"'),
        (
            programs / "coconut-build",
            '-c "import sys; from coconut_tasks.commands.build import main; sys.exit(main())" "$@"',
        ),
        (
            programs / "coconut-measure",
            '-c "import sys; from coconut_tasks.commands.measure import main; sys.exit(main())" "$@"',
        ),
    ):
        script.write_text(f"{python}{words}\n")
        script.chmod(0o755)
    (pristine / ".venv" / "bin" / "doit").write_text("import sys\nfrom doit.__main__ import main\nsys.exit(main())\n")
    for name in ("requirements.txt", "pyproject.toml", "coconut_tasks/tasks/table.py"):
        shutil.copy(ROOT / name, pristine / ".venv")
    (pristine / ".venv" / "made-in").write_text(f"{folder}\n")
    return Checkout(folder, pristine, programs, cargo_target)


@pytest.fixture
def checkout(_checkout: Checkout) -> Checkout:
    """As after a fresh clone and the first call of ./doitw."""
    _checkout.folder.mkdir(exist_ok=True)
    bring_back(_checkout.pristine, _checkout.folder)
    return _checkout


def test_the_site_builds_in_strict_mode(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    # What else is on standard error, as mkdocs-material's advertising, is no warning of a page.
    assert done.returncode == 0, done.stderr
    site = {path: path.read_text(encoding="utf-8") for path in (tmp_path / "site").rglob("*.html")}
    assert {path.relative_to(tmp_path / "site").parts[0] for path in site} >= {"index.html", "first-steps", "ci"}
    fetched = re.compile(
        r"""(?:<script[^>]*\ssrc|<link[^>]*rel="stylesheet"[^>]*\shref|<img[^>]*\ssrc)=["']?(https?:|//)"""
    )
    for path, text in site.items():
        assert not fetched.search(text), f"{path.name} fetches something from elsewhere"


def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    for name in ("mkdocs.yml", "CONTRIBUTING.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    index = tmp_path / "docs" / "index.md"
    index.write_text(index.read_text() + "\n[nowhere](no-such-page.md)\n")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode != 0
    assert "no-such-page.md" in done.stderr


def test_every_link_of_the_readme_and_of_contributing_leads_somewhere() -> None:
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)#]+)", text) + re.findall(r"^\[[^\]]+\]: (\S+)", text, re.MULTILINE)
        missing = [link for link in links if not link.startswith("http") and not (ROOT / link).exists()]
        assert not missing, f"{name}: {missing}"


def test_the_readme_stays_on_one_screen() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 80


def test_prose_keeps_to_140_characters() -> None:
    long = []
    # The reference's lines are the schema's descriptions; the two others are older than this rule, and nearly keep to it.
    for page in (page for page in PAGES if page.stem not in ("recipe-reference", "design", "performance")):
        fenced = {i for block in blocks(page) for i in range(block.line, block.line + len(block.lines) + 2)}
        for i, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
            if len(line) > 140 and i not in fenced and not line.startswith("|"):
                long.append(f"{page.name}:{i}")
    assert not long


def test_a_block_is_run_or_says_why_not() -> None:
    known = {"console", "sh", "text", "json", "yaml", "python", "make", "toml"}
    for page in PAGES:
        for block in blocks(page):
            place = f"{block.page}:{block.line}"
            assert block.language in known, f"{place}: ```{block.language}: one of {', '.join(sorted(known))}"
            if block.language in ("sh", "text"):
                hint = "make it ```console, or put <!-- not run: why --> before it"
                assert NOT_RUN.fullmatch(block.before), f"{place}: {hint}"


@pytest.mark.parametrize("name", RUN_PAGES)
def test_a_page_has_an_example_that_is_run(name: str) -> None:
    assert any(block.language == "console" for block in blocks(ROOT / name))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_examples_print_what_the_page_shows(page: Path, request: pytest.FixtureRequest) -> None:
    examples = [example for block in blocks(page) if block.language == "console" for example in block.examples()]
    if not examples:
        return
    checkout: Checkout = request.getfixturevalue("checkout")
    here = checkout.folder
    for line, command, shown in examples:
        status, printed, here = checkout.sh(command, here)
        place = f"{page.relative_to(ROOT)}:{line}: $ {command}"
        assert "Traceback" not in printed, f"{place}\n{printed}"
        assert status == 0, f"{place}\nended with {status}:\n{printed}"
        if printed and not printed.endswith("\n"):
            printed += "\n"
        while shown and not shown[-1].strip():
            shown.pop()
        if not pattern(shown).fullmatch(printed):
            pytest.fail(f"{place}\nthe page shows:\n" + "\n".join(shown) + f"\n\nand it printed:\n{printed}")


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        (["a", "..."], "a\nb\nc\n", True),
        (["a", "...", "c"], "a\nc\n", True),
        (["a", "...", "c"], "a\nb\n", False),
        (["x … y"], "x 1.2 s y\n", True),
        (["x … y"], "x\ny\n", False),
        (["a"], "a\nb\n", False),
        (["a.b"], "axb\n", False),
        ([], "a\n", False),
        (["...", "up to date: all 11 steps…"], "source: x\nup to date: all 11 steps\n", True),
        (["...", "up to date: all 11 steps…"], "up to date: all 11 steps; source: x\n", True),
        (["x.igvm: …launch digest …"], "x.igvm: 1.2 MiB, launch digest ab\n", True),
    ],
)
def test_how_output_is_compared(shown: list[str], printed: str, same: bool) -> None:
    assert bool(pattern(shown).fullmatch(printed)) is same


def section(page: str, title: str) -> str:
    """A section's text, up to the next one of its level."""
    return f"{page}\n## ".partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_page_of_commands_has_each_command_variable_and_flag() -> None:
    page = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    for command in (*(PLUGINS["COMMAND"].keys() - REFUSED.keys()), "coconut-build"):
        assert section(page, command).strip(), f"docs/commands.md: a section '## {command}' is missing"
        assert f"(#{command})" in page, f"docs/commands.md: the first table does not lead to {command}"
    for variable in VARIABLES:
        assert re.search(rf"^\| `{variable}(=1)?` \|", section(page, "Variables"), re.MULTILINE), variable
    options = [option for option in xbuild().cmdparser.options if option.short or option.long]
    flags = {f"-{one.short}" for one in options if one.short} | {f"--{one.long}" for one in options}
    shown = set(re.findall(r"`(--?[\w-]+)`", section(page, "coconut-build")))
    assert flags == shown


def test_contributing_names_files_that_are_there_and_every_test() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:coconut_tasks|tests|schema|docs)/[\w/.*-]*)`", page)
    assert len(paths) > 20
    assert not [path for path in paths if "NAME" not in path and not list(ROOT.glob(path))]
    named, there = set(re.findall(r"`(test_\w+)`", page)), {path.stem for path in (ROOT / "tests").glob("test_*.py")}
    assert named == there, (
        f"CONTRIBUTING.md, How the tests are organised: not the same: {', '.join(sorted(named ^ there))}"
    )


ELSEWHERE = re.compile(r"rustup |pip install|/pip install|apt-get |cp /path/to/|python3 -m venv /opt/|export PATH=")
"""Lines of the CI files that are about another machine: they install things, or fetch what the sample does not need."""


def ci_file(name: str) -> dict[Any, Any]:
    found = yaml.safe_load((ROOT / "docs" / "ci" / name).read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def github_steps() -> list[dict[str, Any]]:
    (job,) = ci_file("github.yml")["jobs"].values()
    steps: list[dict[str, Any]] = job["steps"]
    return steps


@pytest.fixture
def svsm(checkout: Checkout) -> Path:
    """A clean clone of an SVSM tree, as a CI job finds it: the sample with a recipe where the real tree has it."""
    tree = checkout.folder / "tree"
    shutil.copytree(checkout.pristine / "sample", tree)
    (tree / "configs").mkdir()
    shutil.copy(checkout.pristine / "config" / "qemu.json", tree / "configs" / "qemu-target.json")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "tree"]):
        subprocess.run(["git", *words], cwd=tree, check=True, env={**os.environ, **GIT})
    return tree


def test_actions_are_pinned_by_commit_and_say_their_version() -> None:
    text = (ROOT / "docs" / "ci" / "github.yml").read_text(encoding="utf-8")
    used = re.findall(r"uses: (.*)", text)
    assert len(used) == 6
    assert all(re.fullmatch(r"[\w-]+/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action) for action in used)


def test_both_files_cache_and_keep_the_same() -> None:
    github, gitlab = github_steps(), ci_file("gitlab.yml")["igvm"]
    uses = {step.get("uses", "").split("@")[0].removeprefix("actions/"): step.get("with", {}) for step in github[:-1]}
    cached = {path.replace("~/.cargo", ".cargo-home") for path in uses["cache"]["path"].split()}
    assert cached == set(gitlab["cache"]["paths"]) >= {"target", "bin/.coconut"}
    assert set(uses["upload-artifact"]["path"].split()) == set(gitlab["artifacts"]["paths"]) - {
        "launch-digests.txt",
        "recipes.sarif",
    }
    page = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
    assert all(f'--8<-- "docs/ci/{name}.yml"' in page for name in ("github", "gitlab"))
    assert uses["checkout"]["fetch-depth"] == 0 and ci_file("gitlab.yml")["variables"]["GIT_DEPTH"] == "0"


@pytest.mark.usefixtures("release_crates")
def test_the_github_file_builds_the_sample(checkout: Checkout, svsm: Path) -> None:
    summary = checkout.folder / "summary.md"
    given = {"RECIPE": ci_file("github.yml")["env"]["RECIPE"], "GITHUB_STEP_SUMMARY": str(summary)}
    ran = []
    for step in github_steps():
        if "run" in step and not all(ELSEWHERE.search(line) for line in step["run"].splitlines()):
            assert not ELSEWHERE.search(step["run"])
            status, printed, _ = checkout.sh(step["run"], svsm, **given)
            assert status == 0, printed
            ran.append(step["name"])
    assert ran == ["Recipes", "Recipes for code scanning", "Build", "Summary"]
    assert json.loads((svsm / "recipes.sarif").read_text())["runs"][0]["results"] == []
    (digest,) = svsm.glob("bin/*.launch-digest.hex")
    assert summary.read_text().splitlines()[2:] == [f"| coconut-qemu.igvm | `{digest.read_text().strip()}` |"]
    git = ["git", "describe", "--always", "--dirty=+"]
    assert not subprocess.run(git, cwd=svsm, capture_output=True, text=True).stdout.strip().endswith("+")


def test_a_wrong_recipe_fails_the_job_and_is_in_the_file_for_code_scanning(checkout: Checkout, svsm: Path) -> None:
    recipe = svsm / "configs" / "qemu-target.json"
    recipe.write_text(recipe.read_text().replace('"policy"', '"polcy"'))
    github = {step["name"]: step for step in github_steps() if "name" in step}
    status, printed, _ = checkout.sh(github["Recipes"]["run"], svsm)
    assert status == 2
    assert printed.startswith("::error file=configs/qemu-target.json,line=")
    scanning = github["Recipes for code scanning"]
    script: list[str] = ci_file("gitlab.yml")["igvm"]["script"]
    for line, expected in ((scanning["run"], 0), (script[0], 0), (script[1], 2)):
        if "sarif" in line:
            (svsm / "recipes.sarif").unlink(missing_ok=True)
        assert checkout.sh(line, svsm)[0] == expected
    assert len(json.loads((svsm / "recipes.sarif").read_text())["runs"][0]["results"]) == 1
    assert scanning["if"] == "${{ !cancelled() }}"


@pytest.mark.usefixtures("release_crates")
def test_the_gitlab_file_builds_the_sample(checkout: Checkout, svsm: Path) -> None:
    job = ci_file("gitlab.yml")["igvm"]
    given = {"RECIPE": ci_file("gitlab.yml")["variables"]["RECIPE"]}
    assert all(ELSEWHERE.search(line) or line == "apt-get update" for line in job["before_script"])
    for line in job["script"]:
        status, printed, _ = checkout.sh(line, svsm, **given)
        assert status == 0, printed
    (digest,) = svsm.glob("bin/*.launch-digest.hex")
    assert (svsm / "launch-digests.txt").read_text() == f"coconut-qemu.igvm {digest.read_text()}"
    kept = [path for pattern in job["artifacts"]["paths"] for path in svsm.glob(pattern)]
    assert {path.name.partition(".")[2] for path in kept} == {
        "sarif",
        "txt",
        "igvm",
        "igvm.launch-digest.hex",
        "igvm.launch-digest.json",
        "igvm.reference-values.json",
        "igvm.corim",
    }
