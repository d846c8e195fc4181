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
EVENTINJ_ALL: Final = 0
EVENTINJ_V_ONLY: Final = 1
EVENTINJ_LOW_32: Final = 2
NEW_SHADOW_BY_KIND: Final = 0
NEW_SHADOW_NONE: Final = 1
NEW_SHADOW_LOADED_AS_STI: Final = 2
SOURCE_ARCHITECTURAL: Final = 0
SOURCE_QEMU: Final = 1
SOURCE_LAST_NOTED: Final = 2
HLT_STEP_TRAP: Final = 0
HLT_STEP_NONE: Final = 1
HLT_STEP_ON_WAKE: Final = 2


class Options:
    """The switches of one processor model; see ``TABLE`` for what each means."""

    __slots__ = (
        "bleed_movss_shadow",
        "bleed_on_invalid_exit",
        "bleed_sti_shadow",
        "composed_df_intercept_ignored",
        "delivery_clears_loaded_shadow_on_exit",
        "eventinj_clear",
        "eventinj_nmi_sets_mask",
        "eventinj_of_br_deliver",
        "eventinj_reserved_vectors_deliver",
        "eventinj_vector_31_invalid",
        "exception_intercept_ends_shadow",
        "exit_writes_v_irq_only",
        "exitintinfo_cleared_low_32",
        "exitintinfo_invalid_on_df_exit",
        "exitintinfo_source",
        "gif0_breakpoint_db_deliver",
        "guest_shadow_blocks_intercepted_intr",
        "guest_shadow_blocks_intercepted_nmi",
        "guest_tf_traps_host",
        "hlt_single_step",
        "idt_error_code_16",
        "idt_ext_bit_of_injected_bp_of",
        "idt_gp_ext_bit",
        "init_first",
        "injected_exception_benign",
        "injection_ignores_nrip",
        "int3_as_swint",
        "intr_drops_virq",
        "invalid_exit_code_32",
        "invalid_keeps_loaded_int_state",
        "invalid_writes_guest_state",
        "iret_checks_rip",
        "l1_bad_cr3_ignored",
        "lss_creates_shadow",
        "mce_gif0_shutdown",
        "movss_then_sti_cleared",
        "new_shadow_in_shadow",
        "nmi_mask_shared",
        "pause_keeps_shadow",
        "physical_intr_gate_bochs",
        "rep_iteration_keeps_shadow",
        "shadow_blocks_nmi",
        "shadow_blocks_smi",
        "shutdown_always_exits",
        "smi_ends_shadow",
        "ss_load_is_not_stepped",
        "sti_is_not_stepped",
        "sti_with_if_set_creates_shadow",
        "v_intr_masking_lifts_shadow",
        "v_tpr_high_bits_kept",
        "vector_20_page_fault",
        "virq_cleared_after_delivery",
        "virq_prio_equal_passes",
        "vmcb12_eventinj_cached",
        "vmcb12_int_state_verbatim",
        "vmload_without_npt_exits",
        "vmrun_intercept_before_rax_gp",
        "vmrun_keeps_cr2",
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
        self.eventinj_clear: int = EVENTINJ_ALL
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
        self.exitintinfo_source: int = SOURCE_ARCHITECTURAL
        self.exit_writes_v_irq_only: bool = False
        self.eventinj_reserved_vectors_deliver: bool = False
        self.vnmi_mask_kept_on_injection_exit: bool = False
        self.vmrun_requires_paging: bool = False
        self.v_intr_masking_lifts_shadow: bool = False
        self.vmcb12_eventinj_cached: bool = False
        self.vmcb12_int_state_verbatim: bool = False
        self.l1_bad_cr3_ignored: bool = False
        self.invalid_exit_code_32: bool = False
        self.idt_error_code_16: bool = False
        self.eventinj_of_br_deliver: bool = False
        self.eventinj_vector_31_invalid: bool = False
        self.injected_exception_benign: bool = False
        self.composed_df_intercept_ignored: bool = False
        self.virq_cleared_after_delivery: bool = False
        self.intr_drops_virq: bool = False
        self.virq_prio_equal_passes: bool = False
        self.lss_creates_shadow: bool = False
        self.new_shadow_in_shadow: int = NEW_SHADOW_BY_KIND
        self.pause_keeps_shadow: bool = False
        self.smi_ends_shadow: bool = False
        self.vmload_without_npt_exits: bool = False
        self.int3_as_swint: bool = False
        self.shutdown_always_exits: bool = False
        self.eventinj_nmi_sets_mask: bool = False
        self.idt_ext_bit_of_injected_bp_of: bool = False
        self.exception_intercept_ends_shadow: bool = False
        self.vector_20_page_fault: bool = False
        self.invalid_keeps_loaded_int_state: bool = False
        self.exitintinfo_cleared_low_32: bool = False
        self.iret_checks_rip: bool = False
        self.injection_ignores_nrip: bool = False
        self.guest_tf_traps_host: bool = False
        self.v_tpr_high_bits_kept: bool = False
        self.hlt_single_step: int = HLT_STEP_TRAP
        self.vmrun_keeps_cr2: bool = False
        self.sti_is_not_stepped: bool = False
        self.ss_load_is_not_stepped: bool = False


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
           ("S6-04", "S10-75"), "Whether a guest's VMRUN is intercepted before its rAX is checked."),
    Option("exitintinfo_on_df_exit", "exitintinfo_invalid_on_df_exit", ("first-event", "invalid"), "first-event",
           ("S6-78",), "EXITINTINFO of an exit for an intercepted #DF."),
    Option("eventinj_clear", "eventinj_clear", ("all-64-bits", "V-only", "low-32"), "all-64-bits",
           ("S6-54", "S10-41"), "How much of EVENTINJ a #VMEXIT clears."),
    Option("invalid_writes_guest_state", "invalid_writes_guest_state", ("no", "yes"), "no",
           ("S6-37",), "Whether VMEXIT_INVALID writes int_state."),
    Option("idt_gp_ext_bit", "idt_gp_ext_bit", ("0", "1"), "0",
           ("S6-96", "S6-97"), "EXT in the error code of a fault while an injected event is delivered."),
    Option("nmi_mask_across_vmrun", "nmi_mask_shared", ("separate", "shared"), "separate",
           ("S4-08", "S4-09", "S10-50", "S10-60"), "Whether host and guest share one NMI mask."),
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
    Option("exitintinfo_source", "exitintinfo_source", ("architectural", "qemu", "last-noted"), "architectural",
           ("S6-81", "S10-42", "S10-64"), "Where EXITINTINFO comes from: the event under delivery, QEMU's "
           "EVENTINJ, or the last injected event or exception (Bochs)."),
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
    Option("invalid_exit_code_width", "invalid_exit_code_32", ("64", "32"), "64",
           ("S10-40",), "How many bits of EXITCODE are -1 after VMEXIT_INVALID."),
    Option("idt_error_code_scale", "idt_error_code_16", ("8", "16"), "8",
           ("S10-43",), "What an IDT vector is multiplied by in the error code of a fault of its gate, in long mode."),
    Option("eventinj_of_br", "eventinj_of_br_deliver", ("invalid-in-64-bit", "deliver"), "invalid-in-64-bit",
           ("S6-32", "S10-44"), "EVENTINJ with #OF or #BR for a 64-bit guest."),
    Option("eventinj_vector_31", "eventinj_vector_31_invalid", ("as-reserved", "invalid"), "as-reserved",
           ("S6-32", "S10-44"), "EVENTINJ TYPE 3 with vector 31: as other reserved vectors, or always invalid."),
    Option("injected_exception_class", "injected_exception_benign", ("vector", "benign"), "vector",
           ("S10-45",), "The double-fault class of an injected exception."),
    Option("composed_df_intercept", "composed_df_intercept_ignored", ("checked", "ignored"), "checked",
           ("S10-46",), "Whether a #DF that two faults make is subject to the #DF intercept."),
    Option("virq_cleared", "virq_cleared_after_delivery", ("before-delivery", "after-delivery"), "before-delivery",
           ("S10-47",), "When V_IRQ is cleared: an exit or a fault of the delivery leaves it set with after-delivery."),
    Option("intr_drops_virq", "intr_drops_virq", ("no", "until-vmrun"), "no",
           ("S10-48",), "Whether a physical INTR delivered in a guest keeps V_IRQ back until the next VMRUN."),
    Option("virq_priority", "virq_prio_equal_passes", ("greater", "greater-or-equal"), "greater",
           ("S5-08", "S10-49"), "How V_INTR_PRIO must compare with V_TPR."),
    Option("lss_creates_shadow", "lss_creates_shadow", ("no", "yes"), "no",
           ("S2-04", "S10-51"), "Whether LSS makes a shadow as MOV SS does."),
    Option("new_shadow_while_shadowed", "new_shadow_in_shadow", ("by-kind", "none", "loaded-as-sti"), "by-kind",
           ("S2-06", "S10-52", "S10-74"), "When MOV SS in a shadow makes none: in that of a MOV SS or a loaded "
           "one, in any, or in that of a MOV SS alone."),
    Option("pause_keeps_shadow", "pause_keeps_shadow", ("no", "yes"), "no",
           ("S10-53",), "Whether a guest's PAUSE leaves the shadow it executes in alone."),
    Option("smi_ends_shadow", "smi_ends_shadow", ("no", "yes"), "no",
           ("S10-54",), "Whether the shadow is gone after an SMI's handler."),
    Option("vmload_vmsave_without_npt", "vmload_without_npt_exits", ("as-intercepted", "always-exit"), "as-intercepted",
           ("S10-55",), "Whether VMLOAD and VMSAVE of a guest without nested paging exit unasked."),
    Option("int3_intercept", "int3_as_swint", ("bp", "swint"), "bp",
           ("S10-56",), "Which intercept INT3 is subject to: #BP's, or that of INTn."),
    Option("shutdown_in_guest", "shutdown_always_exits", ("as-intercepted", "always-exits"), "as-intercepted",
           ("S10-57",), "Whether a shutdown of a guest exits unasked."),
    Option("eventinj_nmi_masks", "eventinj_nmi_sets_mask", ("no", "yes"), "no",
           ("S4-07", "S10-60"), "Whether an NMI injected without vNMI masks physical NMIs."),
    Option("idt_ext_bit_of_injected_bp_of", "idt_ext_bit_of_injected_bp_of", ("0", "1"), "0",
           ("S6-97", "S10-61"), "EXT where the event injected is #BP or #OF, with idt_gp_ext_bit=1."),
    Option("exception_intercept_ends_shadow", "exception_intercept_ends_shadow", ("no", "yes"), "no",
           ("S10-62",), "Whether the exit of an intercepted exception stores int_state=0 whatever shadow it met."),
    Option("vector_20_class", "vector_20_page_fault", ("benign", "page-fault"), "benign",
           ("S10-63",), "The double-fault class of an injected exception 20."),
    Option("invalid_keeps_loaded_int_state", "invalid_keeps_loaded_int_state", ("no", "yes"), "no",
           ("S10-65",), "Whether VMEXIT_INVALID for EVENTINJ alone stores the int_state that VMRUN loaded."),
    Option("exitintinfo_cleared", "exitintinfo_cleared_low_32", ("all-64-bits", "low-32"), "all-64-bits",
           ("S10-66",), "How much of EXITINTINFO an exit clears that reports no event."),
    Option("iret_to_noncanonical_rip", "iret_checks_rip", ("faults-there", "faults-at-iret"), "faults-there",
           ("S6-21", "S10-68", "S10-82"), "Where the #GP of an IRET to a non-canonical RIP is raised."),
    Option("soft_injection_return", "injection_ignores_nrip", ("nrip", "rip"), "nrip",
           ("S1-73", "S6-48", "S10-59"), "What delivery of an injected software event pushes where nRIP is set."),
    Option("v_tpr_high_bits_on_cr8_write", "v_tpr_high_bits_kept", ("cleared", "kept"), "cleared",
           ("S1-29", "S10-76"), "What a guest's write of CR8 makes of bits 7:4 of V_TPR, which do not count."),
    Option("hlt_single_step", "hlt_single_step", ("trap", "none", "on-wake"), "trap",
           ("S2-21", "S10-77", "S10-81"), "The single-step trap of HLT with TF=1: it wakes it, there is none, or it is "
           "taken when an event wakes it."),
    Option("vmrun_loads_cr2", "vmrun_keeps_cr2", ("yes", "no"), "yes",
           ("S6-07", "S10-78"), "Whether VMRUN loads CR2 from the VMCB."),
    Option("sti_single_step", "sti_is_not_stepped", ("trap", "none"), "trap",
           ("S2-36", "S10-79"), "Whether STI with TF=1 takes its single-step trap."),
    Option("ss_load_single_step", "ss_load_is_not_stepped", ("outside-shadow", "none"), "outside-shadow",
           ("S2-37", "S10-80"), "Whether MOV SS or LSS with TF=1 takes its single-step trap where it makes no shadow."),
    Option("guest_tf_traps_host", "guest_tf_traps_host", ("no", "yes"), "no",
           ("S6-19", "S10-72"), "Whether an instruction that exits with the guest's TF=1 traps the host."),
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
        "eventinj_reserved_exception_vectors": "deliver",
        "exitintinfo_source": "qemu",
        "invalid_writes_guest_state": "yes",
        "invalid_exit_code_width": "32",  # from here on: S10-40 to S10-59, S10-76 to S10-80, measured
        "eventinj_clear": "low-32",
        "idt_error_code_scale": "16",
        "eventinj_of_br": "deliver",
        "eventinj_vector_31": "invalid",
        "injected_exception_class": "benign",
        "composed_df_intercept": "ignored",
        "virq_cleared": "after-delivery",
        "intr_drops_virq": "until-vmrun",
        "virq_priority": "greater-or-equal",
        "nmi_mask_across_vmrun": "shared",
        "lss_creates_shadow": "yes",
        "new_shadow_while_shadowed": "none",
        "pause_keeps_shadow": "yes",
        "smi_ends_shadow": "yes",
        "vmload_vmsave_without_npt": "always-exit",
        "int3_intercept": "swint",
        "shutdown_in_guest": "always-exits",
        "soft_injection_return": "rip",
        "hlt_single_step": "none",
        "sti_single_step": "none",
        "ss_load_single_step": "none",
        "v_tpr_high_bits_on_cr8_write": "kept",
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
        "nmi_mask_across_vmrun": "shared",  # from here on: S10-59 to S10-78, S10-81, S10-82, measured
        "eventinj_nmi_masks": "yes",
        "eventinj_of_br": "deliver",
        "idt_ext_bit_of_injected_bp_of": "1",
        "exception_intercept_ends_shadow": "yes",
        "vector_20_class": "page-fault",
        "exitintinfo_source": "last-noted",
        "invalid_keeps_loaded_int_state": "yes",
        "exitintinfo_cleared": "low-32",
        "iret_to_noncanonical_rip": "faults-at-iret",
        "guest_tf_traps_host": "yes",
        "new_shadow_while_shadowed": "loaded-as-sti",
        "vmrun_loads_cr2": "no",
        "soft_injection_return": "rip",
        "hlt_single_step": "on-wake",
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
    if isinstance(current, bool):
        setattr(options, option.attribute, bool(index))
    else:
        setattr(options, option.attribute, index)


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
