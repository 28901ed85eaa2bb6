"""From options to a plan and the world that it runs in: everything that is looked up before the first step.

This is the one place where planning, which is pure, meets the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

from coconut_tasks import __version__
from coconut_tasks.dataclass import dataclass
from coconut_tasks.effects.place import write_cache
from coconut_tasks.errors import Problem, RecipeError, UsageError
from coconut_tasks.inputs.environment import reproducible_environment
from coconut_tasks.inputs.git import missing_submodules
from coconut_tasks.inputs.surroundings import OF_OPTIONS, for_builds
from coconut_tasks.inputs.toolchain import default_target
from coconut_tasks.inputs.version import commit_time
from coconut_tasks.layout import BARE_METAL, REPRODUCIBLE
from coconut_tasks.load import load_recipe
from coconut_tasks.options import Options
from coconut_tasks.plan import Plan, plan_recipes
from coconut_tasks.plan.firmware import unset_variable
from coconut_tasks.plan.ground import Ground
from coconut_tasks.recipe import Recipe
from coconut_tasks.source import Source, copy_origin, default_recipe, find_recipe, find_source, shipped
from coconut_tasks.step import CargoItem
from coconut_tasks.world import Reproducible, World, open_world


@dataclass(frozen=True, slots=True)
class Session:
    """What a front end needs to make tasks and to tell the user what it is about to do."""

    options: Options
    source: Source
    recipes: tuple[Recipe, ...]
    plan: Plan
    world: World
    triple: str
    notes: tuple[str, ...]
    """Lines for the user: which tree, which recipe, what was not as asked."""


def open_session(options: Options) -> Session:
    """Look everything up and plan.

    Raises:
        UsageError, RecipeError: what the user asked for, or wrote, is wrong; all recipes' problems at once.
    """
    source = find_source(options)
    meant = {
        name: option
        for name, option in OF_OPTIONS.items()
        if options.environment.get(name) and not getattr(options, option.lower())
    }
    # A makefile may have these of its own: they are told of, and left where they are.
    given = {"RECIPE": options.recipes, "BIN": options.bin}
    meant |= {name: name for name, value in given.items() if options.environment.get(name) and not value}
    surroundings = for_builds(options.environment, source.tree, options.workdir, is_copy=options.is_copy)
    options = replace(options, environment=surroundings)
    world = open_world(source.tree, source.bin, options.environment, ask_cargo=options.ask_cargo)
    names = options.recipes or (default_recipe(options, source.tree),)
    world.recipes = names
    notes = [
        f"note: {name} of the environment does nothing: 'doit {option}=…', or coconut-build's option, is what asks for it"
        for name, option in meant.items()
    ]
    if missing := missing_submodules(source.tree):
        notes.append(
            f"note: nothing is in {', '.join(missing)}, without which parts cannot be built: git submodule update --init"
        )
    recipes = _load(names, options, source, world, notes)
    copy_origin(source)  # now that the recipes are known to be some
    if options.reproducible:
        _make_reproducible(world, source, recipes)
    triple, why = _triple(source, world)
    host = _host(world)
    ground = Ground(options, source.layout, source.tree_name, triple, host, source.has_version_file)
    plan = plan_recipes(recipes, ground)
    unset = dict.fromkeys(filter(None, (unset_variable(recipe.firmware, ground) for recipe in recipes)))
    notes += [f"note: {name} is not set, so the image has no guest firmware: {name}=FILE puts one in" for name in unset]
    if world.reproducible is not None:
        world.reproducible = replace(world.reproducible, toolchains=_toolchains(plan))
    chosen = f"RECIPE={','.join(names)}" + ("" if options.recipes else " (the default)")
    first = f"source: {source.tree}, {source.why}{why}; {chosen}"
    warnings = [f"warning: {warning}" for warning in plan.warnings]
    return Session(options, source, recipes, plan, world, triple, (first, *notes, *warnings))


def _load(
    names: tuple[str, ...], options: Options, source: Source, world: World, notes: list[str]
) -> tuple[Recipe, ...]:
    known = _KnownValid(world.state / "valid.json", options.lenient)
    recipes: dict[Path, Recipe] = {}
    problems: list[Problem] = []
    missing = []
    for name in names:
        try:
            path = find_recipe(name, options, source.tree)
        except UsageError as error:
            missing.append(str(error))
            continue
        if path == shipped(name) and not os.path.isabs(name) and not source.is_sample:
            notes.append(
                f"note: {name} is neither here nor in the tree: {path}, which comes with coconut-tasks, is taken"
            )
        spelt = source.spelt(str(path))
        world.files.stat(world.path(spelt))  # from before: an edit from here on is seen as one
        data = world.recipe_texts[world.path(spelt)] = path.read_bytes()
        warned: list[Problem] = []
        try:
            recipe = load_recipe(name, data, lenient=options.lenient, valid=known.has(data), warn=warned.append)
            recipes[path] = replace(recipe, path=spelt)
        except RecipeError as error:
            problems += error.problems
        else:
            # A recipe with warnings is looked at again each time, so that they are said each time.
            known.add(data, clean=not warned)
        notes += [f"warning: {problem}" for problem in warned]
    if missing:
        raise UsageError("\n".join([*missing, *map(str, problems)]))
    if problems:
        raise RecipeError(problems)
    known.save()
    return tuple(recipes.values())


def _make_reproducible(world: World, source: Source, recipes: tuple[Recipe, ...]) -> None:
    from coconut_tasks.inputs.remap import by_length, machine_prefixes  # imported here: other runs need none of it

    given = world.environment
    target, compilers = (str(world.state / REPRODUCIBLE / name) for name in ("target", "compilers"))
    prefixes = tuple(by_length(machine_prefixes(world.tree, world.bin, target, given)))
    firmware = {recipe.firmware.env for recipe in recipes if recipe.firmware is not None and recipe.firmware.env}
    world.environment = reproducible_environment(given, firmware, commit_time(world.tree, given), compilers)
    world.reproducible = Reproducible(source.layout.cargo_config, target, compilers, prefixes, (None,))


def _toolchains(plan: Plan) -> tuple[str | None, ...]:
    names = {step.work.build.toolchain for step in plan.steps if isinstance(step.work, CargoItem)}
    return (None, *sorted(filter(None, names)))


def _host(world: World) -> str | None:
    """The host's triple, where host tools have to name it."""
    if default_target(world.tree, world.environment) is None:
        return None
    toolchain = world.toolchain()
    return toolchain.host if toolchain else None


def _triple(source: Source, world: World) -> tuple[str, str]:
    toolchain = world.toolchain() if source.is_sample else None
    if toolchain is None or toolchain.has_target(BARE_METAL):
        return BARE_METAL, ""
    return toolchain.host, f", built for {toolchain.host} since {BARE_METAL} is not installed"


_DECIDING = ("jsontext.py", "load.py", "rules.py", "schema.py")


class _KnownValid:
    """Which recipe texts were found valid, by which schema: they need no second look, and jsonschema is not even imported."""

    def __init__(self, path: Path, lenient: bool) -> None:
        self._path = path
        # In a checkout what decides changes without a new version; it is only looked at, not imported.
        package = Path(__file__).parent
        deciding = [shipped("schema") / "recipe.schema.json", *(package / name for name in _DECIDING)]
        stats = [(found.st_size, found.st_mtime_ns, found.st_ctime_ns) for found in map(os.stat, deciding)]
        self._salt = f"{__version__} {lenient} {stats}".encode()
        self._changed = False
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            self._digests: dict[str, bool] = dict.fromkeys(found, True) if isinstance(found, list) else {}
        except (OSError, ValueError, TypeError):
            self._digests = {}

    def _digest(self, data: bytes) -> str:
        return hashlib.sha256(self._salt + b"\0" + data).hexdigest()

    def has(self, data: bytes) -> bool:
        return self._digest(data) in self._digests

    def add(self, data: bytes, *, clean: bool) -> None:
        if clean and not self.has(data):
            self._digests[self._digest(data)] = True
            self._changed = True

    def save(self) -> None:
        # Only beside a build: `doit list` in a fresh clone writes nothing.
        if self._changed and self._path.parent.is_dir():
            write_cache(self._path, json.dumps(list(self._digests)[-200:]).encode())
