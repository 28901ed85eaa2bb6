"""Where things are: the source tree, the output folder, the recipes."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from coconut_tasks import __version__
from coconut_tasks.called import called
from coconut_tasks.dataclass import dataclass
from coconut_tasks.errors import UsageError, did_you_mean
from coconut_tasks.layout import STATE_FOLDER, VERSION_FILE, Layout
from coconut_tasks.options import Options
from coconut_tasks.package import data_path, is_of_a_checkout

_RECIPE_FOLDERS = ("config", "configs")
_DEFAULT_RECIPES = ("config/qemu.json", "configs/qemu-target.json", "config/qemu-target.json")


@dataclass(frozen=True, slots=True)
class Source:
    """The tree that is built, and where its outputs go."""

    tree: str
    """Absolute, without symbolic links."""
    bin: str
    """Absolute, without symbolic links."""
    why: str
    """How the tree was chosen, for the one line that says so; empty for the checkout that one stands in."""
    is_sample: bool
    copy_to: str = ""
    """Where the tree is copied before it is built, if it cannot be built where it is; else empty."""

    @property
    def layout(self) -> Layout:
        """The output paths as the commands see them.

        Relative if the tree and the output folder belong together, so that a clone elsewhere gets the same commands.
        """
        parent = os.path.dirname(self.bin)
        together = _is_below(self.bin, self.tree) or _is_below(self.tree, parent)
        return Layout(os.path.relpath(self.bin, self.tree) if together else self.bin)

    def spelt(self, path: str) -> str:
        """An absolute path as the commands spell it: relative to the tree if it is in the tree or beside the output folder."""
        near = (self.tree, os.path.dirname(self.bin)) if not os.path.isabs(self.layout.bin) else (self.tree,)
        return os.path.relpath(path, self.tree) if any(_is_below(path, folder) for folder in near) else path

    @property
    def tree_name(self) -> str:
        """The tree relative to the output folder's parent, if the two belong together; else its absolute path."""
        return self.tree if os.path.isabs(self.layout.bin) else os.path.relpath(self.tree, os.path.dirname(self.bin))

    @property
    def has_version_file(self) -> bool:
        """Whether the tree has the crate that holds the version file."""
        return os.path.isdir(os.path.join(self.tree, os.path.dirname(VERSION_FILE)))


def is_svsm_tree(folder: Path) -> bool:
    """An SVSM checkout is a cargo workspace whose ``kernel`` package is named svsm."""
    try:
        root, kernel = (folder / "Cargo.toml").read_text(), (folder / "kernel" / "Cargo.toml").read_text()
    except (OSError, ValueError):
        return False
    return "[workspace]" in root and re.search(r'^name\s*=\s*"svsm"', kernel, re.MULTILINE) is not None


def is_sample(folder: Path) -> bool:
    """Whether it is the sample or a copy: only these may be built for the host if the bare-metal target is missing."""
    mark = r"^\[workspace\.metadata\.coconut-tasks\]\s*^sample = true$"
    return re.search(mark, (folder / "Cargo.toml").read_text(), re.MULTILINE) is not None


def find_source(options: Options) -> Source:
    """The tree from ``SVSM``, else the checkout around the working folder, else the sample; the output folder from ``BIN``, else ``bin/``
    in that checkout (for the sample, in the clone that contains it).

    Raises:
        UsageError: ``SVSM`` is not an SVSM tree, or the output folder would contain the tree or has files of another program.
    """
    sample = data_path("sample")
    tree, why = _tree(options, sample)
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8" and not str(tree).isascii():
        # cargo's messages name files in UTF-8.
        raise UsageError(
            "wrong-locale",
            f"{tree}: Python decodes file names as {encoding} here, which cannot represent the source tree's path: "
            "set LC_ALL=C.UTF-8, and unset PYTHONUTF8 and PYTHONCOERCECLOCALE if they are 0",
        )
    copied = tree == _sample_copy(options)
    copy_to = str(tree) if copied and not tree.exists() else ""
    root = os.path.realpath(sample if copy_to else tree)
    # The sample is part of its clone; a copy of the sample is in a folder with the same layout.
    home = root
    if copied or root == os.path.realpath(sample):
        home = os.path.dirname(os.path.realpath(tree))
    bin = os.path.realpath(options.absolute(options.bin) if options.bin is not None else os.path.join(home, "bin"))
    if _is_below(root, bin):
        raise UsageError(
            "bin-holds-the-tree", f"BIN: '{bin}' is or contains the source tree {root}: choose another folder"
        )
    for folder in (bin, os.path.join(bin, STATE_FOLDER)):
        if os.path.lexists(folder) and not os.path.isdir(folder):
            raise UsageError("bin-is-no-folder", f"BIN: '{folder}' is not a folder")
    if options.bin is None and (others := _others_files(bin)):
        raise UsageError(
            "foreign-folder",
            f"the output folder '{bin}' contains files that this program did not make ({others}): "
            f"remove it if it holds only build outputs, or set the output folder with {called().setting('BIN', 'PATH')}",
        )
    return Source(root, bin, why, is_sample(Path(root)), copy_to)


def _others_files(bin: str) -> str:
    """Names of some files in a folder where this program never built; empty if the folder is missing or empty."""
    names = sorted(os.listdir(bin)) if os.path.isdir(bin) else []
    if STATE_FOLDER in names:
        return ""
    names = [name for name in names if not name.startswith(".")]  # for example .gitignore
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _tree(options: Options, sample: Path) -> tuple[Path, str]:
    """The tree's folder, and how it was chosen. The copy of an installed sample may not exist yet."""
    if options.svsm is not None:
        tree = Path(options.absolute(options.svsm))
        if not is_svsm_tree(tree):
            no_tree = "it is not a cargo workspace with a kernel package named svsm"
            what = no_tree if tree.is_dir() else "no such folder"
            raise UsageError("no-svsm-tree", f"SVSM: '{options.svsm}' is not an SVSM tree: {what}: {tree}")
        return tree, " (SVSM)"
    standing = Path(options.workdir)
    around = next((folder for folder in (standing, *standing.parents) if is_svsm_tree(folder)), None)
    if around is not None:
        return around, ""
    if not is_svsm_tree(sample):
        raise UsageError(
            "no-source-tree", f"no source tree: use {called().setting('SVSM', 'PATH')}, or run this in an SVSM checkout"
        )
    if is_of_a_checkout(sample):
        return sample, " (the embedded sample)"
    if options.sample:
        # An installed package cannot be built in place.
        return _sample_copy(options), " (a copy of the sample)"
    raise UsageError(
        "no-source-tree",
        f"no source tree: run this in an SVSM checkout, or use {called().setting('SVSM', 'PATH')}; "
        f"{called().setting('SAMPLE', '1')} builds the toy kernel that comes with coconut-tasks",
    )


def copy_tree(source: Source) -> None:
    """Copy the tree to where it is built; later runs use the copy."""
    if not os.path.exists(source.copy_to):
        temporary = f"{source.copy_to}.{os.getpid()}"
        shutil.copytree(source.tree, temporary)
        os.rename(temporary, source.copy_to)


def _sample_copy(options: Options) -> Path:
    return _cache(options) / f"sample-{__version__}" / "sample"


def _cache(options: Options) -> Path:
    """The cache folder (XDG Base Directory Specification)."""
    named = options.environment.get("XDG_CACHE_HOME", "")
    return Path(named if os.path.isabs(named) else options.absolute("~/.cache"), "coconut-tasks")


def find_recipe(name: str, options: Options, tree: str) -> Path:
    """A recipe's file: relative to the user's working folder, else to the tree.

    Raises:
        UsageError: there is no such file; the message suggests the nearest name.
    """
    places = list(
        dict.fromkeys(
            (Path(options.absolute(name)), Path(tree, name), *([data_path(name)] if name.startswith("config/") else []))
        )
    )
    for place in places:
        if place.is_file():
            return place
    tried = ", ".join(map(str, places[:2]))
    what = "is a folder, not a recipe" if any(place.is_dir() for place in places) else "no such recipe"
    raise UsageError("no-such-recipe", f"RECIPE: '{name}': {what}{_recipes_near(name, places)}: looked for {tried}")


def recipe_meant(name: str, options: Options, tree: str) -> str:
    """The recipe whose name without its folder begins with ``name``; an empty string if there is none."""
    places = (Path(options.absolute(name)), Path(tree, name))
    return _alike(name, _recipes_in(name, places))


def _recipes_near(name: str, places: Sequence[Path]) -> str:
    """A hint for a name that is not a recipe."""
    if re.search(r"[*?[]", name):
        bases = {place.as_posix().removesuffix(name) for place in places if place.as_posix().endswith(name)}
        found = sorted({path.relative_to(base).as_posix() for base in bases for path in Path(base).glob(name)})
        return f" (did you mean {called().setting('RECIPE', ','.join(found))}?)" if found else ""
    near = _recipes_in(name, places)
    if meant := did_you_mean(name, near):
        return meant
    if alike := _alike(name, near):
        return f" (did you mean '{alike}'?)"
    return f" (found: {', '.join(near)})" if near else ""


def _recipes_in(name: str, places: Sequence[Path]) -> list[str]:
    """The recipes in the folder that is meant; for a bare name also in the folders where trees have them."""
    folders = {place: name for place in places if place.is_dir()} or {
        place.parent: os.path.dirname(name) for place in places
    }
    if not os.path.dirname(name):
        folders |= {place.parent / folder: folder for place in places for folder in _RECIPE_FOLDERS}
    found = {os.path.join(spelt, path.name) for folder, spelt in folders.items() for path in _json_files(folder)}
    return sorted(found)


def _alike(name: str, recipes: Sequence[str]) -> str:
    """The shortest of them whose name without its folder begins with ``name``, else of this project's own."""
    for known in (recipes, [f"config/{path.name}" for path in _json_files(data_path("config"))]):
        if found := [path for path in known if name and os.path.basename(path).startswith(name)]:
            return min(found, key=len)
    return ""


def default_recipe(options: Options, tree: str) -> str:
    """The recipe of a run that names none: the first of a short list that exists."""
    for name in _DEFAULT_RECIPES:
        if any(Path(folder, name).is_file() for folder in (options.workdir, tree)):
            return name
    return _DEFAULT_RECIPES[0]


def _json_files(folder: Path) -> Iterator[Path]:
    return folder.glob("*.json") if folder.is_dir() else iter(())


def _is_below(path: str, folder: str) -> bool:
    return os.path.commonpath((path, folder)) == folder
