"""Steps for build items: host tools, kernel parts and modules."""

from __future__ import annotations

from coconut_tasks.layout import VERSION_FILE, key_of
from coconut_tasks.plan.ground import Ground
from coconut_tasks.recipe import BuildType, Component
from coconut_tasks.step import CargoItem, Command, MakeItem, Step, VersionFile
from coconut_tasks.tools.cargo import cargo_command
from coconut_tasks.tools.make import make_command
from coconut_tasks.tools.objcopy import objcopy_command

TOOLS = {
    "igvmbuilder": Component("igvmbuilder"),
    "igvmmeasure": Component("igvmmeasure"),
    "packit": Component("packit", features=("cli",)),
}
"""The host tools. packit's command-line program is behind a feature of its crate."""


def plan_version(ground: Ground) -> tuple[Step, ...]:
    """The step that writes the version file, where the tree has one."""
    if not ground.has_version_file:
        return ()
    work = VersionFile(VERSION_FILE)
    return (
        Step(
            "version", "git", key_of("version", ground.tree), "the version from git describe", work, (), (VERSION_FILE,)
        ),
    )


def plan_tool(name: str, ground: Ground) -> Step:
    """A host tool, used as cargo made it."""
    component = TOOLS[name]
    command = cargo_command(
        component, ground.features(name, component.features), ground.options, ground.host, ground.cargo_config
    )
    key = _key("tool", component, command, ground)
    output = ground.layout.variant(name, key, name)
    work = CargoItem(command, name, False, None, output, None, output)
    return Step("tool", name, key, f"the host tool {name}", work, (), (output,), after=_after(ground))


def plan_item(stage: str, component: Component, ground: Ground, *, publish: bool) -> Step:
    """A kernel part or a module."""
    features = ground.features(component.name, component.features)
    if component.type is BuildType.MAKE:
        command = make_command(component, features, ground.options)
    else:
        command = cargo_command(component, features, ground.options, ground.triple, ground.cargo_config)
    key = _key(stage, component, command, ground)
    name = component.name
    output = ground.layout.variant(name, key, name)
    work: CargoItem | MakeItem
    if component.type is BuildType.MAKE:
        assert component.output_file is not None
        copy = objcopy_command(component.objcopy, component.output_file, output, release=ground.options.release)
        work = MakeItem(command, component.output_file, copy, output)
        how = f"made by make {component.output_file}"
    else:
        built = ground.layout.variant(name, key, f"{name}.built")
        copy = objcopy_command(component.objcopy, built, output, release=ground.options.release)
        test = component.type is BuildType.TEST
        work = CargoItem(command, name, test, component.manifest, built, copy, output)
        how = "cargo's test program" if test else "built by cargo"
    what = "the kernel part" if stage == "kernel" else "the user-space module"
    published = ((output, ground.layout.published(name)),) if publish else ()
    return Step(stage, name, key, f"{what} {name}, {how}", work, (), (output,), published, after=_after(ground))


def _key(stage: str, component: Component, command: Command, ground: Ground) -> str:
    # The command of a make item does not show it, but its environment is another one.
    manner = (ground.cargo_config,) if ground.cargo_config else ()
    choices = (stage, component.name, command.deciding, command.env, component.objcopy, ground.options.release)
    return key_of(*choices, ground.tree, *manner)


def _after(ground: Ground) -> tuple[str, ...]:
    # Order only: which items really read the version file is found out from cargo, and the others must not become stale by it.
    return (VERSION_FILE,) if ground.has_version_file else ()
