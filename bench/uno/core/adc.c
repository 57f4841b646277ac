/* Analog-to-digital converter: datasheet 24. Durations are in half ADC clocks (table 24-1). */
#include "core.h"

enum {
    SAMPLE_FIRST = 27, COMPLETE_FIRST = 50, SAMPLE_NORMAL = 3, COMPLETE_NORMAL = 26,
    SAMPLE_TRIGGERED = 4, COMPLETE_TRIGGERED = 27, TRIGGER_SYNCHRONISATION = 3,
    REFERENCE_INTERNAL = 0xC0,
    CHANNEL_TEMPERATURE = 8, CHANNEL_BANDGAP = 14, TEMPERATURE_25C_UV = 314000, /* table 24-2 */
    FULL_SCALE = 1024,
};

static uint32_t half_clock(const struct adc *adc)
{
    static const uint8_t half[8] = {1, 1, 2, 4, 8, 16, 32, 64}; /* table 24-5, halved */
    return half[adc->control_a & ADCSRA_ADPS];
}

static void refresh_request(struct core *core)
{
    interrupt_request(core, VECTOR_ADC, core->adc.control_a & ADCSRA_ADIF && core->adc.control_a & ADCSRA_ADIE);
}

/* Channel and reference are taken over when the conversion starts (24.5). */
static void start(struct core *core, uint32_t sample_halves, uint32_t complete_halves)
{
    struct adc *adc = &core->adc;
    uint32_t half = half_clock(adc);
    adc->latched = adc->multiplexer;
    adc->phase = ADC_SAMPLING;
    adc->sample_cycle = core->now + sample_halves * half;
    adc->complete_cycle = core->now + complete_halves * half;
    event_at(core, EVENT_ADC, adc->sample_cycle);
}

/* A conversion asked for by software begins at the next rising ADC clock (24.4). */
static void request(struct core *core)
{
    struct adc *adc = &core->adc;
    uint32_t clock = 2 * half_clock(adc);
    adc->phase = ADC_STARTING;
    adc->control_a |= ADCSRA_ADSC;
    event_at(core, EVENT_ADC, adc->prescaler_origin + ((core->now - adc->prescaler_origin) / clock + 1) * clock);
}

static int64_t reference_uv(const struct adc *adc)
{
    return (adc->latched & ADMUX_REFS) == REFERENCE_INTERNAL ? BANDGAP_UV : SUPPLY_UV;
}

static int64_t input_uv(const struct core *core)
{
    uint8_t channel = core->adc.latched & ADMUX_MUX;
    if (channel < ADC_PINS)
        return analog_microvolts(core, channel, core->now);
    if (channel == CHANNEL_TEMPERATURE)
        return TEMPERATURE_25C_UV;
    return channel == CHANNEL_BANDGAP ? BANDGAP_UV : 0;
}

/* ADC = Vin * 1024 / Vref (24.7). */
static uint16_t quantise(int64_t input, int64_t reference)
{
    int64_t code = input * FULL_SCALE / reference;
    return (uint16_t)(code < 0 || input < 0 ? 0 : code >= FULL_SCALE ? FULL_SCALE - 1 : code);
}

static void complete(struct core *core)
{
    struct adc *adc = &core->adc;
    if (!adc->locked)
        adc->result = adc->sample;
    adc->warm = true;
    adc->control_a |= ADCSRA_ADIF;
    if (adc->control_a & ADCSRA_ADATE && (adc->control_b & ADCSRB_ADTS) == ADC_FREE_RUNNING) {
        start(core, SAMPLE_NORMAL, COMPLETE_NORMAL);
    } else {
        adc->phase = ADC_IDLE;
        adc->control_a &= (uint8_t)~ADCSRA_ADSC;
    }
    refresh_request(core);
}

void adc_event(struct core *core)
{
    struct adc *adc = &core->adc;
    switch (adc->phase) {
    case ADC_STARTING:
        if (adc->warm)
            start(core, SAMPLE_NORMAL, COMPLETE_NORMAL);
        else
            start(core, SAMPLE_FIRST, COMPLETE_FIRST);
        break;
    case ADC_SAMPLING:
        adc->sample = quantise(input_uv(core), reference_uv(adc));
        adc->phase = ADC_CONVERTING;
        event_at(core, EVENT_ADC, adc->complete_cycle);
        break;
    case ADC_CONVERTING: complete(core); break;
    default: break;
    }
}

bool adc_listens(const struct core *core, enum adc_trigger source)
{
    const uint8_t armed = ADCSRA_ADEN | ADCSRA_ADATE;
    return (core->adc.control_a & armed) == armed && !(core->data[PRR] & PRR_PRADC)
        && (core->adc.control_b & ADCSRB_ADTS) == source;
}

/* Rising flag of the trigger source: resets the prescaler, so that the delay is fixed (24.4). */
void adc_trigger(struct core *core, enum adc_trigger source)
{
    struct adc *adc = &core->adc;
    if (source == ADC_FREE_RUNNING || !adc_listens(core, source) || adc->phase != ADC_IDLE)
        return;
    uint64_t trigger_cycle = core->now;
    core->now += TRIGGER_SYNCHRONISATION;
    adc->prescaler_origin = core->now;
    adc->control_a |= ADCSRA_ADSC;
    if (adc->warm)
        start(core, SAMPLE_TRIGGERED, COMPLETE_TRIGGERED);
    else
        start(core, SAMPLE_FIRST, COMPLETE_FIRST);
    core->now = trigger_cycle;
}

void adc_acknowledge(struct core *core)
{
    core->adc.control_a &= (uint8_t)~ADCSRA_ADIF;
    refresh_request(core);
}

/* Entering Idle or ADC Noise Reduction starts a conversion by itself (10.3, 10.4). */
void adc_sleep_entered(struct core *core)
{
    if (core->adc.control_a & ADCSRA_ADEN && core->adc.phase == ADC_IDLE && !(core->data[PRR] & PRR_PRADC))
        request(core);
}

void adc_clock_resumed(struct core *core, uint64_t stopped_cycles)
{
    core->adc.prescaler_origin += stopped_cycles;
    core->adc.sample_cycle += stopped_cycles;
    core->adc.complete_cycle += stopped_cycles;
}

/* Reading ADCL keeps the result from changing until ADCH is read (24.2). */
uint8_t adc_read(struct core *core, uint8_t address)
{
    struct adc *adc = &core->adc;
    uint16_t result = (uint16_t)(adc->multiplexer & ADMUX_ADLAR ? adc->result << 6 : adc->result);
    switch (address) {
    case ADCL: adc->locked = true; return (uint8_t)result;
    case ADCH: adc->locked = false; return (uint8_t)(result >> 8);
    case ADCSRA: return adc->control_a;
    case ADCSRB: return adc->control_b;
    default: return adc->multiplexer;
    }
}

static void switch_off(struct core *core)
{
    core->adc.phase = ADC_IDLE;
    core->adc.warm = false;
    core->adc.control_a &= (uint8_t)~ADCSRA_ADSC;
    event_at(core, EVENT_ADC, NEVER);
}

static void write_control_a(struct core *core, uint8_t value)
{
    struct adc *adc = &core->adc;
    const uint8_t kept = (uint8_t)((adc->control_a & ADCSRA_ADIF & ~value) | (adc->control_a & ADCSRA_ADSC));
    if (value & ADCSRA_ADEN && !(adc->control_a & ADCSRA_ADEN))
        adc->prescaler_origin = core->now;
    adc->control_a = (uint8_t)((value & ~(ADCSRA_ADIF | ADCSRA_ADSC)) | kept);
    if (!(value & ADCSRA_ADEN))
        switch_off(core);
    else if (value & ADCSRA_ADSC && adc->phase == ADC_IDLE)
        request(core);
}

void adc_write(struct core *core, uint8_t address, uint8_t value)
{
    struct adc *adc = &core->adc;
    switch (address) {
    case ADCSRA: write_control_a(core, value); break;
    case ADCSRB: adc->control_b = value & 0x47; break;
    case ADMUX: adc->multiplexer = value & 0xEF; break;
    default: return;
    }
    refresh_request(core);
    timer_synchronise_all(core); /* a timer may have become, or ceased to be, the trigger */
    timer_reschedule_all(core);
    comparator_look(core);
}

void adc_reset(struct core *core)
{
    core->adc = (struct adc){.phase = ADC_IDLE};
}
