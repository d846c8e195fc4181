"""The bounded, seeded check for CI: the same verdict every time.

Exit code 0: every path shows exactly the findings that the verdict matrix lists for it.
Exit code 1: a path shows a finding that its row does not list, and that is not acknowledged.
Exit code 3: no verdict; the run was blind (a floor, a known finding or the planted defect was missed).
"""

import argparse

from worldswitch.commands.common import (
    add_acknowledged_argument,
    add_ci_arguments,
    add_json_argument,
    model_options,
    print_json,
)

EXAMPLES = """
worldswitch smoke
worldswitch smoke --acknowledged acknowledged.toml --sarif smoke.sarif --junit smoke.xml
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``smoke``."""
    parser.add_argument("--verdicts", metavar="FILE", default="", help="a verdict matrix instead of the shipped one")
    parser.add_argument("--cases", metavar="N", type=int, default=0, help="cases to execute (default: as shipped)")
    parser.add_argument("--seed", metavar="N", type=int, default=1, help="of the random numbers (default: %(default)s)")
    parser.add_argument("--profile", metavar="NAME", default="", help="the processor model's profile (default: amd)")
    parser.add_argument(
        "--set", metavar="OPTION=VALUE", action="append", default=[], dest="options", help="a model option"
    )
    add_acknowledged_argument(parser)
    add_ci_arguments(parser)
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the check and print its verdict."""
    from worldswitch.errors import InputError
    from worldswitch.fuzzing import smoke
    from worldswitch.fuzzing.acknowledged import read_acknowledged
    from worldswitch.fuzzing.verdicts import from_file, shipped

    if arguments.cases < 0:
        raise InputError("expected a number from 1", field="--cases")
    profile, options = model_options(arguments)
    verdicts = from_file(arguments.verdicts) if arguments.verdicts else shipped()
    known = read_acknowledged(arguments.acknowledged)
    result = smoke.smoke(verdicts, profile or "amd", options, arguments.cases or smoke.CASES, arguments.seed, known)
    if arguments.sarif or arguments.junit:
        from worldswitch.ci.results import of_smoke, write

        reported, cases = of_smoke(result, arguments.verdicts)
        write(
            "worldswitch smoke", reported, cases,
            sarif_file=arguments.sarif, junit_file=arguments.junit, trouble=result.blind,
        )  # fmt: skip
    if arguments.json:
        print_json(smoke.as_json(result))
    else:
        print(smoke.text(result))
    return result.exit_code
