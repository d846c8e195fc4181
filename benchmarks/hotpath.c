/* The core's hot path in C, as the physical limit: one case is a Linux path around one VMRUN that injects an event
   whose delivery exits for a nested page fault, with the boundary checks, lockdep's view, the shadow, the records and
   the set of boundaries that the Python core keeps. No oracles, no decoding.

   gcc -O2 -o hotpath hotpath.c && ./hotpath SECONDS        prints cases, and seconds of processor time */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum op { PLAIN, TRACE_ON, LOCKDEP_PREPARE, CONTEXT_ENTER, LOCKDEP_ON, STI, VMLOAD, VMRUN, VMSAVE, CLI, CLGI, STGI,
          LOCKDEP_OFF, CONTEXT_EXIT, TRACE_OFF, VMMCALL, END };

static const uint8_t host[] = {
    PLAIN, PLAIN, CLGI, TRACE_ON, LOCKDEP_PREPARE, CONTEXT_ENTER, LOCKDEP_ON, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN,
    PLAIN, PLAIN, PLAIN, PLAIN, VMLOAD, STI, VMRUN, CLI, VMSAVE, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN, PLAIN,
    PLAIN, PLAIN, LOCKDEP_OFF, CONTEXT_EXIT, TRACE_OFF, PLAIN, STGI, PLAIN, PLAIN, END };
static const uint8_t guest[] = { PLAIN, PLAIN, VMMCALL };

struct regs { uint64_t rip, rflags, efer, cr0, cr2, cr3, cr4, dr6, dr7, rax; uint8_t cpl, cs_long, cs_big; };
struct vmcb { uint8_t intercepts[1024 / 8]; uint64_t eventinj, exitintinfo, code, info1, info2, nrip; uint8_t int_state,
              v_irq, v_nmi, v_nmi_mask, v_nmi_enable, v_masking, vgif, v_tpr; struct regs save; };
struct record { uint64_t step, code, info1, info2, exitintinfo, eventinj, rip, rflags; uint8_t int_state, gif, hif; };
struct cpu { struct regs regs, hsave; struct vmcb vmcb; uint8_t guest, gif, shadow, host_shadow, hif, nmi_masked,
             injecting, halted, pend_nmi, pend_smi, pend_init, pend_mce, debug_trap, irr[16], irr_count, stop, gate[256];
             int step; uint64_t vectoring; uint8_t lockdep, traced, context, rcu, warned; int64_t key, recorded_key;
             struct record exits[8], entries[8]; int exit_count, entry_count, call_count; int calls[32];
             uint8_t seen[64 * 256 / 8]; };

#define IF 0x200u
#define V (1ull << 31)

static void vmexit(struct cpu *c, uint64_t code, uint64_t info1, uint64_t info2)
{
    struct vmcb *v = &c->vmcb;
    struct record *r = &c->exits[c->exit_count++ & 7];
    c->gif = 0;
    v->save = c->regs;
    v->int_state = (c->injecting && c->host_shadow) || c->shadow;
    v->code = code, v->info1 = info1, v->info2 = info2, v->nrip = 0;
    v->exitintinfo = c->vectoring;
    v->eventinj = 0;
    *r = (struct record){ c->step, code, info1, info2, v->exitintinfo, v->eventinj, v->save.rip, v->save.rflags,
                          v->int_state, c->gif, c->hif };
    c->regs = c->hsave;
    c->regs.cr0 |= 1, c->regs.dr7 = 0x400, c->regs.cpl = 0;
    c->guest = c->shadow = c->injecting = 0;
    c->vectoring = 0;
}

static int deliver(struct cpu *c, uint64_t word)
{
    c->vectoring = word;
    if (c->gate[word & 0xff]) {
        if (c->guest) { vmexit(c, 0x400, (1ull << 32) | 6, 0x7ff8); return 1; }
        c->stop = 2;
        return 1;
    }
    c->regs.rflags &= ~IF;
    c->shadow = c->injecting = 0;
    c->vectoring = 0;
    return 1;
}

static int recognise(struct cpu *c)
{
    if (c->pend_mce && c->gif) return deliver(c, V | 3u << 8 | 18);
    if (c->pend_smi && c->gif) { c->pend_smi = 0; return 1; }
    if (c->pend_init && c->gif) { c->stop = 3; return 1; }
    if (c->debug_trap) { c->debug_trap = 0; return deliver(c, V | 3u << 8 | 1); }
    if (c->pend_nmi && c->gif && !c->nmi_masked) { c->pend_nmi = 0; return deliver(c, V | 2u << 8 | 2); }
    if (c->guest && c->vmcb.v_nmi) return 0;
    if (c->irr_count && c->gif && (c->regs.rflags & IF) && !c->shadow) return deliver(c, V | c->irr[--c->irr_count]);
    return c->guest && c->vmcb.v_irq && (c->regs.rflags & IF) && !c->shadow && deliver(c, V | 0x20);
}

static void vmrun(struct cpu *c)
{
    struct vmcb *v = &c->vmcb;
    if (!(c->regs.efer & 1u << 12) || c->regs.cpl || c->regs.rax & 0xfff) { c->stop = 4; return; }
    c->hsave = c->regs;
    c->hsave.rip++;
    c->hif = !!(c->regs.rflags & IF);
    c->host_shadow = c->shadow;
    c->entries[c->entry_count++ & 7] = (struct record){ c->step, 0, 0, 0, 0, v->eventinj, v->save.rip, v->save.rflags,
                                                        v->int_state, c->gif, c->hif };
    c->regs = v->save;
    c->guest = 1;
    if (!(v->save.efer & 1u << 12) || (v->save.cr0 & 1u << 29 && !(v->save.cr0 & 1u << 30))) { vmexit(c, ~0ull, 0, 0); return; }
    c->shadow = v->int_state & 1;
    c->gif = 1;
    c->injecting = !!(v->eventinj & V);
    if (c->injecting) deliver(c, v->eventinj);
}

static void execute(struct cpu *c, int op)
{
    uint64_t before = c->regs.rflags;
    uint8_t shadow = 0;
    if (op != VMRUN && op != END && op != VMMCALL) c->regs.rip++;
    switch (op) {
    case TRACE_ON: c->traced = 1; c->calls[c->call_count++ & 31] = op; break;
    case TRACE_OFF: c->traced = 0; c->calls[c->call_count++ & 31] = op; break;
    case LOCKDEP_PREPARE: if (before & IF) c->warned = 1; else c->recorded_key = c->key; c->calls[c->call_count++ & 31] = op; break;
    case LOCKDEP_ON: if (c->key != c->recorded_key) c->warned = 1; c->lockdep = 1; c->calls[c->call_count++ & 31] = op; break;
    case LOCKDEP_OFF: if (before & IF) c->warned = 1; else c->lockdep = 0; c->calls[c->call_count++ & 31] = op; break;
    case CONTEXT_ENTER: c->context = 1, c->rcu = 0; c->calls[c->call_count++ & 31] = op; break;
    case CONTEXT_EXIT: c->context = 0, c->rcu = 1; c->calls[c->call_count++ & 31] = op; break;
    case STI: shadow = !(before & IF); c->regs.rflags |= IF; break;
    case CLI: c->regs.rflags &= ~IF; break;
    case CLGI: c->gif = 0; break;
    case STGI: c->gif = 1; break;
    case VMRUN: vmrun(c); return;
    case VMMCALL: if (c->guest) vmexit(c, 0x81, 0, 0); else c->stop = 4; return;
    case END: c->stop = 1; return;
    default: break;
    }
    c->shadow = shadow;
    c->regs.rflags &= ~(1ull << 16);
    if (before & 0x100) c->debug_trap = 1;
}

int main(int argc, char **argv)
{
    double limit = argc > 1 ? atof(argv[1]) : 1;
    static struct cpu start, c;
    unsigned long cases = 0, sum = 0;
    start.regs = (struct regs){ 0, 2, 0x1d01, 0x80010033, 0, 0x1000, 0x60, 0xffff0ff0, 0x400, 0x2000, 0, 1, 0 };
    start.vmcb.save = start.regs;
    start.vmcb.save.rflags |= IF;
    start.gif = 1;
    start.rcu = 1;
    clock_t begin = clock();
    do {
        for (int i = 0; i < 4096; i++, cases++) {
            c = start;
            c.vmcb.eventinj = V | ((cases & 3) << 8) | 0x68;
            c.gate[0x68] = cases & 4;
            while (!c.stop && c.step < 1000) {
                c.step++;
                if (!c.guest) {
                    unsigned state = c.regs.rip << 8 | !!(c.regs.rflags & IF) | c.gif << 1 | c.lockdep << 2 | c.context << 3
                                     | c.shadow << 4 | c.nmi_masked << 5;
                    c.seen[state >> 3 & (sizeof c.seen - 1)] |= 1 << (state & 7);
                }
                if (!recognise(&c) && !c.stop) execute(&c, c.guest ? guest[c.regs.rip % 3] : host[c.regs.rip]);
            }
            sum += c.step + c.exit_count + c.seen[9];
        }
    } while ((double)(clock() - begin) / CLOCKS_PER_SEC < limit);
    fprintf(stderr, "%lu\n", sum); /* nothing may be optimised away */
    printf("%lu %f\n", cases, (double)(clock() - begin) / CLOCKS_PER_SEC);
    return 0;
}
