"""Edited paths by name, the edits that break a path, and the fuzzer's cases of them."""

import gc
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldswitch.cli import main
from worldswitch.errors import InputError
from worldswitch.fuzzing.edits import EditsCodec, broken_promise
from worldswitch.fuzzing.local import explore
from worldswitch.fuzzing.minimize import minimize
from worldswitch.fuzzing.mutate import Mutator
from worldswitch.fuzzing.targets import Configuration, Target
from worldswitch.machine.compile import compile_scenario, lay_out_for
from worldswitch.machine.run import run_plan
from worldswitch.oracles.judge import judge
from worldswitch.paths.catalogue import find
from worldswitch.paths.closeness import closeness
from worldswitch.paths.edits import KINDS, fewer, parse, spell, split
from worldswitch.paths.model import EntryPath, read_path
from worldswitch.program.layout import Layout
from worldswitch.report import closeness as report
from worldswitch.scenario.read import read_scenario
from worldswitch.text.read import loads

SEEDS = sorted((Path(__file__).parents[2] / "corpus" / "edits").glob("*.toml"))


def texts(name: str) -> list[str]:
    return [line.instruction.text for line in find(name).lines]


def small(tmp_path: Path) -> str:
    file = tmp_path / "small.toml"
    listing = "clgi\nenter: nop\nraw_local_irq_enable\nmov x\nvmrun\ncli\nstgi"
    file.write_text(f'format = 1\nname = "small"\nlisting = """\n{listing}\n"""\n')
    return str(file)


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        ("remove@clgi", "nop raw_local_irq_enable mov vmrun cli stgi"),
        ("repeat@cli", "clgi nop raw_local_irq_enable mov vmrun cli cli stgi"),
        ("exchange@sti", "clgi nop mov raw_local_irq_enable vmrun cli stgi"),
        ("trace@sti", "clgi nop trace_hardirqs_on sti mov vmrun cli stgi"),
        ("move@sti:vmrun", "clgi nop mov raw_local_irq_enable vmrun cli stgi"),
        ("move@cli:clgi", "cli clgi nop raw_local_irq_enable mov vmrun stgi"),
        ("move@clgi:end", "nop raw_local_irq_enable mov vmrun cli stgi clgi"),
        ("insert@vmrun:popf if", "clgi nop raw_local_irq_enable mov popf vmrun cli stgi"),
        ("remove@sti+1~remove@enter", "clgi raw_local_irq_enable vmrun cli stgi"),
    ],
)
def test_each_edit_does_what_it_says(tmp_path: Path, edits: str, expected: str) -> None:
    assert [text.split()[0] for text in texts(f"{small(tmp_path)}~{edits}")] == expected.split()


@pytest.mark.parametrize(
    ("edits", "complaint"),
    [
        ("remove@foo", "'foo' is no place"),
        ("remove@exit", "this path has no exit"),
        ("remove@stgi+9", "beyond the path's end"),
        ("remove@stgi+1", "no such line"),
        ("move@sti", "expected move@PLACE:TO"),
        ("remove@sti:vmrun", "expected remove@PLACE"),
        ("insert@sti:", "expected insert@PLACE:TEXT"),
        ("insert@sti:frobnicate", "neither an instruction nor a kernel call"),
        ("insert@sti:set guest.memory=ok", "no `set`"),
        ("trace@cli", "is no raw helper"),
        ("exchange@stgi", "no next one"),
    ],
)
def test_an_edit_that_does_not_fit_is_one_line(tmp_path: Path, edits: str, complaint: str) -> None:
    with pytest.raises(InputError) as raised:
        find(f"{small(tmp_path)}~{edits}")
    assert complaint in str(raised.value)
    assert f"~{edits}" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_tilde_alone_is_part_of_a_name(tmp_path: Path) -> None:
    file = tmp_path / "a~b.toml"
    file.write_text('format = 1\nname = "x"\nlisting = "vmrun"\n')
    assert find(str(file)).name == "x"


def test_the_same_edits_give_the_same_path() -> None:
    assert find("linux-6.14~remove@clgi") is find("linux-6.14~remove@clgi")
    assert find("linux-6.14~remove@clgi").name == "linux-6.14~remove@clgi"


def test_fewer_leaves_out_one_edit_each() -> None:
    assert list(fewer("a~remove@cli~repeat@sti")) == ["a~repeat@sti", "a~remove@cli"]
    assert list(fewer("linux-6.1")) == []


codecs = st.just(EditsCodec(("linux-6.1", "linux-6.14", "xen-4.12")))


@given(codecs, st.binary(max_size=130))
def test_any_bytes_are_an_edited_path_that_runs(codec: EditsCodec, data: bytes) -> None:
    scenario = codec.decode(data)
    run = run_plan(compile_scenario(scenario))
    assert not broken_promise(run, judge(run))
    assert run.plan.path is not None
    assert run.plan.path.name == scenario.path


@given(codecs, st.binary(min_size=110, max_size=130))
def test_edits_come_back_from_their_spelling(codec: EditsCodec, data: bytes) -> None:
    base, edits = split(codec.decode(data).path)
    path = find(base)
    for number, text in enumerate(edits):
        assert text.partition("@")[0] in KINDS
        assert spell(path, parse(path, text)) == text
        path = find("~".join((base, *edits[: number + 1])))


@pytest.mark.parametrize("seed", SEEDS, ids=lambda file: file.stem)
def test_seeds_are_cases(seed: Path) -> None:
    codec = EditsCodec(("linux-6.1", "linux-6.14"))
    scenario = read_scenario(str(seed))
    again = codec.decode(codec.encode(scenario))
    assert (again.path, again.guest, again.settings) == (scenario.path, scenario.guest, scenario.settings)


def test_what_no_case_expresses_is_refused() -> None:
    codec = EditsCodec(("linux-6.14",))
    scenario = read_scenario(str(SEEDS[0]))
    for path in ("linux-6.1", "linux-6.14~insert@sti:cpuid", "~".join(["linux-6.14", *["repeat@sti"] * 4])):
        scenario.path = path
        with pytest.raises(InputError):
            codec.encode(scenario)
    with pytest.raises(InputError):
        EditsCodec(())


def test_the_target_finds_that_clgi_is_needed_and_reduces_it_to_that() -> None:
    target = Target(Configuration("edits", ("linux-6.14",)))
    seeds = [target.codec.encode(read_scenario(str(seed))) for seed in SEEDS if "linux-6.14" in seed.read_text()]
    found: dict[str, bytes] = {}
    for data, judged in explore(target, 200, 1, seeds):
        for hit in target.hits(judged):
            assert hit.path == "edited"
            found.setdefault(hit.finding.signature, data)
    for signature, path in (
        ("nmi-exposure.undocumented.enter", "linux-6.14~remove@clgi"),
        ("shadow-bleed.unexplained-shadow.injection", "linux-6.14~move@sti:vmrun"),
    ):
        assert minimize(target.scenario(found[signature]), signature).path == path


def test_a_bleed_without_a_shadow_would_be_noticed() -> None:
    scenario = read_scenario(str(next(seed for seed in SEEDS if seed.stem == "sti-next-to-vmrun")))
    run = run_plan(compile_scenario(scenario))
    verdict = judge(run)
    assert not broken_promise(run, verdict)
    run.seen = frozenset()
    assert "no VMRUN was executed in a shadow" in broken_promise(run, verdict)


def own(*lines: str) -> EntryPath:
    listing = "\n".join(lines)
    return read_path(loads(f'format = 1\nname = "own"\nsystem = "none"\nlisting = """\n{listing}\n"""\n'))


def test_how_close_a_path_is_to_a_bleeding_one() -> None:
    found = closeness(own("clgi", "sti", "mov a", "mov b", "vmrun", "cli", "stgi"))
    bleeding = found.by_cause["shadow-bleed.unexplained-shadow"]
    assert [(b.size, b.edit) for b in bleeding] == [(2, "move@sti:vmrun"), (2, "move@vmrun:sti+1")]
    assert found.by_cause["nmi-exposure.undocumented"][0].size == 1
    assert "remove@clgi" in {b.edit for b in found.by_cause["nmi-exposure.undocumented"]}
    assert 0 < found.broken < found.tried


def test_a_path_that_bleeds_as_it_is_is_not_broken_by_that() -> None:
    found = closeness(own("clgi", "sti", "vmrun", "cli", "stgi"))
    assert "shadow-bleed.unexplained-shadow" not in found.by_cause


def test_the_smallest_edits_are_listed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    name = Path(small(tmp_path)).name
    assert main(["paths", "edits", name]) == 0
    out = capsys.readouterr().out
    assert "shadow-bleed: 2 edits, 1 cause\n    1  raw_local_irq_enable moved down by 1 line" in out
    assert f"    1  cli left out (unannotated-irqs-on): {name}~remove@cli\n" in out  # as it was named
    assert find(f"{name}~remove@cli").lines
    assert "more; --all lists them" not in out  # as few causes as edits that are shown
    assert main(["paths", "edits", name, "--all"]) == 0
    everything = capsys.readouterr().out
    assert "shadow-bleed.unexplained-shadow: 2 edits\n" in everything
    assert len(everything) > 2 * len(out)
    monkeypatch.setattr(report, "SHOWN", 1)
    assert main(["paths", "edits", name]) == 0
    assert "more; --all lists them" in capsys.readouterr().out


def host_layouts() -> int:
    gc.collect()
    return sum(isinstance(one, Layout) and one.home == "start" for one in gc.get_objects())


def test_cases_on_ever_new_paths_keep_a_bounded_number_of_layouts() -> None:
    target = Target(Configuration("edits"))
    mutator, rng = Mutator(target.codec), random.Random(1)
    before, kept = lay_out_for.cache_info(), host_layouts()
    for _ in range(2500):
        target.execute(mutator.draw(rng.getrandbits(32)))
    after = lay_out_for.cache_info()
    assert after.maxsize is not None
    assert host_layouts() - kept <= 2 * after.maxsize < after.misses - before.misses
