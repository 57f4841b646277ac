/* The calendar of a core: for each source, when it must next be looked at. */
#include "core.h"

static uint64_t minimum(uint64_t a, uint64_t b) { return a < b ? a : b; }

void event_refresh(struct core *core)
{
    uint64_t next = NEVER;
    for (int event = 0; event < EVENT_COUNT; event++)
        next = minimum(next, core->event_cycle[event]);
    core->next_event = next;
    core->deadline = minimum(core->deadline, next);
}

void event_at(struct core *core, enum event event, uint64_t cycle)
{
    uint64_t before = core->event_cycle[event];
    core->event_cycle[event] = cycle;
    if (cycle <= core->next_event) {
        core->next_event = cycle;
        core->deadline = minimum(core->deadline, cycle);
    } else if (before == core->next_event) {
        event_refresh(core);
    }
}

static void handle(struct core *core, enum event event)
{
    switch (event) {
    case EVENT_TIMER0: case EVENT_TIMER1: case EVENT_TIMER2: timer_event(core, (int)(event - EVENT_TIMER0)); break;
    case EVENT_USART_TRANSMIT: usart_transmit_event(core); break;
    case EVENT_USART_RECEIVE: usart_receive_event(core); break;
    case EVENT_SPI: spi_event(core); break;
    case EVENT_ADC: adc_event(core); break;
    case EVENT_EEPROM: eeprom_event(core); break;
    case EVENT_WATCHDOG: watchdog_event(core); break;
    case EVENT_EDGE: gpio_edge_event(core); break;
    case EVENT_SYNCHRONISER: external_interrupt_event(core); break;
    case EVENT_TWI: twi_event(core); break;
    case EVENT_COMPARATOR: comparator_look(core); break;
    case EVENT_SELF_PROGRAMMING: self_programming_event(core); break;
    case EVENT_COUNT: break;
    }
}

/* Handles what is due by `cycle`, earliest first, each at its own time. */
void event_run_due(struct core *core, uint64_t cycle)
{
    while (core->next_event <= cycle) {
        int due = 0;
        while (core->event_cycle[due] != core->next_event)
            due++;
        core->now = core->next_event;
        core->event_cycle[due] = NEVER;
        event_refresh(core);
        handle(core, (enum event)due);
    }
}
