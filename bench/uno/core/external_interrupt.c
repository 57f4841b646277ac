/* INT0, INT1, PCINT0..2 and the other listeners on pins: datasheet 13 "External Interrupts". */
#include "core.h"

enum {
    INT_DELAY = 2,              /* synchroniser and edge detector */
    PIN_CHANGE_DELAY = 3,       /* figure 13-1 */
    TIMER_PIN_DELAY = 3,        /* 2.5 to 3.5 cycles, datasheet 17.1 and 16.6.1 */
    NOISE_CANCELER_SAMPLES = 4, /* datasheet 16.6.2 */
    SENSE_LOW = 0, SENSE_ANY = 1, SENSE_FALLING = 2, SENSE_RISING = 3,
};

static const uint8_t interrupt_pin[2] = {PIN(PORT_D, 2), PIN(PORT_D, 3)};

static uint8_t sense(const struct core *core, int n) { return core->data[EICRA] >> 2 * n & 3; }

/* Requests follow flags and masks; a low-level interrupt has no flag and follows the pin. */
void external_interrupt_refresh(struct core *core)
{
    for (int n = 0; n < 2; n++) {
        bool asks = sense(core, n) == SENSE_LOW ? !gpio_level(core, interrupt_pin[n])
                                                : core->external_flags >> n & 1;
        interrupt_request(core, (enum vector)(VECTOR_INT0 + n), asks && core->data[EIMSK] >> n & 1);
    }
    for (int n = 0; n < PORT_COUNT; n++)
        interrupt_request(core, (enum vector)(VECTOR_PCINT0 + n),
                          core->pin_change_flags & core->data[PCICR] & 1 << n);
}

void external_interrupt_acknowledge(struct core *core, enum vector vector)
{
    if (vector >= VECTOR_PCINT0)
        core->pin_change_flags &= (uint8_t)~(1 << (vector - VECTOR_PCINT0));
    else
        core->external_flags &= (uint8_t)~(1 << (vector - VECTOR_INT0));
    external_interrupt_refresh(core);
}

static void apply(struct core *core, uint16_t signals)
{
    uint8_t before = core->external_flags;
    core->external_flags |= signals & (SIGNAL_INT0 | SIGNAL_INT1);
    core->pin_change_flags |= signals >> 2 & 7;
    if (signals & (SIGNAL_INT0 | SIGNAL_INT1 | SIGNAL_PCINT0 | SIGNAL_PCINT1 | SIGNAL_PCINT2))
        external_interrupt_refresh(core);
    if (core->external_flags & ~before & SIGNAL_INT0)
        adc_trigger(core, ADC_INT0);
    const uint16_t comparator = SIGNAL_COMPARATOR_LOW | SIGNAL_COMPARATOR_HIGH;
    if (signals & comparator && (signals & comparator) != comparator)
        comparator_output(core, signals & SIGNAL_COMPARATOR_HIGH);
    if (signals & SIGNAL_CAPTURE)
        timer_capture(core);
    if (signals & SIGNAL_T0)
        timer_external_clock(core, 0);
    if (signals & SIGNAL_T1)
        timer_external_clock(core, 1);
}

static void rearm(struct core *core)
{
    uint64_t next = NEVER;
    for (int entry = 0; entry < core->synchroniser_count; entry++)
        if (core->synchroniser[entry].cycle < next)
            next = core->synchroniser[entry].cycle;
    event_at(core, EVENT_SYNCHRONISER, next);
}

/* The signals act `delay` cycles from now. At most one entry a cycle, so the depth exceeds every delay. */
void external_interrupt_synchronise(struct core *core, uint16_t signals, uint32_t delay)
{
    uint64_t cycle = core->now + delay;
    for (int entry = 0; entry < core->synchroniser_count; entry++) {
        if (core->synchroniser[entry].cycle == cycle) {
            core->synchroniser[entry].signals |= signals;
            return;
        }
    }
    if (core->synchroniser_count < SYNCHRONISER_DEPTH)
        core->synchroniser[core->synchroniser_count++] = (struct synchroniser_entry){cycle, signals};
    rearm(core);
}

void external_interrupt_event(struct core *core)
{
    uint16_t signals = 0;
    int kept = 0;
    for (int entry = 0; entry < core->synchroniser_count; entry++) {
        if (core->synchroniser[entry].cycle <= core->now)
            signals |= core->synchroniser[entry].signals;
        else
            core->synchroniser[kept++] = core->synchroniser[entry];
    }
    core->synchroniser_count = (uint8_t)kept;
    apply(core, signals);
    rearm(core);
}

/* Pin changes on their way through the synchroniser arrive at once: that path needs no clock. */
void external_interrupt_clock_stopped(struct core *core)
{
    const uint16_t pin_change = SIGNAL_PCINT0 | SIGNAL_PCINT1 | SIGNAL_PCINT2;
    uint16_t signals = 0;
    for (int entry = 0; entry < core->synchroniser_count; entry++) {
        signals |= core->synchroniser[entry].signals & pin_change;
        core->synchroniser[entry].signals &= (uint16_t)~pin_change;
    }
    apply(core, signals);
    external_interrupt_refresh(core);
}

/* Signals under way, and how long the capture input has been steady, keep their distance to the I/O clock. */
void external_interrupt_clock_resumed(struct core *core, uint64_t stopped_cycles)
{
    for (int entry = 0; entry < core->synchroniser_count; entry++)
        core->synchroniser[entry].cycle += stopped_cycles;
    core->capture_changed += stopped_cycles;
}

static bool edge_matches(uint8_t sense, bool high)
{
    return sense == SENSE_ANY || sense == (high ? SENSE_RISING : SENSE_FALLING);
}

static uint16_t interrupt_edges(struct core *core, uint8_t changed, uint8_t after)
{
    uint16_t signals = 0;
    for (int n = 0; n < 2; n++) {
        uint8_t bit = interrupt_pin[n] % 8;
        if (changed >> bit & 1 && edge_matches(sense(core, n), after >> bit & 1))
            signals |= SIGNAL_INT0 << n;
    }
    return signals;
}

/* An edge that the noise canceler has not let through when the input changes again never was one. */
static void withdraw_capture(struct core *core)
{
    for (int entry = 0; entry < core->synchroniser_count; entry++)
        if (core->synchroniser[entry].cycle > core->now + TIMER_PIN_DELAY)
            core->synchroniser[entry].signals &= (uint16_t)~SIGNAL_CAPTURE;
}

/* The input of the capture unit has changed. The noise canceler lets a level through that was sampled four times, and
 * the edge detector sees that. */
void external_interrupt_capture_edge(struct core *core, bool high)
{
    uint8_t control = core->timer[1].control_b;
    bool cancels = control & TCCR1B_ICNC1;
    if (!cancels || core->now - core->capture_changed >= NOISE_CANCELER_SAMPLES)
        core->capture_output = !high;
    else
        withdraw_capture(core);
    core->capture_changed = core->now;
    if (high != core->capture_output && high == !!(control & TCCR1B_ICES1))
        external_interrupt_synchronise(core, SIGNAL_CAPTURE,
                                       TIMER_PIN_DELAY + (cancels ? NOISE_CANCELER_SAMPLES : 0));
}

/* Pins the timers listen to: ICP1 is PB0, T0 is PD4, T1 is PD5. */
static void timer_edges(struct core *core, enum port_index port, uint8_t changed, uint8_t after)
{
    if (port == PORT_B && changed & 1 && !(core->comparator.control & ACSR_ACIC))
        external_interrupt_capture_edge(core, after & 1);
    if (port != PORT_D)
        return;
    for (int n = 0; n < 2; n++) {
        uint8_t bit = (uint8_t)(4 + n), select = core->timer[n].control_b & TCCRB_CS;
        if (changed >> bit & 1 && select == (after >> bit & 1 ? 7 : 6))
            external_interrupt_synchronise(core, (uint16_t)(SIGNAL_T0 << n), TIMER_PIN_DELAY);
    }
}

/* Without the I/O clock only pin changes and low levels are seen, and those at once (datasheet 13). */
void external_interrupt_pins_changed(struct core *core, enum port_index port, uint8_t before, uint8_t after)
{
    static const uint8_t mask_register[PORT_COUNT] = {PCMSK0, PCMSK1, PCMSK2};
    uint8_t changed = before ^ after;
    uint16_t pin_change = changed & core->data[mask_register[port]] ? (uint16_t)(SIGNAL_PCINT0 << port) : 0;
    if (core->io_clock_stopped) {
        apply(core, pin_change);
    } else {
        if (pin_change)
            external_interrupt_synchronise(core, pin_change, PIN_CHANGE_DELAY);
        if (port == PORT_D && interrupt_edges(core, changed, after))
            external_interrupt_synchronise(core, interrupt_edges(core, changed, after), INT_DELAY);
        timer_edges(core, port, changed, after);
    }
    if (port == PORT_D)
        external_interrupt_refresh(core);
    comparator_pins_changed(core, port, changed);
}
