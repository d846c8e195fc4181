"""Random scenarios, executed in the model and on a real SVM implementation: do they agree?

The scenarios are the fuzzer's own. Each is executed by a boot image under QEMU, Bochs or KVM's nested SVM, and in the
model under that implementation's profile. Every disagreement is a finding, reduced to the smallest scenario that shows
it; --out keeps them as replayable files. Known differences of an implementation are options in its profile.

That a check can fail is shown with a wrong rule in the model: --set turns an option back, --mutant plants one of the
processor's defects that `worldswitch mutants --list` names.

Exit codes: 0 no disagreement, 1 a disagreement, 2 bad input or no such implementation here, 3 nothing was comparable.
"""

import argparse
import sys
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from worldswitch.commands import EXIT_CLEAN, EXIT_FINDINGS, EXIT_NO_VERDICT
from worldswitch.commands.common import add_json_argument, model_options, print_json
from worldswitch.errors import InputError
from worldswitch.sources import use_sources

if TYPE_CHECKING:
    from worldswitch.replay.crosscheck import Crosscheck, Difference

EXAMPLES = """
worldswitch crosscheck --on qemu --runs 20000
worldswitch crosscheck --on bochs --runs 2000 --seed 7 --out differences
worldswitch crosscheck --runs 500 --set virq_priority=greater
worldswitch crosscheck --on bochs --runs 500 --mutant exit-reports-no-shadow
"""
REASONS_SHOWN = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``crosscheck``."""
    parser.add_argument(
        "--on", choices=("qemu", "bochs", "kvm"), default="qemu", help="the implementation (default: %(default)s)"
    )
    parser.add_argument(
        "--runs", metavar="N", type=int, default=1000, help="scenarios to compare (default: %(default)s)"
    )
    parser.add_argument("--seed", metavar="N", type=int, default=1, help="of the random numbers (default: %(default)s)")
    parser.add_argument(
        "--profile", metavar="NAME", default="", help="another profile of the model than the implementation's"
    )
    parser.add_argument(
        "--set", metavar="OPTION=VALUE", action="append", default=[], dest="options", help="a model option"
    )
    parser.add_argument("--mutant", metavar="NAME", default="", help="plant a wrong rule in the model first")
    parser.add_argument("--out", metavar="DIR", default="", help="where to keep the findings")
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check, and print what differs."""
    if arguments.mutant:
        use_sources()  # it is planted by replacing a function
    from worldswitch.replay import kvm
    from worldswitch.replay.answer import described, target_of
    from worldswitch.replay.crosscheck import crosscheck

    if arguments.runs < 1:
        raise InputError("expected a number from 1", field="--runs")
    profile, overrides = model_options(arguments)
    mutant = _mutant(arguments.mutant)
    if arguments.on == "kvm":
        kvm.check()
    target = target_of(arguments.on, profile)
    kept: set[str] = set()
    so_far: list[Crosscheck] = []

    def progress(result: "Crosscheck") -> None:
        so_far[:] = [result]
        print(f"{result.runs} of {arguments.runs} runs, {len(result.differences)} findings", file=sys.stderr)
        for difference in result.differences:
            if arguments.out and difference.signature not in kept:
                kept.add(difference.signature)
                _keep(difference, arguments.out)

    implementation = described(arguments.on)
    try:
        with mutant:
            result = crosscheck(target, arguments.runs, arguments.seed, overrides, progress)
    except KeyboardInterrupt:
        if so_far:
            _show(arguments, so_far[0], implementation)
        raise
    _show(arguments, result, implementation)
    if result.differences:
        return EXIT_FINDINGS
    return EXIT_CLEAN if result.runs else EXIT_NO_VERDICT


def _mutant(name: str) -> AbstractContextManager[None]:
    """The context in which the mutant of that name, of the processor model, is planted; "" for none."""
    if not name:
        return nullcontext()
    from worldswitch.mutants.model import PROCESSOR
    from worldswitch.mutants.planting import planted
    from worldswitch.mutants.registry import find_mutant

    mutant = find_mutant(name)
    if mutant.family != PROCESSOR:
        raise InputError(f"{name} is not a defect of the processor model, which alone is checked", field="--mutant")
    return planted(mutant)


def _show(arguments: argparse.Namespace, result: "Crosscheck", implementation: str) -> None:
    if arguments.json:
        print_json(_as_json(result, implementation))
    else:
        _print(result, implementation)


def _print(result: "Crosscheck", implementation: str) -> None:
    from worldswitch.replay.crosscheck import LOW_SHARE, SHOWN
    from worldswitch.scenario.write import scenario_text

    for difference in result.differences:
        print(f"{difference.signature}: {difference.runs} runs")
        for found in difference.disagreements:
            print(f"    {found}")
        print("    the smallest scenario:" if difference.minimized else "    does not show in an image of its own:")
        for line in scenario_text(difference.minimized or difference.scenario).splitlines():
            print(f"    {line}".rstrip())
        print()
    not_comparable = sum(result.reasons.values())
    print(f"{implementation}, profile {result.target.profile}, seed {result.seed}")
    print(
        f"{result.drawn} scenarios drawn, {not_comparable} not comparable, {result.runs} compared ({result.share:.0%})"
    )
    print(f"{sum(d.runs for d in result.differences)} disagree, {result.stopped} ended in a reset or hung")
    print(f"observed: {result.exits.total()} exits of {len(result.exits)} kinds")
    for name in SHOWN:
        print(f"{result.shown[name]:8} {name}")
    if result.share < LOW_SHARE:
        print("less than half is comparable: this speaks for the scenarios that an image can follow, and for no others")
    if result.reasons:
        print("not comparable, most often:")
        for reason, count in result.reasons.most_common(REASONS_SHOWN):
            print(f"{count:8} {reason}")


def _as_json(result: "Crosscheck", implementation: str) -> dict[str, Any]:
    return {
        "format": 1,
        "on": result.target.name,
        "implementation": implementation,
        "profile": result.target.profile,
        "seed": result.seed,
        "drawn": result.drawn,
        "compared": result.runs,
        "stopped": result.stopped,
        "exits": dict(result.exits.most_common()),
        "observed": dict(result.shown),
        "not_comparable": dict(result.reasons.most_common()),
        "findings": [_finding(difference) for difference in result.differences],
    }


def _finding(difference: "Difference") -> dict[str, Any]:
    from worldswitch.replay.show import disagreement_as_json
    from worldswitch.scenario.write import scenario_text

    return {
        "signature": difference.signature,
        "runs": difference.runs,
        "disagreements": [disagreement_as_json(found) for found in difference.disagreements],
        "scenario": scenario_text(difference.scenario),
        "minimized": scenario_text(difference.minimized) if difference.minimized else None,
    }


def _keep(difference: "Difference", out: str) -> None:
    """``DIR/findings/SIGNATURE`` with the scenario, the minimised one, and what differed."""
    import json
    from pathlib import Path

    from worldswitch.fuzzing.store import write_whole

    finding = _finding(difference)
    folder = Path(out) / "findings" / difference.signature
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "scenario.toml", finding.pop("scenario"))
    minimized = finding.pop("minimized")
    if minimized:
        write_whole(folder / "minimized.toml", minimized)
    write_whole(folder / "finding.json", json.dumps(finding, indent=2) + "\n")
