/* What every probe shares: it stands before the probe's own source.
 *
 * A probe is a whole flash image: a jump to `start`, handlers at their vectors, the program, and behind its last
 * word the parameters of one measurement, which `load_parameters` puts into r2 to r13. It tells instants by
 * `mark`: the host takes the cycle at which the mark's OUT ends. Registers r16 on are scratch. */

#define DATA(io_address) (io_address + 0x20) /* STS and LDS address of a register that also has an I/O address */

    jmp start

.macro mark
    out GPIOR0, r16
.endm

/* `vector`: its number. What has no handler runs into an illegal opcode. */
.macro handler_at vector, handler
    .org \vector * 4, 0xff
    jmp \handler
.endm

/* r14 is zero from here on. */
.macro begin
    .org _VECTORS_SIZE, 0xff
start:
    clr r14
.endm

.macro load_parameters
    ldi r30, lo8(parameters)
    ldi r31, hi8(parameters)
    .irp register, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13
    lpm r\register, Z+
    .endr
.endm

.macro select_sleep mode
    ldi r16, (\mode << 1) | 1
    out SMCR, r16
.endm

.macro wait cycles
    .rept \cycles
    nop
    .endr
.endm
