/* What the translator's output is written in: one macro an operation of the ATmega328P. Working registers, SP and the
 * flags are locals of the one function; flags have the form of struct flags. Semantics: AVR Instruction Set Manual
 * (DS40002198), and the core's interpreter, cpu.c.
 *
 * `left` is what remains until the deadline; it is brought down at the ends of blocks, so that within one a macro
 * gets the cycles `spent` since. Leaving before an instruction is right at any time: the interpreter goes on there. */
#include "translated.h"

#define UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define LONGEST_RUN ((int64_t)1 << 62)

#define LEAVE(address, spent) \
    do { \
        left -= (spent); \
        program_counter = (address); \
        goto leave; \
    } while (0)

/* To a block of another part. */
#define DEPART(address, spent) \
    do { \
        left -= (spent); \
        program_counter = (address); \
        goto depart; \
    } while (0)

/* To a block that is here, whose last instruction begins `within` cycles after it. */
#define GO(label, address, within) \
    do { \
        if (UNLIKELY(left <= (within))) \
            LEAVE(address, 0); \
        goto label; \
    } while (0)

#define SPEND(cycles) (left -= (cycles))

/* The deadline may have moved. */
#define MEASURE() \
    do { \
        uint64_t cycle = end - (uint64_t)left; \
        left = core->deadline <= cycle ? 0 : (int64_t)(core->deadline - cycle); \
        if (left < 0 || left > LONGEST_RUN) \
            left = LONGEST_RUN; \
        end = cycle + (uint64_t)left; \
    } while (0)

/* ---- data space --------------------------------------------------------------------------------------- */

#define PAIR(low, high) ((uint16_t)((low) | (high) << 8))
#define SET_PAIR(low, high, value) \
    do { \
        uint16_t pair = (uint16_t)(value); \
        low = (uint8_t)pair; \
        high = (uint8_t)(pair >> 8); \
    } while (0)

#define IS_OUTSIDE_SRAM(address) UNLIKELY((uint16_t)((address) - SRAM_START) > RAMEND - SRAM_START)

#define LOAD(d, at, address, spent) \
    do { \
        uint16_t place = (at); \
        if (IS_OUTSIDE_SRAM(place)) \
            LEAVE(address, spent); \
        d = data[place]; \
    } while (0)
#define STORE(d, at, address, spent) \
    do { \
        uint16_t place = (at); \
        if (IS_OUTSIDE_SRAM(place)) \
            LEAVE(address, spent); \
        data[place] = d; \
    } while (0)
#define LOAD_INCREMENT(d, low, high, address, spent) \
    do { \
        uint16_t place = PAIR(low, high); \
        if (IS_OUTSIDE_SRAM(place)) \
            LEAVE(address, spent); \
        SET_PAIR(low, high, place + 1); \
        d = data[place]; \
    } while (0)
#define LOAD_DECREMENT(d, low, high, address, spent) \
    do { \
        uint16_t place = (uint16_t)(PAIR(low, high) - 1); \
        if (IS_OUTSIDE_SRAM(place)) \
            LEAVE(address, spent); \
        SET_PAIR(low, high, place); \
        d = data[place]; \
    } while (0)
#define STORE_INCREMENT(d, low, high, address, spent) \
    do { \
        uint16_t place = PAIR(low, high); \
        if (IS_OUTSIDE_SRAM(place)) \
            LEAVE(address, spent); \
        data[place] = d; \
        SET_PAIR(low, high, place + 1); \
    } while (0)
#define STORE_DECREMENT(d, low, high, address, spent) \
    do { \
        uint16_t place = (uint16_t)(PAIR(low, high) - 1); \
        if (IS_OUTSIDE_SRAM(place)) \
            LEAVE(address, spent); \
        data[place] = d; \
        SET_PAIR(low, high, place); \
    } while (0)
#define LOAD_PROGRAM(d) (d = flash[PAIR(r30, r31) & (FLASH_BYTES - 1)])
#define LOAD_PROGRAM_INCREMENT(d) \
    do { \
        uint16_t place = PAIR(r30, r31); \
        SET_PAIR(r30, r31, place + 1); \
        d = flash[place & (FLASH_BYTES - 1)]; \
    } while (0)

/* ---- stack: a byte below the mark, or one outside SRAM, is the interpreter's to judge ------------------ */

#define CAN_PUSH(count) \
    (!UNLIKELY((uint16_t)(sp - (SRAM_START - 1 + (count))) > RAMEND - SRAM_START + 1 - (count) \
               || (uint16_t)(sp - (count)) < core->stack_mark))
#define CAN_POP(count) (!UNLIKELY((uint16_t)(sp - (SRAM_START - 1)) > RAMEND - SRAM_START + 1 - (count)))

/* Before the first of so many bytes pushed, or popped, within a block. */
#define MAY_PUSH(count, address, spent) \
    do { \
        if (!CAN_PUSH(count)) \
            LEAVE(address, spent); \
    } while (0)
#define MAY_POP(count, address, spent) \
    do { \
        if (!CAN_POP(count)) \
            LEAVE(address, spent); \
    } while (0)
#define PUSH(d) (data[sp--] = d)
#define POP(d) (d = data[++sp])
#define PUSH_RETURN(return_address) \
    (data[sp] = (uint8_t)(return_address), data[sp - 1] = (uint8_t)((return_address) >> 8), sp -= 2)
#define POP_RETURN() (program_counter = (data[sp + 1] << 8 | data[sp + 2]) & (FLASH_WORDS - 1), sp += 2)
#define IN_SP(d, shift) (d = (uint8_t)(sp >> (shift)))
#define OUT_SPH(d) (sp = (uint16_t)((sp & 0x00FF) | (d) << 8))
#define OUT_SPL(d, address, spent) \
    do { \
        uint16_t moved = (uint16_t)((sp & 0xFF00) | (d)); \
        if (UNLIKELY(moved < core->stack_mark)) \
            LEAVE(address, spent); \
        sp = moved; \
    } while (0)

/* ---- arithmetic ---------------------------------------------------------------------------------------- */

#define ADD_FLAGS(a, b, sum) \
    do { \
        uint8_t carries = (uint8_t)((a) ^ (b) ^ (sum)); \
        carry = (uint8_t)((sum) >> 8 & 1); \
        half = carries; \
        overflow = (uint8_t)(carries ^ carry << 7); \
        negative = (uint8_t)(sum); \
    } while (0)
#define SUM(d, a, b, c) \
    do { \
        uint8_t left_side = (a), right_side = (b); \
        unsigned sum = (unsigned)left_side + right_side + (c); \
        ADD_FLAGS(left_side, right_side, sum); \
        d = zero = (uint8_t)sum; \
    } while (0)
#define DIFFERENCE(a, b, c, use) \
    do { \
        uint8_t left_side = (a), right_side = (b); \
        unsigned difference = (unsigned)left_side - right_side - (c); \
        ADD_FLAGS(left_side, right_side, difference); \
        use; \
    } while (0)
#define ADD(d, r) SUM(d, d, r, 0)
#define ADC(d, r) SUM(d, d, r, carry)
#define SUB(d, r) DIFFERENCE(d, r, 0, d = zero = (uint8_t)difference)
#define SBC(d, r) DIFFERENCE(d, r, carry, d = (uint8_t)difference; zero |= (uint8_t)difference)
#define CP(d, r) DIFFERENCE(d, r, 0, zero = (uint8_t)difference)
#define CPC(d, r) DIFFERENCE(d, r, carry, zero |= (uint8_t)difference)
#define NEG(d) DIFFERENCE(0, d, 0, d = zero = (uint8_t)difference)
#define LOGIC(d, result) (d = zero = negative = (uint8_t)(result), overflow = 0)
#define AND(d, r) LOGIC(d, d & (r))
#define OR(d, r) LOGIC(d, d | (r))
#define EOR(d, r) LOGIC(d, d ^ (r))
#define COM(d) (LOGIC(d, ~d), carry = 1)
#define INC(d) (d = zero = negative = (uint8_t)(d + 1), overflow = d == 0x80 ? 0x80 : 0)
#define DEC(d) (d = zero = negative = (uint8_t)(d - 1), overflow = d == 0x7F ? 0x80 : 0)
#define SWAP(d) (d = (uint8_t)(d << 4 | d >> 4))
#define SHIFT_RIGHT(d, top) \
    do { \
        uint8_t value = d; \
        d = zero = negative = (uint8_t)(value >> 1 | (top)); \
        carry = value & 1; \
        overflow = (uint8_t)(d ^ carry << 7) & 0x80; \
    } while (0)
#define LSR(d) SHIFT_RIGHT(d, 0)
#define ROR(d) SHIFT_RIGHT(d, carry << 7)
#define ASR(d) SHIFT_RIGHT(d, value & 0x80)
#define MOV(d, r) (d = (r))
#define ADIW(low, high, k) \
    do { \
        uint16_t before = PAIR(low, high), after = (uint16_t)(before + (k)); \
        SET_PAIR(low, high, after); \
        carry = (uint8_t)((uint16_t)(~after & before) >> 15); \
        overflow = (uint8_t)((after & ~before) >> 8); \
        negative = (uint8_t)(after >> 8); \
        zero = after != 0; \
    } while (0)
#define SBIW(low, high, k) \
    do { \
        uint16_t before = PAIR(low, high), after = (uint16_t)(before - (k)); \
        SET_PAIR(low, high, after); \
        carry = (uint8_t)((uint16_t)(after & ~before) >> 15); \
        overflow = (uint8_t)((~after & before) >> 8); \
        negative = (uint8_t)(after >> 8); \
        zero = after != 0; \
    } while (0)
#define PRODUCT(value, shift) \
    do { \
        uint16_t product = (uint16_t)(value); \
        carry = product >> 15; \
        product = (uint16_t)(product << (shift)); \
        r0 = (uint8_t)product; \
        r1 = (uint8_t)(product >> 8); \
        zero = product != 0; \
    } while (0)
#define MUL(d, r) PRODUCT(d * r, 0)
#define MULS(d, r) PRODUCT((int8_t)d * (int8_t)r, 0)
#define MULSU(d, r) PRODUCT((int8_t)d * r, 0)
#define FMUL(d, r) PRODUCT(d * r, 1)
#define FMULS(d, r) PRODUCT((int8_t)d * (int8_t)r, 1)
#define FMULSU(d, r) PRODUCT((int8_t)d * r, 1)
#define BST(d, bit) (core->flags.transfer = d >> (bit) & 1)
#define BLD(d, bit) (d = (uint8_t)((d & ~(1 << (bit))) | core->flags.transfer << (bit)))

/* ---- SREG ---------------------------------------------------------------------------------------------- */

#define SIGN ((negative ^ overflow ^ overflow >> 8) & 0x80)
#define IN_SREG(d) \
    (d = (uint8_t)(carry | (zero == 0) << 1 | negative >> 7 << 2 | (overflow >> 7 & 1) << 3 | SIGN >> 7 << 4 \
                   | (half >> 4 & 1) << 5 | core->flags.transfer << 6 | core->flags.interrupt << 7))

/* I has just been set by an instruction that ends `after` cycles into the block: the next one runs before any
 * interrupt (datasheet 7.7). */
#define INTERRUPTS_ENABLED(next_address, after) \
    do { \
        core->flags.interrupt = 1; \
        core->enabled_cycle = end - (uint64_t)left + (after); \
        if (UNLIKELY(core->pending)) { \
            core->deadline = 0; \
            LEAVE(next_address, after); \
        } \
    } while (0)
#define SEI(next_address, after) \
    do { \
        if (!core->flags.interrupt) \
            INTERRUPTS_ENABLED(next_address, after); \
    } while (0)
#define CLI() (core->flags.interrupt = 0)
#define OUT_SREG(d, next_address, after) \
    do { \
        uint8_t value = d; \
        carry = value & 1; \
        zero = !(value & SREG_Z); \
        negative = value & SREG_N ? 0x80 : 0; \
        overflow = (value & SREG_V ? 0x80u : 0) | ((value >> 2 ^ value >> 3 ^ value >> 4) & 1 ? 0x8000u : 0); \
        half = value & SREG_H ? 0x10 : 0; \
        core->flags.transfer = value >> 6 & 1; \
        if (value & SREG_I) \
            SEI(next_address, after); \
        else \
            CLI(); \
    } while (0)
#define SET_CARRY(value) (carry = (value))
#define SET_ZERO(value) (zero = !(value))
#define SET_HALF(value) (half = (value) ? 0x10 : 0)
#define SET_TRANSFER(value) (core->flags.transfer = (value))

/* ---- I/O registers: `left` is exact before these; they may move the deadline --------------------------- */

#define AT(delay) (core->now = end - (uint64_t)left + (delay))
#define IO_READ(d, io_address, delay) (AT(delay), d = services->io_read(core, io_address))
#define IO_WRITE(d, io_address, delay, address) \
    (AT(delay), core->program_counter = (address), services->io_write(core, io_address, d))
#define SBI(io_address, bit) (AT(2), services->io_set_bit(core, io_address, bit))
#define CBI(io_address, bit) (AT(2), services->io_clear_bit(core, io_address, bit))
#define WDR() (AT(1), services->watchdog_restart(core))
#define SLEEP() (AT(1), services->sleep_enter(core))

/* ---- the function -------------------------------------------------------------------------------------- */

struct pace { uint64_t end; int64_t left; };

#define FILL(n) uint8_t r##n = core->data[n];
#define SPILL(n) data[n] = r##n;

#define BEGIN() \
    uint8_t *const data = core->data; \
    const uint8_t *const flash = core->program->flash; \
    unsigned carry = core->flags.carry, zero = core->flags.zero, negative = core->flags.negative; \
    unsigned overflow = core->flags.overflow, half = core->flags.half; \
    uint16_t sp = core->stack_pointer; \
    uint32_t program_counter = core->program_counter; \
    uint64_t end = pace->end; \
    int64_t left = pace->left; \
    bool going_on = true; \
    (void)flash; \
    (void)services

#define DISPATCH(first_entry, entry_count) \
    do { \
        uint32_t entry = (uint32_t)entry_number[program_counter] - (first_entry); \
        if (UNLIKELY(entry >= (entry_count))) \
            goto depart; \
        goto *(&&leave + place[entry]); \
    } while (0)

#define END() \
    core->flags.carry = (uint8_t)carry; \
    core->flags.zero = (uint8_t)zero; \
    core->flags.negative = (uint8_t)negative; \
    core->flags.overflow = (uint16_t)overflow; \
    core->flags.half = (uint8_t)half; \
    core->stack_pointer = sp; \
    core->program_counter = program_counter; \
    pace->end = end; \
    pace->left = left; \
    return going_on

#define RUN(entry_number, parts, part_of_entry) \
    static void run(struct core *core, const struct translation_services *services) \
    { \
        uint64_t end = core->cycle; \
        int64_t left = 0; \
        MEASURE(); \
        struct pace pace = {end, left}; \
        bool going_on = true; \
        while (going_on && entry_number[core->program_counter]) \
            going_on = parts[part_of_entry[entry_number[core->program_counter]]](core, services, &pace); \
        core->cycle = pace.end - (uint64_t)pace.left; \
    }
