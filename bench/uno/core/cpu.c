/* The instructions. Semantics and flags: AVR Instruction Set Manual (DS40002198); cycles: its table of ATmega
 * devices with 16-bit PC (AVRe+), which is "Instruction Set Summary" of the ATmega328P datasheet. */
#include "core.h"
#include "operation.h"

#define SIGN(negative, overflow) (((negative) ^ (overflow) ^ (overflow) >> 8) & 0x80)
#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)

uint8_t cpu_status_register(const struct core *core)
{
    const struct flags *f = &core->flags;
    return (uint8_t)(f->carry | (f->zero == 0) << 1 | f->negative >> 7 << 2 | (f->overflow >> 7 & 1) << 3
                     | SIGN(f->negative, f->overflow) >> 7 << 4 | (f->half >> 4 & 1) << 5 | f->transfer << 6
                     | f->interrupt << 7);
}

void cpu_set_status_register(struct core *core, uint8_t value)
{
    bool sign_differs = (value >> 2 ^ value >> 3 ^ value >> 4) & 1; /* S from N xor V */
    core->flags = (struct flags){
        .carry = value & 1, .zero = !(value & SREG_Z), .negative = value & SREG_N ? 0x80 : 0,
        .overflow = (value & SREG_V ? 0x80 : 0) | (sign_differs ? 0x8000 : 0),
        .half = value & SREG_H ? 0x10 : 0, .transfer = value >> 6 & 1, .interrupt = value >> 7,
    };
}

void cpu_fault(struct core *core, enum fault_kind kind, uint32_t program_counter, uint32_t detail)
{
    if (core->fault.kind != FAULT_NONE)
        return;
    core->fault = (struct fault){.kind = kind, .program_counter = program_counter * 2, .detail = detail};
    stop_raise(core, STOP_FAULT);
}

/* The stack pointer is below stack_mark: lower than ever, or near the floor. Account for it, and judge it. */
void cpu_stack_moved(struct core *core, uint32_t program_counter)
{
    if (core->stack_pointer < core->lowest_stack)
        core->lowest_stack = core->stack_pointer;
    core->stack_mark = core->stack_floor > core->lowest_stack ? core->stack_floor : core->lowest_stack;
    if (core->stack_pointer + 1 < SRAM_START)
        cpu_fault(core, FAULT_STACK_OVERFLOW, program_counter, core->stack_pointer);
    else if (core->stack_pointer + 1 < core->stack_floor)
        cpu_fault(core, FAULT_STACK_IN_DATA, program_counter, core->stack_pointer);
}

/* Data space below 0x100 and beyond RAMEND: rare, so out of the fast path. */
static __attribute__((noinline)) uint8_t load_slow(struct core *core, uint16_t address, uint32_t program_counter)
{
    if (address < 0x20)
        return core->data[address];
    if (address < SRAM_START)
        return io_read(core, (uint8_t)address);
    cpu_fault(core, FAULT_READ_OUTSIDE, program_counter, address);
    return 0;
}

static __attribute__((noinline)) void store_slow(struct core *core, uint16_t address, uint8_t value,
                                                 uint32_t program_counter)
{
    if (address < 0x20)
        core->data[address] = value;
    else if (address < SRAM_START)
        io_write(core, (uint8_t)address, value);
    else
        cpu_fault(core, FAULT_WRITE_OUTSIDE, program_counter, address);
}

#define PROGRAM_COUNTER ((uint32_t)(at - code))

#define DISPATCH() \
    do { \
        at = next++; \
        goto *label[at->operation]; \
    } while (0)

#define DONE(cycles) \
    do { \
        cycle += (cycles); \
        if (UNLIKELY(cycle >= core->deadline)) \
            goto leave; \
        DISPATCH(); \
    } while (0)

#define SPILL() (core->flags.carry = carry, core->flags.zero = zero, core->flags.negative = negative, \
                 core->flags.overflow = overflow, core->flags.half = half)
#define FILL() (carry = core->flags.carry, zero = core->flags.zero, negative = core->flags.negative, \
                overflow = core->flags.overflow, half = core->flags.half)

#define RD r[at->d]
#define RR r[at->r]
#define PAIR(n) ((uint16_t)(r[n] | r[(n) + 1] << 8))
#define SET_PAIR(n, value) \
    do { \
        uint16_t pair = (uint16_t)(value); \
        r[n] = (uint8_t)pair; \
        r[(n) + 1] = (uint8_t)(pair >> 8); \
    } while (0)

/* Bit n of a ^ b ^ (a + b) is the carry into bit n: H is its bit 4, V its bit 7 against the carry out. */
#define ADD_FLAGS(a, b, sum) \
    do { \
        uint8_t carries = (uint8_t)((a) ^ (b) ^ (sum)); \
        carry = (uint8_t)((sum) >> 8 & 1); \
        half = carries; \
        overflow = (uint8_t)(carries ^ carry << 7); \
        negative = (uint8_t)(sum); \
    } while (0)

#define LOGIC_FLAGS(result) (zero = negative = (result), overflow = 0)

#define SUBTRACT(a, b, borrow) \
    uint8_t left = (a), right = (b); \
    unsigned difference = (unsigned)left - right - (borrow); \
    ADD_FLAGS(left, right, difference)

/* Operand address in `address`; the access itself falls in the instruction's second cycle. */
#define LOAD(target) \
    do { \
        if (UNLIKELY((uint16_t)(address - SRAM_START) > RAMEND - SRAM_START)) { \
            SPILL(); \
            core->now = cycle + 1; \
            target = load_slow(core, address, PROGRAM_COUNTER); \
        } else \
            target = r[address]; \
    } while (0)

#define STORE(value) \
    do { \
        if (UNLIKELY((uint16_t)(address - SRAM_START) > RAMEND - SRAM_START)) { \
            SPILL(); \
            core->now = cycle + 2; \
            core->program_counter = PROGRAM_COUNTER; \
            store_slow(core, address, value, PROGRAM_COUNTER); \
            FILL(); \
        } else \
            r[address] = value; \
    } while (0)

#define PROGRAM_BYTE(address) \
    (UNLIKELY(cycle < core->self_programming.row_until) ? self_programming_read_row(core, address) \
                                                        : core->program->flash[(address) & (FLASH_BYTES - 1)])

#define PUSH_BYTE(value) \
    do { \
        uint16_t address = core->stack_pointer--; \
        STORE(value); \
    } while (0)

#define CHECK_STACK() \
    do { \
        if (UNLIKELY(core->stack_pointer < core->stack_mark)) \
            cpu_stack_moved(core, PROGRAM_COUNTER); \
    } while (0)

#define PUSH_RETURN() \
    do { \
        uint16_t target = (uint16_t)(next - code); \
        PUSH_BYTE((uint8_t)target); \
        PUSH_BYTE((uint8_t)(target >> 8)); \
        CHECK_STACK(); \
    } while (0)

#define POP_BYTE(target) \
    do { \
        uint16_t address = ++core->stack_pointer; \
        LOAD(target); \
    } while (0)

#define POP_RETURN() \
    do { \
        uint8_t high, low; \
        POP_BYTE(high); \
        POP_BYTE(low); \
        next = code + ((high << 8 | low) & (FLASH_WORDS - 1)); \
    } while (0)

#define BRANCH(condition) \
    do { \
        if (condition) { \
            next = code + at->k; \
            DONE(2); \
        } \
        DONE(1); \
    } while (0)

/* A skip takes one cycle more for each word skipped (at->opcode, set by decode.c). */
#define SKIP(condition) \
    do { \
        if (condition) { \
            next += at->opcode; \
            DONE(1 + at->opcode); \
        } \
        DONE(1); \
    } while (0)

#define PRODUCT(value, shift) \
    do { \
        uint16_t product = (uint16_t)(value); \
        carry = product >> 15; \
        product = (uint16_t)(product << (shift)); \
        r[0] = (uint8_t)product; \
        r[1] = (uint8_t)(product >> 8); \
        zero = (uint8_t)(product | product >> 8); \
    } while (0)

/* I has just been set: the next instruction runs before any interrupt (datasheet 7.7). */
#define INTERRUPTS_ENABLED(cycles) \
    do { \
        core->enabled_cycle = cycle + (cycles); \
        if (core->pending) \
            core->deadline = 0; \
    } while (0)

void cpu_execute(struct core *core, const struct instruction *code)
{
#define LABEL(name) &&do_##name,
    static const void *const label[OPERATION_COUNT] = {OPERATIONS(LABEL)};
#undef LABEL
    const struct instruction *next = code + core->program_counter, *at;
    uint8_t *const r = core->data;
    uint64_t cycle = core->cycle;
    unsigned carry, zero, negative, overflow, half;
    FILL();
    DISPATCH();

do_ILLEGAL:
    cpu_fault(core, self_programming_fault(core, PROGRAM_COUNTER), PROGRAM_COUNTER, at->opcode);
    next = at;
    DONE(0);
do_WRAP: next = code + at->k; DISPATCH();
do_ENTER: next = at; goto leave;
do_NOP: DONE(1);

do_ADD: {
    uint8_t a = RD, b = RR;
    unsigned sum = (unsigned)a + b;
    ADD_FLAGS(a, b, sum);
    RD = zero = (uint8_t)sum;
    DONE(1);
}
do_ADC: {
    uint8_t a = RD, b = RR;
    unsigned sum = (unsigned)a + b + carry;
    ADD_FLAGS(a, b, sum);
    RD = zero = (uint8_t)sum;
    DONE(1);
}
do_SUB: { SUBTRACT(RD, RR, 0); RD = zero = (uint8_t)difference; DONE(1); }
do_SUBI: { SUBTRACT(RD, (uint8_t)at->k, 0); RD = zero = (uint8_t)difference; DONE(1); }
do_SBC: { SUBTRACT(RD, RR, carry); RD = (uint8_t)difference; zero |= (uint8_t)difference; DONE(1); }
do_SBCI: { SUBTRACT(RD, (uint8_t)at->k, carry); RD = (uint8_t)difference; zero |= (uint8_t)difference; DONE(1); }
do_CP: { SUBTRACT(RD, RR, 0); zero = (uint8_t)difference; DONE(1); }
do_CPI: { SUBTRACT(RD, (uint8_t)at->k, 0); zero = (uint8_t)difference; DONE(1); }
do_CPC: { SUBTRACT(RD, RR, carry); zero |= (uint8_t)difference; DONE(1); }
do_NEG: { SUBTRACT(0, RD, 0); RD = zero = (uint8_t)difference; DONE(1); }
do_AND: RD &= RR; LOGIC_FLAGS(RD); DONE(1);
do_ANDI: RD &= (uint8_t)at->k; LOGIC_FLAGS(RD); DONE(1);
do_OR: RD |= RR; LOGIC_FLAGS(RD); DONE(1);
do_ORI: RD |= (uint8_t)at->k; LOGIC_FLAGS(RD); DONE(1);
do_EOR: RD ^= RR; LOGIC_FLAGS(RD); DONE(1);
do_COM: RD = (uint8_t)~RD; LOGIC_FLAGS(RD); carry = 1; DONE(1);
do_INC: { uint8_t result = ++RD; zero = negative = result; overflow = result == 0x80 ? 0x80 : 0; DONE(1); }
do_DEC: { uint8_t result = --RD; zero = negative = result; overflow = result == 0x7F ? 0x80 : 0; DONE(1); }
do_SWAP: RD = (uint8_t)(RD << 4 | RD >> 4); DONE(1);
do_LSR: {
    uint8_t value = RD;
    carry = value & 1;
    RD = zero = value >> 1;
    negative = 0;
    overflow = (uint8_t)(carry << 7);
    DONE(1);
}
do_ROR: {
    uint8_t value = RD, result = (uint8_t)(value >> 1 | carry << 7);
    carry = value & 1;
    RD = zero = negative = result;
    overflow = (uint8_t)(result ^ carry << 7);
    DONE(1);
}
do_ASR: {
    uint8_t value = RD, result = (uint8_t)(value >> 1 | (value & 0x80));
    carry = value & 1;
    RD = zero = negative = result;
    overflow = (uint8_t)(result ^ carry << 7);
    DONE(1);
}
do_MOV: RD = RR; DONE(1);
do_MOVW: { uint16_t value = PAIR(at->r); SET_PAIR(at->d, value); DONE(1); }
do_LDI: RD = (uint8_t)at->k; DONE(1);
do_ADIW: {
    uint16_t before = PAIR(at->d), after = (uint16_t)(before + at->k);
    SET_PAIR(at->d, after);
    carry = (uint8_t)((~after & before) >> 15);
    overflow = (uint8_t)((after & ~before) >> 8);
    negative = (uint8_t)(after >> 8);
    zero = after != 0;
    DONE(2);
}
do_SBIW: {
    uint16_t before = PAIR(at->d), after = (uint16_t)(before - at->k);
    SET_PAIR(at->d, after);
    carry = (uint8_t)((after & ~before) >> 15);
    overflow = (uint8_t)((~after & before) >> 8);
    negative = (uint8_t)(after >> 8);
    zero = after != 0;
    DONE(2);
}
do_MUL: PRODUCT(RD * RR, 0); DONE(2);
do_MULS: PRODUCT((int8_t)RD * (int8_t)RR, 0); DONE(2);
do_MULSU: PRODUCT((int8_t)RD * RR, 0); DONE(2);
do_FMUL: PRODUCT(RD * RR, 1); DONE(2);
do_FMULS: PRODUCT((int8_t)RD * (int8_t)RR, 1); DONE(2);
do_FMULSU: PRODUCT((int8_t)RD * RR, 1); DONE(2);

do_LDS: { uint16_t address = at->k; next++; LOAD(RD); DONE(2); }
do_STS: { uint16_t address = at->k; next++; STORE(RD); DONE(2); }
do_LD_X: { uint16_t address = PAIR(26); LOAD(RD); DONE(2); }
do_LD_X_INC: { uint16_t address = PAIR(26); SET_PAIR(26, address + 1); LOAD(RD); DONE(2); }
do_LD_DEC_X: { uint16_t address = (uint16_t)(PAIR(26) - 1); SET_PAIR(26, address); LOAD(RD); DONE(2); }
do_LDD_Y: { uint16_t address = (uint16_t)(PAIR(28) + at->k); LOAD(RD); DONE(2); }
do_LD_Y_INC: { uint16_t address = PAIR(28); SET_PAIR(28, address + 1); LOAD(RD); DONE(2); }
do_LD_DEC_Y: { uint16_t address = (uint16_t)(PAIR(28) - 1); SET_PAIR(28, address); LOAD(RD); DONE(2); }
do_LDD_Z: { uint16_t address = (uint16_t)(PAIR(30) + at->k); LOAD(RD); DONE(2); }
do_LD_Z_INC: { uint16_t address = PAIR(30); SET_PAIR(30, address + 1); LOAD(RD); DONE(2); }
do_LD_DEC_Z: { uint16_t address = (uint16_t)(PAIR(30) - 1); SET_PAIR(30, address); LOAD(RD); DONE(2); }
do_ST_X: { uint16_t address = PAIR(26); STORE(RD); DONE(2); }
do_ST_X_INC: { uint16_t address = PAIR(26); uint8_t value = RD; SET_PAIR(26, address + 1); STORE(value); DONE(2); }
do_ST_DEC_X: {
    uint16_t address = (uint16_t)(PAIR(26) - 1);
    uint8_t value = RD;
    SET_PAIR(26, address);
    STORE(value);
    DONE(2);
}
do_STD_Y: { uint16_t address = (uint16_t)(PAIR(28) + at->k); STORE(RD); DONE(2); }
do_ST_Y_INC: { uint16_t address = PAIR(28); uint8_t value = RD; SET_PAIR(28, address + 1); STORE(value); DONE(2); }
do_ST_DEC_Y: {
    uint16_t address = (uint16_t)(PAIR(28) - 1);
    uint8_t value = RD;
    SET_PAIR(28, address);
    STORE(value);
    DONE(2);
}
do_STD_Z: { uint16_t address = (uint16_t)(PAIR(30) + at->k); STORE(RD); DONE(2); }
do_ST_Z_INC: { uint16_t address = PAIR(30); uint8_t value = RD; SET_PAIR(30, address + 1); STORE(value); DONE(2); }
do_ST_DEC_Z: {
    uint16_t address = (uint16_t)(PAIR(30) - 1);
    uint8_t value = RD;
    SET_PAIR(30, address);
    STORE(value);
    DONE(2);
}
do_LPM_R0: r[0] = PROGRAM_BYTE(PAIR(30)); DONE(3);
do_LPM: RD = PROGRAM_BYTE(PAIR(30)); DONE(3);
do_LPM_INC: {
    uint16_t address = PAIR(30);
    SET_PAIR(30, address + 1);
    RD = PROGRAM_BYTE(address);
    DONE(3);
}
do_SPM:
    core->now = cycle + 1;
    if (self_programming_execute(core, PROGRAM_COUNTER, PAIR(30)))
        DONE(1);
    next = at;
    DONE(0);
do_PUSH: PUSH_BYTE(RD); CHECK_STACK(); DONE(2);
do_POP: POP_BYTE(RD); DONE(2);

do_IN: core->now = cycle; RD = io_read(core, (uint8_t)at->k); DONE(1);
do_OUT:
    core->now = cycle + 1;
    core->program_counter = PROGRAM_COUNTER;
    io_write(core, (uint8_t)at->k, RD);
    DONE(1);
do_IN_SREG: SPILL(); RD = cpu_status_register(core); DONE(1);
do_OUT_SREG: {
    uint8_t enabled_before = core->flags.interrupt;
    cpu_set_status_register(core, RD);
    FILL();
    if (core->flags.interrupt && !enabled_before)
        INTERRUPTS_ENABLED(1);
    DONE(1);
}
do_IN_SPL: RD = (uint8_t)core->stack_pointer; DONE(1);
do_IN_SPH: RD = (uint8_t)(core->stack_pointer >> 8); DONE(1);
do_OUT_SPL: core->stack_pointer = (uint16_t)((core->stack_pointer & 0xFF00) | RD); CHECK_STACK(); DONE(1);
do_OUT_SPH: /* half of a pair: the stack pointer means something again when SPL follows */
    core->stack_pointer = (uint16_t)((core->stack_pointer & 0x00FF) | RD << 8);
    DONE(1);
do_SBI: core->now = cycle + 2; io_set_bit(core, (uint8_t)at->k, at->b); DONE(2);
do_CBI: core->now = cycle + 2; io_clear_bit(core, (uint8_t)at->k, at->b); DONE(2);
do_SBIC: core->now = cycle; SKIP(!(io_read(core, (uint8_t)at->k) >> at->b & 1));
do_SBIS: core->now = cycle; SKIP(io_read(core, (uint8_t)at->k) >> at->b & 1);
do_SBRC: SKIP(!(RD >> at->b & 1));
do_SBRS: SKIP(RD >> at->b & 1);
do_CPSE: SKIP(RD == RR);
do_BST: core->flags.transfer = RD >> at->b & 1; DONE(1);
do_BLD: RD = (uint8_t)((RD & ~(1 << at->b)) | core->flags.transfer << at->b); DONE(1);

do_RJMP: next = code + at->k; DONE(2);
do_JMP: next = code + at->k; DONE(3);
do_IJMP: next = code + (PAIR(30) & (FLASH_WORDS - 1)); DONE(2);
do_RCALL: PUSH_RETURN(); next = code + at->k; DONE(3);
do_CALL: next++; PUSH_RETURN(); next = code + at->k; DONE(4);
do_ICALL: PUSH_RETURN(); next = code + (PAIR(30) & (FLASH_WORDS - 1)); DONE(3);
do_RET: POP_RETURN(); DONE(4);
do_RETI: POP_RETURN(); core->flags.interrupt = 1; INTERRUPTS_ENABLED(4); DONE(4);

do_BRCS: BRANCH(carry);
do_BREQ: BRANCH(zero == 0);
do_BRMI: BRANCH(negative & 0x80);
do_BRVS: BRANCH(overflow & 0x80);
do_BRLT: BRANCH(SIGN(negative, overflow));
do_BRHS: BRANCH(half & 0x10);
do_BRTS: BRANCH(core->flags.transfer);
do_BRIE: BRANCH(core->flags.interrupt);
do_BRCC: BRANCH(!carry);
do_BRNE: BRANCH(zero != 0);
do_BRPL: BRANCH(!(negative & 0x80));
do_BRVC: BRANCH(!(overflow & 0x80));
do_BRGE: BRANCH(!SIGN(negative, overflow));
do_BRHC: BRANCH(!(half & 0x10));
do_BRTC: BRANCH(!core->flags.transfer);
do_BRID: BRANCH(!core->flags.interrupt);

do_BSET: {
    uint8_t enabled_before = core->flags.interrupt;
    SPILL();
    cpu_set_status_register(core, (uint8_t)(cpu_status_register(core) | 1 << at->b));
    FILL();
    if (core->flags.interrupt && !enabled_before)
        INTERRUPTS_ENABLED(1);
    DONE(1);
}
do_BCLR:
    SPILL();
    cpu_set_status_register(core, (uint8_t)(cpu_status_register(core) & ~(1 << at->b)));
    FILL();
    DONE(1);
do_SLEEP: core->now = cycle + 1; sleep_enter(core); DONE(1);
do_WDR: core->now = cycle + 1; watchdog_restart(core); DONE(1);

leave:
    SPILL();
    core->cycle = cycle;
    core->program_counter = (uint32_t)(next - code) & (FLASH_WORDS - 1);
}
