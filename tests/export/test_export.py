"""``export``: each form stands alone."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.commands.conftest import ROOT, Cli, cli
from tests.page.campaigns import BLEED, SCENARIO, write_campaign, write_finding

from worldswitch.paths import catalogue

__all__ = ["cli"]  # the fixture

GOLDEN = ROOT / "corpus/golden.toml"
RELOADED = ROOT / "corpus/regressions/shadow-bleed.unexplained-shadow.reloaded.toml"
SOURCE = ROOT / "src"


def run_pytest(file: Path) -> subprocess.CompletedProcess[str]:
    """pytest in a process of its own, outside of the checkout, with no configuration of ours."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", str(file.parent), str(file)],
        cwd=file.parent, env=environment, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def test_the_pytest_file_passes_alone_and_notices_a_change(cli: Cli, tmp_path: Path) -> None:
    folder = write_finding(write_campaign(tmp_path / "campaign"))
    file = tmp_path / "test_it.py"
    assert cli("export", folder, "--to", "pytest", "--write", file).code == 0
    shutil.rmtree(tmp_path / "campaign")
    done = run_pytest(file)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    file.write_text(file.read_text().replace("int_state = 0", "int_state = 1"))
    done = run_pytest(file)
    assert done.returncode == 1
    assert "int_state" in done.stdout


def test_a_path_file_and_every_character_travel_with_it(cli: Cli, tmp_path: Path) -> None:
    data = Path(catalogue.__file__).parent / "data" / "linux-6.1.toml"
    (tmp_path / "my.toml").write_text(data.read_text().replace('name = "linux-6.1"', 'name = "my"'))
    scenario = tmp_path / "minimized.toml"
    about = '\\"\\"\\" \\\\ \\u007f \\u0000 é \U0001f600 \\"'
    scenario.write_text(SCENARIO.replace('"linux-6.1"', '"my.toml"').replace("EVENTINJ takes #NPF", about))
    file = tmp_path / "out" / "test_it.py"
    assert cli("export", scenario, "--to", "pytest", "--write", file).code == 0
    (tmp_path / "my.toml").unlink()
    scenario.unlink()
    done = run_pytest(file)
    assert done.returncode == 0, done.stdout


def test_its_name_is_one_that_pytest_collects(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("export", GOLDEN, "--to", "pytest", "--write", "-").out.startswith(f'"""{BLEED}')
    monkeypatch.chdir(tmp_path)
    shown = cli("export", GOLDEN, "--to", "pytest", "--write", tmp_path / "test_x.py")
    assert shown.out == f"{tmp_path}/test_x.py: {BLEED} on linux-6.1\n"


def test_the_kvm_unit_test_executes_what_the_processor_sees(cli: Cli) -> None:
    text = cli("export", GOLDEN, "--to", "kvm-unit-tests", "--write", "-").out
    old, new = text.split("/* The world switch of ")[1:]
    order = [line.split("\\n")[0].strip().strip('"') for line in old.splitlines() if "\\n\\t" in line]
    assert [word for word in order if word != "nop"] == ["clgi", "sti", "vmrun %%rax", "cli", "stgi"]
    assert order.index("vmrun %%rax") == order.index("sti") + 1
    order = [line.split("\\n")[0].strip().strip('"') for line in new.splitlines() if "\\n\\t" in line]
    assert order.index("vmrun %%rax") == order.index("sti") + 9  # the gap of linux-6.14 (S8-11)
    assert "int_state & 1) == 0x1ull" in old
    assert "int_state & 1) == 0x0ull" in new
    assert "What this form cannot express" in text


@pytest.mark.parametrize(
    ("more", "said"), [('[[event]]\nkind = "nmi"\nat = "vmrun"\n', "asynchronous events"), ("[options]\n", "")]
)
def test_what_it_cannot_express_is_refused_with_the_reason(cli: Cli, tmp_path: Path, more: str, said: str) -> None:
    file = tmp_path / "minimized.toml"
    file.write_text(SCENARIO + more)
    shown = cli("export", file, "--to", "kvm-unit-tests", "--write", "-")
    assert shown.code == (3 if said else 0)
    assert said in shown.err
    assert bool(shown.out) is not bool(said)


@pytest.mark.parametrize(
    "line", ["guest.tf = true", "vmcb.v_irq = true", 'guest.handlers = { 0x03 = ["nop", "iret"] }']
)
def test_fields_without_a_counterpart_are_refused(cli: Cli, tmp_path: Path, line: str) -> None:
    file = tmp_path / "minimized.toml"
    file.write_text(f"{SCENARIO}{line}\n")
    assert cli("export", file, "--to", "kvm-unit-tests", "--write", "-").code == 3


@pytest.mark.skipif("WORLDSWITCH_KVM_UNIT_TESTS" not in os.environ, reason="needs a checkout of kvm-unit-tests")
@pytest.mark.parametrize("scenario", [GOLDEN, RELOADED])
def test_it_compiles_in_a_checkout_and_passes_on_qemu(cli: Cli, tmp_path: Path, scenario: Path) -> None:
    checkout = tmp_path / "kvm-unit-tests"
    shutil.copytree(os.environ["WORLDSWITCH_KVM_UNIT_TESTS"], checkout, ignore=shutil.ignore_patterns(".git"))
    assert cli("export", scenario, "--to", "kvm-unit-tests", "--write", checkout / "x86/worldswitch.c").code == 0
    makefile = checkout / "x86/Makefile.x86_64"
    rules = "tests += $(TEST_DIR)/worldswitch.$(exe)"
    text = makefile.read_text().replace("tests += $(TEST_DIR)/svm.$(exe)", f"{rules}\ntests += $(TEST_DIR)/svm.$(exe)")
    makefile.write_text(f"{text}\n$(TEST_DIR)/worldswitch.$(bin): $(TEST_DIR)/svm.o\n")
    for command in (["./configure", "--arch=x86_64"], ["make", "x86/worldswitch.flat"]):
        done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
    assert "worldswitch.c" not in done.stderr  # no warning either
    if not shutil.which("qemu-system-x86_64"):
        pytest.skip("it compiles; there is no QEMU to run it on")
    done = subprocess.run(
        ["qemu-system-x86_64", "-nodefaults", "-device", "pc-testdev", "-device",
         "isa-debug-exit,iobase=0xf4,iosize=0x4", "-vnc", "none", "-serial", "stdio", "-machine", "accel=tcg", "-cpu",
         "max,+svm", "-m", "4g", "-kernel", "x86/worldswitch.flat"],
        cwd=checkout, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "FAIL" not in done.stdout
    assert "PASS: exit 1: int_state 0x1, expected 0x1" in done.stdout
    assert "SUMMARY" in done.stdout


@pytest.mark.skipif(not shutil.which("grub-mkrescue") or not shutil.which("gcc"), reason="needs what makes boot CDs")
def test_the_image_is_a_boot_cd(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "golden.iso"
    assert cli("export", GOLDEN, "--to", "image", "--write", file).code == 0
    assert file.read_bytes()[0x8001:0x8006] == b"CD001"
