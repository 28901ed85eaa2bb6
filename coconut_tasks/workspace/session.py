"""From options to a plan and its workspace: everything that is looked up before the first step.

Only here does planning, which is pure, meet the disk. Nothing is written except to caches that exist already.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from coconut_tasks.dataclass import dataclass
from coconut_tasks.effects.lock import RunLock
from coconut_tasks.errors import Fault, Problem, RecipeError, UsageError
from coconut_tasks.inputs.cargo_config import default_target
from coconut_tasks.inputs.environment import reproducible_environment
from coconut_tasks.inputs.files import Files
from coconut_tasks.inputs.git import missing_submodules
from coconut_tasks.inputs.inherited import OF_OPTIONS, for_builds
from coconut_tasks.inputs.toolchain import Toolchains
from coconut_tasks.inputs.version import commit_time
from coconut_tasks.layout import BARE_METAL, REPRODUCIBLE
from coconut_tasks.options import Options
from coconut_tasks.package import data_path
from coconut_tasks.plan.context import PlanContext
from coconut_tasks.plan.firmware import unset_variable
from coconut_tasks.plan.plan import Plan, plan_recipes
from coconut_tasks.recipe.load import load_recipe
from coconut_tasks.recipe.model import Recipe
from coconut_tasks.steps.action import CargoItem
from coconut_tasks.workspace.known_valid import KnownValid
from coconut_tasks.workspace.source import Source, default_recipe, find_recipe, find_source
from coconut_tasks.workspace.workspace import Reproducible, Workspace, open_workspace, state_folder


@dataclass(frozen=True, slots=True)
class Session:
    """What a front end needs to make tasks and to say what it is about to do."""

    options: Options
    source: Source
    recipes: tuple[Recipe, ...]
    plan: Plan
    workspace: Workspace
    variant: str
    """The choices that count in this build, for the user."""
    source_line: str
    """The line that tells the user which tree, recipes and variant are used."""
    notes: tuple[Fault, ...]
    """Further lines: what may not be what the user meant."""


def open_session(options: Options) -> Session:
    """Look everything up and plan.

    Raises:
        UsageError, RecipeError: a mistake in the options or recipes; the problems of all recipes at once.
    """
    source = find_source(options)
    state = state_folder(source.bin)
    lock = RunLock(state / "lock")  # now, so that another run from here on is noticed
    surroundings = for_builds(options.environment, source.tree, options.workdir, is_copy=options.is_copy)
    notes = list(_notes_on_the_environment(options))
    options = replace(options, environment=surroundings)
    if missing := missing_submodules(source.tree):
        notes.append(
            Fault(
                "submodule-missing",
                f"note: empty submodules: {', '.join(missing)}; parts that need them cannot be built: git submodule update --init",
            )
        )
    names = options.recipes or (default_recipe(options, source.tree),)
    files = Files()
    recipes, texts = _load(names, options, source, files, notes)
    environment, reproducible = options.environment, None
    if options.reproducible:
        environment, reproducible = _reproducible(options.environment, source, recipes)
    toolchains = Toolchains(source.tree, environment, state)
    triple, why = _triple(source, toolchains)
    host = _host(source.tree, environment, toolchains)
    context = PlanContext(options, source.layout, source.tree_name, triple, host, source.has_version_file)
    plan = plan_recipes(recipes, context)
    unset = dict.fromkeys(filter(None, (unset_variable(recipe.firmware, context) for recipe in recipes)))
    notes += [
        Fault(
            "no-firmware",
            f"note: {name} is not set, so the image has no guest firmware; set {name}=FILE to include one",
        )
        for name in unset
    ]
    notes += [Fault(warning.id, f"warning: {warning.text}") for warning in plan.warnings]
    if reproducible is not None:
        reproducible = replace(reproducible, toolchains=_toolchain_names(plan))
    workspace = open_workspace(
        source.tree,
        source.bin,
        environment,
        files=files,
        lock=lock,
        toolchains=toolchains,
        recipes=names,
        recipe_texts=texts,
        options=options,
        ask_cargo=options.ask_cargo,
        reproducible=reproducible,
    )
    used = tuple(feature for feature in options.features if feature not in plan.unused)
    variant = replace(options, features=used).variant
    chosen = ", ".join(names) + ("" if options.recipes else " (default)")
    source_line = f"source: {source.copy_to or source.tree}{source.why}{why}; {chosen}; {variant}"
    return Session(options, source, recipes, plan, workspace, variant, source_line, tuple(notes))


def _notes_on_the_environment(options: Options) -> Iterator[Fault]:
    meant = {
        name: option.name
        for name, option in OF_OPTIONS.items()
        if options.environment.get(name) and not getattr(options, option.field)
    }
    # A makefile may use these itself, so they stay in the environment.
    given = {"RECIPE": options.recipes, "BIN": options.bin}
    meant |= {name: name for name, value in given.items() if options.environment.get(name) and not value}
    for name, option in meant.items():
        yield Fault(
            "variable-does-nothing",
            f"note: {name} in the environment has no effect: use 'doit {option}=…', or coconut-build's option",
        )


def _load(
    names: tuple[str, ...], options: Options, source: Source, files: Files, notes: list[Fault]
) -> tuple[tuple[Recipe, ...], Mapping[str, bytes]]:
    """The recipes, and the bytes of each one's file by its absolute path."""
    known = KnownValid(state_folder(source.bin) / "valid.json", options.lenient)
    recipes: dict[Path, Recipe] = {}
    texts: dict[str, bytes] = {}
    problems: list[Problem] = []
    missing: list[Fault] = []
    for name in names:
        try:
            path = find_recipe(name, options, source.tree)
        except UsageError as error:
            missing += error.faults
            continue
        if path == data_path(name) and not os.path.isabs(name) and not source.is_sample:
            notes.append(
                Fault(
                    "borrowed-recipe",
                    f"note: {name} is neither here nor in the tree; using {path}, which comes with coconut-tasks",
                )
            )
        spelt = source.spelt(str(path))
        file = os.path.normpath(os.path.join(source.tree, spelt))
        files.stat(file)  # before it is read, so that an edit from here on is noticed
        data = texts[file] = path.read_bytes()
        warned: list[Problem] = []
        try:
            recipe = load_recipe(name, data, lenient=options.lenient, valid=known.has(data), warn=warned.append)
            recipes[path] = replace(recipe, path=spelt)
        except RecipeError as error:
            problems += error.problems
        else:
            # A recipe with warnings is checked each time, so that they are shown each time.
            known.add(data, clean=not warned)
        notes += [Fault(problem.id, f"warning: {problem}") for problem in warned]
    if missing:
        raise UsageError.of([*missing, *(problem.fault for problem in problems)])
    if problems:
        raise RecipeError(problems)
    known.save()
    return tuple(recipes.values()), texts


def _reproducible(
    given: Mapping[str, str], source: Source, recipes: tuple[Recipe, ...]
) -> tuple[Mapping[str, str], Reproducible]:
    """The environment of a reproducible build, and its other settings."""
    from coconut_tasks.reproducible.remap import (  # imported here: other runs need none of it
        by_length,
        machine_prefixes,
    )

    state = state_folder(source.bin)
    target, compilers = (str(state / REPRODUCIBLE / name) for name in ("target", "compilers"))
    prefixes = tuple(by_length(machine_prefixes(source.tree, source.bin, target, given)))
    firmware = {recipe.firmware.env for recipe in recipes if recipe.firmware is not None and recipe.firmware.env}
    environment = reproducible_environment(given, firmware, commit_time(source.tree, given), compilers)
    return environment, Reproducible(source.layout.cargo_config, target, compilers, prefixes, (None,))


def _toolchain_names(plan: Plan) -> tuple[str | None, ...]:
    names = {step.action.toolchain for step in plan.steps if isinstance(step.action, CargoItem)}
    return (None, *sorted(filter(None, names)))


def _host(tree: str, environment: Mapping[str, str], toolchains: Toolchains) -> str | None:
    """The host's triple, if the commands of host tools have to name it."""
    if default_target(tree, environment) is None:
        return None
    toolchain = toolchains.find()
    return toolchain.host if toolchain else None


def _triple(source: Source, toolchains: Toolchains) -> tuple[str, str]:
    toolchain = toolchains.find() if source.is_sample else None
    if toolchain is None or toolchain.has_target(BARE_METAL):
        return BARE_METAL, ""
    return toolchain.host, f", for {toolchain.host} ({BARE_METAL} is not installed)"
