/*
 * Replays scenarios on a real SVM implementation and reports what it did on the serial port.
 *
 * A batch of records (a multiboot module) tells for each scenario which bytes to put where: the VMCB, gates, page table
 * entries, and the machine code of host and guest. The image knows nothing of scenarios: it restores its own memory
 * before each record, applies the bytes, jumps to the host's code, and collects log entries: one for each handler that
 * ran and one for each #VMEXIT. Afterwards it finds out what was left pending.
 *
 * The state of the run lies outside the image, so that it survives a reset: a scenario that shuts the processor down
 * is reported after the machine has started again.
 */
#include "layout.h"

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long u64;

#define BY_ADDRESS(type, address) ((volatile type *)(unsigned long)(address))
#define STACK_WORDS 32
#define ENTRY_WORDS (15 + STACK_WORDS)
#define WORLD_HOST 0
#define WORLD_GUEST 1
#define WORLD_DRAIN 2
#define KIND_HANDLER 1
#define KIND_EXIT 2

struct state {
	u64 magic, index, phase, count, stop, stop_rip, end_rflags, software;
	u64 entries[MAX_ENTRIES + 16][ENTRY_WORDS];
};
static volatile struct state *const state = (volatile struct state *)LOG;

struct pointer {
	u16 limit;
	u64 base;
} __attribute__((packed));

struct poke {
	u32 address, length; /* then the bytes, padded to a multiple of 8 */
};
struct record {
	u32 size, number, flags, pokes;
};
struct batch {
	u64 magic;
	u32 count, reserved;
};

extern u64 batch_start, batch_end, image_rsp;
extern u32 nmi_starts_code;
extern u8 handler_seam[], exit_seam[], software_seam[], end_seam[], idle_seam[], nmi_entry[], image_begin[], image_end[];
void run_code(void);
void run_code_in_nmi(void);
void unmask_nmi(void);

struct pointer host_idt_pointer = { 4095, HOST_IDT };
static const struct pointer drain_idt_pointer = { 4095, DRAIN_IDT };

static u8 vmcb_template[0x700];
static struct {
	u64 address, value;
} undo[MAX_UNDO];
static u32 undo_count;
static u32 svm_features, has_skinit;

/* --- the processor ------------------------------------------------------------------------------------------------ */

static inline void outb(u16 port, u8 value) { asm volatile("outb %0, %1" : : "a"(value), "Nd"(port)); }
static inline u8 inb(u16 port)
{
	u8 value;
	asm volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}
static inline u64 rdmsr(u32 msr)
{
	u32 low, high;
	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return low | (u64)high << 32;
}
static inline void wrmsr(u32 msr, u64 value)
{
	asm volatile("wrmsr" : : "c"(msr), "a"((u32)value), "d"((u32)(value >> 32)) : "memory");
}
static inline void cpuid(u32 leaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	asm volatile("cpuid" : "=a"(*a), "=b"(*b), "=c"(*c), "=d"(*d) : "a"(leaf), "c"(0));
}
static inline void stgi(void) { asm volatile("stgi" : : : "memory"); }
static inline void clgi(void) { asm volatile("clgi" : : : "memory"); }
static inline void set_cr8(u64 value) { asm volatile("mov %0, %%cr8" : : "r"(value)); }
static inline void flush(void)
{
	u64 value;
	asm volatile("mov %%cr3, %0; mov %0, %%cr3" : "=r"(value) : : "memory");
}
static inline u32 apic_read(u32 reg) { return *BY_ADDRESS(u32, APIC_BASE + reg); }
static inline void apic_write(u32 reg, u32 value) { *BY_ADDRESS(u32, APIC_BASE + reg) = value; }

/* Lets whatever is pending and unmasked be taken, IF being 1 meanwhile. */
static void open_window(void) { asm volatile("sti; nop; nop; nop; nop; cli" : : : "memory"); }

/* --- the serial port ---------------------------------------------------------------------------------------------- */

static void put(char c)
{
	for (int i = 0; i < 100000 && !(inb(0x3FD) & 0x20); i++)
		;
	outb(0x3F8, c);
}
static void puts(const char *s)
{
	while (*s)
		put(*s++);
}
static void put_hex(u64 value)
{
	int shift = 60;
	while (shift && !(value >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		put("0123456789abcdef"[value >> shift & 15]);
}
static void put_field(u64 value)
{
	put(' ');
	put_hex(value);
}
/* Waits until everything is on the wire: what follows may stop the machine. */
static void put_all(void)
{
	for (int i = 0; i < 1000000 && !(inb(0x3FD) & 0x40); i++)
		;
}
static void serial_start(void)
{
	outb(0x3F9, 0);
	outb(0x3FB, 0x80);
	outb(0x3F8, 1); /* 115200 baud */
	outb(0x3F9, 0);
	outb(0x3FB, 3); /* 8N1 */
	outb(0x3FA, 0xC7);
	outb(0x3FC, 3);
}

/* --- memory ------------------------------------------------------------------------------------------------------- */

static void copy(void *to, const void *from, u64 length)
{
	asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(length) : : "memory");
}
static void fill(u64 address, u8 value, u64 length)
{
	void *to = (void *)address;
	asm volatile("rep stosb" : "+D"(to), "+c"(length) : "a"(value) : "memory");
}

static int is_code(u64 address) { return address >= GUEST_CODE && address < HOST_CODE + CODE_SIZE; }

/* Writes 64 bits and remembers what was there, until the end of the scenario. */
static void write_word(u64 address, u64 value)
{
	if (undo_count < MAX_UNDO) {
		undo[undo_count].address = address;
		undo[undo_count++].value = *BY_ADDRESS(u64, address);
	}
	*BY_ADDRESS(u64, address) = value;
}

static void poke(const struct poke *p)
{
	const u64 *from = (const u64 *)(p + 1);
	if (is_code(p->address)) { /* never executed unless written anew */
		copy((void *)(u64)p->address, from, p->length);
		return;
	}
	for (u32 offset = 0; offset < p->length; offset += 8) {
		u64 value = from[offset / 8], address = p->address + offset;
		u32 left = p->length - offset;
		if (left < 8) {
			u64 mask = (1UL << 8 * left) - 1;
			value = (*BY_ADDRESS(u64, address) & ~mask) | (value & mask);
		}
		write_word(address, value);
	}
}

/* Page tables: the first GiB as itself but for the two holes, their alias, the local APIC. */
static void make_tables(u64 pml4, u64 pdpt, u64 pd, u64 pt, u64 pd_apic, u64 pd_alias, u64 pt_alias)
{
	fill(pml4, 0, 4096);
	fill(pdpt, 0, 4096);
	fill(pd_apic, 0, 4096);
	*BY_ADDRESS(u64, pml4) = pdpt | 7;
	BY_ADDRESS(u64, pdpt)[0] = pd | 7;
	BY_ADDRESS(u64, pdpt)[3] = pd_apic | 7;
	for (u64 i = 0; i < 512; i++) {
		BY_ADDRESS(u64, pd)[i] = i << 21 | 0x87;
		BY_ADDRESS(u64, pt)[i] = i << 12 | 7;
	}
	BY_ADDRESS(u64, pd)[0] = pt | 7;
	BY_ADDRESS(u64, pt)[DATA_HOLE >> 12] = 0;
	BY_ADDRESS(u64, pt)[STACK_HOLE >> 12] = 0;
	BY_ADDRESS(u64, pd_apic)[(APIC_BASE >> 21) & 511] = APIC_BASE | 0x97; /* PCD */
	if (pd_alias) {
		fill(pd_alias, 0, 4096);
		fill(pt_alias, 0, 4096);
		BY_ADDRESS(u64, pdpt)[ALIAS >> 30] = pd_alias | 7;
		BY_ADDRESS(u64, pd_alias)[0] = pt_alias | 7;
		BY_ADDRESS(u64, pt_alias)[DATA_HOLE >> 12] = DATA_HOLE | 7;
		BY_ADDRESS(u64, pt_alias)[STACK_HOLE >> 12] = STACK_HOLE | 7;
	}
}

static void make_gate(u64 idt, u32 vector, u64 target)
{
	BY_ADDRESS(u64, idt)[2 * vector] = (target & 0xFFFF) | 8UL << 16 | 0x8E00UL << 32 | (target >> 16 & 0xFFFF) << 48;
	BY_ADDRESS(u64, idt)[2 * vector + 1] = target >> 32;
}

/*
 * A stub a vector: clts; call *SLOT_HANDLER; jmp handler. CLTS changes nothing; after it QEMU looks for pending events,
 * which it does not after a delivery alone.
 */
static void make_stubs(u64 stubs, u64 idt, u64 handler)
{
	for (u32 vector = 0; vector < 256; vector++) {
		u64 stub = stubs + STUB_SIZE * vector;
		volatile u8 *code = BY_ADDRESS(u8, stub);
		*BY_ADDRESS(u16, stub) = 0x060F;
		code[2] = 0xFF;
		code[3] = 0x14;
		code[4] = 0x25;
		*BY_ADDRESS(u32, stub + 5) = SLOT_HANDLER;
		code[STUB_LENGTH] = 0xE9;
		*BY_ADDRESS(u32, stub + STUB_LENGTH + 1) = handler - (stub + STUB_LENGTH + 5);
		make_gate(idt, vector, stub);
	}
	*BY_ADDRESS(u16, handler) = 0xCF48; /* iretq */
}

static void make_descriptors(void)
{
	volatile u64 *gdt = BY_ADDRESS(u64, GDT);
	fill(GDT, 0, 4096);
	gdt[1] = 0x00AF9B000000FFFF;
	gdt[2] = 0x00CF93000000FFFF;
	gdt[3] = 103 | (u64)(TSS & 0xFFFFFF) << 16 | 0x89UL << 40;
	gdt[4] = 0;
	/* IST1: a push there meets #PF; IST2: #NPF; IST3: a non-canonical address */
	*BY_ADDRESS(u64, TSS + 36) = STACK_HOLE + 0x1000;
	*BY_ADDRESS(u64, TSS + 44) = ALIAS + STACK_HOLE + 0x1000;
	*BY_ADDRESS(u64, TSS + 52) = 0x8000000000000000;
	*BY_ADDRESS(u16, TSS + 102) = 104; /* no I/O permission map */
	struct pointer pointer = { 39, GDT };
	asm volatile("lgdt %0; mov %1, %%ss; mov %1, %%ds; mov %1, %%es; ltr %2"
		     : : "m"(pointer), "r"((u16)0x10), "r"((u16)0x18) : "memory");
}

static void segment(u32 offset, u16 selector, u16 attributes, u32 limit, u64 base)
{
	*BY_ADDRESS(u16, VMCB + offset) = selector;
	*BY_ADDRESS(u16, VMCB + offset + 2) = attributes;
	*BY_ADDRESS(u32, VMCB + offset + 4) = limit;
	*BY_ADDRESS(u64, VMCB + offset + 8) = base;
}

/* The parts of a VMCB that no scenario sets: segments and descriptor tables, the nested tables, PAT. */
static void make_vmcb(void)
{
	fill(VMCB, 0, 4096);
	segment(0x400, 0x10, 0xC93, 0xFFFFFFFF, 0);
	segment(0x410, 0x08, 0xA9B, 0xFFFFFFFF, 0);
	segment(0x420, 0x10, 0xC93, 0xFFFFFFFF, 0);
	segment(0x430, 0x10, 0xC93, 0xFFFFFFFF, 0);
	segment(0x460, 0, 0, 39, GDT);
	segment(0x480, 0, 0, 4095, GUEST_IDT);
	*BY_ADDRESS(u64, VMCB + 0xB0) = NESTED_PML4;
	*BY_ADDRESS(u64, VMCB + 0x668) = rdmsr(0x277);
	asm volatile("vmsave" : : "a"((u64)VMCB) : "memory"); /* FS, GS, TR, LDTR, ... are the host's */
	copy(vmcb_template, (void *)VMCB, sizeof vmcb_template);
}

static void make_world(void)
{
	make_tables(HOST_PML4, HOST_PDPT, HOST_PD, HOST_PT, HOST_PD_APIC, HOST_PD_ALIAS, HOST_PT_ALIAS);
	make_tables(GUEST_PML4, GUEST_PDPT, GUEST_PD, GUEST_PT, GUEST_PD_APIC, GUEST_PD_ALIAS, GUEST_PT_ALIAS);
	make_tables(NESTED_PML4, NESTED_PDPT, NESTED_PD, NESTED_PT, NESTED_PD_APIC, 0, 0);
	asm volatile("mov %0, %%cr3" : : "r"((u64)HOST_PML4) : "memory");
	make_descriptors();
	BY_ADDRESS(u64, SLOT_HANDLER)[0] = (u64)handler_seam;
	BY_ADDRESS(u64, SLOT_EXIT)[0] = (u64)exit_seam;
	BY_ADDRESS(u64, SLOT_SOFTWARE)[0] = (u64)software_seam;
	BY_ADDRESS(u64, SLOT_END)[0] = (u64)end_seam;
	BY_ADDRESS(u64, SLOT_IDLE)[0] = (u64)idle_seam;
	make_stubs(GUEST_STUBS, GUEST_IDT, GUEST_DEFAULT_HANDLER);
	make_stubs(HOST_STUBS, HOST_IDT, HOST_DEFAULT_HANDLER);
	make_stubs(DRAIN_STUBS, DRAIN_IDT, DRAIN_HANDLER);
	fill(IOPM, 0xFF, 0x3000);
	fill(MSRPM, 0xFF, 0x2000);
	asm volatile("lidt %0" : : "m"(drain_idt_pointer));
}

/* --- log entries -------------------------------------------------------------------------------------------------- */

static volatile u64 *new_entry(void)
{
	u64 number = __atomic_fetch_add(&state->count, 1, __ATOMIC_RELAXED);
	if (number >= MAX_ENTRIES + 15)
		number = MAX_ENTRIES + 15;
	return state->entries[number];
}

static __attribute__((noreturn)) void end_with(u64 stop)
{
	state->stop = stop;
	asm volatile("jmp end_seam");
	__builtin_unreachable();
}

int on_handler(u64 stub, const u64 *frame, u64 r8)
{
	(void)r8;
	volatile u64 *entry = new_entry();
	u32 world = stub >= DRAIN_STUBS ? WORLD_DRAIN : stub >= HOST_STUBS ? WORLD_HOST : WORLD_GUEST;
	u64 stubs = world == WORLD_DRAIN ? DRAIN_STUBS : world == WORLD_HOST ? HOST_STUBS : GUEST_STUBS;
	u32 vector = (stub - stubs) / STUB_SIZE;
	int has_code = frame[1] != 8; /* without an error code that is CS */
	entry[0] = KIND_HANDLER;
	entry[1] = world;
	entry[2] = vector;
	entry[3] = frame[has_code];
	entry[4] = frame[has_code + 2];
	entry[5] = has_code ? frame[0] : ~0UL;
	entry[6] = (u64)frame;
	entry[7] = frame[has_code + 3];
	entry[8] = state->software;
	entry[9] = state->phase;
	if (world == WORLD_DRAIN && vector < 32 && vector != 2) {
		puts("\n! image fault");
		for (int i = 2; i < 8; i++)
			put_field(entry[i]);
		puts("\n");
		for (;;)
			asm volatile("cli; hlt");
	}
	if (state->count > MAX_ENTRIES) {
		if (world == WORLD_HOST)
			end_with(STOP_LIMIT);
		if (world == WORLD_GUEST) {
			register u64 r8_value asm("r8") = MAGIC_ESCAPE + STOP_LIMIT;
			asm volatile("vmrun" : : "a"((u64)VMCB), "r"(r8_value));
		}
	}
	return has_code;
}

void on_exit(u64 rflags, u64 r8)
{
	static const u16 offsets[] = { 0x70, 0x78, 0x80, 0x88, 0xA8, 0x68, 0x578, 0x570, 0x640, 0x60, 0xC8, 0x4C8, 0x5D8 };
	volatile u64 *entry = new_entry();
	u64 code = *BY_ADDRESS(u64, VMCB + 0x70), rsp = *BY_ADDRESS(u64, VMCB + 0x5D8);
	entry[0] = KIND_EXIT;
	entry[1] = rflags;
	apic_write(0xB0, 0); /* of an interrupt whose delivery led to the exit */
	for (u32 i = 0; i < sizeof offsets / sizeof *offsets; i++)
		entry[2 + i] = *BY_ADDRESS(u64, VMCB + offsets[i]);
	for (u32 i = 0; i < STACK_WORDS; i++) /* what deliveries pushed, for handlers that have not reported yet */
		entry[15 + i] = rsp >= GUEST_STACK - 0x8000 && rsp + 8 * i < GUEST_STACK ? BY_ADDRESS(u64, rsp)[i] : 0;
	if (code == 0x80 && (r8 & ~0xFFUL) == MAGIC_ESCAPE)
		end_with(r8 & 0xFF);
	if (state->count > MAX_ENTRIES)
		end_with(STOP_LIMIT);
}

void on_end(u64 rflags) { state->end_rflags = rflags; }

void on_idle(u64 rip)
{
	state->stop_rip = rip;
	state->stop = STOP_HOST_IDLE;
}

/* --- software operations ------------------------------------------------------------------------------------------ */

/* The place whose instruction is at rip: {first address, last address, next instruction}; 0 where there is none. */
static u64 next_place(u64 table, u64 rip, int *fixup)
{
	volatile u64 *places = BY_ADDRESS(u64, table);
	for (u64 i = 0; i < places[0]; i++)
		if (rip >= places[1 + 3 * i] && rip <= places[2 + 3 * i]) {
			*fixup = places[3 + 3 * i] >> 63;
			return places[3 + 3 * i] & ~PLACE_FIXUP;
		}
	return 0;
}

struct registers {
	u64 rax, rbx, rcx, rdx, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15, rflags, address;
	u64 frame[3]; /* of the running handler: RIP, CS, RFLAGS */
};

void on_software(u64 first, struct registers *registers)
{
	volatile u64 *op = BY_ADDRESS(u64, OPERATIONS + 32 * first);
	int fixup = 0;
	u64 next;
	state->software = first + 1;
	for (; op[0] != OP_STOP; op += 4) {
		u64 argument = op[1], mask = op[2], value = op[3];
		switch (op[0]) {
		case OP_WRITE:
			write_word(argument, (*BY_ADDRESS(u64, argument) & ~mask) | (value & mask));
			flush();
			break;
		case OP_REINJECT:
			*BY_ADDRESS(u64, VMCB + 0xA8) = *BY_ADDRESS(u64, VMCB + 0x88);
			break;
		case OP_SKIP_GUEST:
			next = next_place(GUEST_PLACES, *BY_ADDRESS(u64, VMCB + 0x578), &fixup);
			if (next)
				*BY_ADDRESS(u64, VMCB + 0x578) = next;
			break;
		case OP_FRAME_FLAGS:
			registers->frame[2] = (registers->frame[2] & ~mask) | (value & mask);
			break;
		case OP_FRAME_NEXT:
			next = next_place(argument, registers->frame[0], &fixup);
			if (next)
				registers->frame[0] = next;
			break;
		case OP_RFLAGS:
			registers->rflags = (registers->rflags & ~mask) | (value & mask);
			break;
		case OP_RAX:
			registers->rax = value;
			break;
		case OP_CR8:
			set_cr8(value);
			break;
		case OP_SVME:
			wrmsr(0xC0000080, value ? rdmsr(0xC0000080) | 0x1000 : rdmsr(0xC0000080) & ~0x1000UL);
			break;
		case OP_GIF:
			if (value)
				stgi();
			else
				clgi();
			break;
		case OP_TRIGGER:
			apic_write(0x300, value);
			break;
		case OP_POINTERS: /* the registers of faulting accesses, which host and guest share */
			registers->r15 = registers->rbp = value;
			break;
		case OP_FIXUP: /* the exception table of a kernel; argument: kvm_rebooting */
			next = next_place(HOST_PLACES, registers->frame[0], &fixup);
			if (!value || !next || !fixup)
				end_with(STOP_BUG);
			registers->frame[0] = next;
			break;
		}
	}
	state->software = 0;
}

/* --- scenarios ---------------------------------------------------------------------------------------------------- */

static void report(const char *how)
{
	for (u64 i = 0; i < state->count && i < MAX_ENTRIES + 16; i++) {
		volatile u64 *entry = state->entries[i];
		put(entry[0] == KIND_EXIT ? 'X' : 'H');
		int words = entry[0] == KIND_EXIT ? ENTRY_WORDS : 10;
		while (words > 15 && !entry[words - 1])
			words--;
		for (int j = 1; j < words; j++)
			put_field(entry[j]);
		put('\n');
	}
	puts(how);
	put_field(state->phase);
	put_field(state->stop);
	put_field(state->stop_rip);
	put_field(state->end_rflags);
	put('\n');
}

/*
 * Finds out what is pending, by taking the masks away one by one: IF, GIF, the NMI mask. An NMI sent first shows by the
 * phase in which it is taken whether NMIs are masked: until the first IRET, that is the first interrupt's, nothing else
 * unmasks them.
 */
static void drain(u32 flags)
{
	asm volatile("lidt %0" : : "m"(drain_idt_pointer));
	wrmsr(0xC0000080, rdmsr(0xC0000080) | 0x1000);
	set_cr8(0);
	state->phase = PHASE_NMI_PROBE;
	if (flags & FLAG_PROBE_NMI)
		apic_write(0x300, 0x400);
	asm volatile("nop; nop");
	state->phase = PHASE_AS_IS;
	if (flags & FLAG_PROBE_GIF)
		apic_write(0x300, PROBE_VECTOR);
	open_window();
	state->phase = PHASE_STGI;
	stgi();
	asm volatile("nop; nop");
	state->phase = PHASE_GIF;
	open_window();
	state->phase = PHASE_UNMASK;
	unmask_nmi();
	for (int i = 0; i < 256; i++) { /* a handler without the seam leaves its interrupt in service */
		u32 busy = 0;
		for (u32 reg = 0x100; reg < 0x180; reg += 0x10)
			busy |= apic_read(reg);
		if (!busy)
			break;
		apic_write(0xB0, 0);
		open_window();
	}
}

static void run_record(const struct record *record)
{
	const u8 *at = (const u8 *)(record + 1);
	state->count = 0;
	state->stop = STOP_END;
	state->stop_rip = 0;
	state->end_rflags = 0;
	state->software = 0;
	state->phase = PHASE_RUN;
	copy((void *)VMCB, vmcb_template, sizeof vmcb_template);
	for (u32 i = 0; i < record->pokes; i++) {
		const struct poke *p = (const struct poke *)at;
		poke(p);
		at += sizeof *p + ((p->length + 7) & ~7U);
	}
	flush();
	apic_write(0x310, apic_read(0x20)); /* IPIs with a destination go to ourselves */
	asm volatile("mov %0, %%cr2" : : "r"(0UL));
	put('S');
	put_field(record->number);
	put('\n');
	put_all();
	if (record->flags & FLAG_START_IN_NMI) {
		make_gate(DRAIN_IDT, 2, (u64)nmi_entry);
		run_code_in_nmi();
		make_gate(DRAIN_IDT, 2, DRAIN_STUBS + 2 * STUB_SIZE);
	} else {
		clgi();
		asm volatile("lidt %0" : : "m"(host_idt_pointer));
		run_code();
	}
	drain(record->flags);
	while (undo_count) {
		undo_count--;
		*BY_ADDRESS(u64, undo[undo_count].address) = undo[undo_count].value;
	}
	asm volatile("mov %0, %%dr7; mov %1, %%dr6" : : "r"(0x400UL), "r"(0xFFFF0FF0UL));
	flush();
	report("E");
}

/*
 * Enters a guest that leaves at once. Before the first #VMEXIT after a reset V_GIF=0 holds nothing on QEMU (S10-83).
 */
static void enter_once(void)
{
	static const u64 values[][2] = {
		{ 0x10, 3 }, /* intercepts VMRUN and VMMCALL */
		{ 0x40, IOPM }, { 0x48, MSRPM }, { 0x58, 1 | 1UL << 32 },
		{ 0x4D0, 0x1D01 }, { 0x548, 0x60 }, { 0x550, GUEST_PML4 }, { 0x558, 0x80010033 },
		{ 0x560, 0x400 }, { 0x568, 0xFFFF0FF0 }, { 0x570, 2 }, { 0x578, GUEST_CODE }, { 0x5D8, GUEST_STACK },
	};
	copy((void *)VMCB, vmcb_template, sizeof vmcb_template);
	for (u32 i = 0; i < sizeof values / sizeof *values; i++)
		*BY_ADDRESS(u64, VMCB + values[i][0]) = values[i][1];
	copy((void *)GUEST_CODE, "\x0f\x01\xd9", 3); /* vmmcall */
	asm volatile("clgi; vmrun; stgi" : : "a"((u64)VMCB) : "memory");
	if (*BY_ADDRESS(u64, VMCB + 0x70) != 0x81) {
		puts("! the first guest did not reach VMMCALL: exit");
		put_field(*BY_ADDRESS(u64, VMCB + 0x70));
		put('\n');
	}
}

static int find_svm(void)
{
	u32 a, b, c, d, family;
	puts("\nworldswitch-image 1\n");
	cpuid(0, &a, &b, &c, &d);
	u32 vendor[3] = { b, d, c };
	cpuid(1, &family, &b, &c, &d);
	puts("C ");
	for (int i = 0; i < 12; i++)
		put(((char *)vendor)[i]);
	put_field(family);
	cpuid(0x80000000, &a, &b, &c, &d);
	if (a < 0x8000000A) {
		puts("\n! no SVM\n");
		return 0;
	}
	cpuid(0x80000001, &a, &b, &c, &d);
	has_skinit = c >> 12 & 1;
	if (!(c & 4)) {
		puts("\n! no SVM\n");
		return 0;
	}
	cpuid(0x8000000A, &a, &b, &c, &svm_features);
	put_field(svm_features);
	put_field(has_skinit);
	put('\n');
	if (rdmsr(0xC0010114) & 0x10) {
		puts("! SVM is disabled by VM_CR.SVMDIS\n");
		return 0;
	}
	if (!(svm_features & 1)) {
		puts("! no nested paging\n");
		return 0;
	}
	return 1;
}

void image_main(void)
{
	const struct batch *batch = (const struct batch *)batch_start;
	serial_start();
	outb(0x21, 0xFF); /* the 8259s: nothing from outside */
	outb(0xA1, 0xFF);
	if (find_svm()) {
		u64 first = 0;
		wrmsr(0xC0000080, rdmsr(0xC0000080) | 0x1000);
		wrmsr(0xC0010117, HSAVE);
		make_world();
		make_vmcb();
		enter_once();
		apic_write(0xF0, 0x1FF);
		apic_write(0x80, 0);
		for (u32 reg = 0x320; reg <= 0x370; reg += 0x10)
			apic_write(reg, 0x10000);
		if (state->magic == STATE_MAGIC && state->phase != PHASE_NONE) {
			report("R"); /* the machine was reset during this one */
			first = state->index + 1;
		}
		if (!batch_start || batch->magic != BATCH_MAGIC) {
			puts("! no batch\n");
		} else {
			const u8 *at = (const u8 *)(batch + 1);
			for (u32 i = 0; i < batch->count; i++) {
				const struct record *record = (const struct record *)at;
				if (i >= first) {
					state->index = i;
					state->magic = STATE_MAGIC;
					run_record(record);
				}
				at += record->size;
			}
		}
	}
	state->phase = PHASE_NONE;
	state->magic = 0;
	puts("Z\n");
	put_all();
	outb(0xF4, 0); /* isa-debug-exit */
	for (;;)
		asm volatile("cli; hlt");
}
