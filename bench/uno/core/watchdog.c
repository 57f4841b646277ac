/* Watchdog timer: datasheet 11.8 and 11.9.2. */
#include "core.h"

enum { CHANGE_WINDOW = 4, CYCLES_PER_TICK = 125, SHORTEST_TICKS = 2048, LONGEST_SELECT = 9 }; /* 128 kHz, 11-2 */

static uint64_t period(const struct watchdog *watchdog)
{
    uint32_t select = (watchdog->control & 7) | (watchdog->control & 0x20) >> 2;
    if (select > LONGEST_SELECT)
        select = LONGEST_SELECT;
    return (uint64_t)(SHORTEST_TICKS * CYCLES_PER_TICK) << select;
}

static bool is_running(const struct watchdog *watchdog) { return watchdog->control & (WDTCSR_WDE | WDTCSR_WDIE); }

static void refresh(struct core *core)
{
    struct watchdog *watchdog = &core->watchdog;
    const uint8_t both = WDTCSR_WDIE | WDTCSR_WDIF;
    interrupt_request(core, VECTOR_WDT, (watchdog->control & both) == both);
    uint64_t elapsed = core->now - watchdog->origin;
    event_at(core, EVENT_WATCHDOG, is_running(watchdog)
             ? watchdog->origin + (elapsed / period(watchdog) + 1) * period(watchdog) : NEVER);
}

void watchdog_restart(struct core *core)
{
    core->watchdog.origin = core->now;
    refresh(core);
}

/* Table 11-1: interrupt, reset, or interrupt first and reset when that was not served by the next time-out. */
void watchdog_event(struct core *core)
{
    struct watchdog *watchdog = &core->watchdog;
    bool served = !(watchdog->control & WDTCSR_WDIF);
    if (watchdog->control & WDTCSR_WDE && !(watchdog->control & WDTCSR_WDIE && served)) {
        core->watchdog_bites = true;
        core->deadline = 0;
        return;
    }
    watchdog->control |= WDTCSR_WDIF;
    refresh(core);
}

void watchdog_acknowledge(struct core *core)
{
    struct watchdog *watchdog = &core->watchdog;
    watchdog->control &= (uint8_t)~(WDTCSR_WDIF | (watchdog->control & WDTCSR_WDE ? WDTCSR_WDIE : 0));
    refresh(core);
}

uint8_t watchdog_read(struct core *core)
{
    const struct watchdog *watchdog = &core->watchdog;
    return (uint8_t)(watchdog->control | (core->now < watchdog->change_until ? WDTCSR_WDCE : 0));
}

/* WDP changes and WDE clears only within four cycles of writing WDCE and WDE together (11.8.2).
 * WDRF keeps WDE set. */
void watchdog_write(struct core *core, uint8_t value)
{
    struct watchdog *watchdog = &core->watchdog;
    bool was_running = is_running(watchdog), opens = value & WDTCSR_WDCE && value & WDTCSR_WDE;
    bool may_change = !opens && core->now <= watchdog->change_until;
    uint8_t changeable = WDTCSR_WDIE | (may_change ? WDTCSR_WDE | WDTCSR_WDP : 0);
    uint8_t control = (uint8_t)((watchdog->control & ~changeable) | (value & changeable));
    control |= value & WDTCSR_WDE;
    if (core->reset_status & MCUSR_WDRF)
        control |= WDTCSR_WDE;
    control &= (uint8_t)~(value & WDTCSR_WDIF);
    watchdog->control = control;
    watchdog->change_until = opens ? core->now + CHANGE_WINDOW : 0;
    if (!was_running)
        watchdog->origin = core->now;
    refresh(core);
}

void watchdog_reset(struct core *core)
{
    core->watchdog = (struct watchdog){
        .control = core->reset_status & MCUSR_WDRF ? WDTCSR_WDE : 0, .origin = core->now,
    };
    refresh(core);
}
