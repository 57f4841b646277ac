/* USART0, asynchronous modes: datasheet 20. */
#include "core.h"

enum { FIFO_DEPTH = 2 };

static uint32_t bit_cycles(const struct usart *usart)
{
    return (usart->control_a & UCSRA_U2X ? 8u : 16u) * (usart->baud + 1u);
}

static uint32_t data_bits(const struct usart *usart)
{
    if (usart->control_b & UCSRB_UCSZ2)
        return 9;
    return 5 + (usart->control_c >> 1 & 3);
}

/* Start bit, data, parity (figure 20-4); stop bits come on top. */
static uint32_t bits_before_stop(const struct usart *usart)
{
    return 1 + data_bits(usart) + (usart->control_c & UCSRC_UPM1 ? 1 : 0);
}

static uint32_t frame_cycles(const struct usart *usart)
{
    uint32_t stop_bits = usart->control_c & UCSRC_USBS ? 2 : 1;
    return (bits_before_stop(usart) + stop_bits) * bit_cycles(usart);
}

/* Puts a frame's levels on a line for whoever inspects the pins: start bit, data, parity, stop bits (figure 20-4). */
static void show_frame(struct core *core, uint8_t pin, uint64_t from, uint16_t character)
{
    const struct usart *usart = &core->usart;
    uint32_t bits = data_bits(usart), data = character & ((1u << bits) - 1), high = UINT32_MAX;
    bool odd = (usart->control_c & UCSRC_UPM) == UCSRC_UPM;
    if (usart->control_c & UCSRC_UPM1) {
        uint32_t parity = (uint32_t)(__builtin_parity(data) ^ odd);
        data |= parity << bits++;
    }
    inspection_line(core, pin, from, data << 1 | high << (bits + 1), bits + 2, bit_cycles(usart));
}

static void refresh_requests(struct core *core)
{
    uint8_t requests = core->usart.control_a & core->usart.control_b;
    interrupt_request(core, VECTOR_USART_RX, requests & UCSRA_RXC);
    interrupt_request(core, VECTOR_USART_TX, requests & UCSRA_TXC);
    interrupt_request(core, VECTOR_USART_UDRE, requests & UCSRA_UDRE);
}

/* ---- transmitter (20.7) ------------------------------------------------------------------------------- */

/* TXD is an output, high between frames, while the transmitter is on (table 14-9). */
static void take_transmit_pin(struct core *core, bool taken)
{
    gpio_force_output(core, PIN(PORT_D, 1), taken);
    gpio_override(core, PIN(PORT_D, 1), taken, true);
}

static void begin_frame(struct core *core, uint16_t character)
{
    struct usart *usart = &core->usart;
    usart->transmit_shift = character;
    usart->transmitting = true;
    show_frame(core, PIN(PORT_D, 1), core->now, character);
    event_at(core, EVENT_USART_TRANSMIT, core->now + frame_cycles(usart));
}

static void write_data(struct core *core, uint8_t value)
{
    struct usart *usart = &core->usart;
    uint16_t character = (uint16_t)(value | (usart->control_b & UCSRB_TXB8) << 8);
    if (!(usart->control_b & UCSRB_TXEN) || !(usart->control_a & UCSRA_UDRE))
        return;
    if (usart->transmitting) {
        usart->transmit_buffer = character;
        usart->control_a &= (uint8_t)~UCSRA_UDRE;
    } else {
        begin_frame(core, character);
    }
}

void usart_transmit_event(struct core *core)
{
    struct usart *usart = &core->usart;
    core->uart_byte = (uint8_t)(usart->transmit_shift & ((1u << data_bits(usart)) - 1));
    stop_raise(core, STOP_UART);
    usart->transmitting = false;
    if (usart->control_a & UCSRA_UDRE) {
        usart->control_a |= UCSRA_TXC;
        take_transmit_pin(core, usart->control_b & UCSRB_TXEN);
    } else {
        usart->control_a |= UCSRA_UDRE;
        begin_frame(core, usart->transmit_buffer);
    }
    refresh_requests(core);
}

void usart_acknowledge(struct core *core)
{
    core->usart.control_a &= (uint8_t)~UCSRA_TXC;
    refresh_requests(core);
}

/* ---- receiver (20.8) ---------------------------------------------------------------------------------- */

/* A character is complete when the first stop bit has been judged, after its tenth of sixteen samples (fifth to
 * sixth of eight with U2X): figure 20-7. */
static uint32_t receive_cycles(const struct usart *usart)
{
    return bits_before_stop(usart) * bit_cycles(usart) + bit_cycles(usart) * 10 / 16;
}

void usart_line_rearm(struct core *core)
{
    if (core->line.head < core->line.count && core->event_cycle[EVENT_USART_RECEIVE] == NEVER) {
        core->usart.receiving_spoilt = core->io_clock_stopped || core->data[PRR] & PRR_PRUSART0;
        show_frame(core, PIN(PORT_D, 0), core->now, core->line.bytes[core->line.head]);
        event_at(core, EVENT_USART_RECEIVE, core->now + receive_cycles(&core->usart));
    }
}

/* Two characters wait in the buffer and one in the shift register; the start bit of another overwrites that one. */
static void store_received(struct usart *usart, uint16_t character)
{
    if (usart->receive_count > FIFO_DEPTH) {
        usart->receive_count = FIFO_DEPTH;
        usart->overrun = true;
    }
    usart->receive_fifo[usart->receive_count++] = character;
    usart->control_a |= UCSRA_RXC;
    if (usart->overrun)
        usart->control_a |= UCSRA_DOR;
}

void usart_receive_event(struct core *core)
{
    struct usart *usart = &core->usart;
    uint8_t value = core->line.bytes[core->line.head++];
    uint16_t mask = (uint16_t)((1u << data_bits(usart)) - 1);
    bool has_clock = !core->io_clock_stopped && !(core->data[PRR] & PRR_PRUSART0);
    if (usart->control_b & UCSRB_RXEN && !usart->receiving_spoilt && has_clock)
        store_received(usart, value & mask);
    usart->receiving_spoilt = !has_clock;
    if (core->line.head < core->line.count) {
        uint64_t next = core->now + frame_cycles(usart);
        show_frame(core, PIN(PORT_D, 0), next - receive_cycles(usart), core->line.bytes[core->line.head]);
        event_at(core, EVENT_USART_RECEIVE, next);
    } else {
        core->line.head = core->line.count = 0;
    }
    refresh_requests(core);
}

static uint8_t read_data(struct core *core)
{
    struct usart *usart = &core->usart;
    uint8_t value = (uint8_t)usart->receive_fifo[0];
    if (usart->receive_count > 0) {
        usart->receive_fifo[0] = usart->receive_fifo[1];
        usart->receive_fifo[1] = usart->receive_fifo[2];
        usart->receive_count--;
    }
    usart->overrun = false;
    usart->control_a &= (uint8_t)~(UCSRA_DOR | (usart->receive_count ? 0 : UCSRA_RXC));
    refresh_requests(core);
    return value;
}

/* ---- registers (20.11) -------------------------------------------------------------------------------- */

uint8_t usart_read(struct core *core, uint8_t address)
{
    const struct usart *usart = &core->usart;
    switch (address) {
    case UDR0: return read_data(core);
    case UCSR0A: return usart->control_a;
    case UCSR0B: return (uint8_t)(usart->control_b | (usart->receive_fifo[0] >> 8 & 1) << 1);
    case UCSR0C: return usart->control_c;
    case UBRR0L: return (uint8_t)usart->baud;
    default: return (uint8_t)(usart->baud >> 8);
    }
}

static void write_control_b(struct core *core, uint8_t value)
{
    struct usart *usart = &core->usart;
    usart->control_b = value & (uint8_t)~UCSRB_RXB8;
    if (!(value & UCSRB_RXEN)) { /* disabling the receiver flushes its buffer (20.8.6) */
        usart->receive_count = 0;
        usart->overrun = false;
        usart->control_a &= (uint8_t)~(UCSRA_RXC | UCSRA_DOR);
    }
    if (value & UCSRB_TXEN || !usart->transmitting) /* a frame under way is finished first (20.7.5) */
        take_transmit_pin(core, value & UCSRB_TXEN);
}

void usart_write(struct core *core, uint8_t address, uint8_t value)
{
    struct usart *usart = &core->usart;
    switch (address) {
    case UDR0: write_data(core, value); break;
    case UCSR0A:
        usart->control_a &= (uint8_t)~((value & UCSRA_TXC) | UCSRA_U2X | UCSRA_MPCM);
        usart->control_a |= value & (UCSRA_U2X | UCSRA_MPCM);
        break;
    case UCSR0B: write_control_b(core, value); break;
    case UCSR0C: usart->control_c = value; break;
    case UBRR0L: usart->baud = (uint16_t)((usart->baud & 0xF00) | value); break;
    default: usart->baud = (uint16_t)((usart->baud & 0x0FF) | (value & 15) << 8); break;
    }
    refresh_requests(core);
}

void usart_reset(struct core *core)
{
    core->usart = (struct usart){.control_a = UCSRA_UDRE, .control_c = UCSRC_UCSZ};
}
