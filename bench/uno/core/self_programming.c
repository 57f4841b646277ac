/* The boot loader's support: datasheet 27, with the Uno's fuses (BOOTSZ 11: 256 words of boot section).
 *
 * A core runs the image that it shares with others until its firmware first arms SPM or a read of the fuses. Then it
 * gets flash of its own, decoded twice: as it is, and as it reads while the section for read-while-write is busy. */
#include <string.h>

#include "core.h"

enum {
    PAGE_WORDS = PAGE_BYTES / 2, RWW_BYTES = 0x7000, /* table 27-8; above lies the section with no read-while-write */
    SPM_WINDOW = 4, LPM_WINDOW = 3,                  /* 27.9.1 */
    PROGRAMMING_CYCLES = 41 * CYCLES_PER_MILLISECOND / 10, /* the middle of table 27-5's 3.7 to 4.5 ms */
    ERASED = 0xFF,
    FUSE_LOW = 0xFF, FUSE_HIGH = 0xDF, FUSE_HIGH_BOOTRST = 0x01, FUSE_EXTENDED = 0xFD, /* of the Uno */
    LOCK_BOOT_SPM = 0x10, LOCK_APPLICATION_SPM = 0x04, /* BLB11, BLB01: tables 27-2 and 27-3 */
    LOCK_WRITABLE = 0x3C,
};

static bool is_programming(const struct self_programming *self) { return self->started != NEVER; }

static bool is_armed(const struct core *core)
{
    return core->self_programming.operation && core->now <= core->self_programming.armed_until;
}

bool self_programming_is_busy(const struct core *core) { return is_programming(&core->self_programming); }

static void refresh_request(struct core *core)
{
    const struct self_programming *self = &core->self_programming;
    interrupt_request(core, VECTOR_SPM_READY, self->interrupt_enabled && !self->operation);
}

/* ---- flash of its own --------------------------------------------------------------------------------- */

static void select_program(struct core *core)
{
    if (core->own)
        core->program = core->self_programming.section_busy ? core->own_while_busy : core->own;
    core->deadline = 0; /* whoever executes takes up the new one */
}

/* Gives the core flash of its own with these contents. False: no memory. */
bool self_programming_own(struct core *core, const uint8_t *flash)
{
    uint8_t while_busy[FLASH_BYTES];
    memcpy(while_busy, flash, FLASH_BYTES);
    memset(while_busy, ERASED, RWW_BYTES);
    core->own = program_create(flash, FLASH_BYTES);
    core->own_while_busy = program_create(while_busy, FLASH_BYTES);
    if (!core->own || !core->own_while_busy) {
        program_destroy(core->own);
        program_destroy(core->own_while_busy);
        core->own = core->own_while_busy = NULL;
        return false;
    }
    select_program(core);
    return true;
}

static void change_page(struct program *program, const struct self_programming *self, uint8_t spoilt)
{
    uint8_t *page = program->flash + self->page;
    for (int n = 0; n < PAGE_BYTES; n++)
        page[n] = self->operation & SPMCSR_PGERS ? ERASED : page[n] & (self->buffer[n] | spoilt);
    uint32_t first = self->page / 2u;
    decode_words(program, first ? first - 1 : 0, PAGE_WORDS + 1); /* what stands before may be two words long */
}

const uint8_t *core_flash(const struct core *core) { return core->own ? core->own->flash : core->image->flash; }

/* ---- operations --------------------------------------------------------------------------------------- */

static void clear_buffer(struct self_programming *self)
{
    memset(self->buffer, ERASED, sizeof self->buffer);
    self->filled = 0;
}

/* The page buffer does not outlive a write of the EEPROM (27.8.2). */
void self_programming_lose_buffer(struct core *core) { clear_buffer(&core->self_programming); }

/* `spoilt`: bits that a write torn by a power cut has not reached. */
static void complete(struct core *core, uint8_t spoilt)
{
    struct self_programming *self = &core->self_programming;
    if (self->operation & SPMCSR_BLBSET) {
        self->lock &= self->lock_wanted | spoilt | (uint8_t)~LOCK_WRITABLE;
    } else {
        change_page(core->own, self, spoilt);
        if (self->page >= RWW_BYTES)
            change_page(core->own_while_busy, self, spoilt);
        if (self->operation & SPMCSR_PGWRT)
            clear_buffer(self);
    }
    self->operation = 0;
    self->started = NEVER;
}

static void begin(struct core *core)
{
    struct self_programming *self = &core->self_programming;
    self->started = core->now;
    event_at(core, EVENT_SELF_PROGRAMMING, core->now + PROGRAMMING_CYCLES);
}

static void begin_page(struct core *core, uint16_t address)
{
    struct self_programming *self = &core->self_programming;
    uint8_t permission = address / 2 >= BOOT_START ? LOCK_BOOT_SPM : LOCK_APPLICATION_SPM;
    if (!(self->lock & permission)) {
        self->operation = 0;
        return;
    }
    self->page = address & (FLASH_BYTES - PAGE_BYTES);
    begin(core);
    if (self->page < RWW_BYTES)
        self->section_busy = true;
    else
        core->halted_until = core->now + PROGRAMMING_CYCLES; /* 27.8.1, 27.8.3 */
}

/* A word of the buffer can be loaded once; loading makes the RWW section readable (27.9.1). */
static void load_word(struct core *core, uint16_t address)
{
    struct self_programming *self = &core->self_programming;
    uint32_t word = address / 2 % PAGE_WORDS;
    if (!(self->filled >> word & 1)) {
        self->buffer[2 * word] = core->data[0];
        self->buffer[2 * word + 1] = core->data[1];
        self->filled |= (uint64_t)1 << word;
    }
    self->section_busy = false;
    self->operation = 0;
}

/* SPM, which ends at core->now. False: it is a fault, as the chip ignores it outside of the boot section. */
bool self_programming_execute(struct core *core, uint32_t program_counter, uint16_t address)
{
    struct self_programming *self = &core->self_programming;
    if (program_counter < BOOT_START) {
        cpu_fault(core, FAULT_SELF_PROGRAMMING, program_counter, address);
        return false;
    }
    if (!is_programming(self) && is_armed(core)) {
        event_at(core, EVENT_SELF_PROGRAMMING, NEVER);
        self->armed_until = self->row_until = 0;
        switch (self->operation) {
        case SPMCSR_SPMEN | SPMCSR_PGERS: case SPMCSR_SPMEN | SPMCSR_PGWRT: begin_page(core, address); break;
        case SPMCSR_SPMEN | SPMCSR_BLBSET: self->lock_wanted = core->data[0]; begin(core); break;
        case SPMCSR_SPMEN | SPMCSR_RWWSRE: self->section_busy = false; self->operation = 0; break;
        case SPMCSR_SPMEN: load_word(core, address); break;
        default: self->operation = 0; break; /* SIGRD: reserved */
        }
        refresh_request(core);
    }
    select_program(core);
    return true;
}

/* An operation is over, or what was armed has not come. */
void self_programming_event(struct core *core)
{
    struct self_programming *self = &core->self_programming;
    if (is_programming(self))
        complete(core, 0);
    self->operation = 0;
    refresh_request(core);
}

/* LPM in the cycles after SPMCSR asked for the signature row, or for fuses and lock bits (27.8.8, 27.8.9). */
uint8_t self_programming_read_row(struct core *core, uint16_t address)
{
    static const uint8_t signature[5] = {0x1E, 0xFF, 0x95, 0xFF, 0x0F};
    struct self_programming *self = &core->self_programming;
    const uint8_t fuses[4] = {FUSE_LOW, self->lock, FUSE_EXTENDED,
                              (uint8_t)(FUSE_HIGH & ~(core->starts_boot_loader ? FUSE_HIGH_BOOTRST : 0))};
    bool wants_signature = self->operation & SPMCSR_SIGRD;
    self->row_until = self->armed_until = 0;
    self->operation = 0;
    refresh_request(core);
    if (wants_signature)
        return address < sizeof signature ? signature[address] : ERASED;
    return address < sizeof fuses ? fuses[address] : ERASED;
}

/* What it means that an instruction in flash is none. */
enum fault_kind self_programming_fault(const struct core *core, uint32_t program_counter)
{
    bool hidden = core->self_programming.section_busy && program_counter < RWW_BYTES / 2;
    return hidden ? FAULT_SELF_PROGRAMMING : FAULT_ILLEGAL_OPCODE;
}

/* ---- register ----------------------------------------------------------------------------------------- */

uint8_t self_programming_read(const struct core *core)
{
    const struct self_programming *self = &core->self_programming;
    return (uint8_t)((self->interrupt_enabled ? SPMCSR_SPMIE : 0) | (self->section_busy ? SPMCSR_RWWSB : 0)
                     | self->operation);
}

static bool is_operation(uint8_t value)
{
    switch (value) {
    case SPMCSR_SPMEN: case SPMCSR_SPMEN | SPMCSR_PGERS: case SPMCSR_SPMEN | SPMCSR_PGWRT:
    case SPMCSR_SPMEN | SPMCSR_BLBSET: case SPMCSR_SPMEN | SPMCSR_RWWSRE: case SPMCSR_SPMEN | SPMCSR_SIGRD: return true;
    default: return false;
    }
}

static void arm(struct core *core, uint8_t operation)
{
    struct self_programming *self = &core->self_programming;
    if (!core->own && !self_programming_own(core, core->image->flash)) {
        cpu_fault(core, FAULT_SELF_PROGRAMMING, core->program_counter, operation);
        return;
    }
    self->operation = operation;
    self->armed_until = core->now + SPM_WINDOW;
    self->row_until = operation & (SPMCSR_BLBSET | SPMCSR_SIGRD) ? core->now + LPM_WINDOW : 0;
    if (operation & SPMCSR_RWWSRE)
        clear_buffer(self);
    event_at(core, EVENT_SELF_PROGRAMMING, core->now + SPM_WINDOW);
    core->deadline = 0;
}

/* While flash or EEPROM is being programmed nothing can be armed (27.8.7). */
void self_programming_write(struct core *core, uint8_t value)
{
    struct self_programming *self = &core->self_programming;
    uint8_t operation = value & (uint8_t)~(SPMCSR_SPMIE | SPMCSR_RWWSB);
    self->interrupt_enabled = value & SPMCSR_SPMIE;
    if (!is_programming(self) && !eeprom_is_programming(core) && is_operation(operation))
        arm(core, operation);
    refresh_request(core);
}

/* As with the EEPROM: with the supply intact an operation under way finishes, without it is torn. */
void self_programming_reset(struct core *core, enum reset_cause cause)
{
    struct self_programming *self = &core->self_programming;
    bool supply_lost = cause == RESET_POWER_ON || cause == RESET_BROWN_OUT;
    if (core->own && is_programming(self))
        complete(core, supply_lost ? 0x55 : 0);
    *self = (struct self_programming){.lock = self->lock, .started = NEVER};
    clear_buffer(self);
    core->halted_until = 0;
    select_program(core);
}
