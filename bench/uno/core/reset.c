/* Resets: datasheet 11 "System Control and Reset". */
#include <string.h>

#include "core.h"

/* SRAM and registers hold anything at power-on; here the same anything every time (xorshift32). */
static void scramble_memory(struct core *core)
{
    uint32_t x = 0x328F1E95u;
    for (int address = 0; address < DATA_SPACE_SIZE; address++) {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        core->data[address] = (uint8_t)(x >> 24);
    }
}

static uint8_t reset_flags(uint8_t before, enum reset_cause cause)
{
    switch (cause) {
    case RESET_POWER_ON: return MCUSR_PORF;
    case RESET_EXTERNAL: return before | MCUSR_EXTRF;
    case RESET_BROWN_OUT: return before | MCUSR_BORF;
    default: return before | MCUSR_WDRF;
    }
}

/* Puts every register to its initial value; the first instruction runs start_up_cycles later. */
void reset_begin(struct core *core, enum reset_cause cause, uint64_t start_up_cycles)
{
    if (core->sleep_mode != AWAKE) {
        core->io_clock_stopped = false;
        core->sleep_mode = AWAKE;
    }
    if (cause == RESET_POWER_ON)
        scramble_memory(core);
    memset(core->data + 0x20, 0, SRAM_START - 0x20);
    core->reset_status = reset_flags(core->reset_status, cause);
    core->reset_until = core->cycle + start_up_cycles;
    core->now = core->reset_until;
    core->program_counter = core->starts_boot_loader ? BOOT_START : 0; /* table 27-4 */
    core->vector_change_until = 0;
    cpu_set_status_register(core, 0);
    core->stack_pointer = RAMEND;
    core->pending = 0;
    core->stops &= 1u << STOP_PIN;
    core->stall = 0;
    core->wake_cycle = NEVER;
    core->enabled_cycle = NEVER;
    core->watchdog_bites = false;
    core->prescaler_origin[0] = core->prescaler_origin[1] = core->reset_until;
    core->prescaler_hold = 0;
    for (int event = 0; event < EVENT_COUNT; event++) {
        core->reduced_event[event] = NEVER;
        if (event != EVENT_EDGE && event != EVENT_USART_RECEIVE)
            core->event_cycle[event] = NEVER;
    }
    event_refresh(core);
    timer_reset(core);
    usart_reset(core);
    spi_reset(core);
    adc_reset(core);
    twi_reset(core);
    eeprom_reset(core, cause);
    self_programming_reset(core, cause);
    watchdog_reset(core);
    gpio_reset(core);
    comparator_reset(core);
    core->deadline = 0;
}
