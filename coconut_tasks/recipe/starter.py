"""A first recipe from a few answers; pure, except that it looks whether a file exists."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from coconut_tasks.dataclass import dataclass
from coconut_tasks.errors import Fault, RecipeError, UsageError, did_you_mean, sentence
from coconut_tasks.options import parse_switch, split_list
from coconut_tasks.recipe.load import check
from coconut_tasks.recipe.model import TARGETS, Platform
from coconut_tasks.recipe.schema import schema_path
from coconut_tasks.wording import either

LOADERS = ("bldr", "stage2", "none")
_PLATFORMS = {"qemu": ("native", "snp"), "hyper-v": ("snp", "vsm"), "vanadium": ("snp",)}
_ON_TOP_OF_KVM = ("qemu", "vanadium")
_MANIFESTS = {"bldr": "boot/bldr/Cargo.toml", "stage2": "kernel/Cargo.toml"}
_INIT = {"userinit": "/init"}
"""Modules that the kernel looks for at a fixed path."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a recipe is for; the defaults are those of most recipes."""

    targets: tuple[str, ...] = ("qemu",)
    platforms: tuple[str, ...] = ()
    """For all targets; if empty, what fits each hypervisor."""
    tdx: bool = False
    """Intel TDX too: the platform tdp, and the part that it starts with."""
    loader: str = "bldr"
    features: str = "vtpm"
    modules: tuple[str, ...] = ("userinit",)
    firmware: str = ""
    """A path, ``env:NAME``, or nothing."""


def document(answers: Answers, schema: str | None = None) -> dict[str, Any]:
    """The recipe as a JSON value; ``schema`` is the schema that editors check it against."""
    tdx = answers.tdx or Platform.TDP in answers.platforms
    kernel: dict[str, Any] = {"svsm": {"features": answers.features} if answers.features else {}}
    if answers.loader != "none":
        kernel[answers.loader] = {"manifest": _MANIFESTS[answers.loader], "binary": True, "objcopy": "binary"}
    if tdx:
        kernel["tdx-stage1"] = {"manifest": "stage1/Cargo.toml", "binary": True, "objcopy": "binary"}
    result: dict[str, Any] = {"$schema": schema} if schema else {}
    result["igvm"] = {name: _target(name, answers, tdx) for name in answers.targets}
    result["kernel"] = kernel
    if answers.firmware:
        variable = answers.firmware.removeprefix("env:")
        result["firmware"] = {"env": variable} if variable != answers.firmware else {"file": answers.firmware}
    if answers.modules:
        modules = {name: {"path": _INIT[name]} if name in _INIT else {} for name in answers.modules}
        result["fs"] = {"modules": modules}
    return result


def _target(name: str, answers: Answers, tdx: bool) -> dict[str, Any]:
    wanted = {*(answers.platforms or _PLATFORMS[name]), *(["tdp"] if tdx else [])}
    # Unknown words stay, for the check to find.
    platforms = [*(str(p) for p in Platform if p in wanted), *(p for p in answers.platforms if p not in list(Platform))]
    target: dict[str, Any] = {"output": f"coconut-{name}.igvm", "platforms": platforms, "policy": "0x30000"}
    if Platform.SNP in wanted:
        target["measure"] = "print"
        if name in _ON_TOP_OF_KVM:
            target["check-kvm"] = True
        if name == "vanadium":
            target["measure-native-zeroes"] = True
    return target


def recipe_text(answers: Answers, schema: str | None = None) -> str:
    """The text of the recipe's file.

    Raises:
        UsageError: the answers do not make a valid recipe.
    """
    text = json.dumps(document(answers, schema), indent=4, ensure_ascii=False) + "\n"
    try:
        check("", text.encode())
    except RecipeError as error:
        raise UsageError.of(
            Fault(problem.id, sentence(problem.wrong, problem.remedy)) for problem in error.problems
        ) from error
    return text


def schema_for(recipe: Path) -> str | None:
    """The relative path of the schema from a recipe in this checkout; None elsewhere, where no path is right for everybody."""
    schema, folder = schema_path(), recipe.resolve().parent
    checkout = schema.parent.parent
    # For an installed package, that is the package itself.
    if (checkout / "pyproject.toml").is_file() and folder.is_relative_to(checkout):
        return os.path.relpath(schema, folder)
    return None


def usual_folder(folder: Path) -> str:
    """The folder of recipes: ``config``, or ``configs`` as in SVSM checkouts, if only that exists."""
    return next((name for name in ("config", "configs") if (folder / name).is_dir()), "config")


def free_name(targets: tuple[str, ...], folder: Path) -> str:
    """A recipe's usual name that is still free: ``config/qemu.json``, ``config/qemu-2.json``, …"""
    stem = f"{usual_folder(folder)}/{'-'.join(targets)}"
    number = 1
    while (folder / (name := f"{stem}.json" if number == 1 else f"{stem}-{number}.json")).exists():
        number += 1
    return name


# What users write → answers. Each raises UsageError, and the question is asked again.


def with_targets(answers: Answers, text: str) -> Answers:
    """Hypervisors, separated by commas or spaces."""
    return replace(answers, targets=_words("target", text, TARGETS))


def with_platforms(answers: Answers, text: str) -> Answers:
    """Platforms, separated by commas or spaces."""
    return replace(answers, platforms=_words("platform", text, tuple(map(str, Platform))))


def with_tdx(answers: Answers, text: str) -> Answers:
    """Yes or no."""
    short = {"y": "yes", "n": "no"}
    return replace(answers, tdx=parse_switch("Intel TDX", short.get(text.lower(), text)))


def with_loader(answers: Answers, text: str) -> Answers:
    """One loader, or ``none``."""
    if text not in LOADERS:
        raise UsageError(
            "no-such-choice", f"unknown loader '{text}'; expected {either(list(LOADERS))}{did_you_mean(text, LOADERS)}"
        )
    return replace(answers, loader=text)


def with_features(answers: Answers, text: str) -> Answers:
    """Cargo features of the kernel, or ``none``."""
    return _checked(replace(answers, features="" if text == "none" else ",".join(split_list(text))))


def with_modules(answers: Answers, text: str) -> Answers:
    """Names of modules, or ``none``."""
    names = tuple(dict.fromkeys(split_list(text)))
    return _checked(replace(answers, modules=() if names == ("none",) else names))


def with_firmware(answers: Answers, text: str) -> Answers:
    """A path, ``env:NAME``, or ``none``."""
    return _checked(replace(answers, firmware="" if text == "none" else text))


@dataclass(frozen=True, slots=True)
class Question:
    """One question for the user; an empty answer takes the default."""

    text: str
    default: str
    take: Callable[[Answers, str], Answers]


QUESTIONS = (
    Question(f"Hypervisors ({', '.join(TARGETS)})", "qemu", with_targets),
    Question("Intel TDX as well as AMD SEV-SNP (yes, no)", "no", with_tdx),
    Question("Kernel features, separated by commas, or none", "vtpm", with_features),
    Question("User-space modules, separated by commas, or none", "userinit", with_modules),
    Question("Guest firmware: a path, env:VARIABLE, or none", "none", with_firmware),
)


def _checked(answers: Answers) -> Answers:
    recipe_text(answers)
    return answers


def _words(noun: str, text: str, right: tuple[str, ...]) -> tuple[str, ...]:
    words = tuple(dict.fromkeys(split_list(text)))
    wrong = [word for word in words if word not in right]
    if wrong or not words:
        found = f"unknown {noun} '{wrong[0]}'" if wrong else f"no {noun} given"
        nearest = did_you_mean(wrong[0], right) if wrong else ""
        raise UsageError("no-such-choice", f"{found}; expected {either(list(right))}{nearest}")
    return words
