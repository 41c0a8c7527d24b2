# From the monitor's jump (PVH: 32 bits, no paging, EBX = start info or 0) to Rust code at CPL 3, and the few things
# that only CPL 0 can do. Where CPL 0 is slow (nested virtualization by emulation), nothing that is measured runs there:
# an interrupt costs two instructions, a halt seven.

.set MAILBOX, 0x1ff000
.set KERNEL_CODE, 0x10
.set KERNEL_DATA, 0x18
.set USER_DATA, 0x2b
.set USER_CODE, 0x33
.set TASK, 0x40
.set NIC, 0x21
.set UNDEFINED, 6

.section .note.Xen, "a", @note
    .align 4
    .long 4, 8, 18              # XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .quad start32

.section .text.boot, "ax", @progbits
.code32
.global start32
start32:
    cli
    cld
    mov $kernel_stack, %esp
    mov %ebx, start_info
    mov $pml4, %eax
    mov %eax, %cr3
    mov %cr4, %eax
    or $0x620, %eax             # PAE, OSFXSR, OSXMMEXCPT
    mov %eax, %cr4
    mov $0xc0000080, %ecx       # EFER: LME
    rdmsr
    or $0x100, %eax
    wrmsr
    mov %cr0, %eax
    and $~0x6, %eax
    or $0x80000003, %eax        # PG, MP, PE
    mov %eax, %cr0
    lgdt gdt_pointer
    ljmp $KERNEL_CODE, $start64

.code64
start64:
    mov $KERNEL_DATA, %eax
    mov %eax, %ds
    mov %eax, %es
    mov %eax, %ss
    mov $kernel_stack, %esp
    # What stock firmware left of the old interrupt controllers stays silent.
    mov $0xff, %al
    out %al, $0x21
    out %al, $0xa1
    # The base of the TSS, which the linker cannot split.
    mov $tss, %eax
    mov %ax, gdt_task + 2
    shr $16, %eax
    mov %al, gdt_task + 4
    mov %ah, gdt_task + 7
    mov $TASK, %eax
    ltr %ax
    # Gates.
    mov $idt, %edi
    mov $exceptions, %eax
    mov $32, %ecx
1:  mov $0x8e, %edx
    call gate
    add $16, %eax
    add $16, %edi
    dec %ecx
    jnz 1b
    mov $idt + 16 * NIC, %edi
    mov $nic, %eax
    call gate
    mov $idt + 16 * UNDEFINED, %edi
    mov $undefined, %eax
    call gate
    mov $idt + 16 * 0xff, %edi
    mov $spurious, %eax
    call gate
    lidt idt_pointer
    # Down to CPL 3, with interrupts and with the right to use ports.
    mov start_info, %edi
    pushq $USER_DATA
    pushq $user_stack - 8
    pushq $0x3202
    pushq $USER_CODE
    pushq $payload
    iretq

# The gate at EDI becomes one of type EDX to EAX.
gate:
    mov %eax, %ebx
    mov %bx, (%rdi)
    movw $KERNEL_CODE, 2(%rdi)
    movb $0, 4(%rdi)
    movb %dl, 5(%rdi)
    shr $16, %ebx
    mov %bx, 6(%rdi)
    movl $0, 8(%rdi)
    ret

# The end of interrupt is for CPL 3 to say, when it has asked the card why: the line is a level.
nic:
    incl interrupts
spurious:
    iretq

# CPL 3: halts, unless there were more interrupts than EDI. By an exception, since there are hosts without processor
# support for virtualization (they emulate CPL 0) on which INT does not get through.
.global halt
halt:
    ud2
    ret

undefined:
    cmpq $halt, (%rsp)
    jne 2f
    addq $2, (%rsp)
    cmp %edi, interrupts
    jne 1f
    sti
    hlt
1:  iretq
2:  pushq $0
    pushq $UNDEFINED
    jmp failed

.align 16
exceptions:
.set vector, 0
.rept 32
    .align 16
    .if (vector == 8) || ((vector >= 10) && (vector <= 14)) || (vector == 17) || (vector == 21)
    .else
    pushq $0
    .endif
    pushq $vector
    jmp failed
    .set vector, vector + 1
.endr

failed:
    pop %rax
    mov %rax, MAILBOX + 192
    pop %rax
    mov %rax, MAILBOX + 200
    pop %rax
    mov %rax, MAILBOX + 208
    mov %cr2, %rax
    mov %rax, MAILBOX + 216
    movl $3, MAILBOX + 128
    mov $0x7f, %eax
    out %al, $0xf4              # a test's monitor ends with it
1:  cli
    hlt
    jmp 1b

.section .data
.align 4096
pml4:
    .quad pdpt + 7
    .fill 511, 8, 0
pdpt:
    .quad pd + 7, pd + 0x1007, pd + 0x2007, pd + 0x3007
    .fill 508, 8, 0
pd:
.set page, 0
.rept 2048
    .quad page + 0xe7           # 2 MiB: present, writable, user, accessed, dirty
    .set page, page + 0x200000
.endr

.align 16
gdt:
    .quad 0, 0
    .quad 0x00af9b000000ffff    # 0x10: code, CPL 0
    .quad 0x00cf93000000ffff    # 0x18: data
    .quad 0x00cffb000000ffff    # 0x20: 32-bit code, CPL 3
    .quad 0x00cff3000000ffff    # 0x28: data
    .quad 0x00affb000000ffff    # 0x30: code
    .quad 0
gdt_task:
    .quad 0x0000890000000067, 0
gdt_end:
gdt_pointer:
    .word gdt_end - gdt - 1
    .long gdt
    .long 0
.align 16
idt_pointer:
    .word 16 * 256 - 1
    .quad idt

.align 16
tss:
    .long 0
    .quad kernel_stack, 0, 0
    .fill 9, 8, 0
    .word 0, 0x68
.global interrupts
.align 64
interrupts:
    .long 0
start_info:
    .long 0

.section .bss
.align 4096
idt:
    .skip 4096
    .skip 8192
kernel_stack:
    .skip 65536
user_stack:
