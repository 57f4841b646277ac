/* EEPROM: datasheet 8.4 and 8.6. */
#include "core.h"

enum {
    ENABLE_WINDOW = 4, READ_HALT = 4, WRITE_HALT = 2, ERASED = 0xFF, /* 8.6.3 */
    ERASE_AND_WRITE_CYCLES = 34 * CYCLES_PER_MILLISECOND / 10, /* 3.4 ms, table 8-1 of EEPM bits */
    HALF_CYCLES = 18 * CYCLES_PER_MILLISECOND / 10,            /* erase or write only: 1.8 ms */
};

static bool is_programming(const struct eeprom *eeprom) { return eeprom->control & EECR_EEPE; }

bool eeprom_is_programming(const struct core *core) { return is_programming(&core->eeprom); }

static void refresh_request(struct core *core)
{
    interrupt_request(core, VECTOR_EE_READY, core->eeprom.control & EECR_EERIE && !is_programming(&core->eeprom));
}

static uint8_t programmed_value(const struct eeprom *eeprom)
{
    switch (eeprom->programming_mode) {
    case EEPM_ERASE_ONLY: return ERASED;
    case EEPM_WRITE_ONLY: return eeprom->cells[eeprom->programming_address] & eeprom->programming_data;
    default: return eeprom->programming_data;
    }
}

static void begin_programming(struct core *core)
{
    struct eeprom *eeprom = &core->eeprom;
    eeprom->enable_until = 0;
    eeprom->started = core->now;
    self_programming_lose_buffer(core);
    eeprom->programming_mode = eeprom->control & EECR_EEPM;
    eeprom->programming_address = eeprom->address;
    eeprom->programming_data = eeprom->data;
    eeprom->control |= EECR_EEPE;
    core->stall += WRITE_HALT;
    core->deadline = 0;
    event_at(core, EVENT_EEPROM,
             core->now + (eeprom->programming_mode == EEPM_ERASE_AND_WRITE ? ERASE_AND_WRITE_CYCLES : HALF_CYCLES));
}

void eeprom_event(struct core *core)
{
    struct eeprom *eeprom = &core->eeprom;
    eeprom->cells[eeprom->programming_address] = programmed_value(eeprom);
    eeprom->control &= (uint8_t)~EECR_EEPE;
    refresh_request(core);
}

static bool window_open(const struct core *core) { return core->now <= core->eeprom.enable_until; }

/* EEMPE arms EEPE for four cycles; a write of EEPE outside them does nothing (8.6.3). */
static void write_control(struct core *core, uint8_t value)
{
    struct eeprom *eeprom = &core->eeprom;
    uint8_t writable = is_programming(eeprom) ? EECR_EERIE : EECR_EERIE | EECR_EEPM;
    eeprom->control = (uint8_t)((eeprom->control & ~writable) | (value & writable));
    if (value & EECR_EEPE && window_open(core) && !is_programming(eeprom) && !self_programming_is_busy(core))
        begin_programming(core);
    else if (value & EECR_EEMPE && !(value & EECR_EEPE))
        eeprom->enable_until = core->now + ENABLE_WINDOW;
    if (value & EECR_EERE && !is_programming(eeprom)) {
        eeprom->data = eeprom->cells[eeprom->address];
        core->stall += READ_HALT;
        core->deadline = 0;
    }
    refresh_request(core);
}

uint8_t eeprom_read(struct core *core, uint8_t address)
{
    const struct eeprom *eeprom = &core->eeprom;
    switch (address) {
    case EECR: return (uint8_t)(eeprom->control | (eeprom->enable_until && window_open(core) ? EECR_EEMPE : 0));
    case EEDR: return eeprom->data;
    case EEARL: return (uint8_t)eeprom->address;
    default: return (uint8_t)(eeprom->address >> 8);
    }
}

void eeprom_write(struct core *core, uint8_t address, uint8_t value)
{
    struct eeprom *eeprom = &core->eeprom;
    switch (address) {
    case EECR: write_control(core, value); break;
    case EEDR: eeprom->data = value; break;
    case EEARL: eeprom->address = (uint16_t)((eeprom->address & 0x300) | value); break;
    default: eeprom->address = (uint16_t)((eeprom->address & 0x0FF) | (value & 3) << 8); break;
    }
}

/* A power cut in the middle of programming leaves the cell erased (first half) or half written (second half). */
static void tear(struct core *core)
{
    struct eeprom *eeprom = &core->eeprom;
    bool erasing = core->cycle - eeprom->started < ERASE_AND_WRITE_CYCLES / 2;
    if (eeprom->programming_mode == EEPM_ERASE_AND_WRITE)
        eeprom->cells[eeprom->programming_address] = erasing ? ERASED : eeprom->programming_data | 0x55;
    else
        eeprom->cells[eeprom->programming_address] = programmed_value(eeprom) | 0x55;
}

/* A reset with the supply intact lets a write under way finish (8.4.1); one without does not. */
void eeprom_reset(struct core *core, enum reset_cause cause)
{
    struct eeprom *eeprom = &core->eeprom;
    bool supply_lost = cause == RESET_POWER_ON || cause == RESET_BROWN_OUT;
    if (is_programming(eeprom) && supply_lost)
        tear(core);
    else if (is_programming(eeprom))
        eeprom->cells[eeprom->programming_address] = programmed_value(eeprom);
    eeprom->enable_until = 0;
    eeprom->control = 0;
    eeprom->address = 0;
    eeprom->data = 0;
}
