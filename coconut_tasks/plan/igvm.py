"""The recipe's ``igvm`` section."""

from __future__ import annotations

from coconut_tasks.layout import CORIM, DIGEST_JSON, HEX, REFERENCE_VALUES, key_of
from coconut_tasks.plan.context import PlanContext
from coconut_tasks.recipe.model import Platform, Target
from coconut_tasks.steps.action import IgvmImage, Measurement
from coconut_tasks.steps.step import Step
from coconut_tasks.tools.igvmbuilder import Parts, igvmbuilder_command
from coconut_tasks.tools.igvmmeasure import igvmmeasure_command


def plan_igvm(target: Target, parts: Parts, igvmbuilder: str, context: PlanContext) -> Step:
    """The IGVM file of one target."""
    verbose = context.options.verbose
    words = igvmbuilder_command(igvmbuilder, target, parts, "OUTPUT", verbose=verbose)
    key = key_of("igvm", words.deciding, target.output, context.tree)
    output = context.layout.variant(target.name, key, target.output)
    action = IgvmImage(igvmbuilder_command(igvmbuilder, target, parts, output, verbose=verbose), output)
    published = ((output, context.layout.published(target.output)),)
    doc = f"the IGVM file {target.output} for {target.name}"
    return Step("igvm", target.name, key, doc, action, (igvmbuilder, *parts.files), (output,), published)


def plan_measurement(target: Target, igvm: Step, igvmmeasure: str, context: PlanContext) -> tuple[Step, ...]:
    """The launch measurements of one target; nothing for a target without a platform that measures."""
    measured = [str(platform) for platform in target.platforms if platform in HEX]
    if not measured:
        return ()
    file = igvm.outputs[0]
    is_snp = Platform.SNP in target.platforms
    command = igvmmeasure_command(igvmmeasure, target, file) if is_snp else None
    key = key_of("measure", command.deciding if command else (file, *measured), context.tree)
    names = [
        target.output + end for end in (*(HEX[platform] for platform in measured), DIGEST_JSON, REFERENCE_VALUES, CORIM)
    ]
    outputs = tuple(context.layout.variant(f"measure-{target.name}", key, name) for name in names)
    *hexes, json, reference_values, corim = outputs
    action = Measurement(
        command,
        igvm=file,
        tool=igvmmeasure if is_snp else None,
        shown=target.output,
        target=target.name,
        platforms=tuple(str(platform) for platform in target.platforms),
        policy=target.policy,
        check_kvm=target.check_kvm,
        native_zero=target.measure_native_zeroes,
        hexes=tuple(zip(measured, hexes, strict=True)),
        json=json,
        reference_values=reference_values,
        corim=corim,
    )
    published = tuple(zip(outputs, map(context.layout.published, names), strict=True))
    listed = " and ".join([", ".join(measured[:-1]), measured[-1]] if len(measured) > 1 else measured)
    doc = f"the launch measurement of {target.output} for {listed}"
    inputs = (igvmmeasure, file) if is_snp else (file,)
    return (Step("measure", target.name, key, doc, action, inputs, outputs, published),)
