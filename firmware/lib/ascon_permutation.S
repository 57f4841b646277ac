; Ascon-p for AVR (NIST SP 800-232, section 3): void ascon_permute(uint8_t state[40], uint8_t first_constant)
;
; Five 64-bit words need 40 registers and the chip has 32, so word 2 stays in r2..r9 for the whole call and the
; other four live in SRAM at Z. Each round runs
;   1. constant and S-box, byte column by byte column (the five words' bytes j need one load and one store each),
;   2. the linear layer word by word: whole-byte rotations are only a choice of register, so each word needs but
;      the bits left over (2 to 4 one-bit rotations).
; Words 2 and 4 are kept complemented between entry and exit: then ~a & b mostly is an AND or an OR of what is at hand
; (De Morgan), and two COM per column are left of six. The linear layer keeps a complement, having three terms.
; No branch or address depends on data. Uses 18 bytes of stack with the return address.

#define ROUND   r26     /* this round's constant; the last is 0x4b */
#define ZERO    r1

.macro rotate_right             ; r25:r18 right by one bit, 10 cycles
    bst  r18, 0
    lsr  r25
    ror  r24
    ror  r23
    ror  r22
    ror  r21
    ror  r20
    ror  r19
    ror  r18
    bld  r25, 7
.endm

.macro rotate_left              ; r25:r18 left by one bit, 9 cycles
    lsl  r18
    rol  r19
    rol  r20
    rol  r21
    rol  r22
    rol  r23
    rol  r24
    rol  r25
    adc  r18, ZERO
.endm

.macro load_word at             ; word at Z + at into r25:r18 and r17:r10
    ldd  r18, Z+\at+0
    ldd  r19, Z+\at+1
    ldd  r20, Z+\at+2
    ldd  r21, Z+\at+3
    ldd  r22, Z+\at+4
    ldd  r23, Z+\at+5
    ldd  r24, Z+\at+6
    ldd  r25, Z+\at+7
    movw r10, r18
    movw r12, r20
    movw r14, r22
    movw r16, r24
.endm

.macro store_word at
    std  Z+\at+0, r10
    std  Z+\at+1, r11
    std  Z+\at+2, r12
    std  Z+\at+3, r13
    std  Z+\at+4, r14
    std  Z+\at+5, r15
    std  Z+\at+6, r16
    std  Z+\at+7, r17
.endm

.macro mix8 a b c d e f g h     ; r17:r10 ^= the named registers
    eor  r10, \a
    eor  r11, \b
    eor  r12, \c
    eor  r13, \d
    eor  r14, \e
    eor  r15, \f
    eor  r16, \g
    eor  r17, \h
.endm

.macro mix_bytes_right count    ; r17:r10 ^= r25:r18 rotated right by count bytes
  .if \count == 0
    mix8 r18 r19 r20 r21 r22 r23 r24 r25
  .elseif \count == 1
    mix8 r19 r20 r21 r22 r23 r24 r25 r18
  .elseif \count == 2
    mix8 r20 r21 r22 r23 r24 r25 r18 r19
  .elseif \count == 3
    mix8 r21 r22 r23 r24 r25 r18 r19 r20
  .else
    mix8 r23 r24 r25 r18 r19 r20 r21 r22
  .endif
.endm

.macro complement_word4
    .irp at, 32, 33, 34, 35, 36, 37, 38, 39
    ldd  r18, Z+\at
    com  r18
    std  Z+\at, r18
    .endr
.endm

.macro complement_word2
    .irp r, 2, 3, 4, 5, 6, 7, 8, 9
    com  r\r
    .endr
.endm

.macro column at x2             ; S-box on the bytes `at` of all words; \x2 is the byte of word 2
    ldd  r10, Z+\at
    ldd  r11, Z+\at+8
    ldd  r12, Z+\at+24
    ldd  r13, Z+\at+32
    eor  r10, r13               ; now 0, 2 and 4 are complemented
    eor  r13, r12
    eor  \x2, r11
    mov  r14, r10               ; ~x0 & x1, for x4
    and  r14, r11
    mov  r15, r10               ; ~x4 & x0, for x3
    com  r15
    and  r15, r13
    mov  r16, r11               ; x0 ^= ~x1 & x2, which takes the complement off x0
    or   r16, \x2
    eor  r10, r16
    mov  r16, \x2               ; x1 ^= ~x2 & x3
    and  r16, r12
    eor  r11, r16
    mov  r16, r12               ; x2 ^= ~x3 & x4, likewise off x2
    or   r16, r13
    eor  \x2, r16
    eor  r12, r15
    eor  r13, r14
    eor  r11, r10
    eor  r10, r13
    com  r10
    eor  r12, \x2               ; x2 = ~x2 is but another reading of the same bits
    std  Z+\at, r10
    std  Z+\at+8, r11
    std  Z+\at+24, r12
    std  Z+\at+32, r13
.endm

.section .text.ascon_permute, "ax", @progbits
.global ascon_permute
.type ascon_permute, @function
ascon_permute:
    .irp r, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17
    push r\r
    .endr
    movw r30, r24
    mov  ROUND, r22
    ldd  r2, Z+16
    ldd  r3, Z+17
    ldd  r4, Z+18
    ldd  r5, Z+19
    ldd  r6, Z+20
    ldd  r7, Z+21
    ldd  r8, Z+22
    ldd  r9, Z+23
    complement_word2
    complement_word4

next_round:
    eor  r2, ROUND
    column 0 r2
    column 1 r3
    column 2 r4
    column 3 r5
    column 4 r6
    column 5 r7
    column 6 r8
    column 7 r9

    load_word 0                 ; x0 ^= x0 >>> 19 ^ x0 >>> 28
    rotate_right
    rotate_right
    rotate_right
    mix_bytes_right 2
    rotate_right
    mix_bytes_right 3
    store_word 0

    load_word 8                 ; x1 ^= x1 >>> 61 ^ x1 >>> 39
    rotate_left
    mix_bytes_right 5
    rotate_left
    rotate_left
    mix_bytes_right 0
    store_word 8

    load_word 24                ; x3 ^= x3 >>> 10 ^ x3 >>> 17
    rotate_right
    mix_bytes_right 2
    rotate_right
    mix_bytes_right 1
    store_word 24

    load_word 32                ; x4 ^= x4 >>> 7 ^ x4 >>> 41
    rotate_right
    mix_bytes_right 5
    rotate_left
    rotate_left
    mix_bytes_right 1
    store_word 32

    movw r18, r2                ; x2 ^= x2 >>> 1 ^ x2 >>> 6
    movw r20, r4
    movw r22, r6
    movw r24, r8
    movw r10, r2
    movw r12, r4
    movw r14, r6
    movw r16, r8
    rotate_right
    mix_bytes_right 0
    rotate_left
    rotate_left
    rotate_left
    mix_bytes_right 1
    movw r2, r10
    movw r4, r12
    movw r6, r14
    movw r8, r16

    subi ROUND, 0x0f
    cpi  ROUND, 0x3c
    breq finished
    rjmp next_round

finished:
    complement_word2
    complement_word4
    std  Z+16, r2
    std  Z+17, r3
    std  Z+18, r4
    std  Z+19, r5
    std  Z+20, r6
    std  Z+21, r7
    std  Z+22, r8
    std  Z+23, r9
    .irp r, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2
    pop  r\r
    .endr
    ret
.size ascon_permute, . - ascon_permute
