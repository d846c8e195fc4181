"""Replays findings and scenarios in the model, or on a real SVM implementation.

FINDING is a finding's directory, a scenario file or a signature within --out. Without --on each is
executed again in the model, and its findings are listed. With --on a small boot image executes it under QEMU, Bochs or
KVM's nested SVM, and what the model says under that implementation's profile stands beside what was observed.
--export writes the scenarios as a bootable CD image for other machines; --from-log reads the log that it wrote to the
serial port. What an implementation cannot raise, or an image cannot observe, is "not comparable", never agreement.

Exit codes: those of run; with --on or --from-log 0 where all that is comparable agrees, 1 where something differs, 3
where nothing is comparable.
"""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from worldswitch.commands import EXIT_CLEAN, EXIT_FINDINGS, EXIT_NO_VERDICT
from worldswitch.commands.common import (
    add_json_argument,
    add_model_arguments,
    add_out_argument,
    finding_file,
    model_options,
    path_names,
    print_json,
)
from worldswitch.errors import InputError

if TYPE_CHECKING:
    from worldswitch.replay.answer import Answer
    from worldswitch.scenario.model import Scenario

EXAMPLES = """
worldswitch replay campaign/findings/shadow-bleed.unexplained-shadow.injection
worldswitch replay corpus/golden.toml --on qemu --path linux-6.1,linux-6.14
worldswitch replay corpus/golden.toml --export image.iso
worldswitch replay corpus/golden.toml --from-log serial.log
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``replay``."""
    parser.add_argument(
        "findings", metavar="FINDING", nargs="+", help="findings' directories, scenario files or signatures"
    )
    parser.add_argument("--on", choices=("qemu", "bochs", "kvm"), help="a real implementation of SVM")
    parser.add_argument("--from-log", metavar="FILE", default="", help="the serial log of an exported image, read back")
    parser.add_argument("--export", metavar="FILE", default="", help="write a bootable CD image instead of running")
    add_model_arguments(parser)
    add_out_argument(parser)
    add_json_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Execute each again; 1 where one shows a finding that it does not expect, or misses what it expects."""
    if arguments.export and arguments.from_log:
        raise InputError("a log is read, or an image written", field="--from-log")
    if arguments.on or arguments.export or arguments.from_log:
        return _on_implementation(arguments)
    from worldswitch.result import as_json, execute, variants
    from worldswitch.scenario.read import read_scenario

    profile, options = model_options(arguments)
    paths = path_names(arguments.path)
    results = []
    for name in arguments.findings:
        scenario = read_scenario(finding_file(name, arguments.out))
        results += [execute(scenario, variant) for variant in variants(scenario, paths, profile, options)]
    if arguments.json:
        print_json({"format": 1, "results": [as_json(result) for result in results]})
    else:
        for result in results:
            found = ", ".join(finding.signature for finding in result.verdict.findings) or "no finding"
            print(f"{result.scenario.file} on {result.path}: {found}")
            for failure in result.unmet:
                print(f"    {failure}")
    return EXIT_FINDINGS if any(result.failed for result in results) else EXIT_CLEAN


def _on_implementation(arguments: argparse.Namespace) -> int:
    from worldswitch.replay import kvm
    from worldswitch.replay.answer import (
        AGREE,
        DISAGREE,
        NOT_COMPARABLE,
        described,
        prepare,
        processor_of,
        put,
        target_of,
    )
    from worldswitch.replay.show import as_json, text
    from worldswitch.replay.target import HARDWARE
    from worldswitch.report.terminal import screen

    profile, overrides = model_options(arguments)
    on = arguments.on or HARDWARE
    log = Path(arguments.from_log) if arguments.from_log else None
    if on == "kvm" and not (log or arguments.export):
        kvm.check()
    target = target_of(on, profile)
    answers = prepare(_scenarios(arguments), path_names(arguments.path), target, overrides)
    comparable = [answer for answer in answers if answer.record is not None]
    if arguments.export:
        return _export(answers, arguments)
    implementation = described(on) if log is None or on == HARDWARE else f"a log of {on}"
    if comparable:
        put(comparable, target, log)
    if log is not None and (processor := processor_of(log)):
        implementation = f"{implementation}: {processor}"
    if arguments.json:
        entries = [as_json(answer, target) for answer in answers]
        print_json({"format": 1, "on": target.name, "implementation": implementation, "results": entries})
    else:
        print(f"on {implementation}")
        show = screen(sys.stdout)
        shorten = len({answer.scenario.file for answer in answers}) > 1
        for answer in answers:
            lines = list(text(answer, target, show))
            if shorten and not answer.disagreements:
                print(lines[0])
            else:
                print("", *lines, sep="\n")
        verdicts = [answer.verdict for answer in answers]
        if len(verdicts) > 1:
            counts = [f"{verdicts.count(verdict)} {verdict}" for verdict in (AGREE, DISAGREE, NOT_COMPARABLE)]
            print(f"\n{len(verdicts)} runs: {', '.join(counts)}")
    if any(answer.disagreements for answer in answers):
        return EXIT_FINDINGS
    return EXIT_CLEAN if any(not answer.reason for answer in answers) else EXIT_NO_VERDICT


def _scenarios(arguments: argparse.Namespace) -> "list[Scenario]":
    """Of the findings and files named; a directory that is no finding's holds scenario files."""
    from worldswitch.commands.common import FINDING_FILES, read_scenarios

    files = []
    for name in arguments.findings:
        path = Path(name)
        is_folder = path.is_dir() and not any((path / file).is_file() for file in FINDING_FILES)
        files.append(name if is_folder else finding_file(name, arguments.out))
    return read_scenarios(files)


def _export(answers: "list[Answer]", arguments: argparse.Namespace) -> int:
    from worldswitch.replay.answer import cache_directory
    from worldswitch.replay.run import export_image

    for answer in answers:
        if answer.reason:
            print(f"{answer.scenario.file} on {answer.path}: not comparable: {answer.reason}", file=sys.stderr)
    records = [answer.record for answer in answers if answer.record is not None]
    if not records:
        print("nothing to export", file=sys.stderr)
        return EXIT_NO_VERDICT
    export_image(records, cache_directory(), Path(arguments.export))
    words = [*arguments.findings, *(f"--path {path}" for path in arguments.path)]
    if arguments.on:
        words.append(f"--on {arguments.on}")
    print(f"{arguments.export}: {len(records)} runs; its log is read with")
    print(f"    worldswitch replay {' '.join(words)} --from-log FILE")
    return EXIT_CLEAN
