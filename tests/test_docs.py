"""The pages: the site builds, the examples show real output, the CI files work.

A ```console block is run. Its lines that start with ``$`` are commands, run in order, in one folder per page; the lines after one are
its output. A line ``...`` stands for any number of lines, ``…`` for anything on its line. A block that cannot be run is
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
from markdown.extensions.toc import slugify  # type: ignore[import-untyped]

from coconut_tasks.commands import measure
from coconut_tasks.commands.build import xbuild
from coconut_tasks.commands.coconut import command_of
from coconut_tasks.tasks.help_text import UNTOLD
from coconut_tasks.tasks.table import COCONUT, GROUPS, MEASURE, PLUGINS, REFUSED
from coconut_tasks.variables import BY_NAME, TABLE

pytestmark = pytest.mark.long
ROOT = Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
GROUP_PAGES = {
    "build": "commands-build",
    "look at builds": "commands-look-at-builds",
    "look at images": "commands-images",
    "write recipes": "commands-recipes",
    "other": "commands-other",
}
"""The page of each group of commands."""
RUN_PAGES = (
    "README.md",
    *(
        f"docs/{name}.md"
        for name in ("first-steps", "editing", "failed-build", "verify-and-sign", "reproducible", "ci", "json")
    ),
    *(f"docs/{name}.md" for name in GROUP_PAGES.values()),
    *(f"docs/{name}.md" for name in ("measurement", "provenance")),
)
"""Pages that must have a runnable example."""
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
    """Line number of its opening fence, from 1."""
    language: str
    lines: list[str]
    before: str
    """The line before it that is not empty."""

    def examples(self) -> Iterator[tuple[int, str, list[str]]]:
        """Each command with its line number and expected output."""
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
    """The pattern for the whole output of an example."""
    parts = [
        r"(?:.*\n)*?" if line.strip() == "..." else ".*?".join(map(re.escape, line.split("…"))) + "\n" for line in shown
    ]
    return re.compile("".join(parts))


@dataclass
class Checkout:
    """A checkout of this project with a stand-in for ``.venv``, in which pages are tested."""

    folder: Path
    pristine: Path
    programs: Path
    target: Path

    def environment(self, **more: str) -> dict[str, str]:
        ours = environment(self.target)
        path = f"{self.programs}{os.pathsep}{ours['PATH']}"
        return {**ours, **GIT, "PATH": path, "NO_COLOR": "1", "TERM": "dumb", **more}

    def sh(self, command: str, cwd: Path, **more: str) -> tuple[int, str, Path]:
        """Run a shell line; returns its status, its output, and the working folder afterwards."""
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
    # Also uncommitted files.
    list_files = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(list_files, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "bench/")):
            (pristine / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, pristine / name)
    git = ["git", "-c", "init.defaultBranch=main"]
    for call in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "docs"]):
        subprocess.run([*git, *call], cwd=pristine, check=True, env={**os.environ, **GIT})
    # Tests write no bytecode, so each command of a page would compile everything.
    compile_all = ["-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "coconut_tasks"]
    subprocess.run([sys.executable, *compile_all], cwd=pristine, check=True)
    python = f'#!/bin/sh\nPYTHONPATH="{folder}" exec "{sys.executable}" '

    def program(name: str, module: str) -> tuple[Path, str]:
        """One of our programs; hints use the name by which it was called."""
        path = programs / name
        return path, f'-c "import sys; sys.argv[0] = \'{path}\'; from {module} import main; sys.exit(main())" "$@"'

    (pristine / ".venv" / "bin").mkdir(parents=True)
    programs.mkdir()
    for script, words in (
        (pristine / ".venv" / "bin" / "python", '"$@"'),
        (programs / "doit", f'"{folder}/.venv/bin/doit" "$@"'),
        program("coconut", "coconut_tasks.commands.coconut"),
        program("coconut-build", "coconut_tasks.commands.build"),
        program("coconut-measure", "coconut_tasks.commands.measure"),
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
    # Other output on standard error, for example mkdocs-material's advertising, is not a warning about a page.
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


def anchors(page: Path) -> set[str]:
    """The addresses of a page's headings, as mkdocs makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {slugify(re.sub(r"[`*]", "", heading), "-") for heading in headings}


def test_every_link_of_the_readme_and_of_contributing_leads_somewhere() -> None:
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)]+)", text) + re.findall(r"^\[[^\]]+\]: (\S+)", text, re.MULTILINE)
        for link in links:
            path, _, anchor = link.partition("#")
            if not link.startswith("http"):
                assert (ROOT / path).exists(), f"{name}: {link}"
                assert not anchor or anchor in anchors(ROOT / path), f"{name}: {link}"


def test_the_readme_stays_on_one_screen() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 80


def test_prose_keeps_to_140_characters() -> None:
    long = []
    # The reference's lines are the schema's descriptions.
    for page in (page for page in PAGES if page.stem != "recipe-reference"):
        fenced = {i for block in blocks(page) for i in range(block.line, block.line + len(block.lines) + 2)}
        for i, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
            if len(line) > 140 and i not in fenced and not line.startswith("|"):
                long.append(f"{page.name}:{i}")
    assert not long


def sentences(text: str) -> list[int]:
    """The words of each sentence of a page's prose; code counts as one word, and tables, headings and blocks of code do not count."""
    text = re.sub(r"(?ms)^\s*```.*?^\s*```\s*$|<!--.*?-->", "\n", text)
    found = []
    for part in re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", text):
        prose = re.sub(r"^\s*(?:[-*]|\d+\.) ", "", part.strip())
        if not prose.startswith(("|", "#", "![", "--8<--")):
            prose = re.sub(r"\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])?", r"\1", re.sub(r"`[^`]*`", "code", prose))
            ends = re.split(r"(?<=[.!?])[)*\"]*\s+(?=[^a-z])", prose)
            found += [count for sentence in ends if (count := len(re.findall(r"[\w'’/.-]*\w", sentence)))]
    return found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("One two. Three `four five` six.\n", [2, 3]),
        ("One two\nthree.\n\n| a | b |\n|---|---|\n| c | d |\n", [3]),
        ("# Heading\n\n- one two\n- three: four. Five\n", [2, 2, 1]),
        ("One, e.g. two.\n\n```sh\nthree\n```\n\n[Four five](six.md)!\n", [3, 2]),
    ],
)
def test_how_words_are_counted(text: str, words: list[int]) -> None:
    assert sentences(text) == words


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_sentences_have_fewer_than_20_words_on_average(page: Path) -> None:
    words = sentences(page.read_text(encoding="utf-8"))
    assert sum(words) < 20 * len(words), f"{page.name}: {sum(words) / len(words):.1f} words a sentence"


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


def read(name: str) -> str:
    return (ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8")


def test_each_command_has_one_section_on_the_page_of_its_group() -> None:
    overview = read("commands")
    programs = {"build": ["coconut-build"]}
    for group, names in GROUPS.items():
        page = read(GROUP_PAGES[group])
        # `run` is what doit calls `build`.
        wanted = [name for name in names if name != "run"] + programs.get(group, [])
        assert re.findall(r"^## (.+)$", page, re.MULTILINE) == wanted
        for name in wanted:
            assert section(page, name).strip()
            assert f"({GROUP_PAGES[group]}.md#{name})" in overview, f"docs/commands.md does not lead to {name}"
    named = {name for names in GROUPS.values() for name in names}
    assert named == {*COCONUT, *PLUGINS["COMMAND"]} - REFUSED.keys()
    assert all(f"| [`{name}`](" in overview for name in named)


@pytest.mark.parametrize("name", COCONUT)
def test_each_option_of_a_command_is_in_its_section(name: str) -> None:
    (page,) = (read(GROUP_PAGES[group]) for group, names in GROUPS.items() if name in names)
    text = section(page, name)
    if name == "verify":
        text += section(page, "build")  # which it takes the options of, as it says
    if name == MEASURE:
        flags = set(measure._parser("")._option_string_actions) - {"-h", "--help"}
    else:
        options = [one for one in command_of(name).cmdparser.options if one.name not in {*BY_NAME, *UNTOLD}]
        flags = {f"--{one.long}" if one.long else f"-{one.short}" for one in options if one.long or one.short}
    assert [flag for flag in flags if not re.search(rf"`(?:[^`]* )?{flag}[`= ]", text)] == []


def test_each_variable_has_one_row_with_its_flags() -> None:
    rows = re.findall(r"^\| `(\w+)(=1)?` \| (.*?) \| ", section(read("options"), "Variables and flags"), re.MULTILINE)
    assert {name for name, _, _ in rows} == BY_NAME.keys() and len(rows) == len(TABLE)
    for name, switch, flags in rows:
        assert bool(switch) is BY_NAME[name].is_switch, name
        assert set(re.findall(r"--?[\w-]+", flags)) == set(BY_NAME[name].flags), name


def test_the_flags_of_coconut_build_are_in_its_table() -> None:
    options = [option for option in xbuild().cmdparser.options if option.short or option.long]
    flags = {f"-{one.short}" for one in options if one.short} | {f"--{one.long}" for one in options}
    first_cells = re.findall(r"^\|([^|]*)\|", section(read("commands-build"), "coconut-build"), re.MULTILINE)
    assert set(re.findall(r"`(--?[\w-]+)`", " ".join(first_cells))) == flags


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
"""Lines of the CI files for another machine: they install things, or fetch what the sample does not need."""


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
    """A clean clone of an SVSM tree, as in a CI job: the sample with a recipe in the place of the real tree's."""
    tree = checkout.folder / "tree"
    shutil.copytree(checkout.pristine / "sample", tree)
    (tree / "configs").mkdir()
    shutil.copy(checkout.pristine / "config" / "qemu.json", tree / "configs" / "qemu-target.json")
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "tree"]):
        subprocess.run(["git", *words], cwd=tree, check=True, env={**os.environ, **GIT})
    return tree


PUBLISHED = {
    "igvm",
    *(f"igvm.{end}" for end in ("launch-digest.hex", "mrtd.hex", "launch-digest.json", "provenance.json")),
    *(f"igvm.{end}" for end in ("reference-values.json", "corim")),
}
HAS_SSH_KEYGEN = shutil.which("ssh-keygen") is not None
SIGNATURES = {
    f"{name}.sig" for name in PUBLISHED - {"igvm", "igvm.launch-digest.hex", "igvm.mrtd.hex"} if HAS_SSH_KEYGEN
}
"""Without ssh-keygen, the job without a key is tested."""


def digests_of(tree: Path) -> list[tuple[str, str]]:
    """The launch measurements of the only image, by the names of their files."""
    return [
        (f"coconut-qemu.igvm.{end}", (tree / "bin" / f"coconut-qemu.igvm.{end}.hex").read_text().strip())
        for end in ("launch-digest", "mrtd")
    ]


def published(tree: Path, patterns: list[str]) -> set[str]:
    """The suffixes of the files that a job keeps."""
    return {path.name.partition(".")[2] for pattern in patterns for path in tree.glob(pattern)}


def signing_key(checkout: Checkout) -> Path:
    """An OpenSSH key."""
    path = checkout.folder / "signing-key"
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)]
    subprocess.run(make, check=True, env=checkout.environment())
    return path


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
    key = signing_key(checkout).read_text() if HAS_SSH_KEYGEN else ""
    given = {"RECIPE": ci_file("github.yml")["env"]["RECIPE"], "GITHUB_STEP_SUMMARY": str(summary), "SIGNING_KEY": key}
    ran = []
    for step in github_steps():
        if "run" in step and not all(ELSEWHERE.search(line) for line in step["run"].splitlines()):
            assert not ELSEWHERE.search(step["run"])
            status, printed, _ = checkout.sh(step["run"], svsm, **given)
            assert status == 0, printed
            ran.append(step["name"])
    assert ran == ["Recipes", "Recipes for code scanning", "Build", "Sign", "Summary"]
    (uploaded,) = (
        step["with"]["path"].split()
        for step in github_steps()
        if "upload-artifact" in step.get("uses", "") and "if" not in step
    )
    assert published(svsm, uploaded) == PUBLISHED | SIGNATURES
    assert json.loads((svsm / "recipes.sarif").read_text())["runs"][0]["results"] == []
    assert summary.read_text().splitlines()[2:] == [f"| {name} | `{digest}` |" for name, digest in digests_of(svsm)]
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
    listed = (svsm / "launch-digests.txt").read_text().splitlines()
    assert listed == [f"{name} {digest}" for name, digest in digests_of(svsm)]
    assert published(svsm, job["artifacts"]["paths"]) == PUBLISHED | {"sarif", "txt"}
    (sign,) = (line for line in job["script"] if "coconut sign" in line)
    status, printed, _ = checkout.sh(
        sign, svsm, SIGNING_KEY=str(signing_key(checkout)) if HAS_SSH_KEYGEN else "", **given
    )
    assert status == 0, printed
    assert published(svsm, job["artifacts"]["paths"]) == PUBLISHED | SIGNATURES | {"sarif", "txt"}
