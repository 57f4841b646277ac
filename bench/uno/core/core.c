/* One microcontroller: its life, its run loop, and what the host may ask of it. */
#include "core.h"

#include <stdlib.h>
#include <string.h>

#include "translated.h"

/* ---- flash images ------------------------------------------------------------------------------------- */

/* FNV-1a, to tell whether a saved state belongs to this image. */
static uint64_t checksum(const uint8_t *bytes, size_t count)
{
    uint64_t hash = 0xCBF29CE484222325u;
    for (size_t n = 0; n < count; n++)
        hash = (hash ^ bytes[n]) * 0x100000001B3u;
    return hash;
}

struct program *program_create(const uint8_t *flash, uint32_t size)
{
    struct program *program = size <= FLASH_BYTES ? calloc(1, sizeof *program) : NULL;
    if (!program)
        return NULL;
    memset(program->flash, 0xFF, FLASH_BYTES);
    memcpy(program->flash, flash, size);
    program->checksum = checksum(program->flash, FLASH_BYTES);
    decode_program(program);
    return program;
}

void program_destroy(struct program *program)
{
    if (program)
        free(program->marked_code);
    free(program);
}

/* ---- life --------------------------------------------------------------------------------------------- */

/* Cycle 0 is the first instruction after power-on: the start-up time of this first reset lies before it. */
struct core *core_create(const struct program *program, const uint8_t *eeprom, bool starts_boot_loader)
{
    struct core *core = calloc(1, sizeof *core);
    if (!core)
        return NULL;
    analog_prepare();
    core->program = core->image = program;
    core->starts_boot_loader = starts_boot_loader;
    core->self_programming = (struct self_programming){.lock = 0xFF, .started = NEVER};
    core->sleep_mode = AWAKE;
    core->lowest_stack = core->stack_mark = RAMEND;
    for (int event = 0; event < EVENT_COUNT; event++)
        core->event_cycle[event] = NEVER;
    core->next_event = NEVER;
    reset_begin(core, RESET_POWER_ON, 0);
    memcpy(core->eeprom.cells, eeprom, EEPROM_BYTES);
    return core;
}

static void free_queues(struct core *core)
{
    for (int pin = 0; pin < PIN_COUNT; pin++)
        free(core->edges[pin].cycles);
    for (int channel = 0; channel < ANALOG_CHANNELS; channel++)
        free(core->analog[channel].segments);
    free(core->line.bytes);
}

void core_destroy(struct core *core)
{
    if (!core)
        return;
    inspection_destroy(core->inspection);
    free_queues(core);
    program_destroy(core->own);
    program_destroy(core->own_while_busy);
    free(core);
}

/* A fault is the firmware's, and a reset from outside gives the chip another start. */
void core_reset(struct core *core, enum reset_cause cause)
{
    core->fault = (struct fault){.kind = FAULT_NONE};
    reset_begin(core, cause, RESET_START_UP_CYCLES);
}

/* ---- running ------------------------------------------------------------------------------------------ */

static enum stop take_pin_change(struct core *core)
{
    for (int index = 0; index < PORT_COUNT; index++) {
        struct port *port = &core->port[index];
        if (!port->watched_changed)
            continue;
        int bit = __builtin_ctz(port->watched_changed);
        port->watched_changed &= (uint8_t)~(1 << bit);
        core->pin_changed = (uint8_t)PIN(index, bit);
        core->pin_level = port->level >> bit & 1;
        break;
    }
    bool more = core->port[PORT_B].watched_changed || core->port[PORT_C].watched_changed
             || core->port[PORT_D].watched_changed;
    if (!more)
        core->stops &= ~(1u << STOP_PIN);
    return STOP_PIN;
}

static enum stop take_stop(struct core *core)
{
    enum stop stop = (enum stop)__builtin_ctz(core->stops);
    if (stop == STOP_PIN)
        return take_pin_change(core);
    core->stops &= ~(1u << stop);
    return stop;
}

static void wait_for_start_up(struct core *core, uint64_t limit)
{
    uint64_t target = core->reset_until < limit ? core->reset_until : limit;
    core->reset_cycles += target - core->cycle;
    core->cycle = target;
}

static void wait_while_halted(struct core *core, uint64_t limit)
{
    uint64_t target = core->halted_until < limit ? core->halted_until : limit;
    core->cycle = core->next_event < target ? core->next_event : target;
}

enum stop core_run(struct core *core, uint64_t until)
{
    for (;;) {
        if (core->fault.kind != FAULT_NONE) {
            if (core->fault.cycle == 0)
                core->fault.cycle = core->cycle;
            return STOP_FAULT;
        }
        event_run_due(core, core->cycle);
        if (core->watchdog_bites) {
            inspection_watchdog_bites(core);
            reset_begin(core, RESET_WATCHDOG, RESET_START_UP_CYCLES);
        }
        if (core->stops)
            return take_stop(core);
        if (core->cycle >= until)
            return STOP_LIMIT;
        bool asked = core->pending && core->flags.interrupt;
        if (core->cycle < core->reset_until) {
            wait_for_start_up(core, until);
        } else if (core->stall) {
            core->cycle += core->stall;
            core->stall = 0;
        } else if (core->cycle < core->halted_until) {
            wait_while_halted(core, until);
        } else if (core->sleep_mode != AWAKE) {
            if (!sleep_continue(core, until) && core->cycle >= until)
                return STOP_HALT;
        } else if (interrupt_may_enter(core)) {
            interrupt_enter(core);
        } else {
            uint64_t horizon = core->next_event < until ? core->next_event : until;
            core->deadline = asked ? core->cycle : horizon;
            if (core->program->translation)
                translated_execute(core);
            else
                cpu_execute(core, core->program->code);
        }
    }
}

/* ---- figures ------------------------------------------------------------------------------------------ */

uint64_t core_cycle(const struct core *core) { return core->cycle; }

uint64_t core_wake_cycle(const struct core *core)
{
    return core->sleep_mode == AWAKE ? core->cycle : sleep_wake_cycle(core);
}

uint64_t core_sleep_cycles(const struct core *core, uint8_t mode)
{
    return mode < SLEEP_MODES ? core->sleep_cycles[mode] : 0;
}

uint64_t core_reset_cycles(const struct core *core) { return core->reset_cycles; }
uint16_t core_lowest_stack(const struct core *core) { return core->lowest_stack; }
uint16_t core_stack_pointer(const struct core *core) { return core->stack_pointer; }
uint32_t core_program_counter(const struct core *core) { return core->program_counter * 2; }
uint8_t core_status_register(const struct core *core) { return cpu_status_register(core); }
void core_set_status_register(struct core *core, uint8_t value) { cpu_set_status_register(core, value); }

void core_set_program_counter(struct core *core, uint32_t address)
{
    core->program_counter = address / 2 % FLASH_WORDS;
}

void core_set_stack_floor(struct core *core, uint16_t address)
{
    core->stack_floor = address;
    core->stack_mark = address > core->lowest_stack ? address : core->lowest_stack;
}

struct fault core_fault(const struct core *core) { return core->fault; }
uint8_t core_spi_mosi(const struct core *core) { return core->spi.mosi; }
void core_spi_reply(struct core *core, uint8_t miso) { core->spi.miso = miso; }
uint8_t core_pin_changed(const struct core *core) { return core->pin_changed; }
bool core_pin_level(const struct core *core) { return core->pin_level; }
bool core_pin_high(const struct core *core, uint8_t pin) { return gpio_level(core, pin); }
uint8_t core_mark_code(const struct core *core) { return core->mark_code; }
uint16_t core_mark_argument(const struct core *core) { return core->mark_argument; }
uint8_t core_uart_byte(const struct core *core) { return core->uart_byte; }
const uint8_t *core_eeprom(const struct core *core) { return core->eeprom.cells; }

/* ---- what the outside does ---------------------------------------------------------------------------- */

void core_watch(struct core *core, uint8_t pin) { core->port[pin / 8].watched |= (uint8_t)(1 << pin % 8); }

void core_set_pin(struct core *core, uint8_t pin, bool high)
{
    core->now = core->cycle;
    gpio_drive(core, pin, high);
}

/* Room for `more` items behind the `count` that `*items` holds. */
static bool make_room(void **items, size_t *capacity, size_t count, size_t more, size_t size)
{
    if (count + more <= *capacity)
        return true;
    size_t wanted = 2 * (count + more);
    void *grown = realloc(*items, wanted * size);
    if (!grown)
        return false;
    *items = grown;
    *capacity = wanted;
    return true;
}

bool core_schedule_edges(struct core *core, uint8_t pin, const uint64_t *cycles, size_t count, bool first_high)
{
    struct edge_queue *queue = &core->edges[pin];
    memmove(queue->cycles, queue->cycles + queue->head, (queue->count - queue->head) * sizeof *cycles);
    queue->count -= queue->head;
    queue->head = 0;
    if (!make_room((void **)&queue->cycles, &queue->capacity, queue->count, count, sizeof *cycles))
        return false;
    if (queue->count == 0)
        queue->next_high = first_high;
    memcpy(queue->cycles + queue->count, cycles, count * sizeof *cycles);
    queue->count += count;
    gpio_edges_rearm(core);
    return true;
}

/* The last edge still to come on a pin, 0 when there is none. */
uint64_t core_last_edge(const struct core *core, uint8_t pin)
{
    const struct edge_queue *queue = &core->edges[pin];
    return queue->head < queue->count ? queue->cycles[queue->count - 1] : 0;
}

/* Segments from the first new one's start on are replaced; those that have ended are forgotten. */
bool core_set_analog(struct core *core, uint8_t channel, const struct analog_segment *segments, size_t count)
{
    struct segment_queue *queue = &core->analog[channel];
    size_t ended = 0;
    while (count && queue->count && queue->segments[queue->count - 1].from_cycle >= segments[0].from_cycle)
        queue->count--;
    while (ended + 1 < queue->count && queue->segments[ended + 1].from_cycle <= core->cycle)
        ended++;
    memmove(queue->segments, queue->segments + ended, (queue->count - ended) * sizeof *segments);
    queue->count -= ended;
    if (!make_room((void **)&queue->segments, &queue->capacity, queue->count, count, sizeof *segments))
        return false;
    memcpy(queue->segments + queue->count, segments, count * sizeof *segments);
    queue->count += count;
    core->now = core->cycle;
    comparator_look(core);
    return true;
}

bool core_uart_send(struct core *core, const uint8_t *data, size_t count)
{
    struct byte_queue *queue = &core->line;
    memmove(queue->bytes, queue->bytes + queue->head, queue->count - queue->head);
    queue->count -= queue->head;
    queue->head = 0;
    if (!make_room((void **)&queue->bytes, &queue->capacity, queue->count, count, 1))
        return false;
    memcpy(queue->bytes + queue->count, data, count);
    queue->count += count;
    core->now = core->cycle;
    usart_line_rearm(core);
    return true;
}

/* Registers of the peripherals live in their own structs: show them without the side effects of a read. */
void core_peek(const struct core *core, uint16_t address, uint8_t *data, size_t count)
{
    struct core copy = *core;
    copy.inspection = NULL;
    for (size_t n = 0; n < count; n++) {
        uint16_t place = (uint16_t)(address + n);
        copy.now = copy.cycle;
        data[n] = place >= 0x20 && place < SRAM_START ? io_read(&copy, (uint8_t)place) : copy.data[place];
        if (place >= 0x20 && place < SRAM_START)
            copy = *core, copy.inspection = NULL;
    }
}

void core_poke(struct core *core, uint16_t address, const uint8_t *data, size_t count)
{
    memcpy(core->data + address, data, count);
}

/* ---- state -------------------------------------------------------------------------------------------- */

/* A saved state is a header, the plain part of struct core, then the queues' contents. */
struct header { uint64_t magic, program_checksum, plain_size; };
enum { PLAIN_SIZE = offsetof(struct core, program) };
static const uint64_t MAGIC = 0x3250383233414D31u; /* changes with the layout's meaning */

struct cursor { uint8_t *write; const uint8_t *read; size_t left; bool failed; };

static void put(struct cursor *cursor, const void *data, size_t size)
{
    if (cursor->write && size)
        memcpy(cursor->write + cursor->left, data, size);
    cursor->left += size;
}

static void get(struct cursor *cursor, void *data, size_t size)
{
    if (cursor->failed || cursor->left < size) {
        cursor->failed = true;
        return;
    }
    if (size)
        memcpy(data, cursor->read, size);
    cursor->read += size;
    cursor->left -= size;
}

static void put_items(struct cursor *cursor, const void *items, uint64_t count, size_t size)
{
    put(cursor, &count, sizeof count);
    put(cursor, items, count * size);
}

static size_t get_items(struct cursor *cursor, void **items, size_t *capacity, size_t size)
{
    uint64_t count = 0;
    get(cursor, &count, sizeof count);
    if (cursor->failed || count > cursor->left / size || !make_room(items, capacity, 0, count, size)) {
        cursor->failed = true;
        return 0;
    }
    get(cursor, *items, count * size);
    return count;
}

/* Writes the state to `state`, or only measures it when that is NULL. */
static size_t serialise(const struct core *core, uint8_t *state)
{
    struct cursor cursor = {.write = state};
    struct header header = {MAGIC, core->image->checksum, PLAIN_SIZE};
    put(&cursor, &header, sizeof header);
    struct core plain = *core;
    plain.deadline = plain.now = 0; /* mean something only while running */
    cpu_set_status_register(&plain, cpu_status_register(core)); /* one form of the many that mean the same */
    put(&cursor, &plain, PLAIN_SIZE);
    for (int pin = 0; pin < PIN_COUNT; pin++) {
        const struct edge_queue *queue = &core->edges[pin];
        uint8_t next_high = queue->next_high;
        put(&cursor, &next_high, 1);
        put_items(&cursor, queue->cycles + queue->head, queue->count - queue->head, sizeof *queue->cycles);
    }
    for (int channel = 0; channel < ANALOG_CHANNELS; channel++)
        put_items(&cursor, core->analog[channel].segments, core->analog[channel].count,
                  sizeof(struct analog_segment));
    put_items(&cursor, core->line.bytes + core->line.head, core->line.count - core->line.head, 1);
    put_items(&cursor, core->own ? core->own->flash : NULL, core->own ? FLASH_BYTES : 0, 1);
    return cursor.left;
}

size_t core_state_size(const struct core *core) { return serialise(core, NULL); }
void core_save(const struct core *core, uint8_t *state) { serialise(core, state); }

/* Flash that the core has programmed itself; nothing when it runs the image. */
static void get_own_flash(struct core *core, struct cursor *cursor)
{
    uint64_t count = 0;
    get(cursor, &count, sizeof count);
    if (cursor->failed || count == 0)
        return;
    if (count != FLASH_BYTES || cursor->left < count || !self_programming_own(core, cursor->read)) {
        cursor->failed = true;
        return;
    }
    cursor->read += count;
    cursor->left -= count;
}

static bool deserialise(struct core *core, struct cursor *cursor)
{
    struct header header = {0};
    get(cursor, &header, sizeof header);
    if (cursor->failed || header.magic != MAGIC || header.plain_size != PLAIN_SIZE
        || header.program_checksum != core->image->checksum)
        return false;
    get(cursor, core, PLAIN_SIZE);
    for (int pin = 0; pin < PIN_COUNT; pin++) {
        struct edge_queue *queue = &core->edges[pin];
        uint8_t next_high = 0;
        get(cursor, &next_high, 1);
        queue->next_high = next_high;
        queue->count = get_items(cursor, (void **)&queue->cycles, &queue->capacity, sizeof *queue->cycles);
    }
    for (int channel = 0; channel < ANALOG_CHANNELS; channel++) {
        struct segment_queue *queue = &core->analog[channel];
        queue->count = get_items(cursor, (void **)&queue->segments, &queue->capacity, sizeof *queue->segments);
    }
    core->line.count = get_items(cursor, (void **)&core->line.bytes, &core->line.capacity, 1);
    get_own_flash(core, cursor);
    return !cursor->failed && cursor->left == 0;
}

/* Takes over a whole state or, when it is not one of this image, leaves the core as it is. */
bool core_restore(struct core *core, const uint8_t *state, size_t size)
{
    struct core *fresh = calloc(1, sizeof *fresh);
    struct cursor cursor = {.read = state, .left = size};
    if (!fresh)
        return false;
    fresh->program = fresh->image = core->image;
    fresh->starts_boot_loader = core->starts_boot_loader;
    bool ok = deserialise(fresh, &cursor);
    if (ok) {
        struct core old = *core;
        *core = *fresh;
        *fresh = old;
        core->inspection = old.inspection;
        fresh->inspection = NULL;
    }
    core_destroy(fresh);
    return ok;
}
