"""One processor, one kernel, one plan: the run loop.

Each turn of the loop is one step: the events whose place this boundary is arrive; then the processor recognises one
that is pending, or executes one instruction. Kernel calls are instructions to the processor: they end a shadow and are
followed by a boundary.
"""

from typing import Final

from worldswitch.core.bits import (
    EXIT_VMMCALL,
    EXIT_VMRUN,
    INTERCEPT_BITS,
    RFLAGS_FIXED,
    RFLAGS_IF,
    SHADOW_NONE,
)
from worldswitch.core.boundary import SMI_EXTERNAL, SMI_INTERNAL, internal_smi, recognise
from worldswitch.core.execute import execute, retire
from worldswitch.core.isa import FIRST_KERNEL_OP, OP_SET, OP_SPIN
from worldswitch.core.record import Recorder
from worldswitch.core.state import IDLE, LIMIT, RUNNING, Cpu, Vmcb, World
from worldswitch.kernel.perform import perform as perform_call
from worldswitch.kernel.state import CONTEXT_GUEST, CONTEXT_KERNEL, Kernel
from worldswitch.machine.compile import Plan
from worldswitch.machine.stretch import Begin, Stretch, Stretches
from worldswitch.machine.trace import Trace
from worldswitch.scenario.model import Arrival

STEP_LIMIT: Final = 1000
"""Steps after which a run is cut off, or twice the length of the host's code where that is more: a livelock."""

REPEATS: Final = 4
"""The same handler entered so many times in a row from the same state: an exception whose handler returns to it."""

IDLE_STEPS: Final = 2
"""Steps of a spin or halt after which nothing can change: the first may still end a shadow."""

# Bits of the state in which a host boundary was passed; the Code index stands above them.
SEEN_IF: Final = 1
SEEN_GIF: Final = 2
SEEN_LOCKDEP: Final = 4
SEEN_CONTEXT_GUEST: Final = 8
SEEN_SHADOW: Final = 16
SEEN_NMI_MASKED: Final = 32
SEEN_REBOOTING: Final = 64
SEEN_INSTRUMENTATION: Final = 128
SEEN_SHIFT: Final = 8

DEFAULT_INTERCEPTS: Final = bytes(1 if code in (EXIT_VMRUN, EXIT_VMMCALL) else 0 for code in range(INTERCEPT_BITS))


class Machine:
    """A plan under execution. Make one, call :meth:`run` once, read the records."""

    __slots__ = (
        "arrived",
        "cpu",
        "idle",
        "kernel",
        "passed",
        "plan",
        "repeats",
        "replayed",
        "running",
        "start_seen",
        "step_limit",
        "stretches",
        "trace",
        "visits",
    )  # fmt: skip

    def __init__(self, plan: Plan, trace: Trace | None = None, stretches: Stretches | None = None) -> None:
        self.plan: Plan = plan
        self.trace: Trace | None = trace
        self.stretches: Stretches | None = stretches if trace is None else None
        self.step_limit: int = max(STEP_LIMIT, 2 * len(plan.host.code.ops))
        self.running: bool = False
        self.idle: int = 0
        self.repeats: int = 0  # of one handler in a row
        self.passed: list[int] = []  # host boundaries, with their state, in order ...
        self.replayed: list[Stretch] = []  # ... and the stretches that were not executed, which pass more
        self.visits: dict[int, int] = {}  # of boundaries where something may arrive
        self.arrived: dict[int, int] = {}  # index of an event that has arrived, to the step
        host = World(plan.host.code)
        guest = World(plan.guest.code)
        host.idt = dict(plan.host_idt)
        guest.idt = dict(plan.guest_idt)
        vmcb = Vmcb()
        vmcb.intercepts = DEFAULT_INTERCEPTS
        vmcb.save.rip = plan.guest.code.start
        vmcb.save.rflags = RFLAGS_FIXED | RFLAGS_IF
        path = plan.path
        self.cpu: Cpu = Cpu(plan.options, host, guest, vmcb, Recorder())
        self.kernel: Kernel = Kernel(path is not None and path.linux)
        regs = self.cpu.regs
        regs.rip = plan.host.code.start
        if path is None:
            regs.rflags |= RFLAGS_IF
        else:  # the path's own entry state
            if path.entry_if:
                regs.rflags |= RFLAGS_IF
            self.cpu.gif = path.entry_gif
            self.kernel.hardirqs_enabled = path.entry_lockdep
            self.kernel.hardirqs_traced_on = path.entry_lockdep
            self.kernel.context = CONTEXT_GUEST if path.entry_context == "guest" else CONTEXT_KERNEL
        for field, value in plan.settings:
            field.apply(self, value)
        if plan.scenario.settings.get("cpu.dr7"):
            self.cpu.breakpoint_rip = plan.host.landmarks.get("vmrun", [-1])[0]
        self.start_seen: int = self.boundary_state()
        self.running = True

    def run(self) -> None:
        """Run to the end."""
        cpu, kernel, plan = self.cpu, self.kernel, self.plan
        host_code = plan.host.code
        guest_ops = plan.guest.code.ops
        host_ops = host_code.ops
        host_arrivals, guest_arrivals = plan.host_arrivals, plan.guest_arrivals
        handlers = cpu.recorder.handlers
        passed, trace, stretches = self.passed, self.trace, self.stretches
        regs = cpu.regs
        exits = cpu.recorder.exits
        heads = -1  # exits and sets so far: a new one is where a stretch may begin
        sets = 0
        begin: Begin | None = None
        while cpu.stop == RUNNING:
            if stretches is not None and not cpu.guest:
                if begin is not None and stretches.end(self, begin):
                    begin = None
                if heads != len(exits) + sets:
                    heads = len(exits) + sets
                    begin = stretches.begin(self)
            if cpu.step >= self.step_limit:
                cpu.stop = LIMIT
                break
            cpu.step += 1
            if cpu.guest:
                if guest_arrivals:
                    self._arrive_in_guest()
                op = guest_ops[regs.rip]
            else:
                if host_arrivals and regs.rip in host_arrivals:
                    self._arrive_in_host()
                state = self.boundary_state()
                passed.append(state)
                if begin is not None:
                    begin.seen.append(state)
                op = host_ops[regs.rip]
            if trace is not None:
                trace.before(self)
            known = len(handlers)
            if recognise(cpu):
                self.idle = 0
            elif cpu.stop == RUNNING:
                if op < FIRST_KERNEL_OP and op != OP_SET:
                    execute(cpu)
                    if op == OP_SPIN or cpu.halted:
                        self._idle()
                    else:
                        self.idle = 0
                else:
                    self._software(op)
                    if op == OP_SET:
                        sets += 1
            if known < len(handlers):
                self._entered(known)
            while known < len(handlers):
                handlers[known].lockdep = kernel.hardirqs_enabled
                handlers[known].context = kernel.context
                known += 1
            if trace is not None:
                trace.after(self)

    def boundary_state(self) -> int:
        """The host boundary now: the Code index, and the SEEN_* bits of the state it is passed in."""
        cpu, kernel = self.cpu, self.kernel
        state = cpu.regs.rip << SEEN_SHIFT
        if cpu.regs.rflags & RFLAGS_IF:
            state |= SEEN_IF
        if cpu.gif:
            state |= SEEN_GIF
        if cpu.shadow:
            state |= SEEN_SHADOW
        if cpu.nmi_masked:
            state |= SEEN_NMI_MASKED
        if kernel.hardirqs_enabled:
            state |= SEEN_LOCKDEP
        if kernel.context:
            state |= SEEN_CONTEXT_GUEST
        if kernel.rebooting:
            state |= SEEN_REBOOTING
        if kernel.instrumentation:
            state |= SEEN_INSTRUMENTATION
        return state

    def latch(self, kind: str, vector: int, origin: int) -> None:
        """An asynchronous event reaches the processor (S1-10)."""
        cpu = self.cpu
        if kind == "intr":
            if vector not in cpu.irr:  # a vector already requested merges with it
                cpu.irr.append(vector)
                cpu.irr.sort()
        elif kind == "nmi":
            cpu.pend_nmi = True  # S1-11: further ones merge
        elif kind == "smi":
            if origin == SMI_INTERNAL:
                internal_smi(cpu)
            else:
                cpu.pend_smi = SMI_EXTERNAL
        elif kind == "init":
            cpu.pend_init = True
        else:
            cpu.pend_mce = True

    def _arrive(self, number: int) -> None:
        event: Arrival = self.plan.scenario.events[number]
        if number not in self.arrived:
            self.arrived[number] = self.cpu.step
            self.latch(event.kind, event.vector, SMI_INTERNAL if event.origin == "internal" else SMI_EXTERNAL)

    def _arrive_in_host(self) -> None:
        rip = self.cpu.regs.rip
        visit = self.visits[rip] = self.visits.get(rip, 0) + 1
        for wanted, number in self.plan.host_arrivals[rip]:
            if wanted == visit:
                self._arrive(number)

    def _arrive_in_guest(self) -> None:
        entry = self.cpu.recorder.entries[-1]
        for number in self.plan.guest_arrivals.get((entry.number, entry.retired), ()):
            self._arrive(number)

    def _software(self, op: int) -> None:
        """A kernel call, or a ``set``."""
        cpu = self.cpu
        rflags = cpu.regs.rflags
        code = cpu.world().code
        arg = code.args[cpu.regs.rip]
        if op == OP_SET:
            assignments = self.plan.guest_assignments if cpu.guest else self.plan.host_assignments
            cpu.regs.rip += 1
            assignments[arg].apply(self, assignments[arg].value)
        else:
            perform_call(self.kernel, cpu, op, arg)
        self.idle = 0
        if cpu.stop == RUNNING:
            retire(cpu, op, rflags, SHADOW_NONE)

    def _idle(self) -> None:
        """A spin or a halt: stop where nothing is left that could end it."""
        self.idle += 1
        if self.idle >= IDLE_STEPS and not self._awaits_arrival():
            self.cpu.stop = IDLE

    def _entered(self, number: int) -> None:
        """A handler was entered: stop where it is the same again and again, and nothing is left to change that."""
        handlers = self.cpu.recorder.handlers
        this, last = handlers[number], handlers[number - 1] if number else None
        if last is None or (this.vector, this.rip, this.rflags, this.kind) != (
            last.vector,
            last.rip,
            last.rflags,
            last.kind,
        ):
            self.repeats = 0
            return
        self.repeats += 1
        if self.repeats >= REPEATS and not self._awaits_arrival():
            self.cpu.stop = LIMIT

    def _awaits_arrival(self) -> bool:
        """Whether an event is still to arrive in the guest that runs."""
        cpu = self.cpu
        if not cpu.guest:
            return False
        entry = cpu.recorder.entries[-1]
        return any(number == entry.number and after >= entry.retired for number, after in self.plan.guest_arrivals)
