/*
 * Multiboot (version 1) entry: from 32-bit protected mode to 64-bit long mode, then to C.
 *
 * The loader leaves EBX pointing at its information structure, which may lie in low memory that this image is about
 * to use: the batch module's address is read out of it before anything else happens.
 */
        .set    MULTIBOOT_MAGIC, 0x1BADB002
        .set    MULTIBOOT_FLAGS, 0x3            /* modules page aligned, memory information */

        .section .multiboot, "a"
        .align  4
        .long   MULTIBOOT_MAGIC
        .long   MULTIBOOT_FLAGS
        .long   -(MULTIBOOT_MAGIC + MULTIBOOT_FLAGS)

        .text
        .code32
        .global start
start:
        cli
        cld
        movl    $boot_stack_top, %esp
        xorl    %eax, %eax
        movl    20(%ebx), %ecx                  /* mods_count */
        testl   %ecx, %ecx
        jz      1f
        movl    24(%ebx), %esi                  /* mods_addr */
        movl    0(%esi), %eax
        movl    4(%esi), %ecx
        movl    %ecx, batch_end
        movl    %eax, batch_start
1:
        /* Bootstrap tables: the first GiB as 2 MiB pages. The final tables are made in C. */
        movl    $boot_pdpt + 0x7, %eax
        movl    %eax, boot_pml4
        movl    $boot_pd + 0x7, %eax
        movl    %eax, boot_pdpt
        movl    $boot_pd, %edi
        movl    $0x87, %eax
        movl    $512, %ecx
2:      movl    %eax, (%edi)
        movl    $0, 4(%edi)
        addl    $0x200000, %eax
        addl    $8, %edi
        loop    2b

        movl    $0x60, %eax                     /* CR4: PAE, MCE */
        movl    %eax, %cr4
        movl    $boot_pml4, %eax
        movl    %eax, %cr3
        movl    $0xC0000080, %ecx               /* EFER: SCE, LME, NXE */
        rdmsr
        orl     $0x901, %eax
        wrmsr
        movl    $0x80010033, %eax               /* CR0: PG, WP, NE, ET, MP, PE */
        movl    %eax, %cr0
        lgdt    boot_gdt_pointer
        ljmp    $8, $long_mode

        .code64
long_mode:
        movw    $16, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        xorl    %eax, %eax
        movw    %ax, %fs
        movw    %ax, %gs
        movl    $boot_stack_top, %esp
        call    image_main
3:      hlt
        jmp     3b

        .data
        .align  8
boot_gdt:
        .quad   0
        .quad   0x00AF9B000000FFFF              /* 08h: 64-bit code */
        .quad   0x00CF93000000FFFF              /* 10h: data */
boot_gdt_pointer:
        .word   boot_gdt_pointer - boot_gdt - 1
        .long   boot_gdt

        .global batch_start, batch_end
        .align  8
batch_start:
        .quad   0
batch_end:
        .quad   0

        .bss
        .align  4096
boot_pml4:
        .skip   4096
boot_pdpt:
        .skip   4096
boot_pd:
        .skip   4096
        .skip   16384
boot_stack_top:
