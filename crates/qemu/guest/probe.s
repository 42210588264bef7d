# The probe guest (src/probe.rs): the last 256 bytes of a ROM that ends at 4 GiB.
#
# It does what every kernel does and what broken hosts fail at: leaves real mode, turns paging
# on, executes a million instructions, asks for the processor. Real mode alone proves nothing:
# some hosts emulate it in software and stop at the first native instruction.
#
# To change it: as --32 probe.s -o probe.o && objcopy -O binary -j .text probe.o probe.bin
        .code16
start:  cli
        lgdtl %cs:gdtr16
        mov %cr0, %eax
        or $1, %al
        mov %eax, %cr0
        ljmpl $0x08, $(0xffffff00 + protected - start)
        .code32
protected:
        mov $0x10, %eax
        mov %eax, %ds
        movl $0xffc00083, 0x1ffc
        mov $0x1000, %eax
        mov %eax, %cr3
        mov $0x10, %eax
        mov %eax, %cr4
        mov %cr0, %eax
        or $0x80000000, %eax
        mov %eax, %cr0
        mov $0x100000, %ecx
again:  dec %ecx
        jnz again
        xor %eax, %eax
        cpuid
        mov $0x15, %al
        out %al, $0xf4
halt:   hlt
        jmp halt
        .balign 8, 0xf4
gdt:    .quad 0, 0x00cf9b000000ffff, 0x00cf93000000ffff
gdtr:   .word 23
        .long 0xffffff00 + gdt - start
        .set gdtr16, 0xff00 + gdtr - start
        .fill 0xf0 - (. - start), 1, 0xf4
        .code16
reset:  .byte 0xe9
        .word (0xff00 - 0xfff3) & 0xffff
        .fill 13, 1, 0xf4
