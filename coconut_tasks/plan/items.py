"""Steps for build items: host tools, kernel parts and modules."""

from __future__ import annotations

from coconut_tasks.layout import VERSION_FILE, key_of
from coconut_tasks.plan.context import PlanContext
from coconut_tasks.recipe.model import BuildType, Component
from coconut_tasks.steps.action import CargoItem, MakeItem, VersionFile
from coconut_tasks.steps.command import Command
from coconut_tasks.steps.step import Step
from coconut_tasks.tools.cargo import cargo_clean_command, cargo_command
from coconut_tasks.tools.make import make_command
from coconut_tasks.tools.objcopy import objcopy_command

TOOLS = {
    "igvmbuilder": Component("igvmbuilder"),
    "igvmmeasure": Component("igvmmeasure"),
    "packit": Component("packit", features=("cli",)),
}
"""The host tools. packit's command-line program needs a feature of its crate."""


def plan_version(context: PlanContext) -> tuple[Step, ...]:
    """The step that writes the version file, if the tree has one."""
    if not context.has_version_file:
        return ()
    action = VersionFile(VERSION_FILE)
    return (
        Step(
            "version",
            "git",
            key_of("version", context.tree),
            "the version from git describe",
            action,
            (),
            (VERSION_FILE,),
        ),
    )


def plan_tool(name: str, context: PlanContext) -> Step:
    """A host tool, used as cargo built it."""
    component = TOOLS[name]
    command = cargo_command(
        component, context.features(name, component.features), context.options, context.host, context.cargo_config
    )
    key = _key("tool", component, command, context)
    output = context.layout.variant(name, key, name)
    clean = cargo_clean_command(component, context.options, context.host, context.cargo_config)
    action = CargoItem(command, clean, name, output, None, output, triple=context.host)
    return Step("tool", name, key, f"the host tool {name}", action, (), (output,), after=_after(context))


def plan_item(stage: str, component: Component, context: PlanContext, *, publish: bool) -> Step:
    """A kernel part or a module."""
    features = context.features(component.name, component.features)
    if component.type is BuildType.MAKE:
        command = make_command(component, features, context.options)
    else:
        command = cargo_command(component, features, context.options, context.triple, context.cargo_config)
    key = _key(stage, component, command, context)
    name = component.name
    output = context.layout.variant(name, key, name)
    action: CargoItem | MakeItem
    if component.type is BuildType.MAKE:
        assert component.output_file is not None
        copy = objcopy_command(component.objcopy, component.output_file, output, release=context.options.release)
        action = MakeItem(command, component.output_file, copy, output)
        how = f"made by make {component.output_file}"
    else:
        built = context.layout.variant(name, key, f"{name}.built")
        copy = objcopy_command(component.objcopy, built, output, release=context.options.release)
        test = component.type is BuildType.TEST
        action = CargoItem(
            command,
            cargo_clean_command(component, context.options, context.triple, context.cargo_config),
            name,
            built,
            copy,
            output,
            component.toolchain,
            context.triple,
            builds_std="CARGO_UNSTABLE_BUILD_STD" in dict(component.env),
            manifest=component.manifest,
            test=test,
        )
        how = "cargo's test program" if test else "built by cargo"
    what = "the kernel part" if stage == "kernel" else "the user-space module"
    published = ((output, context.layout.published(name)),) if publish else ()
    return Step(stage, name, key, f"{what} {name}, {how}", action, (), (output,), published, after=_after(context))


def _key(stage: str, component: Component, command: Command, context: PlanContext) -> str:
    # The command of a make item does not have it, but its environment differs.
    config = (context.cargo_config,) if context.cargo_config else ()
    choices = (stage, component.name, command.deciding, command.env, component.objcopy, context.options.release)
    return key_of(*choices, context.tree, *config)


def _after(context: PlanContext) -> tuple[str, ...]:
    # Order only: cargo reports which items really read the version file, and the others must not become stale with it.
    return (VERSION_FILE,) if context.has_version_file else ()
