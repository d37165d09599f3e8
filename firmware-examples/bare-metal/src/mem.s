// The four functions that compilers call for copies, fills and comparisons; the Linux target expects them from a C library.
// In assembly, because a compiler may turn a loop that copies into a call of the function that copies.

.section .text.mem, "ax"

// memcpy(x0: to, x1: from, x2: bytes): returns `to`
.globl memcpy
memcpy:
    mov     x3, x0
1:  subs    x2, x2, #16
    b.lo    2f
    ldr     q0, [x1], #16
    str     q0, [x3], #16
    b       1b
2:  adds    x2, x2, #16
    b.eq    4f
3:  ldrb    w4, [x1], #1
    strb    w4, [x3], #1
    subs    x2, x2, #1
    b.ne    3b
4:  ret

// memmove(x0: to, x1: from, x2: bytes): as memcpy; backwards where `to` lies inside what is copied
.globl memmove
memmove:
    sub     x3, x0, x1
    cmp     x3, x2
    b.hs    memcpy
    add     x1, x1, x2
    add     x3, x0, x2
1:  subs    x2, x2, #16
    b.lo    2f
    ldr     q0, [x1, #-16]!
    str     q0, [x3, #-16]!
    b       1b
2:  adds    x2, x2, #16
    b.eq    4f
3:  ldrb    w4, [x1, #-1]!
    strb    w4, [x3, #-1]!
    subs    x2, x2, #1
    b.ne    3b
4:  ret

// memset(x0: to, w1: byte, x2: bytes): returns `to`
.globl memset
memset:
    mov     x3, x0
    dup     v0.16b, w1
1:  subs    x2, x2, #16
    b.lo    2f
    str     q0, [x3], #16
    b       1b
2:  adds    x2, x2, #16
    b.eq    4f
3:  strb    w1, [x3], #1
    subs    x2, x2, #1
    b.ne    3b
4:  ret

// memcmp(x0, x1, x2: bytes): negative, zero or positive; bcmp asks only whether it is zero
.globl memcmp
.globl bcmp
memcmp:
bcmp:
    cbz     x2, 2f
1:  ldrb    w3, [x0], #1
    ldrb    w4, [x1], #1
    subs    w3, w3, w4
    b.ne    3f
    subs    x2, x2, #1
    b.ne    1b
2:  mov     w0, #0
    ret
3:  mov     w0, w3
    ret
