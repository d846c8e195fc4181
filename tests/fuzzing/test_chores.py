"""What a campaign does beside fuzzing: reduction with a replay, minimisation of a corpus; and its process."""

import os
import random
import signal
import time
from typing import Any

import pytest

from worldswitch.fuzzing import helper as helper_module
from worldswitch.fuzzing.chores import Cull, Reduce, cull, reduce
from worldswitch.fuzzing.helper import TRIES, Helper
from worldswitch.fuzzing.mutate import Mutator
from worldswitch.fuzzing.targets import Configuration, Target, features
from worldswitch.scenario.read import read_text

BLEED = "shadow-bleed.unexplained-shadow.injection"
GOLDEN = """
format = 1
[host]
path = "linux-6.1"
[vmcb]
eventinj = "intr:0x68"
[guest]
idt = { 0x68 = "npf" }
"""


@pytest.fixture(scope="module")
def chore(tmp_path_factory: pytest.TempPathFactory) -> Reduce:
    configuration = Configuration()
    case = Target(configuration).codec.encode(read_text(GOLDEN)).hex()
    directory = str(tmp_path_factory.mktemp("finding"))
    return Reduce(configuration, BLEED, case, "linux-6.1", "why", directory, "linux-6.1")


def test_a_finding_is_reduced_replayed_and_looked_for_elsewhere(chore: Reduce) -> None:
    done = reduce(chore)
    assert "problem" not in done
    small = read_text(done["minimized"])
    assert (small.about, small.path, set(small.settings)) == ("why", "linux-6.1", {"vmcb.eventinj"})
    assert "linux-6.1" in done["shown_on"]["amd"]
    assert "linux-6.14" not in done["shown_on"]["amd"]  # the path out of the shadow
    assert "amd-noquirk" not in done["shown_on"]  # S2-70 switched off
    assert done["stands_only_on"] == {"bleed_sti_shadow": ["off"]}


def test_a_finding_that_does_not_replay_says_so(chore: Reduce) -> None:
    nothing = Reduce(chore.configuration, BLEED, "00", "linux-6.1", "", chore.directory, "linux-6.1")
    assert reduce(nothing) == {"problem": "its first case, executed again, does not show it"}
    elsewhere = Reduce(chore.configuration, BLEED, chore.case, "linux-6.1", "", chore.directory, "linux-6.14")
    assert "read back" in reduce(elsewhere)["problem"]


def test_a_corpus_loses_inputs_and_no_point() -> None:
    configurations = (Configuration(paths=("linux-6.1",)), Configuration(paths=("xen-4.12",)))
    mutator = Mutator(Target(configurations[0]).codec)
    rng = random.Random(1)
    cases = [mutator.draw(rng.getrandbits(32)) for _ in range(60)]
    units = tuple((f"{number:02}", data) for number, data in enumerate([*cases, *cases]))
    done = cull(Cull(configurations, units))
    keep = set(done["keep"])
    assert 0 < len(keep) < 60

    def reached(names: set[str]) -> set[tuple[int, int]]:
        targets = [Target(configuration) for configuration in configurations]
        return {
            (number, point)
            for name, data in units
            if name in names
            for number, target in enumerate(targets)
            for point in features(target.execute(data)[0])
        }

    whole = reached({name for name, _ in units})
    assert reached(keep) == whole
    assert len(whole) == done["points"]


def wait(helper: Helper) -> dict[str, Any]:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        done = helper.poll()
        if done is not None:
            return done
        time.sleep(0.02)
    raise AssertionError("the helper is not done")


def test_the_helper_gives_what_the_chore_gives_though_it_is_killed(chore: Reduce) -> None:
    helper = Helper()
    helper.begin(chore)
    os.kill(helper.pid, signal.SIGKILL)
    assert wait(helper) == reduce(chore)
    assert helper.deaths == 1
    helper.close()


def test_a_chore_whose_process_always_dies_is_given_up(chore: Reduce, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper_module, "_CODE", "import os; os._exit(7)")
    helper = Helper()
    helper.begin(chore)
    assert wait(helper) == {"problem": f"the process that reduced it ended {TRIES} times (exit code 7)"}
    helper.close()


def test_a_chore_that_takes_too_long_is_given_up(chore: Reduce, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper_module, "_CODE", "import time; time.sleep(100)")
    helper = Helper(limit_seconds=0.3)
    helper.begin(chore)
    assert "took longer than" in wait(helper)["problem"]
    assert not helper.busy
    helper.close()
