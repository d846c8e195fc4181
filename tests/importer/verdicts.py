"""What the golden trace gives on a path."""

from pathlib import Path

from worldswitch.machine.compile import compile_scenario
from worldswitch.machine.run import run_plan
from worldswitch.oracles.judge import judge
from worldswitch.paths.model import EntryPath
from worldswitch.scenario.read import read_scenario

GOLDEN = Path(__file__).parents[2] / "corpus" / "golden.toml"
BLEED = "shadow-bleed.unexplained-shadow.injection"


def golden(path: EntryPath) -> tuple[list[int], list[str]]:
    """int_state at each exit of the golden trace, and the findings."""
    run = run_plan(compile_scenario(read_scenario(GOLDEN), path))
    return [record.int_state for record in run.recorder.exits], [finding.signature for finding in judge(run).findings]
