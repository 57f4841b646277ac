/* What a developer's tools see of a running core: breakpoints, where its cycles went, its pins over time, restarts.
 *
 * An inspection hangs on a core and is no part of its state: with or without one the core does the same at the same
 * cycles. Running under it goes one instruction at a time, so that nothing in the fast path knows of it. */
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "operation.h"

enum { FRAME_LIMIT = 1024 /* as many return addresses as fit into SRAM */, WATCH_LIMIT = 32 };

struct watched_byte { uint16_t address; uint8_t value; };

enum activity { STARTING, HALTED, SLEEPING, ENTERING_INTERRUPT, EXECUTING };

/* A function or interrupt handler under way. `aside` is what the profile's clock of that name showed at `began`. */
struct frame { uint64_t began, aside; uint16_t entry, stack_pointer; bool interrupt; };

struct profile {
    uint64_t own[FLASH_WORDS], whole[FLASH_WORDS], calls[FLASH_WORDS];
    uint16_t open[FLASH_WORDS];          /* frames of this entry under way: the outermost counts */
    uint64_t aside;                      /* cycles asleep or in interrupts: no function's */
    uint32_t depth;
    struct frame frames[FRAME_LIMIT];
};

struct inspection {
    uint8_t breakpoints[FLASH_WORDS / 8];
    struct watched_byte watched[WATCH_LIMIT];
    uint32_t watched_count;
    uint16_t changed_address;
    bool at_breakpoint, at_change, logs_pins, pins_lost;
    uint16_t last;                       /* word address of the last instruction */
    struct restart watchdog, jump;
    struct pin_change *changes;
    size_t count, capacity;
    struct profile *profile;
};

/* ---- attaching ---------------------------------------------------------------------------------------- */

bool core_inspect(struct core *core)
{
    if (!core->inspection)
        core->inspection = calloc(1, sizeof *core->inspection);
    return core->inspection;
}

void inspection_destroy(struct inspection *inspection)
{
    if (!inspection)
        return;
    free(inspection->changes);
    free(inspection->profile);
    free(inspection);
}

void core_set_breakpoint(struct core *core, uint32_t address, bool set)
{
    uint32_t word = address / 2 % FLASH_WORDS;
    uint8_t *place = &core->inspection->breakpoints[word / 8], mask = (uint8_t)(1 << word % 8);
    *place = (uint8_t)(set ? *place | mask : *place & ~mask);
}

/* Watches a byte of a register or of SRAM for changes. False: there are too many already. */
bool core_watch_data(struct core *core, uint16_t address)
{
    struct inspection *inspection = core->inspection;
    if (inspection->watched_count == WATCH_LIMIT)
        return false;
    inspection->watched[inspection->watched_count++] = (struct watched_byte){address, core->data[address]};
    return true;
}

void core_unwatch_data(struct core *core, uint16_t address)
{
    struct inspection *inspection = core->inspection;
    for (uint32_t place = 0; place < inspection->watched_count; place++)
        if (inspection->watched[place].address == address) {
            inspection->watched[place] = inspection->watched[--inspection->watched_count];
            return;
        }
}

bool core_at_change(const struct core *core) { return core->inspection->at_change; }
uint16_t core_changed_address(const struct core *core) { return core->inspection->changed_address; }

static bool find_change(struct core *core)
{
    struct inspection *inspection = core->inspection;
    bool found = false;
    for (uint32_t place = 0; place < inspection->watched_count; place++) {
        struct watched_byte *watched = &inspection->watched[place];
        if (core->data[watched->address] != watched->value) {
            watched->value = core->data[watched->address];
            inspection->changed_address = watched->address;
            found = true;
        }
    }
    return found;
}

bool core_at_breakpoint(const struct core *core) { return core->inspection->at_breakpoint; }
struct restart core_watchdog_resets(const struct core *core) { return core->inspection->watchdog; }
struct restart core_jumps_to_reset(const struct core *core) { return core->inspection->jump; }

static void note_restart(struct restart *restart, const struct core *core, uint32_t word)
{
    restart->count++;
    restart->program_counter = word * 2;
    restart->cycle = core->cycle;
}

/* The watchdog is about to reset the chip: where was it? */
void inspection_watchdog_bites(struct core *core)
{
    if (core->inspection)
        note_restart(&core->inspection->watchdog, core, core->program_counter);
}

/* ---- pins --------------------------------------------------------------------------------------------- */

void core_log_pins(struct core *core, bool wanted) { core->inspection->logs_pins = wanted; }
bool core_pins_lost(const struct core *core) { return core->inspection->pins_lost; }
size_t core_pin_change_count(const struct core *core) { return core->inspection->count; }
const struct pin_change *core_pin_changes(const struct core *core) { return core->inspection->changes; }
void core_forget_pin_changes(struct core *core) { core->inspection->count = 0; }

static void log_change(struct inspection *inspection, uint64_t cycle, uint8_t pin, bool high)
{
    if (inspection->count == inspection->capacity) {
        size_t capacity = inspection->capacity ? 2 * inspection->capacity : 1024;
        struct pin_change *grown = realloc(inspection->changes, capacity * sizeof *grown);
        if (!grown) {
            inspection->pins_lost = true;
            return;
        }
        inspection->changes = grown;
        inspection->capacity = capacity;
    }
    inspection->changes[inspection->count++] = (struct pin_change){.cycle = cycle, .pin = pin, .high = high};
}

void inspection_pins_changed(struct core *core, enum port_index index, uint8_t changed)
{
    struct inspection *inspection = core->inspection;
    if (!inspection || !inspection->logs_pins)
        return;
    for (uint8_t bit = 0; bit < 8; bit++)
        if (changed >> bit & 1)
            log_change(inspection, core->now, PIN(index, bit), core->port[index].level >> bit & 1);
}

/* `count` levels in turn, the lowest bit of `levels` first, each `cycles` long. They may lie ahead or behind. */
void inspection_line(struct core *core, uint8_t pin, uint64_t from, uint32_t levels, uint32_t count, uint32_t cycles)
{
    struct inspection *inspection = core->inspection;
    if (!inspection || !inspection->logs_pins)
        return;
    for (uint32_t bit = 0; bit < count; bit++)
        if (bit == 0 || (levels >> bit ^ levels >> (bit - 1)) & 1)
            log_change(inspection, from + (uint64_t)bit * cycles, pin, levels >> bit & 1);
}

/* ---- profile ------------------------------------------------------------------------------------------ */

bool core_profile(struct core *core)
{
    if (!core->inspection->profile)
        core->inspection->profile = calloc(1, sizeof *core->inspection->profile);
    return core->inspection->profile;
}

const uint64_t *core_profile_own(const struct core *core) { return core->inspection->profile->own; }
const uint64_t *core_profile_whole(const struct core *core) { return core->inspection->profile->whole; }
const uint64_t *core_profile_calls(const struct core *core) { return core->inspection->profile->calls; }

static void begin(struct profile *profile, uint16_t entry, uint16_t stack_pointer, uint64_t began, bool interrupt)
{
    profile->calls[entry]++;
    if (profile->depth == FRAME_LIMIT)
        return;
    profile->open[entry]++;
    profile->frames[profile->depth++] = (struct frame){
        .began = began, .aside = profile->aside, .entry = entry, .stack_pointer = stack_pointer,
        .interrupt = interrupt,
    };
}

static void end(struct profile *profile, uint64_t cycle)
{
    const struct frame *frame = &profile->frames[--profile->depth];
    uint64_t elapsed = cycle - frame->began;
    if (--profile->open[frame->entry] == 0)
        profile->whole[frame->entry] += elapsed - (profile->aside - frame->aside);
    if (frame->interrupt) /* whom it interrupted does not answer for it, nor for the sleep within it */
        profile->aside = frame->aside + elapsed;
}

/* Lets frames still under way count up to now, and forgets them: a reset, or the end of the run. */
void core_profile_close(struct core *core)
{
    struct profile *profile = core->inspection->profile;
    while (profile && profile->depth)
        end(profile, core->cycle);
}

static void follow_calls(struct profile *profile, const struct core *core, uint16_t at)
{
    switch (core->program->code[at].operation) {
    case OPERATION_RCALL: case OPERATION_CALL: case OPERATION_ICALL:
        if (core->program_counter != (uint32_t)at + 1) /* rcall .+0 makes room on the stack and calls nothing */
            begin(profile, (uint16_t)core->program_counter, core->stack_pointer, core->cycle, false);
        break;
    case OPERATION_RET: case OPERATION_RETI:
        while (profile->depth && profile->frames[profile->depth - 1].stack_pointer < core->stack_pointer)
            end(profile, core->cycle);
        break;
    default: break;
    }
}

/* ---- running ------------------------------------------------------------------------------------------ */

static uint64_t slept(const struct core *core)
{
    uint64_t cycles = 0;
    for (int mode = 0; mode < SLEEP_MODES; mode++)
        cycles += core->sleep_cycles[mode];
    return cycles;
}

/* What core_run does next; the order is its own. */
static enum activity next_activity(const struct core *core)
{
    if (core->cycle < core->reset_until)
        return STARTING;
    if (core->stall || core->cycle < core->halted_until)
        return HALTED;
    if (core->sleep_mode != AWAKE)
        return SLEEPING;
    if (interrupt_may_enter(core))
        return ENTERING_INTERRUPT;
    return EXECUTING;
}

/* How far core_run may go without doing anything else than `activity`. */
static uint64_t end_of(enum activity activity, const struct core *core, uint64_t until)
{
    uint64_t target = core->cycle + 1;
    if (activity == STARTING)
        target = core->reset_until;
    else if (activity == HALTED && core->halted_until > target)
        target = core->halted_until;
    else if (activity == SLEEPING && sleep_wake_cycle(core) > target)
        target = sleep_wake_cycle(core);
    return target < until ? target : until;
}

static void account(struct core *core, enum activity activity, uint64_t before, uint64_t slept_before)
{
    struct inspection *inspection = core->inspection;
    struct profile *profile = inspection->profile;
    uint16_t word = (uint16_t)core->program_counter;
    if (!profile)
        return;
    uint64_t asleep = activity == SLEEPING ? slept(core) - slept_before : 0, awake = core->cycle - before - asleep;
    profile->aside += asleep;
    if (activity == ENTERING_INTERRUPT) {
        begin(profile, word, core->stack_pointer, before, true);
        profile->own[word] += awake;
        return;
    }
    if (activity == STARTING) {
        core_profile_close(core);
        return;
    }
    profile->own[inspection->last] += awake;
    if (activity == EXECUTING && core->reset_until <= core->cycle)
        follow_calls(profile, core, inspection->last);
}

/* One thing that the core does. Returns as core_run; `*done` tells what it was, if it came to it. */
static enum stop advance(struct core *core, uint64_t until, enum activity activity)
{
    struct inspection *inspection = core->inspection;
    uint64_t before = core->cycle, slept_before = activity == SLEEPING ? slept(core) : 0;
    uint32_t at = core->program_counter;
    enum stop stop = core_run(core, end_of(activity, core, until));
    if (core->cycle == before)
        return stop;
    if (activity == EXECUTING) {
        inspection->last = (uint16_t)at;
        if (core->program_counter == 0 && core->reset_until <= core->cycle)
            note_restart(&inspection->jump, core, at);
    }
    account(core, activity, before, slept_before);
    return stop;
}

static bool is_breakpoint(const struct inspection *inspection, uint32_t word)
{
    return inspection->breakpoints[word / 8] >> word % 8 & 1;
}

enum stop core_run_inspected(struct core *core, uint64_t until)
{
    struct inspection *inspection = core->inspection;
    bool passes = inspection->at_breakpoint;
    inspection->at_breakpoint = inspection->at_change = false;
    find_change(core); /* what the host has changed since is none of the program's doing */
    while (core->cycle < until && !core->stops && core->fault.kind == FAULT_NONE) {
        enum activity activity = next_activity(core);
        if (activity == EXECUTING && is_breakpoint(inspection, core->program_counter) && !passes) {
            inspection->at_breakpoint = true;
            return STOP_LIMIT;
        }
        passes = false;
        enum stop stop = advance(core, until, activity);
        inspection->at_change = find_change(core);
        if (inspection->at_change || (stop != STOP_LIMIT && (stop != STOP_HALT || core->cycle >= until)))
            return stop;
    }
    return core_run(core, until);
}

bool core_step(struct core *core, uint64_t until, enum stop *stop)
{
    core->inspection->at_breakpoint = core->inspection->at_change = false;
    *stop = STOP_LIMIT;
    while (core->cycle < until && !core->stops && core->fault.kind == FAULT_NONE) {
        uint64_t before = core->cycle;
        enum activity activity = next_activity(core);
        *stop = advance(core, until, activity);
        if (core->cycle != before && (activity == EXECUTING || activity == ENTERING_INTERRUPT))
            return true;
        if (*stop != STOP_LIMIT && *stop != STOP_HALT)
            return false;
    }
    *stop = core_run(core, until);
    return false;
}

/* ---- what no firmware can do -------------------------------------------------------------------------- */

void core_poke_eeprom(struct core *core, uint16_t address, const uint8_t *data, size_t count)
{
    memcpy(core->eeprom.cells + address, data, count);
}

void core_set_stack_pointer(struct core *core, uint16_t address) { core->stack_pointer = address; }
