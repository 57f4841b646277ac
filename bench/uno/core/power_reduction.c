/* Power reduction: datasheet 10.9 and 10.11.3. A module whose PRR bit is set has no clock: what it was doing stands
 * still until the bit is cleared, and its registers can be neither read nor written. */
#include "core.h"

struct module { uint8_t reduction; enum event event; };

/* The timers stand still by their own reckoning, see timer.c. */
static const struct module modules[] = {
    {PRR_PRADC, EVENT_ADC}, {PRR_PRUSART0, EVENT_USART_TRANSMIT}, {PRR_PRSPI, EVENT_SPI}, {PRR_PRTWI, EVENT_TWI},
};

static uint8_t reduction_of(uint8_t address)
{
    switch (address) {
    case ADCL: case ADCH: case ADCSRA: case ADCSRB: case ADMUX: return PRR_PRADC;
    case UCSR0A: case UCSR0B: case UCSR0C: case UBRR0L: case UBRR0H: case UDR0: return PRR_PRUSART0;
    case SPCR: case SPSR: case SPDR: return PRR_PRSPI;
    case TWBR: case TWSR: case TWAR: case TWDR: case TWCR: case TWAMR: return PRR_PRTWI;
    default: return timer_reduction(address);
    }
}

bool power_reduction_hides(const struct core *core, uint8_t address)
{
    return core->data[PRR] && core->data[PRR] & reduction_of(address);
}

static void stop(struct core *core, enum event event)
{
    uint64_t cycle = core->event_cycle[event];
    core->reduced_event[event] = cycle == NEVER ? NEVER : cycle - core->now;
    event_at(core, event, NEVER);
}

static void resume(struct core *core, enum event event)
{
    if (core->reduced_event[event] != NEVER)
        event_at(core, event, core->now + core->reduced_event[event]);
}

void power_reduction_write(struct core *core, uint8_t value)
{
    uint8_t before = core->data[PRR], after = value & 0xEF;
    timer_synchronise_all(core);
    core->data[PRR] = after;
    for (size_t n = 0; n < sizeof modules / sizeof *modules; n++) {
        if (after & ~before & modules[n].reduction)
            stop(core, modules[n].event);
        else if (before & ~after & modules[n].reduction)
            resume(core, modules[n].event);
    }
    if (after & ~before & PRR_PRADC)
        core->adc_stop_cycle = core->now;
    else if (before & ~after & PRR_PRADC)
        adc_clock_resumed(core, core->now - core->adc_stop_cycle);
    if (after & PRR_PRUSART0)
        core->usart.receiving_spoilt = true;
    timer_reschedule_all(core);
    comparator_look(core);
}
