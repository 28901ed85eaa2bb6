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
    """Where the tree is copied before something is built in it, since where it is is no place for that; empty for any other."""

    @property
    def layout(self) -> Layout:
        """The output paths as the commands see them.

        Relative where the tree and the output folder belong together, so that a clone in another place gets the same commands.
        """
        parent = os.path.dirname(self.bin)
        together = _is_below(self.bin, self.tree) or _is_below(self.tree, parent)
        return Layout(os.path.relpath(self.bin, self.tree) if together else self.bin)

    def spelt(self, path: str) -> str:
        """An absolute path as the commands would spell it: relative to the tree if it is in there, or beside the output folder."""
        near = (self.tree, os.path.dirname(self.bin)) if not os.path.isabs(self.layout.bin) else (self.tree,)
        return os.path.relpath(path, self.tree) if any(_is_below(path, folder) for folder in near) else path

    @property
    def tree_name(self) -> str:
        """The tree as seen from the output folder's parent, where the two belong together; else its absolute path."""
        return self.tree if os.path.isabs(self.layout.bin) else os.path.relpath(self.tree, os.path.dirname(self.bin))

    @property
    def has_version_file(self) -> bool:
        """Whether the tree has the crate that holds the version file."""
        return os.path.isdir(os.path.join(self.tree, os.path.dirname(VERSION_FILE)))


def is_svsm_tree(folder: Path) -> bool:
    """An SVSM checkout is a cargo workspace whose ``kernel`` package is called svsm."""
    try:
        root, kernel = (folder / "Cargo.toml").read_text(), (folder / "kernel" / "Cargo.toml").read_text()
    except (OSError, ValueError):
        return False
    return "[workspace]" in root and re.search(r'^name\s*=\s*"svsm"', kernel, re.MULTILINE) is not None


def is_sample(folder: Path) -> bool:
    """The sample, or a copy of it, says so in its manifest: only there may the host stand in for a missing bare-metal target."""
    mark = r"^\[workspace\.metadata\.coconut-tasks\]\s*^sample = true$"
    return re.search(mark, (folder / "Cargo.toml").read_text(), re.MULTILINE) is not None


def find_source(options: Options) -> Source:
    """The tree by ``SVSM``, else the checkout that one stands in, else the sample; the output folder by ``BIN``, else ``bin/`` of that
    checkout (the sample's is the clone that it is in), wherever one stands.

    Raises:
        UsageError: what was named is no SVSM tree, or the output folder would hold the tree, or has somebody else's files.
    """
    sample = data_path("sample")
    tree, why = _tree(options, sample)
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8" and not str(tree).isascii():
        # cargo's messages name files in UTF-8.
        raise UsageError(
            "wrong-locale",
            f"{tree}: Python reads file names as {encoding} here, and the tree's has other letters: "
            "LC_ALL=C.UTF-8, and neither PYTHONUTF8=0 nor PYTHONCOERCECLOCALE=0",
        )
    copied = tree == _sample_copy(options)
    copy_to = str(tree) if copied and not tree.exists() else ""
    root = os.path.realpath(sample if copy_to else tree)
    # The sample is a part of its clone, and its copy of a folder that looks like one.
    home = root
    if copied or root == os.path.realpath(sample):
        home = os.path.dirname(os.path.realpath(tree))
    bin = os.path.realpath(options.absolute(options.bin) if options.bin is not None else os.path.join(home, "bin"))
    if _is_below(root, bin):
        raise UsageError(
            "bin-holds-the-tree", f"BIN: '{bin}' is or holds the source tree {root}: a folder of its own is needed"
        )
    for folder in (bin, os.path.join(bin, STATE_FOLDER)):
        if os.path.lexists(folder) and not os.path.isdir(folder):
            raise UsageError("bin-is-no-folder", f"BIN: '{folder}' is not a folder")
    if options.bin is None and (others := _others_files(bin)):
        raise UsageError(
            "foreign-folder",
            f"BIN: '{bin}' has files that this program did not make ({others}): "
            "remove it if all in it was built, or name the output folder with BIN= (coconut-build --bin)",
        )
    return Source(root, bin, why, is_sample(Path(root)), copy_to)


def _others_files(bin: str) -> str:
    """Some names of what is in a folder in which this program never built; nothing where there is no such folder, or an empty one."""
    names = sorted(os.listdir(bin)) if os.path.isdir(bin) else []
    if STATE_FOLDER in names:
        return ""
    names = [name for name in names if not name.startswith(".")]  # as .gitignore
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _tree(options: Options, sample: Path) -> tuple[Path, str]:
    """The folder of the tree, and how it was chosen. The copy of an installed sample need not be there yet."""
    if options.svsm is not None:
        tree = Path(options.absolute(options.svsm))
        if not is_svsm_tree(tree):
            no_tree = "it has no [workspace] with a kernel package called svsm"
            what = no_tree if tree.is_dir() else "there is no such folder"
            raise UsageError("no-svsm-tree", f"SVSM: '{options.svsm}' is no SVSM tree: {what}: {tree}")
        return tree, " (SVSM)"
    standing = Path(options.workdir)
    around = next((folder for folder in (standing, *standing.parents) if is_svsm_tree(folder)), None)
    if around is not None:
        return around, ""
    if not is_svsm_tree(sample):
        raise UsageError("no-source-tree", "no source tree: name one with SVSM=path, or stand in an SVSM checkout")
    if is_of_a_checkout(sample):
        return sample, " (the embedded sample)"
    if options.sample:
        # An installed package is no place to build in.
        return _sample_copy(options), " (a copy of the sample)"
    raise UsageError(
        "no-source-tree",
        "no source tree: stand in an SVSM checkout, or name one with SVSM=path; "
        "SAMPLE=1 (coconut-build --sample) builds the toy kernel that comes with coconut-tasks",
    )


def copy_tree(source: Source) -> None:
    """Copy the tree to where it is built; a run from then on finds it there."""
    if not os.path.exists(source.copy_to):
        temporary = f"{source.copy_to}.{os.getpid()}"
        shutil.copytree(source.tree, temporary)
        os.rename(temporary, source.copy_to)


def _sample_copy(options: Options) -> Path:
    return _cache(options) / f"sample-{__version__}" / "sample"


def _cache(options: Options) -> Path:
    """The folder for what can be made again (XDG Base Directory Specification)."""
    named = options.environment.get("XDG_CACHE_HOME", "")
    return Path(named if os.path.isabs(named) else options.absolute("~/.cache"), "coconut-tasks")


def find_recipe(name: str, options: Options, tree: str) -> Path:
    """The file of a recipe: from where the user stands, else from the tree.

    Raises:
        UsageError: there is no such file; the nearest one is named.
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
    what = "is a folder, not a recipe" if any(place.is_dir() for place in places) else "there is no such recipe"
    raise UsageError("no-such-recipe", f"RECIPE: '{name}': {what}{_recipes_near(name, places)}: looked for {tried}")


def _recipes_near(name: str, places: Sequence[Path]) -> str:
    """What was meant by a name that is no recipe."""
    if re.search(r"[*?[]", name):
        bases = {place.as_posix().removesuffix(name) for place in places if place.as_posix().endswith(name)}
        found = sorted({path.relative_to(base).as_posix() for base in bases for path in Path(base).glob(name)})
        return f" (did you mean {called().setting('RECIPE', ','.join(found))}?)" if found else ""
    folders = {place: name for place in places if place.is_dir()} or {
        place.parent: os.path.dirname(name) for place in places
    }
    if not os.path.dirname(name):
        folders |= {place.parent / folder: folder for place in places for folder in _RECIPE_FOLDERS}
        folders[data_path("config")] = "config"
    near = sorted({os.path.join(spelt, path.name) for folder, spelt in folders.items() for path in _json_files(folder)})
    alike = [path for path in near if name and os.path.basename(path).startswith(name)]
    if meant := did_you_mean(name, near):
        return meant
    if alike:
        return f" (did you mean '{min(alike, key=len)}'?)"
    return f" (there are: {', '.join(near)})" if near else ""


def default_recipe(options: Options, tree: str) -> str:
    """The recipe of a run that names none: the first one of a short list that is there."""
    for name in _DEFAULT_RECIPES:
        if any(Path(folder, name).is_file() for folder in (options.workdir, tree)):
            return name
    return _DEFAULT_RECIPES[0]


def _json_files(folder: Path) -> Iterator[Path]:
    return folder.glob("*.json") if folder.is_dir() else iter(())


def _is_below(path: str, folder: str) -> bool:
    return os.path.commonpath((path, folder)) == folder
