"""The ``nested`` target: it finds the bleed that L1 sees from nothing, and nothing that is not known."""

from functools import cache

import pytest

from worldswitch.fuzzing.local import explore
from worldswitch.fuzzing.minimize import minimize
from worldswitch.fuzzing.projection import SIZE
from worldswitch.fuzzing.targets import Configuration, Hit, Target, features
from worldswitch.nested.claims import BEGIN, CLAIMS, END, HOLDS, LIMITED, Claim
from worldswitch.nested.codec import NestedCodec
from worldswitch.nested.expected import expected_findings
from worldswitch.nested.projection import NESTED_POINTS
from worldswitch.oracles.finding import Finding
from worldswitch.paths.catalogue import find

PATHS = ("linux-6.1", "linux-6.14")
CASES = 1000
SEEDS = (1, 2)
VISIBLE = "shadow-bleed.unexplained-shadow.reflected"


@cache
def hits(seed: int) -> tuple[tuple[int, bytes, Hit], ...]:
    target = Target(Configuration("nested", PATHS))
    found = []
    for number, (data, judged) in enumerate(explore(target, CASES, seed, [])):
        assert all(0 <= point < SIZE for point in features(judged))
        found += [(number, data, hit) for hit in target.hits(judged)]
    return tuple(found)


def visible(finding: Finding) -> bool:
    return finding.signature == VISIBLE and finding.level == "L1"


@pytest.mark.parametrize("seed", SEEDS)
def test_the_bleed_that_l1_sees_is_found_from_an_empty_corpus(seed: int) -> None:
    first = {hit.path: number for number, _, hit in reversed(hits(seed)) if visible(hit.finding)}
    assert set(first) == {"linux-6.1"}
    assert first["linux-6.1"] < 200


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_found_that_is_not_known(seed: int) -> None:
    surplus = {(hit.path, hit.finding.signature) for _, _, hit in hits(seed)} - {
        (path, signature) for path, signatures in expected_findings().items() for signature in signatures
    }
    assert not surplus


def test_the_known_findings_differ_by_what_the_fix_removes() -> None:
    before, after = (expected_findings()[path] for path in PATHS)
    assert after < before
    assert not any(name.startswith(("shadow-bleed", "benign-claim")) for name in after)


def test_reduction_leaves_what_it_takes() -> None:
    _, data, _ = next(item for item in hits(1) if visible(item[2].finding))
    small = minimize(NestedCodec("linux-6.1").decode(data), VISIBLE, find("linux-6.1")).nested
    assert small is not None
    assert set(small.settings) == {"vmcb12.eventinj"}
    assert (small.npt0, small.npt1) == ((), ("stack",))


def test_projection_fits() -> None:
    assert NESTED_POINTS < SIZE


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_claim(claim: Claim) -> None:
    limited = {"transient", "not-in-hlt", "forces-exit"}  # right about KVM's own guest, not about L2 (S2-81, S9-24)
    assert claim.check().result == (LIMITED if claim.name in limited else HOLDS)


def test_the_page_lists_every_claim_with_its_result() -> None:
    from pathlib import Path

    from worldswitch.nested.claims import replaced

    page = (Path(__file__).parents[2] / "docs/nested.md").read_text(encoding="utf-8")
    assert BEGIN in page
    assert END in page
    assert replaced(page) == page
