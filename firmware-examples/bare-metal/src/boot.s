// From the board's firmware to Rust: core 0 alone, at EL1, with floats, caches and memory map on.

.section .text.boot, "ax"
.globl _start
_start:
    mrs     x0, mpidr_el1
    and     x0, x0, #3
    cbnz    x0, park                // one core does everything

    // The firmware starts at EL2. EL1 is where the memory map below applies.
    mrs     x0, CurrentEL
    cmp     x0, #(2 << 2)
    b.ne    at_el1
    mov     x0, #(1 << 31)          // HCR_EL2.RW: EL1 is 64-bit
    msr     hcr_el2, x0
    mov     x0, #3                  // EL1 may read the counter
    msr     cnthctl_el2, x0
    msr     cntvoff_el2, xzr
    mov     x0, #0x33ff             // EL2 traps no float instructions
    msr     cptr_el2, x0
    mov     x0, #0x3c5              // EL1 with its own stack, interrupts masked
    msr     spsr_el2, x0
    adr     x0, at_el1
    msr     elr_el2, x0
    eret

at_el1:
    mov     x0, #(3 << 20)          // CPACR_EL1.FPEN: floats and vectors
    msr     cpacr_el1, x0
    adrp    x0, vectors
    add     x0, x0, :lo12:vectors
    msr     vbar_el1, x0

    // The memory map comes before any Rust code: without it every access is one to a device, where unaligned ones and
    // the exclusive ones of atomics fault.
    ldr     x0, =0x00ff             // attribute 0: normal memory, write-back; attribute 1: device
    msr     mair_el1, x0
    ldr     x0, =0x00803522         // 1 GB from address 0 in pages of 4 KB, tables cached; the upper half is off
    msr     tcr_el1, x0
    adrp    x0, {table}
    add     x0, x0, :lo12:{table}
    msr     ttbr0_el1, x0
    dsb     sy
    tlbi    vmalle1
    ic      iallu
    dsb     sy
    isb
    ldr     x0, =0x30d01805         // reserved ones, instruction cache, data cache, memory map
    msr     sctlr_el1, x0
    isb

    ldr     x0, =bss_start
    ldr     x1, =bss_end
    bl      zero
    ldr     x0, =stack_bottom       // zero, so that what was used can be told afterwards
    ldr     x1, =stack_top
    bl      zero
    ldr     x0, =stack_top
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr
    bl      {start}

.globl park
park:
    wfe
    b       park

// From x0 to x1, both multiples of 64.
zero:
    cmp     x0, x1
    b.hs    1f
    stp     xzr, xzr, [x0], #16
    b       zero
1:  ret

// All faults end the program: nothing here is expected to fault, and interrupts are masked.
.balign 2048
vectors:
.rept 16
    b       fault
    .balign 128
.endr

fault:
    ldr     x0, =fault_stack_top    // the fault may be one of the stack
    mov     sp, x0
    mrs     x0, esr_el1
    mrs     x1, elr_el1
    mrs     x2, far_el1
    b       {fault}

.section .bss.fault_stack, "aw", @nobits
.balign 64
    .skip   16384
fault_stack_top:
