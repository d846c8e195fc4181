"""Scenario texts, run on shipped paths and on variants of them, and judged."""

from dataclasses import replace

from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.run import Run, run_plan
from worldswitch.oracles.judge import Verdict, judge
from worldswitch.paths.catalogue import find
from worldswitch.paths.listing import parse_listing
from worldswitch.paths.model import EntryPath
from worldswitch.paths.mutate import mutants
from worldswitch.scenario.read import read_text

OLD = "linux-6.1"
NEW = "linux-6.14"
TRACED = "linux-fix-v1"

INTERCEPTS = 'intercepts = ["intr", "nmi", "shutdown", "vmrun", "vmmcall"]'
PLAIN = f"""
[host]
path = "{NEW}"
[vmcb]
{INTERCEPTS}
[guest]
program = ["vmmcall"]
"""
"""A guest that exits at once."""

REBOOTING = """
[kernel]
kvm_rebooting = true
[cpu]
svme = false
"""


def run(text: str, path: str | EntryPath = NEW, profile: str | None = None, traced: bool = False) -> Run:
    """The run of a scenario text (``format`` is added) on a path; with ``""`` its own host program."""
    scenario = read_text("format = 1\n" + text)
    return run_plan(compile_scenario(scenario, path or None, profile), traced)


def verdict(text: str, path: str | EntryPath = NEW, profile: str | None = None) -> Verdict:
    """The same, judged."""
    return judge(run(text, path, profile))


def signatures(text: str, path: str | EntryPath = NEW, profile: str | None = None, oracle: str = "") -> list[str]:
    """The findings' signatures, of one oracle or of all."""
    found = [finding.signature for finding in verdict(text, path, profile).findings]
    return sorted(signature for signature in found if signature.startswith(oracle))


def mutant(path: str, edit: str) -> EntryPath:
    """A shipped path with one edit, by its name: ``remove sti``."""
    return next(found.path for found in mutants(find(path)) if found.name == edit)


def variant(path: str | EntryPath, old: str, new: str) -> EntryPath:
    """A path with one line of its listing replaced by others (or none), given as a listing; the label stays."""
    before = find(path) if isinstance(path, str) else path
    lines = list(before.lines)
    number = next(i for i, line in enumerate(lines) if line.instruction.text == old)
    fresh = [replace(line, noinstr=lines[number].noinstr) for line in parse_listing(new)]
    if fresh and not any(line.label for line in fresh):
        fresh[0] = replace(fresh[0], label=lines[number].label)
    lines[number : number + 1] = fresh
    return replace(before, name="variant", lines=tuple(lines))
