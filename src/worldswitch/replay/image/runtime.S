/*
 * The seams between a scenario's own instructions and the image.
 *
 * Generated code reaches these through pointers at fixed addresses (layout.h): handler stubs, the place after each
 * VMRUN, software operations ("set"), and the end of the host program. Each preserves every register. They run in the
 * host and, the handler seam and the software seam, in the guest as well, which shares the image's memory.
 */
#include "layout.h"

        .text

        .macro  save_registers
        pushq   %r15
        pushq   %r14
        pushq   %r13
        pushq   %r12
        pushq   %r11
        pushq   %r10
        pushq   %r9
        pushq   %r8
        pushq   %rdi
        pushq   %rsi
        pushq   %rbp
        pushq   %rdx
        pushq   %rcx
        pushq   %rbx
        pushq   %rax
        .endm

        .macro  restore_registers
        popq    %rax
        popq    %rbx
        popq    %rcx
        popq    %rdx
        popq    %rbp
        popq    %rsi
        popq    %rdi
        popq    %r8
        popq    %r9
        popq    %r10
        popq    %r11
        popq    %r12
        popq    %r13
        popq    %r14
        popq    %r15
        .endm

        .macro  call_c function
        movq    %rsp, %rbx                      /* survives the call */
        andq    $-16, %rsp
        call    \function
        movq    %rbx, %rsp
        .endm

/* Entered by `call` from the stub of a vector, which tells vector and world: (%rsp) is in the stub, then the frame. */
        .global handler_seam
handler_seam:
        save_registers
        movq    15*8(%rsp), %rdi                /* where in the stubs */
        leaq    16*8(%rsp), %rsi                /* the frame, from the error code if there is one */
        movq    7*8(%rsp), %rdx                 /* R8 */
        call_c  on_handler                      /* returns whether there is an error code */
        testl   %eax, %eax
        restore_registers
        /*
         * EOI, also of an interrupt whose delivery met the fault that is handled here. It may let the next interrupt
         * in, so all registers are the program's again.
         */
        movl    $0, 0xB0(%r12)
        jnz     1f
        ret
1:      ret     $8                              /* the error code goes, too */

/* Entered by `call` right after VMRUN. GIF is 0 here. */
        .global exit_seam
exit_seam:
        save_registers
        pushfq
        popq    %rdi
        movq    7*8(%rsp), %rsi                 /* R8 */
        call_c  on_exit
        restore_registers
        ret

/* Entered by `call` with the operation's number in R8. RFLAGS and RAX may be changed by it. */
        .global software_seam
software_seam:
        pushfq
        save_registers
        movq    7*8(%rsp), %rdi
        movq    %rsp, %rsi                      /* RAX, ..., R15, RFLAGS, return address, then what RSP pointed to */
        call_c  on_software
        restore_registers
        popfq
        ret

/* Entered by `call` where the host has nothing left to do. */
        .global idle_seam
idle_seam:
        popq    %rdi
        pushfq
        cli
        movq    (%rsp), %rbx
        andq    $-16, %rsp
        call    on_idle
        movq    %rbx, %rdi
        jmp     2f

/* Entered by `jmp` at the end of the host program, with RFLAGS in RDI and IF=0. */
        .global end_seam
end_seam:
2:      movq    image_rsp, %rsp
        call    on_end
        /* falls through: return from run_code */
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        ret

/* void run_code(void): GIF=0, IF=0, IDT of the scenario loaded; comes back through end_seam. */
        .global run_code
run_code:
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movq    %rsp, image_rsp
enter_code:
        movq    $HOST_CODE, %rax
        jmp     *%rax

/* void run_code_in_nmi(void): the same with NMIs masked, since the NMI handler that starts it never returns. */
        .global run_code_in_nmi
run_code_in_nmi:
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        movq    %rsp, image_rsp
        movl    $1, nmi_starts_code
        stgi
        movl    $APIC_BASE, %eax
        movl    $0x400, 0x300(%rax)             /* NMI to ourselves */
1:      jmp     1b
        .global nmi_entry
nmi_entry:
        clgi
        movl    $0, nmi_starts_code
        lidt    host_idt_pointer
        jmp     enter_code

/* void unmask_nmi(void): one IRET */
        .global unmask_nmi
unmask_nmi:
        movq    %rsp, %rax
        pushq   $0x10
        pushq   %rax
        pushfq
        pushq   $0x08
        leaq    1f(%rip), %rax
        pushq   %rax
        iretq
1:      nop
        nop
        ret

        .data
        .align  8
        .global image_rsp, nmi_starts_code
image_rsp:
        .quad   0
nmi_starts_code:
        .long   0
