/* Analog comparator: datasheet 23. Ideal: no offset, hysteresis or propagation delay. */
#include "core.h"

enum {
    SYNCHRONISATION = 2, /* of ACO: 1 to 2 cycles, 23.2 */
    ON_TOGGLE = 0, ON_FALLING = 2, ON_RISING = 3, /* table 23-2 */
    ROUNDING_UV = 2, /* by which the two voltages may be off together */
};

/* A pin's voltage, or the bandgap. */
struct input { bool is_bandgap; uint8_t channel; };

static struct input plus_input(const struct core *core)
{
    return (struct input){core->comparator.control & ACSR_ACBG, ANALOG_AIN0};
}

/* Table 23-1. The multiplexer is the ADC's, and without a clock when that has none. */
static struct input minus_input(const struct core *core)
{
    const struct adc *adc = &core->adc;
    bool is_free = !(adc->control_a & ADCSRA_ADEN) && !(core->data[PRR] & PRR_PRADC);
    bool multiplexed = adc->control_b & ADCSRB_ACME && is_free;
    return (struct input){false, multiplexed ? adc->multiplexer & 7 : ANALOG_AIN1};
}

static int64_t voltage(const struct core *core, struct input input)
{
    return input.is_bandgap ? BANDGAP_UV : analog_microvolts(core, input.channel, core->now);
}

static struct analog_pace pace(const struct core *core, struct input input)
{
    return input.is_bandgap ? (struct analog_pace){0, NEVER} : analog_pace_of(core, input.channel, core->now);
}

static bool is_on(const struct core *core) { return !(core->comparator.control & ACSR_ACD); }

/* plus above minus, in uV */
static int64_t difference(const struct core *core)
{
    return voltage(core, plus_input(core)) - voltage(core, minus_input(core));
}

static void refresh_request(struct core *core)
{
    const uint8_t both = ACSR_ACI | ACSR_ACIE;
    interrupt_request(core, VECTOR_ANALOG_COMP, (core->comparator.control & both) == both);
}

/* No crossing can come before the voltages, at their fastest, have met; looked at then, they are nearer. So the looks
 * close in on a crossing, and none is missed. */
static void plan_next_look(struct core *core)
{
    struct analog_pace plus = pace(core, plus_input(core)), minus = pace(core, minus_input(core));
    uint64_t next = plus.until < minus.until ? plus.until : minus.until;
    unsigned __int128 fastest = plus.fastest + minus.fastest;
    if (fastest) {
        int64_t gap = difference(core);
        gap = gap < 0 ? -gap : gap;
        unsigned __int128 quiet = gap > ROUNDING_UV ? ((unsigned __int128)(gap - ROUNDING_UV) << 64) / fastest : 0;
        if (quiet < next - core->now)
            next = core->now + (quiet ? (uint64_t)quiet : 1);
    }
    event_at(core, EVENT_COMPARATOR, is_on(core) ? next : NEVER);
}

/* Compares now. Without the I/O clock nobody notices, until it is back. */
void comparator_look(struct core *core)
{
    struct comparator *comparator = &core->comparator;
    if (core->io_clock_stopped)
        return;
    bool above = is_on(core) && difference(core) > 0;
    if (above != comparator->above) {
        comparator->above = above;
        external_interrupt_synchronise(core, above ? SIGNAL_COMPARATOR_HIGH : SIGNAL_COMPARATOR_LOW, SYNCHRONISATION);
        if (comparator->control & ACSR_ACIC)
            external_interrupt_capture_edge(core, above);
    }
    plan_next_look(core);
}

void comparator_pins_changed(struct core *core, enum port_index port, uint8_t changed)
{
    const uint8_t own = 1 << 6 | 1 << 7; /* AIN0 is PD6, AIN1 is PD7 */
    if (port == PORT_C ? core->adc.control_b & ADCSRB_ACME : port == PORT_D && changed & own)
        comparator_look(core);
}

/* The comparator's output arrives at ACO. */
void comparator_output(struct core *core, bool high)
{
    struct comparator *comparator = &core->comparator;
    uint8_t mode = comparator->control & ACSR_ACIS;
    bool was_flagged = comparator->control & ACSR_ACI, matches = mode == (high ? ON_RISING : ON_FALLING);
    if (high == comparator->output)
        return;
    comparator->output = high;
    if (mode == ON_TOGGLE || matches)
        comparator->control |= ACSR_ACI;
    if (comparator->control & ACSR_ACI && !was_flagged)
        adc_trigger(core, ADC_ANALOG_COMPARATOR);
    refresh_request(core);
}

void comparator_acknowledge(struct core *core)
{
    core->comparator.control &= (uint8_t)~ACSR_ACI;
    refresh_request(core);
}

uint8_t comparator_read(const struct core *core)
{
    return (uint8_t)(core->comparator.control | (core->comparator.output ? ACSR_ACO : 0));
}

void comparator_write(struct core *core, uint8_t value)
{
    struct comparator *comparator = &core->comparator;
    uint8_t flag = comparator->control & ACSR_ACI & (uint8_t)~value;
    comparator->control = (uint8_t)((value & ~(ACSR_ACI | ACSR_ACO)) | flag);
    refresh_request(core);
    comparator_look(core);
}

void comparator_reset(struct core *core)
{
    core->comparator = (struct comparator){.control = 0};
    core->comparator.above = core->comparator.output = difference(core) > 0;
    plan_next_look(core);
}
