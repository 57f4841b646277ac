/* Ports B, C, D: datasheet 14 "I/O-Ports". */
#include "core.h"

static uint8_t outputs(const struct port *port) { return port->direction | port->forced_output; }

static uint8_t pull_ups(const struct core *core, const struct port *port)
{
    return core->data[MCUCR] & MCUCR_PUD ? 0 : port->output & (uint8_t)~outputs(port);
}

static uint8_t level_of(const struct core *core, const struct port *port)
{
    uint8_t output = (uint8_t)((port->output & ~port->override) | (port->override_level & port->override));
    uint8_t input = (uint8_t)((port->external & port->driven) | (pull_ups(core, port) & ~port->driven));
    return (uint8_t)((output & outputs(port)) | (input & ~outputs(port)));
}

/* Takes over a change of anything that decides the pins' levels. `inside`: made by the chip itself. A watched pin that
 * the chip merely lets go of is no change to the outside: what hangs on it keeps the level it had. */
static void settle(struct core *core, enum port_index index, bool inside)
{
    struct port *port = &core->port[index];
    uint8_t before = port->level, after = level_of(core, port), changed = before ^ after;
    if (!changed)
        return;
    if (port->changed_cycle != core->now)
        port->level_before = before;
    port->changed_cycle = core->now;
    port->level = after;
    inspection_pins_changed(core, index, changed);
    external_interrupt_pins_changed(core, index, before, after);
    uint8_t imposed = outputs(port) | pull_ups(core, port);
    if (inside && changed & port->watched & imposed) {
        port->watched_changed |= changed & port->watched & imposed;
        stop_raise(core, STOP_PIN);
    }
    if (index == PORT_B)
        spi_slave_select_check(core);
}

/* PINx lags one cycle behind the pin (figure 14-3). */
uint8_t gpio_read_pins(const struct core *core, enum port_index index)
{
    const struct port *port = &core->port[index];
    return port->changed_cycle == core->now ? port->level_before : port->level;
}

void gpio_write(struct core *core, enum port_index index, uint8_t output, uint8_t direction)
{
    core->port[index].output = output;
    core->port[index].direction = direction;
    settle(core, index, true);
}

/* An alternate function takes the pin from PORTx, or gives it back. */
void gpio_override(struct core *core, uint8_t pin, bool taken, bool level)
{
    struct port *port = &core->port[pin / 8];
    uint8_t mask = (uint8_t)(1 << pin % 8);
    if (!taken && !(port->override & mask))
        return;
    port->override = (uint8_t)(taken ? port->override | mask : port->override & ~mask);
    port->override_level = (uint8_t)(level ? port->override_level | mask : port->override_level & ~mask);
    settle(core, (enum port_index)(pin / 8), true);
}

/* An alternate function makes the pin an output whatever DDRx says (DDOE in figure 14-5). */
void gpio_force_output(struct core *core, uint8_t pin, bool forced)
{
    struct port *port = &core->port[pin / 8];
    uint8_t mask = (uint8_t)(1 << pin % 8);
    port->forced_output = (uint8_t)(forced ? port->forced_output | mask : port->forced_output & ~mask);
    settle(core, (enum port_index)(pin / 8), true);
}

void gpio_drive(struct core *core, uint8_t pin, bool high)
{
    struct port *port = &core->port[pin / 8];
    uint8_t mask = (uint8_t)(1 << pin % 8);
    port->driven |= mask;
    port->external = (uint8_t)(high ? port->external | mask : port->external & ~mask);
    settle(core, (enum port_index)(pin / 8), false);
}

void gpio_refresh(struct core *core)
{
    for (int index = 0; index < PORT_COUNT; index++)
        settle(core, (enum port_index)index, true);
}

void gpio_reset(struct core *core)
{
    core->synchroniser_count = 0;
    core->external_flags = core->pin_change_flags = 0;
    for (int index = 0; index < PORT_COUNT; index++) {
        core->port[index].override = core->port[index].forced_output = 0;
        gpio_write(core, (enum port_index)index, 0, 0);
    }
    core->synchroniser_count = 0;
    event_at(core, EVENT_SYNCHRONISER, NEVER);
}

void gpio_edges_rearm(struct core *core)
{
    uint64_t next = NEVER;
    for (int pin = 0; pin < PIN_COUNT; pin++) {
        const struct edge_queue *queue = &core->edges[pin];
        if (queue->head < queue->count && queue->cycles[queue->head] < next)
            next = queue->cycles[queue->head];
    }
    event_at(core, EVENT_EDGE, next);
}

void gpio_edge_event(struct core *core)
{
    for (uint8_t pin = 0; pin < PIN_COUNT; pin++) {
        struct edge_queue *queue = &core->edges[pin];
        if (queue->head == queue->count || queue->cycles[queue->head] > core->now)
            continue;
        queue->head++;
        bool high = queue->next_high;
        queue->next_high = !high;
        gpio_drive(core, pin, high);
    }
    gpio_edges_rearm(core);
}
