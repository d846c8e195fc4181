"""Model options: one switch per disputed or vendor-specific behaviour, and the profiles that group them.

An option's first value is what the facts recommend. The values are small integers inside the core (the constants
here) and words in scenario files; ``TABLE`` is the one place that relates the two.
"""

from typing import Final, NamedTuple

# Values whose meaning is not plain "off, on".
BLEED_OFF: Final = 0
BLEED_ON_INJECTION_EXIT: Final = 1
BLEED_QEMU_OLD: Final = 2
BLOCKS_NONE: Final = 0
BLOCKS_MOVSS: Final = 1
BLOCKS_BOTH: Final = 2
SHADOW_GATE_OFF: Final = 0
SHADOW_GATE_ON: Final = 1
SHADOW_GATE_NEVER: Final = 2


class Options:
    """The switches of one processor model; see ``TABLE`` for what each means."""

    __slots__ = (
        "bleed_movss_shadow",
        "bleed_on_invalid_exit",
        "bleed_sti_shadow",
        "delivery_clears_loaded_shadow_on_exit",
        "eventinj_clear_v_only",
        "eventinj_reserved_vectors_deliver",
        "exit_writes_v_irq_only",
        "exitintinfo_invalid_on_df_exit",
        "exitintinfo_qemu",
        "gif0_breakpoint_db_deliver",
        "guest_shadow_blocks_intercepted_intr",
        "guest_shadow_blocks_intercepted_nmi",
        "idt_gp_ext_bit",
        "init_first",
        "invalid_writes_guest_state",
        "l1_bad_cr3_ignored",
        "mce_gif0_shutdown",
        "movss_then_sti_cleared",
        "nmi_mask_shared",
        "physical_intr_gate_bochs",
        "rep_iteration_keeps_shadow",
        "shadow_blocks_nmi",
        "shadow_blocks_smi",
        "sti_with_if_set_creates_shadow",
        "v_intr_masking_lifts_shadow",
        "vmcb12_eventinj_cached",
        "vmcb12_int_state_verbatim",
        "vmrun_intercept_before_rax_gp",
        "vmrun_requires_paging",
        "vnmi_mask_kept_on_injection_exit",
        "vtpr_reevaluated_on_if_change",
    )

    def __init__(self) -> None:
        self.bleed_sti_shadow: int = BLEED_ON_INJECTION_EXIT
        self.bleed_movss_shadow: bool = False
        self.shadow_blocks_nmi: int = BLOCKS_BOTH
        self.shadow_blocks_smi: bool = False
        self.guest_shadow_blocks_intercepted_intr: int = SHADOW_GATE_OFF
        self.guest_shadow_blocks_intercepted_nmi: int = SHADOW_GATE_OFF
        self.delivery_clears_loaded_shadow_on_exit: bool = False
        self.gif0_breakpoint_db_deliver: bool = False
        self.init_first: bool = False
        self.vmrun_intercept_before_rax_gp: bool = False
        self.exitintinfo_invalid_on_df_exit: bool = False
        self.eventinj_clear_v_only: bool = False
        self.invalid_writes_guest_state: bool = False
        self.idt_gp_ext_bit: bool = False
        self.nmi_mask_shared: bool = False
        self.mce_gif0_shutdown: bool = False
        self.sti_with_if_set_creates_shadow: bool = False
        self.movss_then_sti_cleared: bool = False
        self.rep_iteration_keeps_shadow: bool = False
        self.bleed_on_invalid_exit: bool = False
        self.physical_intr_gate_bochs: bool = False
        self.vtpr_reevaluated_on_if_change: bool = False
        self.exitintinfo_qemu: bool = False
        self.exit_writes_v_irq_only: bool = False
        self.eventinj_reserved_vectors_deliver: bool = False
        self.vnmi_mask_kept_on_injection_exit: bool = False
        self.vmrun_requires_paging: bool = False
        self.v_intr_masking_lifts_shadow: bool = False
        self.vmcb12_eventinj_cached: bool = False
        self.vmcb12_int_state_verbatim: bool = False
        self.l1_bad_cr3_ignored: bool = False


class Option(NamedTuple):
    """One switch as files and documentation see it."""

    name: str
    attribute: str
    values: tuple[str, ...]  # index = internal value; a bool attribute has two
    default: str
    rules: tuple[str, ...]
    about: str


TABLE: Final = (
    Option("bleed_sti_shadow", "bleed_sti_shadow", ("off", "on-injection-exit", "qemu-old"), "on-injection-exit",
           ("S2-70", "S2-71"), "What a host STI shadow at VMRUN does to int_state of a #VMEXIT."),
    Option("bleed_movss_shadow", "bleed_movss_shadow", ("off", "on"), "off",
           ("S2-77",), "Whether a host MOV SS shadow at VMRUN bleeds as an STI shadow does."),
    Option("shadow_blocks_nmi", "shadow_blocks_nmi", ("none", "movss", "both"), "both",
           ("S2-32", "S2-33"), "Which shadows hold an NMI for one instruction."),
    Option("shadow_blocks_smi", "shadow_blocks_smi", ("off", "on"), "off",
           ("S2-34",), "Whether a shadow holds an SMI for one instruction."),
    Option("guest_shadow_blocks_intercepted_intr", "guest_shadow_blocks_intercepted_intr",
           ("off", "on", "never"), "off",
           ("S2-59",), "Whether the guest's shadow delays the exit for an intercepted INTR: off = not with "
           "V_INTR_MASKING=1, on = always, never = not even with V_INTR_MASKING=0 (KVM, S8-91)."),
    Option("guest_shadow_blocks_intercepted_nmi", "guest_shadow_blocks_intercepted_nmi", ("off", "on"), "off",
           ("S2-59",), "Whether the guest's shadow delays the exit for an intercepted NMI."),
    Option("delivery_clears_loaded_shadow_on_exit", "delivery_clears_loaded_shadow_on_exit", ("keep", "clear"), "keep",
           ("S2-58",), "What int_state=1 at VMRUN becomes when delivery of the injected event exits."),
    Option("gif0_breakpoint_db", "gif0_breakpoint_db_deliver", ("discard", "deliver"), "discard",
           ("S3-16",), "A breakpoint-register match while GIF=0."),
    Option("init_vs_smi_order", "init_first", ("smi-first", "init-first"), "smi-first",
           ("S4-40",), "Which of INIT and SMI is recognised first at one boundary."),
    Option("vmrun_intercept_before_rax_gp", "vmrun_intercept_before_rax_gp", ("no", "yes"), "no",
           ("S6-04",), "Whether a guest's VMRUN is intercepted before its rAX is checked."),
    Option("exitintinfo_on_df_exit", "exitintinfo_invalid_on_df_exit", ("first-event", "invalid"), "first-event",
           ("S6-78",), "EXITINTINFO of an exit for an intercepted #DF."),
    Option("eventinj_clear", "eventinj_clear_v_only", ("all-64-bits", "V-only"), "all-64-bits",
           ("S6-54",), "How much of EVENTINJ a #VMEXIT clears."),
    Option("invalid_writes_guest_state", "invalid_writes_guest_state", ("no", "yes"), "no",
           ("S6-37",), "Whether VMEXIT_INVALID writes int_state."),
    Option("idt_gp_ext_bit", "idt_gp_ext_bit", ("0", "1"), "0",
           ("S6-96", "S6-97"), "EXT in the error code of a fault while an injected event is delivered."),
    Option("nmi_mask_across_vmrun", "nmi_mask_shared", ("separate", "shared"), "separate",
           ("S4-08", "S4-09"), "Whether host and guest share one NMI mask."),
    Option("mce_gif0", "mce_gif0_shutdown", ("pend", "shutdown"), "pend",
           ("S3-15",), "A machine check while GIF=0."),
    Option("sti_with_if_set_creates_shadow", "sti_with_if_set_creates_shadow", ("no", "yes"), "no",
           ("S2-02", "S10-30"), "Whether STI with IF already 1 creates a shadow."),
    Option("movss_then_sti", "movss_then_sti_cleared", ("fresh-shadow", "cleared"), "fresh-shadow",
           ("S2-08",), "STI (IF 0 to 1) directly after MOV SS."),
    Option("rep_iteration_ends_shadow", "rep_iteration_keeps_shadow", ("yes", "no"), "yes",
           ("S2-24",), "Whether the first iteration of a REP string instruction ends the shadow."),
    Option("bleed_on_invalid_exit", "bleed_on_invalid_exit", ("no", "yes"), "no",
           ("S2-79",), "Whether VMEXIT_INVALID stores the host's shadow."),
    Option("physical_intr_gate", "physical_intr_gate_bochs", ("hif", "bochs"), "hif",
           ("S5-03", "S5-22"), "What masks physical INTR in a guest with V_INTR_MASKING=1."),
    Option("vtpr_reevaluated", "vtpr_reevaluated_on_if_change", ("always", "on-if-change"), "always",
           ("S5-23",), "When V_INTR_PRIO is compared with V_TPR."),
    Option("exitintinfo_source", "exitintinfo_qemu", ("architectural", "qemu"), "architectural",
           ("S6-81",), "Where EXITINTINFO comes from."),
    Option("exit_writes_int_ctl_byte1", "exit_writes_v_irq_only", ("fields", "v_irq-only"), "fields",
           ("S10-28",), "What a #VMEXIT writes to the byte at VMCB 61h."),
    Option("eventinj_reserved_exception_vectors", "eventinj_reserved_vectors_deliver",
           ("invalid", "deliver"), "invalid",
           ("S6-32",), "EVENTINJ TYPE 3 with a reserved vector below 32."),
    Option("vnmi_mask_on_injection_exit", "vnmi_mask_kept_on_injection_exit", ("clear", "keep"), "clear",
           ("S4-35",), "V_NMI_MASK when delivery of an EVENTINJ NMI exits under vNMI."),
    Option("vmrun_requires_paging", "vmrun_requires_paging", ("no", "yes"), "no",
           ("S6-01",), "Whether VMRUN with paging off is #UD."),
    Option("v_intr_masking_lifts_shadow", "v_intr_masking_lifts_shadow", ("no", "yes"), "no",
           ("S10-31",), "Whether with V_INTR_MASKING=1 the guest's shadow does not hold an INTR for the guest either."),
    Option("vmcb12_eventinj_on_exit", "vmcb12_eventinj_cached", ("zero", "cached"), "zero",
           ("S9-20", "S9-01"), "What KVM as L0 leaves in vmcb12's EVENTINJ at an exit to L1: 0, or its cached copy."),
    Option("vmcb12_int_state_on_vmrun", "vmcb12_int_state_verbatim", ("masked", "verbatim"), "masked",
           ("S9-04",), "What KVM as L0 loads from vmcb12's int_state: bit 0 alone, or all of it."),
    Option("l1_bad_cr3_on_exit", "l1_bad_cr3_ignored", ("triple-fault", "ignored"), "triple-fault",
           ("S9-23",), "What KVM as L0 does at an exit to L1 whose CR3 it cannot load."),
)  # fmt: skip
"""Every model option."""

BY_NAME: Final = {option.name: option for option in TABLE}

PROFILES: Final[dict[str, dict[str, str]]] = {
    "amd": {},
    "amd-noquirk": {"bleed_sti_shadow": "off"},
    "qemu-7.2": {  # section 10, emulators.md: the flag lives on across VMRUN and delivery
        "bleed_sti_shadow": "qemu-old",
        "sti_with_if_set_creates_shadow": "yes",
        "shadow_blocks_nmi": "none",
        "v_intr_masking_lifts_shadow": "yes",
        "vmrun_intercept_before_rax_gp": "yes",
        "eventinj_reserved_exception_vectors": "deliver",
        "exitintinfo_source": "qemu",
        "invalid_writes_guest_state": "yes",
    },
    "qemu-10": {
        "bleed_sti_shadow": "off",
        "sti_with_if_set_creates_shadow": "yes",
        "shadow_blocks_nmi": "none",
        "v_intr_masking_lifts_shadow": "yes",
        "vmrun_intercept_before_rax_gp": "yes",
        "eventinj_reserved_exception_vectors": "deliver",
        "exitintinfo_source": "qemu",
        "invalid_writes_guest_state": "yes",
    },
    "bochs-2.7": {
        "bleed_sti_shadow": "off",
        "bleed_on_invalid_exit": "yes",
        "delivery_clears_loaded_shadow_on_exit": "clear",
        "guest_shadow_blocks_intercepted_intr": "on",
        "guest_shadow_blocks_intercepted_nmi": "on",
        "vmrun_intercept_before_rax_gp": "yes",
        "exitintinfo_on_df_exit": "invalid",
        "eventinj_clear": "V-only",
        "eventinj_reserved_exception_vectors": "deliver",
        "idt_gp_ext_bit": "1",
        "physical_intr_gate": "bochs",
        "vtpr_reevaluated": "on-if-change",
        "exit_writes_int_ctl_byte1": "v_irq-only",
    },
    "kvm": {  # S2-59, S3-16, S4-44, S6-01, S9-02
        "bleed_sti_shadow": "off",
        "guest_shadow_blocks_intercepted_intr": "never",
        "gif0_breakpoint_db": "deliver",
        "init_vs_smi_order": "init-first",
        "movss_then_sti": "cleared",
        "vmrun_requires_paging": "yes",
    },
}
"""Profile name to the options in which it differs from ``amd``."""


def set_option(options: Options, name: str, value: str) -> None:
    """Set one switch by its file spelling; raises ``ValueError`` naming what is allowed."""
    option = BY_NAME.get(name)
    if option is None:
        raise ValueError(f"unknown model option {name!r}")
    if value not in option.values:
        raise ValueError(f"option {name} is one of {', '.join(option.values)}, not {value!r}")
    index = option.values.index(value)
    current = getattr(options, option.attribute)
    setattr(options, option.attribute, bool(index) if isinstance(current, bool) else index)


def get_option(options: Options, name: str) -> str:
    """The file spelling of one switch's present value."""
    option = BY_NAME[name]
    return option.values[int(getattr(options, option.attribute))]


def profile(name: str) -> Options:
    """A fresh ``Options`` of the named profile; raises ``ValueError`` for an unknown one."""
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}; there are {', '.join(PROFILES)}")
    options = Options()
    for key, value in PROFILES[name].items():
        set_option(options, key, value)
    return options
