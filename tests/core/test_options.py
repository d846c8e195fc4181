"""Model options (section 13) and the profiles that group them."""

import pytest

from worldswitch.core.options import BY_NAME, PROFILES, TABLE, Options, get_option, profile, set_option

# Section 13, transcribed: name, values, default. ``vmcb12_eventinj_on_exit`` is of nested SVM.
SECTION_13 = """
bleed_sti_shadow | off / on-injection-exit / qemu-old | on-injection-exit
bleed_movss_shadow | off / on | off
shadow_blocks_nmi | none / movss / both | both
shadow_blocks_smi | off / on | off
guest_shadow_blocks_intercepted_intr | off / on | off
delivery_clears_loaded_shadow_on_exit | keep / clear | keep
gif0_breakpoint_db | discard / deliver | discard
init_vs_smi_order | smi-first / init-first | smi-first
vmrun_intercept_before_rax_gp | no / yes | no
exitintinfo_on_df_exit | first-event / invalid | first-event
eventinj_clear | all-64-bits / V-only | all-64-bits
invalid_writes_guest_state | no / yes | no
idt_gp_ext_bit | 0 / 1 | 0
nmi_mask_across_vmrun | separate / shared | separate
mce_gif0 | pend / shutdown | pend
sti_with_if_set_creates_shadow | no / yes | no
movss_then_sti | fresh-shadow / cleared | fresh-shadow
rep_iteration_ends_shadow | yes / no | yes
bleed_on_invalid_exit | no / yes | no
physical_intr_gate | hif / bochs | hif
vtpr_reevaluated | always / on-if-change | always
exitintinfo_source | architectural / qemu | architectural
exit_writes_int_ctl_byte1 | fields / v_irq-only | fields
guest_shadow_blocks_intercepted_nmi | off / on | off
eventinj_reserved_exception_vectors | invalid / deliver | invalid
"""
ROWS = [tuple(cell.strip() for cell in line.split("|")) for line in SECTION_13.strip().splitlines()]


@pytest.mark.parametrize(("name", "values", "default"), ROWS)
def test_option_of_section_13(name: str, values: str, default: str) -> None:
    """Each is there with its values and its default; KVM needed one value more for S8-91."""
    option = BY_NAME[name]
    assert set(values.split(" / ")) <= set(option.values)
    assert option.default == default
    assert get_option(Options(), name) == default


@pytest.mark.parametrize("option", TABLE, ids=lambda option: option.name)
def test_every_value_can_be_set_and_read(option: object) -> None:
    """The two spellings, in files and in the core, agree."""
    known = BY_NAME[option.name]  # type: ignore[attr-defined]
    options = Options()
    assert get_option(options, known.name) == known.default
    for value in known.values:
        set_option(options, known.name, value)
        assert get_option(options, known.name) == value


@pytest.mark.pure_core
def test_table_covers_every_switch() -> None:
    """No attribute without an option, no two options on one attribute."""
    assert sorted(option.attribute for option in TABLE) == sorted(Options.__slots__)


def test_unknown_option_or_value() -> None:
    with pytest.raises(ValueError, match="unknown model option 'bleed'"):
        set_option(Options(), "bleed", "off")
    with pytest.raises(ValueError, match="bleed_sti_shadow is one of off, on-injection-exit, qemu-old, not 'on'"):
        set_option(Options(), "bleed_sti_shadow", "on")
    with pytest.raises(ValueError, match="unknown profile 'amd64'"):
        profile("amd64")


def test_profiles() -> None:
    """The six of the contract; ``amd`` is the default in every switch, ``amd-noquirk`` but for the quirk."""
    assert list(PROFILES) == ["amd", "amd-noquirk", "qemu-7.2", "qemu-10", "bochs-2.7", "kvm"]
    amd, noquirk = profile("amd"), profile("amd-noquirk")
    assert [option.name for option in TABLE if get_option(amd, option.name) != option.default] == []
    assert [o.name for o in TABLE if get_option(noquirk, o.name) != get_option(amd, o.name)] == ["bleed_sti_shadow"]


def test_only_amd_has_the_quirk_as_described() -> None:
    """Section 10.1: silicon alone bleeds on an exit during injection and on nothing else."""
    bleeding = {name: get_option(profile(name), "bleed_sti_shadow") for name in PROFILES}
    assert bleeding == {
        "amd": "on-injection-exit", "amd-noquirk": "off", "qemu-7.2": "qemu-old", "qemu-10": "off",
        "bochs-2.7": "off", "kvm": "off",
    }  # fmt: skip
