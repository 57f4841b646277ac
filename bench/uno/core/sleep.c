/* Sleep modes: datasheet 10 "Power Management and Sleep Modes", table 10-1. */
#include "core.h"

/* Start-up from power-down and power-save with the Uno's fuses (CKSEL 1111, SUT 11: low power crystal oscillator,
 * slowly rising power): 16K CK, datasheet table 9-4. Where the oscillator runs on there is none to start up: 6 CK,
 * 10.7. In power-save it runs on for Timer2, if that counts it; the datasheet gives no figure for waking then. It calls
 * extended standby the same mode with the oscillator kept running (10.8), so the figure is taken from there. */
enum { START_UP_STOPPED = 16384, START_UP_RUNNING = 6, WAKE_HALT_CYCLES = 4 };

#define BIT(vector) (1u << (vector))
#define PIN_SOURCES \
    (BIT(VECTOR_INT0) | BIT(VECTOR_INT1) | BIT(VECTOR_PCINT0) | BIT(VECTOR_PCINT1) | BIT(VECTOR_PCINT2) \
     | BIT(VECTOR_WDT) | BIT(VECTOR_TWI))
#define TIMER2_SOURCES (BIT(VECTOR_TIMER2_COMPA) | BIT(VECTOR_TIMER2_COMPB) | BIT(VECTOR_TIMER2_OVF))

static uint32_t wake_sources(uint8_t mode)
{
    switch (mode) {
    case SLEEP_IDLE: return UINT32_MAX;
    case SLEEP_ADC_NOISE_REDUCTION:
        return PIN_SOURCES | BIT(VECTOR_ADC) | BIT(VECTOR_EE_READY) | BIT(VECTOR_SPM_READY);
    case SLEEP_POWER_SAVE: case SLEEP_EXTENDED_STANDBY: return PIN_SOURCES | TIMER2_SOURCES;
    default: return PIN_SOURCES;
    }
}

static uint32_t start_up_cycles(const struct core *core)
{
    switch (core->sleep_mode) {
    case SLEEP_IDLE: case SLEEP_ADC_NOISE_REDUCTION: return 0;
    case SLEEP_STANDBY: case SLEEP_EXTENDED_STANDBY: return START_UP_RUNNING;
    case SLEEP_POWER_SAVE: return timer_holds_clock(core) ? START_UP_RUNNING : START_UP_STOPPED;
    default: return START_UP_STOPPED;
    }
}

static bool freezes(enum event event, uint8_t mode)
{
    switch (event) {
    case EVENT_USART_TRANSMIT: case EVENT_SPI: case EVENT_TWI: case EVENT_SYNCHRONISER: case EVENT_COMPARATOR:
        return true;
    case EVENT_ADC: return mode != SLEEP_ADC_NOISE_REDUCTION;
    default: return false;
    }
}

static void stop_io_clock(struct core *core)
{
    timer_synchronise_all(core);
    core->io_clock_stopped = true;
    core->io_clock_stop_cycle = core->now;
    core->usart.receiving_spoilt = true;
    for (int event = 0; event < EVENT_COUNT; event++) {
        core->frozen_event[event] = NEVER;
        if (freezes((enum event)event, core->sleep_mode)) {
            core->frozen_event[event] = core->event_cycle[event];
            core->event_cycle[event] = NEVER;
        }
    }
    timer_reschedule_all(core);
    event_refresh(core);
}

static void start_io_clock(struct core *core)
{
    uint64_t stopped = core->now - core->io_clock_stop_cycle;
    timer_synchronise_all(core);
    core->io_clock_stopped = false;
    for (int event = 0; event < EVENT_COUNT; event++)
        if (core->frozen_event[event] != NEVER)
            event_at(core, (enum event)event, core->frozen_event[event] + stopped);
    external_interrupt_clock_resumed(core, stopped);
    if (core->sleep_mode != SLEEP_ADC_NOISE_REDUCTION && !(core->data[PRR] & PRR_PRADC))
        adc_clock_resumed(core, stopped);
    timer_clock_resumed(core, stopped);
    comparator_look(core);
}

/* SLEEP with SE set. Modes 4 and 5 are reserved and do nothing. */
void sleep_enter(struct core *core)
{
    uint8_t mode = core->data[SMCR] >> 1 & 7;
    if (!(core->data[SMCR] & SMCR_SE) || mode == 4 || mode == 5)
        return;
    core->sleep_mode = mode;
    core->wake_cycle = NEVER;
    core->deadline = 0;
    if (mode != SLEEP_IDLE) {
        stop_io_clock(core);
        external_interrupt_clock_stopped(core);
    }
    if (mode == SLEEP_ADC_NOISE_REDUCTION || mode == SLEEP_IDLE)
        adc_sleep_entered(core);
}

/* Ends the sleep at core->cycle; the CPU halts four cycles more (datasheet 10.1). */
static void leave(struct core *core)
{
    core->now = core->cycle;
    if (core->io_clock_stopped)
        start_io_clock(core);
    core->sleep_mode = AWAKE;
    core->wake_cycle = NEVER;
    core->stall += WAKE_HALT_CYCLES;
}

static bool is_called(const struct core *core)
{
    return core->flags.interrupt && core->pending & wake_sources(core->sleep_mode);
}

/* When a sleeping core runs again, or the earliest event that may wake it; NEVER: nothing inside can. */
uint64_t sleep_wake_cycle(const struct core *core)
{
    if (core->wake_cycle != NEVER)
        return core->wake_cycle;
    if (is_called(core))
        return core->cycle + start_up_cycles(core);
    return core->flags.interrupt || core->watchdog.control & WDTCSR_WDE ? core->next_event : NEVER;
}

/* Moves a sleeping core to the next event, its waking, or `limit`. False: nothing inside can ever wake it. */
bool sleep_continue(struct core *core, uint64_t limit)
{
    bool can_wake = sleep_wake_cycle(core) != NEVER;
    if (core->wake_cycle == NEVER && is_called(core))
        core->wake_cycle = sleep_wake_cycle(core);
    uint64_t target = core->next_event < core->wake_cycle ? core->next_event : core->wake_cycle;
    if (target > limit)
        target = limit;
    core->sleep_cycles[core->sleep_mode] += target - core->cycle;
    core->cycle = target;
    if (core->cycle >= core->wake_cycle)
        leave(core);
    return can_wake;
}
