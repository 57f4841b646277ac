/* What the analog pins carry: a constant plus a sine, piece by piece. Integers throughout. */
#include "core.h"

enum {
    TABLE_BITS = 12, TABLE_SIZE = 1 << TABLE_BITS, QUARTER = TABLE_SIZE / 4, ONE_BITS = 30,
    FRACTION_BITS = 16,
};

static const int64_t HALF_PI = 1686629713; /* pi/2 * 2^30 */
static int32_t sine_table[TABLE_SIZE + 1];

/* Taylor series on [0, pi/2], in units of 2^-30; the error stays below 8 units. */
static int64_t sine_of(int64_t angle)
{
    int64_t square = angle * angle >> ONE_BITS, term = angle, sum = angle;
    for (int n = 2; n <= 16; n += 2) {
        term = -(term * square >> ONE_BITS) / (n * (n + 1));
        sum += term;
    }
    return sum;
}

void analog_prepare(void)
{
    for (int i = 0; i <= QUARTER; i++) {
        int32_t value = (int32_t)sine_of(HALF_PI * i / QUARTER);
        sine_table[i] = sine_table[2 * QUARTER - i] = value;
        sine_table[2 * QUARTER + i] = sine_table[4 * QUARTER - i] = -value;
    }
}

/* Sine of a phase whose 2^64 make a turn, linear between table entries. */
static int64_t sine(uint64_t phase)
{
    uint32_t index = (uint32_t)(phase >> (64 - TABLE_BITS));
    int64_t fraction = (int64_t)(phase >> (64 - TABLE_BITS - FRACTION_BITS) & ((1 << FRACTION_BITS) - 1));
    int64_t low = sine_table[index], high = sine_table[index + 1];
    return low + ((high - low) * fraction >> FRACTION_BITS);
}

/* The segment in force at a cycle: the last that has begun. */
static const struct analog_segment *segment_at(const struct segment_queue *queue, uint64_t cycle)
{
    size_t begun = 0, beyond = queue->count;
    while (begun < beyond) {
        size_t middle = begun + (beyond - begun) / 2;
        if (queue->segments[middle].from_cycle <= cycle)
            begun = middle + 1;
        else
            beyond = middle;
    }
    return begun ? &queue->segments[begun - 1] : NULL;
}

/* AIN0 is PD6, AIN1 is PD7; ADC6 and ADC7 have no digital side. */
static bool digital_level(const struct core *core, uint8_t channel)
{
    if (channel < 6)
        return gpio_level(core, (uint8_t)PIN(PORT_C, channel));
    return channel >= ANALOG_AIN0 && gpio_level(core, (uint8_t)PIN(PORT_D, 6 + channel - ANALOG_AIN0));
}

/* A pin without an analog source carries its digital level. */
int64_t analog_microvolts(const struct core *core, uint8_t channel, uint64_t cycle)
{
    const struct analog_segment *segment = segment_at(&core->analog[channel], cycle);
    if (!segment)
        return digital_level(core, channel) ? SUPPLY_UV : 0;
    uint64_t phase = segment->phase + segment->phase_step * (cycle - segment->from_cycle);
    return segment->offset_uv + ((segment->amplitude_uv * sine(phase) + (1 << (ONE_BITS - 1))) >> ONE_BITS);
}

/* The steepest slope of a sine is 2 pi amplitudes a turn; 7 covers the table's too. */
struct analog_pace analog_pace_of(const struct core *core, uint8_t channel, uint64_t cycle)
{
    const struct segment_queue *queue = &core->analog[channel];
    const struct analog_segment *segment = segment_at(queue, cycle);
    const struct analog_segment *following = segment ? segment + 1 : queue->segments;
    bool more = queue->count && following < queue->segments + queue->count;
    struct analog_pace pace = {0, more ? following->from_cycle : NEVER};
    if (segment) {
        uint64_t amplitude = (uint64_t)(segment->amplitude_uv < 0 ? -segment->amplitude_uv : segment->amplitude_uv);
        uint64_t forward = segment->phase_step, backward = -forward;
        pace.fastest = (unsigned __int128)7 * amplitude * (forward < backward ? forward : backward);
    }
    return pace;
}
