"""The measure of a fuzzer: shares of what is reachable, and that cases and explorations are measured alike."""

from worldswitch.check.explore import Explorer
from worldswitch.check.measure import BATCH, Follower, Share, at_random, reachable
from worldswitch.check.space import EVERYTHING, INJECTION, Space, only
from worldswitch.check.truth import Seen
from worldswitch.fuzzing.codec import Codec
from worldswitch.fuzzing.targets import Configuration
from worldswitch.paths.catalogue import find
from worldswitch.scenario.read import read_text

CONFIGURATION = Configuration("world-switch", ("linux-6.1",))

INJECTED = """
format = 1
[host]
path = "linux-6.1"
[vmcb]
eventinj = "bp"
[guest]
idt = { 0x03 = "npf" }
"""


def seen_of(space: Space) -> Seen:
    seen = Seen()
    Explorer(space, find("linux-6.1"), trace=seen).run()
    return seen


def share_of_a_case(truth: Seen, data: bytes) -> Share:
    follower = Follower(CONFIGURATION)
    follower.run(data)
    share = Share(truth)
    share.add(*follower.fresh())
    assert follower.fresh() == (set(), set())
    return share


def test_nothing_chosen_is_the_plain_run() -> None:
    truth = seen_of(Space("nothing", ""))
    share = share_of_a_case(truth, b"")
    assert (share.of_states, share.of_transitions, share.beyond) == (1.0, 1.0, 0)


def test_a_case_within_the_space_adds_nothing_beyond_it() -> None:
    truth = seen_of(Space("injection", "", fields=only("vmcb.eventinj"), gates=INJECTION.gates))
    share = share_of_a_case(truth, Codec("world-switch", "linux-6.1").encode(read_text(INJECTED)))
    assert share.beyond == 0
    assert 0 < share.of_transitions < 1


def test_a_case_beyond_the_space_is_counted_apart() -> None:
    truth = seen_of(Space("nothing", ""))
    share = share_of_a_case(truth, Codec("world-switch", "linux-6.1").encode(read_text(INJECTED)))
    assert share.beyond > 0
    assert share.of_transitions < 1


def test_the_share_only_grows() -> None:
    share = Share(seen_of(EVERYTHING.bounded(1)))
    shares = []
    for executions, states, transitions in at_random(CONFIGURATION, 4 * BATCH, seed=1):
        assert executions % BATCH == 0
        share.add(states, transitions)
        shares.append(share.of_transitions)
    assert shares == sorted(shares)
    assert 0 < shares[0] < shares[-1] <= 1


def test_free_host_programs_have_a_truth_of_their_own() -> None:
    lines: list[str] = []
    seen = reachable(Configuration("sequence", ()), 1, lines.append)
    assert len(lines) == 1
    assert {state[1] for state in seen.states if state[0] == "host"} >= {"clgi", "sti", "vmrun", "cli", "stgi", "end"}
