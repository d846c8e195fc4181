"""Leaving out runs that must be alike changes no finding and no guidance, and leaves out many."""

import pytest

from worldswitch.fuzzing.local import explore
from worldswitch.fuzzing.targets import Configuration, Hit, Target, features

CASES = 500


def signatures(hits: list[Hit]) -> list[tuple[str, str]]:
    return sorted((hit.path, hit.finding.signature) for hit in hits)


@pytest.mark.parametrize("profile", ["amd", "amd-noquirk", "bochs-2.7"])
@pytest.mark.parametrize("paths", [("linux-6.1", "linux-6.14"), ("linux-6.14", "linux-fix-v1", "linux-6.1")])
def test_executing_less_says_the_same(profile: str, paths: tuple[str, ...]) -> None:
    target = Target(Configuration(paths=paths, profile=profile))
    left_out = 0
    for data, judged in explore(target, CASES, 5, []):
        quick, hits = target.execute(data)
        assert signatures(hits) == signatures(target.hits(judged)), target.scenario(data)
        assert set(features(quick)) == set(features(judged)), target.scenario(data)
        left_out += len(judged) - len(quick)
    if profile.startswith("amd"):
        assert left_out > CASES / 8


def test_paths_of_another_shape_are_always_run() -> None:
    from dataclasses import replace

    from worldswitch.core.options import profile
    from worldswitch.fuzzing.twins import comparable
    from worldswitch.paths.catalogue import find

    old, new = find("linux-6.1"), find("linux-6.14")
    assert comparable(old, new, profile("amd"))
    assert not comparable(old, replace(new, lines=new.lines[3:]), profile("amd"))
    assert not comparable(old, replace(new, entry_if=True), profile("amd"))
    assert not comparable(old, new, profile("qemu-7.2"))
