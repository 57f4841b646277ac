/* Timer/Counter0, 1 and 2: datasheet 15, 16, 18; prescalers 17 and 18.10.
 *
 * A timer stands still between looks. Whatever happens at a count (match, overflow, turn) happens at the timer
 * clock that leaves the count, as in the timing diagrams (figures 15-8 to 15-11). Only ticks that somebody would
 * notice (an enabled interrupt, a connected OC pin, an ADC trigger) are entered in the calendar. */
#include "core.h"

enum { CHANNEL_A, CHANNEL_B, NO_TICK = UINT32_MAX };
enum { CONNECT_NONE, CONNECT_TOGGLE, CONNECT_CLEAR, CONNECT_SET };

struct description {
    uint16_t max;
    enum vector overflow, compare[2];
    uint8_t pin[2];
    enum event event;
    uint8_t prescaler, power_reduction;
    enum adc_trigger overflow_trigger, compare_trigger[2]; /* ADC_FREE_RUNNING: none */
};

static const struct description description[3] = {
    {0xFF, VECTOR_TIMER0_OVF, {VECTOR_TIMER0_COMPA, VECTOR_TIMER0_COMPB}, {PIN(PORT_D, 6), PIN(PORT_D, 5)},
     EVENT_TIMER0, 0, PRR_PRTIM0, ADC_TIMER0_OVERFLOW, {ADC_TIMER0_COMPARE_A, ADC_FREE_RUNNING}},
    {0xFFFF, VECTOR_TIMER1_OVF, {VECTOR_TIMER1_COMPA, VECTOR_TIMER1_COMPB}, {PIN(PORT_B, 1), PIN(PORT_B, 2)},
     EVENT_TIMER1, 0, PRR_PRTIM1, ADC_TIMER1_OVERFLOW, {ADC_FREE_RUNNING, ADC_TIMER1_COMPARE_B}},
    {0xFF, VECTOR_TIMER2_OVF, {VECTOR_TIMER2_COMPA, VECTOR_TIMER2_COMPB}, {PIN(PORT_B, 3), PIN(PORT_D, 3)},
     EVENT_TIMER2, 1, PRR_PRTIM2, ADC_FREE_RUNNING, {ADC_FREE_RUNNING, ADC_FREE_RUNNING}},
};

/* ---- clock -------------------------------------------------------------------------------------------- */

/* log2 of the prescaler for CS2:0 (tables 15-9, 16-5, 18-9); -1: stopped or clocked by a pin. */
static int prescaler_shift(const struct core *core, int n)
{
    static const int8_t synchronous[8] = {-1, 0, 3, 6, 8, 10, -1, -1};
    static const int8_t timer2[8] = {-1, 0, 3, 5, 6, 7, 8, 10};
    if (core->data[PRR] & description[n].power_reduction)
        return -1;
    if (n == 2)
        return core->data[ASSR] & ASSR_AS2 ? -1 : timer2[core->timer[2].control_b & TCCRB_CS];
    return synchronous[core->timer[n].control_b & TCCRB_CS];
}

/* Timer2 keeps the system clock in the sleep modes made for it; in ADC noise reduction it would run on in
 * asynchronous mode only (10.4, 10.6, 10.8). */
static bool has_clock_asleep(const struct core *core, int n)
{
    return n == 2 && (core->sleep_mode == SLEEP_POWER_SAVE || core->sleep_mode == SLEEP_EXTENDED_STANDBY);
}

static bool is_frozen(const struct core *core, int n)
{
    if (core->prescaler_hold >> description[n].prescaler & 1)
        return true;
    return core->io_clock_stopped && !has_clock_asleep(core, n);
}

/* Whether Timer2 counts the synchronous clock, and so keeps its source running in power-save (10.6). */
bool timer_holds_clock(const struct core *core) { return prescaler_shift(core, 2) >= 0; }

/* ---- waveform ----------------------------------------------------------------------------------------- */

static void select_waveform(struct core *core, int n)
{
    static const uint8_t eight_bit[8][2] = {
        {WAVEFORM_NORMAL, TOP_MAX}, {WAVEFORM_PHASE, TOP_MAX}, {WAVEFORM_CTC, TOP_COMPARE_A},
        {WAVEFORM_FAST_PWM, TOP_MAX}, {WAVEFORM_NORMAL, TOP_MAX}, {WAVEFORM_PHASE, TOP_COMPARE_A},
        {WAVEFORM_NORMAL, TOP_MAX}, {WAVEFORM_FAST_PWM, TOP_COMPARE_A},
    };
    static const uint8_t sixteen_bit[16][2] = {
        {WAVEFORM_NORMAL, TOP_MAX}, {WAVEFORM_PHASE, TOP_0FF}, {WAVEFORM_PHASE, TOP_1FF},
        {WAVEFORM_PHASE, TOP_3FF}, {WAVEFORM_CTC, TOP_COMPARE_A}, {WAVEFORM_FAST_PWM, TOP_0FF},
        {WAVEFORM_FAST_PWM, TOP_1FF}, {WAVEFORM_FAST_PWM, TOP_3FF}, {WAVEFORM_PHASE_FREQUENCY, TOP_CAPTURE},
        {WAVEFORM_PHASE_FREQUENCY, TOP_COMPARE_A}, {WAVEFORM_PHASE, TOP_CAPTURE}, {WAVEFORM_PHASE, TOP_COMPARE_A},
        {WAVEFORM_CTC, TOP_CAPTURE}, {WAVEFORM_NORMAL, TOP_MAX}, {WAVEFORM_FAST_PWM, TOP_CAPTURE},
        {WAVEFORM_FAST_PWM, TOP_COMPARE_A},
    };
    struct timer *timer = &core->timer[n];
    int low = timer->control_a & 3;
    const uint8_t *mode = n == 1 ? sixteen_bit[low | (timer->control_b >> 1 & 12)]
                                 : eight_bit[low | (timer->control_b >> 1 & 4)];
    timer->waveform = mode[0];
    timer->top = mode[1];
}

static bool is_pwm(const struct timer *timer) { return timer->waveform >= WAVEFORM_FAST_PWM; }
static bool is_dual_slope(const struct timer *timer) { return timer->waveform >= WAVEFORM_PHASE; }

static uint16_t top_of(const struct core *core, int n)
{
    const struct timer *timer = &core->timer[n];
    switch (timer->top) {
    case TOP_0FF: return 0x0FF;
    case TOP_1FF: return 0x1FF;
    case TOP_3FF: return 0x3FF;
    case TOP_COMPARE_A: return timer->compare[CHANNEL_A];
    case TOP_CAPTURE: return timer->capture;
    default: return description[n].max;
    }
}

/* ---- flags and pins ----------------------------------------------------------------------------------- */

static void refresh_requests(struct core *core, int n)
{
    const struct description *d = &description[n];
    uint8_t requests = core->timer[n].flags & core->timer[n].mask;
    interrupt_request(core, d->overflow, requests & TIFR_TOV);
    interrupt_request(core, d->compare[CHANNEL_A], requests & TIFR_OCFA);
    interrupt_request(core, d->compare[CHANNEL_B], requests & TIFR_OCFB);
    if (n == 1)
        interrupt_request(core, VECTOR_TIMER1_CAPT, requests & TIFR_ICF);
}

static void raise(struct core *core, int n, uint8_t flag)
{
    const struct description *d = &description[n];
    struct timer *timer = &core->timer[n];
    if (timer->flags & flag)
        return;
    timer->flags |= flag;
    if (flag == TIFR_TOV)
        adc_trigger(core, d->overflow_trigger);
    else if (flag == TIFR_ICF)
        adc_trigger(core, ADC_TIMER1_CAPTURE);
    else
        adc_trigger(core, d->compare_trigger[flag == TIFR_OCFB]);
}

/* COMnx1:0 as an action; toggling in PWM exists on channel A with TOP in OCRnA only (tables 15-3 to 15-7, 16-1 to
 * 16-3). */
static int connection(const struct timer *timer, int channel, int n)
{
    int mode = timer->control_a >> (channel == CHANNEL_A ? 6 : 4) & 3;
    if (mode == CONNECT_TOGGLE && is_pwm(timer)) {
        bool own_top = timer->top == TOP_COMPARE_A || (n == 1 && timer->top == TOP_CAPTURE);
        bool available = channel == CHANNEL_A && own_top;
        if (!available)
            return CONNECT_NONE;
    }
    return mode;
}

static void refresh_pins(struct core *core, int n)
{
    const struct timer *timer = &core->timer[n];
    for (int channel = 0; channel < 2; channel++)
        gpio_override(core, description[n].pin[channel], connection(timer, channel, n) != CONNECT_NONE,
                      timer->output[channel]);
}

/* The compare output at a match; in dual-slope modes a match on the way down acts the other way round. */
static void act_on_match(struct timer *timer, int channel, int n, bool going_down)
{
    int mode = connection(timer, channel, n);
    if (mode == CONNECT_TOGGLE)
        timer->output[channel] ^= 1;
    else if (mode != CONNECT_NONE)
        timer->output[channel] = (mode == CONNECT_SET) != (is_dual_slope(timer) && going_down);
}

/* Fast PWM sets (or, inverting, clears) the output when the counter starts again at BOTTOM. */
static void act_on_bottom(struct timer *timer, int n)
{
    for (int channel = 0; channel < 2; channel++) {
        int mode = connection(timer, channel, n);
        if (mode == CONNECT_CLEAR || mode == CONNECT_SET)
            timer->output[channel] = mode == CONNECT_CLEAR;
    }
}

/* ---- counting ----------------------------------------------------------------------------------------- */

static void load_compare(struct timer *timer)
{
    timer->compare[CHANNEL_A] = timer->compare_buffer[CHANNEL_A];
    timer->compare[CHANNEL_B] = timer->compare_buffer[CHANNEL_B];
}

static void tick_single_slope(struct core *core, int n, uint16_t top)
{
    struct timer *timer = &core->timer[n];
    bool at_top = timer->count == top, at_max = timer->count == description[n].max;
    bool fast = timer->waveform == WAVEFORM_FAST_PWM;
    if (at_top && timer->top == TOP_CAPTURE)
        raise(core, n, TIFR_ICF);
    if (!at_top && !at_max) {
        timer->count++;
        return;
    }
    timer->count = 0;
    if (fast || at_max)
        raise(core, n, TIFR_TOV);
    if (fast) {
        load_compare(timer);
        act_on_bottom(timer, n);
    }
}

static void tick_dual_slope(struct core *core, int n, uint16_t top)
{
    struct timer *timer = &core->timer[n];
    if (!timer->down && timer->count >= top) {
        timer->down = true;
        if (timer->top == TOP_CAPTURE)
            raise(core, n, TIFR_ICF);
        if (timer->waveform == WAVEFORM_PHASE)
            load_compare(timer);
    } else if (timer->down && timer->count == 0) {
        timer->down = false;
        raise(core, n, TIFR_TOV);
        if (timer->waveform == WAVEFORM_PHASE_FREQUENCY)
            load_compare(timer);
    }
    if (!timer->down)
        timer->count++;
    else if (timer->count > 0)
        timer->count--;
}

/* One timer clock: compare, then count (figure 15-10: OCF rises as the counter leaves the matching value). */
static void tick(struct core *core, int n)
{
    struct timer *timer = &core->timer[n];
    uint16_t top = top_of(core, n);
    for (int channel = 0; channel < 2 && !timer->match_blocked; channel++) {
        if (timer->count != timer->compare[channel])
            continue;
        bool going_down = timer->down ? timer->count != 0 : timer->count >= top;
        raise(core, n, channel == CHANNEL_A ? TIFR_OCFA : TIFR_OCFB);
        act_on_match(timer, channel, n, going_down);
    }
    timer->match_blocked = false;
    if (is_dual_slope(timer))
        tick_dual_slope(core, n, top);
    else
        tick_single_slope(core, n, top);
}

/* Ticks before the one that leaves `value` on the present slope, or NO_TICK when the slope ends before. */
static uint32_t ticks_to(const struct timer *timer, uint16_t value)
{
    if (timer->down)
        return value <= timer->count ? (uint32_t)(timer->count - value) : NO_TICK;
    return value >= timer->count ? (uint32_t)(value - timer->count) : NO_TICK;
}

static uint32_t ticks_to_turn(const struct core *core, int n)
{
    const struct timer *timer = &core->timer[n];
    uint16_t top = top_of(core, n);
    if (is_dual_slope(timer))
        return timer->down ? timer->count : timer->count >= top ? 0 : (uint32_t)(top - timer->count);
    return (uint32_t)((timer->count <= top ? top : description[n].max) - timer->count);
}

static uint32_t smaller(uint32_t a, uint32_t b) { return a < b ? a : b; }

static uint32_t ticks_to_anything(const struct core *core, int n)
{
    const struct timer *timer = &core->timer[n];
    uint32_t matches = smaller(ticks_to(timer, timer->compare[CHANNEL_A]),
                               ticks_to(timer, timer->compare[CHANNEL_B]));
    return timer->match_blocked ? 0 : smaller(matches, ticks_to_turn(core, n));
}

/* Whole periods change nothing but repeat the same flags: leave them out once every one has been seen. */
static uint64_t without_repetitions(const struct core *core, int n, uint64_t ticks)
{
    const struct timer *timer = &core->timer[n];
    uint32_t top = top_of(core, n);
    uint32_t period = is_dual_slope(timer) ? 2 * (top ? top : 1) : top + 1;
    uint32_t lead_in = (timer->count > top ? description[n].max + 1u : 0) + 4 * period;
    if (ticks <= lead_in)
        return ticks;
    uint64_t excess = ticks - lead_in;
    return ticks - excess / (2 * period) * (2 * period);
}

static void advance(struct core *core, int n, uint64_t ticks)
{
    struct timer *timer = &core->timer[n];
    ticks = without_repetitions(core, n, ticks);
    while (ticks > 0) {
        uint32_t quiet = ticks_to_anything(core, n);
        if (ticks <= quiet) {
            timer->count = (uint16_t)(timer->down ? timer->count - ticks : timer->count + ticks);
            return;
        }
        timer->count = (uint16_t)(timer->down ? timer->count - quiet : timer->count + quiet);
        tick(core, n);
        ticks -= quiet + 1;
    }
}

static void synchronise(struct core *core, int n)
{
    struct timer *timer = &core->timer[n];
    int shift = prescaler_shift(core, n);
    if (core->now <= timer->synced) /* also: still in reset, counting begins after it */
        return;
    if (shift >= 0 && !is_frozen(core, n)) {
        uint64_t origin = core->prescaler_origin[description[n].prescaler];
        uint64_t ticks = ((core->now - origin) >> shift) - ((timer->synced - origin) >> shift);
        timer->synced = core->now;
        if (ticks) {
            advance(core, n, ticks);
            refresh_requests(core, n);
            refresh_pins(core, n);
        }
    }
    timer->synced = core->now;
}

/* ---- calendar ----------------------------------------------------------------------------------------- */

static bool flag_matters(const struct core *core, int n, uint8_t flag, enum adc_trigger trigger)
{
    const struct timer *timer = &core->timer[n];
    return (timer->mask & ~timer->flags & flag) || (trigger != ADC_FREE_RUNNING && adc_listens(core, trigger));
}

static uint32_t ticks_to_next_noticed(const struct core *core, int n)
{
    const struct description *d = &description[n];
    const struct timer *timer = &core->timer[n];
    uint32_t ticks = NO_TICK;
    bool turn = flag_matters(core, n, TIFR_TOV, d->overflow_trigger)
             || (timer->top == TOP_CAPTURE && flag_matters(core, n, TIFR_ICF, ADC_FREE_RUNNING));
    for (int channel = 0; channel < 2; channel++) {
        uint8_t flag = channel == CHANNEL_A ? TIFR_OCFA : TIFR_OCFB;
        bool connected = connection(timer, channel, n) != CONNECT_NONE;
        if (!connected && !flag_matters(core, n, flag, d->compare_trigger[channel]))
            continue;
        uint32_t match = ticks_to(timer, timer->compare[channel]);
        turn |= connected || match == NO_TICK || timer->match_blocked;
        ticks = smaller(ticks, match);
    }
    return turn ? smaller(ticks, ticks_to_turn(core, n)) : ticks;
}

static void reschedule(struct core *core, int n)
{
    int shift = prescaler_shift(core, n);
    uint32_t ticks = shift < 0 || is_frozen(core, n) ? NO_TICK : ticks_to_next_noticed(core, n);
    uint64_t origin = core->prescaler_origin[description[n].prescaler];
    uint64_t elapsed = (core->timer[n].synced - origin) >> (shift < 0 ? 0 : shift);
    event_at(core, description[n].event, ticks == NO_TICK ? NEVER : origin + ((elapsed + 1 + ticks) << shift));
}

void timer_event(struct core *core, int n)
{
    synchronise(core, n);
    reschedule(core, n);
}

void timer_synchronise_all(struct core *core)
{
    for (int n = 0; n < 3; n++)
        synchronise(core, n);
}

void timer_reschedule_all(struct core *core)
{
    for (int n = 0; n < 3; n++)
        reschedule(core, n);
}

/* The prescalers stood still with the I/O clock, except Timer2's where Timer2 ran on. */
void timer_clock_resumed(struct core *core, uint64_t stopped_cycles)
{
    core->prescaler_origin[0] += stopped_cycles;
    if (!has_clock_asleep(core, 2))
        core->prescaler_origin[1] += stopped_cycles;
    timer_reschedule_all(core);
}

/* T0, T1: one clock from the pin. */
void timer_external_clock(struct core *core, int n)
{
    if (core->data[PRR] & description[n].power_reduction)
        return;
    tick(core, n);
    refresh_requests(core, n);
    refresh_pins(core, n);
}

/* ICP1: datasheet 16.6. */
void timer_capture(struct core *core)
{
    struct timer *timer = &core->timer[1];
    if (timer->top == TOP_CAPTURE || core->data[PRR] & PRR_PRTIM1)
        return;
    synchronise(core, 1);
    timer->capture = timer->count;
    raise(core, 1, TIFR_ICF);
    refresh_requests(core, 1);
}

void timer_acknowledge(struct core *core, enum vector vector)
{
    for (int n = 0; n < 3; n++) {
        const struct description *d = &description[n];
        struct timer *timer = &core->timer[n];
        bool ours = vector == d->overflow || vector == d->compare[0] || vector == d->compare[1]
                 || (n == 1 && vector == VECTOR_TIMER1_CAPT);
        if (!ours)
            continue;
        synchronise(core, n);
        timer->flags &= (uint8_t) ~(vector == d->overflow ? TIFR_TOV
                                    : vector == d->compare[CHANNEL_A] ? TIFR_OCFA
                                    : vector == d->compare[CHANNEL_B] ? TIFR_OCFB : TIFR_ICF);
        refresh_requests(core, n);
        reschedule(core, n);
    }
}

/* ---- registers ---------------------------------------------------------------------------------------- */

enum field { CONTROL_A, CONTROL_B, FORCE, COUNT_LOW, COUNT_HIGH, COMPARE_A_LOW, COMPARE_A_HIGH, COMPARE_B_LOW,
             COMPARE_B_HIGH, CAPTURE_LOW, CAPTURE_HIGH, MASK, FLAGS, NO_FIELD };

struct place { uint8_t timer, field; };

static struct place place_of(uint8_t address)
{
    switch (address) {
    case TCCR0A: return (struct place){0, CONTROL_A};
    case TCCR0B: return (struct place){0, CONTROL_B};
    case TCNT0: return (struct place){0, COUNT_LOW};
    case OCR0A: return (struct place){0, COMPARE_A_LOW};
    case OCR0B: return (struct place){0, COMPARE_B_LOW};
    case TIMSK0: return (struct place){0, MASK};
    case TIFR0: return (struct place){0, FLAGS};
    case TCCR1A: return (struct place){1, CONTROL_A};
    case TCCR1B: return (struct place){1, CONTROL_B};
    case TCCR1C: return (struct place){1, FORCE};
    case TCNT1L: return (struct place){1, COUNT_LOW};
    case TCNT1H: return (struct place){1, COUNT_HIGH};
    case OCR1AL: return (struct place){1, COMPARE_A_LOW};
    case OCR1AH: return (struct place){1, COMPARE_A_HIGH};
    case OCR1BL: return (struct place){1, COMPARE_B_LOW};
    case OCR1BH: return (struct place){1, COMPARE_B_HIGH};
    case ICR1L: return (struct place){1, CAPTURE_LOW};
    case ICR1H: return (struct place){1, CAPTURE_HIGH};
    case TIMSK1: return (struct place){1, MASK};
    case TIFR1: return (struct place){1, FLAGS};
    case TCCR2A: return (struct place){2, CONTROL_A};
    case TCCR2B: return (struct place){2, CONTROL_B};
    case TCNT2: return (struct place){2, COUNT_LOW};
    case OCR2A: return (struct place){2, COMPARE_A_LOW};
    case OCR2B: return (struct place){2, COMPARE_B_LOW};
    case TIMSK2: return (struct place){2, MASK};
    case TIFR2: return (struct place){2, FLAGS};
    default: return (struct place){0, NO_FIELD};
    }
}

bool timer_owns(uint8_t address)
{
    return place_of(address).field != NO_FIELD || address == GTCCR || address == ASSR;
}

/* The PRR bit that takes the clock from the timer with this register; GTCCR belongs to none. */
uint8_t timer_reduction(uint8_t address)
{
    struct place place = place_of(address);
    if (place.field == NO_FIELD)
        return address == ASSR ? PRR_PRTIM2 : 0;
    return description[place.timer].power_reduction;
}

/* Sixteen-bit reads latch the high byte in TEMP with the low one (datasheet 16.3); OCR1x is read directly. */
uint8_t timer_read(struct core *core, uint8_t address)
{
    struct place place = place_of(address);
    struct timer *timer = &core->timer[place.timer];
    if (place.field == NO_FIELD)
        return core->data[address];
    synchronise(core, place.timer);
    switch (place.field) {
    case CONTROL_A: return timer->control_a;
    case CONTROL_B: return timer->control_b;
    case COUNT_LOW: timer->temporary = (uint8_t)(timer->count >> 8); return (uint8_t)timer->count;
    case CAPTURE_LOW: timer->temporary = (uint8_t)(timer->capture >> 8); return (uint8_t)timer->capture;
    case COUNT_HIGH: case CAPTURE_HIGH: return timer->temporary;
    case COMPARE_A_LOW: return (uint8_t)timer->compare_buffer[CHANNEL_A];
    case COMPARE_A_HIGH: return (uint8_t)(timer->compare_buffer[CHANNEL_A] >> 8);
    case COMPARE_B_LOW: return (uint8_t)timer->compare_buffer[CHANNEL_B];
    case COMPARE_B_HIGH: return (uint8_t)(timer->compare_buffer[CHANNEL_B] >> 8);
    case MASK: return timer->mask;
    case FLAGS: return timer->flags;
    default: return 0;
    }
}

/* Compare registers are double buffered in the PWM modes (datasheet 15.5, 16.7). */
static void write_compare(struct timer *timer, int channel, uint16_t value)
{
    timer->compare_buffer[channel] = value;
    if (!is_pwm(timer))
        timer->compare[channel] = value;
}

static void force_compare(struct timer *timer, int n, uint8_t strobes)
{
    if (is_pwm(timer))
        return;
    if (strobes & TCCRB_FOCA)
        act_on_match(timer, CHANNEL_A, n, false);
    if (strobes & TCCRB_FOCB)
        act_on_match(timer, CHANNEL_B, n, false);
}

static void write_control(struct core *core, int n)
{
    struct timer *timer = &core->timer[n];
    select_waveform(core, n);
    if (!is_pwm(timer))
        load_compare(timer);
    if (!is_dual_slope(timer))
        timer->down = false;
}

/* GTCCR: TSM holds the chosen prescalers in reset; without it PSRx clears itself (datasheet 17.4.1). */
static void write_prescaler_control(struct core *core, uint8_t value)
{
    timer_synchronise_all(core);
    for (int prescaler = 0; prescaler < 2; prescaler++)
        if (value >> prescaler & 1 || core->prescaler_hold >> prescaler & 1)
            core->prescaler_origin[prescaler] = core->now;
    core->prescaler_hold = value & GTCCR_TSM ? value & (GTCCR_PSRSYNC | GTCCR_PSRASY) : 0;
    core->data[GTCCR] = value & GTCCR_TSM ? value & (GTCCR_TSM | GTCCR_PSRSYNC | GTCCR_PSRASY) : 0;
    timer_reschedule_all(core);
}

void timer_write(struct core *core, uint8_t address, uint8_t value)
{
    struct place place = place_of(address);
    int n = place.timer;
    struct timer *timer = &core->timer[n];
    if (address == GTCCR) {
        write_prescaler_control(core, value);
        return;
    }
    timer_synchronise_all(core);
    uint16_t word = (uint16_t)(n == 1 ? timer->temporary << 8 | value : value);
    switch (place.field) {
    case CONTROL_A: timer->control_a = value & 0xF3; write_control(core, n); break;
    case CONTROL_B:
        timer->control_b = value & (n == 1 ? 0xDF : 0x0F);
        write_control(core, n);
        if (n != 1)
            force_compare(timer, n, value);
        break;
    case FORCE: force_compare(timer, n, value); break;
    case COUNT_LOW: timer->count = word; timer->match_blocked = true; break;
    case COMPARE_A_LOW: write_compare(timer, CHANNEL_A, word); break;
    case COMPARE_B_LOW: write_compare(timer, CHANNEL_B, word); break;
    case CAPTURE_LOW:
        if (timer->top == TOP_CAPTURE)
            timer->capture = word;
        break;
    case COUNT_HIGH: case COMPARE_A_HIGH: case COMPARE_B_HIGH: case CAPTURE_HIGH: timer->temporary = value; break;
    case MASK: timer->mask = value & (n == 1 ? 0x27 : 0x07); break;
    case FLAGS: timer->flags &= (uint8_t)~value; break;
    default: core->data[address] = value & 0x60; break; /* ASSR */
    }
    refresh_requests(core, n);
    refresh_pins(core, n);
    reschedule(core, n);
    if (address == ASSR)
        reschedule(core, 2);
}

void timer_reset(struct core *core)
{
    for (int n = 0; n < 3; n++) {
        core->timer[n] = (struct timer){.synced = core->now};
        select_waveform(core, n);
    }
}
