"""Explain a rule, or a finding.

A rule (S2-70), a conformance row (T-120) or an invariant (I-04): its text, source and confidence, the code that
implements it, and its tests. A finding: the rules it rests on, and the disputed model options it stands or falls with;
the scenario is run again under every other value of every option. FINDING is a finding's directory, its scenario file,
or a signature within --out.
"""

import argparse
import re
import sys
from typing import Final

from worldswitch.commands import EXIT_CLEAN
from worldswitch.commands.common import (
    add_json_argument,
    add_model_arguments,
    add_out_argument,
    finding_file,
    model_options,
    path_names,
    print_json,
)

EXAMPLES = """
worldswitch explain S2-70
worldswitch explain corpus/golden.toml
worldswitch explain shadow-bleed.unexplained-shadow.injection --out campaign
"""

_RULE: Final = re.compile(r"\s*[STIsti]\d*-\d+\s*")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of ``worldswitch explain``."""
    parser.add_argument("subject", metavar="RULE|FINDING", help="S2-70, T-120, I-04, or a finding")
    add_model_arguments(parser)
    add_out_argument(parser)
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Explain one subject."""
    return _explain_rule(arguments) if _RULE.fullmatch(arguments.subject) else _explain_finding(arguments)


def _explain_rule(arguments: argparse.Namespace) -> int:
    from worldswitch.rules.explain import explain_rule, rule_as_json

    if arguments.json:
        print_json(rule_as_json(arguments.subject))
    else:
        print(explain_rule(arguments.subject))
    return EXIT_CLEAN


def _explain_finding(arguments: argparse.Namespace) -> int:
    from worldswitch.report.stance import examine, stance_as_json, stance_lines
    from worldswitch.report.terminal import screen
    from worldswitch.result import Variant
    from worldswitch.scenario.read import read_scenario

    profile, overrides = model_options(arguments)
    paths = path_names(arguments.path)
    scenario = read_scenario(finding_file(arguments.subject, arguments.out))
    stances = [examine(scenario, Variant(path, profile, overrides, None)) for path in paths or [""]]
    if arguments.json:
        print_json({"format": 1, "results": [stance_as_json(stance) for stance in stances]})
        return EXIT_CLEAN
    show = screen(sys.stdout)
    for number, stance in enumerate(stances):
        print(*([""] if number else []), *stance_lines(stance, show), sep="\n")
    return EXIT_CLEAN
