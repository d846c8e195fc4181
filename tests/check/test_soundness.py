"""The reductions lose nothing: what the search shows is what brute force shows."""

from dataclasses import replace

import pytest
from tests.check.enumerated import enumerated, explored
from tests.oracles.judging import variant

from worldswitch.check.space import (
    AGAIN,
    BETWEEN,
    EVENTS,
    EVERYTHING,
    FIELDS,
    GATES,
    INJECTION,
    REBOOTING,
    VIRTUAL,
    Space,
    only,
)
from worldswitch.paths.catalogue import find

ONE_OF_EACH = {"vmcb.eventinj": (FIELDS["vmcb.eventinj"][0], FIELDS["vmcb.eventinj"][4], FIELDS["vmcb.eventinj"][10])}

SPACES = (
    EVERYTHING.bounded(1),
    replace(INJECTION, depth=2, gates=GATES[:3], fields={**ONE_OF_EACH, **only("vmcb.int_state")}),
    replace(VIRTUAL, depth=2, events=(), nesting=None),
    replace(AGAIN, depth=3, fields={**ONE_OF_EACH, **only("guest.rip")}, gates=(GATES[2],), between=BETWEEN[:3]),
    replace(REBOOTING, depth=2, events=("nmi",), fields=only("kernel.kvm_rebooting", "cpu.svme"), nesting=None),
    Space(
        "guest", "", 2, only("guest.if", "guest.tf"), True, words=("sti", "hlt", "int 0x80", "ud2"), bodies=(("sti",),)
    ),
)


@pytest.mark.parametrize("space", SPACES, ids=lambda space: space.name)
def test_the_search_shows_what_brute_force_shows(space: Space) -> None:
    path = find("linux-6.1")
    search, force = explored(space, path), enumerated(space, path)
    assert force.runs > 4 * search.runs
    assert search.found == force.found
    assert force.transitions <= search.transitions
    assert force.exits == search.exits
    assert force.contexts <= search.contexts  # the search lets events arrive in handlers as well
    assert force.outcomes == search.outcomes


@pytest.mark.parametrize(
    "space",
    [
        replace(EVENTS, depth=3, nesting=0, events=("intr", "nmi", "smi")),
        VIRTUAL.bounded(2),
        replace(AGAIN, depth=4, fields={**ONE_OF_EACH, **only("guest.rip")}),
    ],
    ids=lambda space: space.name,
)
def test_merging_states_loses_nothing(space: Space) -> None:
    path = find("linux-6.1")
    merged, whole = explored(space, path), explored(space, path, merge=False)
    assert whole.runs > merged.runs
    assert merged.found == whole.found
    assert merged.transitions == whole.transitions
    assert (merged.exits, merged.contexts, merged.outcomes) == (whole.exits, whole.contexts, whole.outcomes)


@pytest.mark.parametrize("line", ["clgi", "guest_context_exit_irqoff", "stgi"])
def test_a_defect_of_the_path_shows_alike(line: str) -> None:
    path = replace(variant("linux-6.14", line, "nop"), name="linux-6.14")
    space = replace(EVENTS, depth=2, events=("nmi",), intercepts=False, nesting=None)
    search, force = explored(space, path), enumerated(space, path)
    assert search.found
    assert search.found == force.found
    assert force.transitions <= search.transitions
