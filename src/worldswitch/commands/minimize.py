"""The smallest scenario with the same signature.

FINDING is a finding's directory, its scenario file, or a signature within --out. The result goes to standard output, or
to the file that --write names. With several findings in a scenario, --signature says which one to keep.
"""

import argparse

from worldswitch.commands.common import add_model_arguments, add_out_argument, finding_file, model_options, path_names

EXAMPLES = "worldswitch minimize campaign/findings/shadow-bleed.unexplained-shadow.injection"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``minimize``."""
    parser.add_argument("finding", metavar="FINDING", help="a finding's directory, scenario file or signature")
    parser.add_argument("--signature", metavar="SIGNATURE", default="", help="the finding to keep (default: the first)")
    parser.add_argument(
        "--write", metavar="FILE", default="", help="where to write the result (default: standard output)"
    )
    add_model_arguments(parser)
    add_out_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Reduce one finding."""
    from pathlib import Path

    from worldswitch.errors import InputError
    from worldswitch.fuzzing.minimize import minimize
    from worldswitch.fuzzing.store import write_whole
    from worldswitch.machine.compile import compile_scenario
    from worldswitch.machine.run import run_plan
    from worldswitch.oracles.judge import judge
    from worldswitch.scenario.read import read_scenario
    from worldswitch.scenario.write import scenario_text

    scenario = read_scenario(finding_file(arguments.finding, arguments.out))
    profile, options = model_options(arguments)
    if profile:
        scenario.profile, scenario.options = profile, {}
    scenario.options = {**scenario.options, **dict(options)}
    paths = path_names(arguments.path)
    if len(paths) > 1:
        raise InputError("one path at a time", field="--path")
    if paths:
        if not scenario.path:
            raise InputError("the scenario has a free host program, not a path", scenario.file, field="--path")
        scenario.path = paths[0]
    findings = judge(run_plan(compile_scenario(scenario))).findings
    signature = arguments.signature or next((finding.signature for finding in findings), "")
    if not signature:
        raise InputError("shows no finding, so there is nothing to keep", scenario.file)
    small = minimize(scenario, signature)
    small.about = scenario.about or signature
    text = scenario_text(small)
    if arguments.write:
        write_whole(Path(arguments.write), text)
    else:
        print(text, end="")
    return 0
