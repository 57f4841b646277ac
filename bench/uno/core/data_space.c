/* The I/O registers in data space, 0x20 to 0xFF: who owns which ("Register Summary"). */
#include "core.h"

/* Everything due by the moment of the access has happened before it. */
static void catch_up(struct core *core)
{
    uint64_t now = core->now;
    if (core->next_event <= now)
        event_run_due(core, now);
    core->now = now;
}

static enum port_index port_of(uint8_t address) { return (enum port_index)((address - PINB) / 3); }

static uint8_t peripheral_read(struct core *core, uint8_t address)
{
    if (power_reduction_hides(core, address))
        return 0;
    if (timer_owns(address))
        return timer_read(core, address);
    switch (address) {
    case PINB: case PINC: case PIND: return gpio_read_pins(core, port_of(address));
    case DDRB: case DDRC: case DDRD: return core->port[port_of(address)].direction;
    case PORTB: case PORTC: case PORTD: return core->port[port_of(address)].output;
    case PCIFR: return core->pin_change_flags;
    case EIFR: return core->external_flags;
    case EECR: case EEDR: case EEARL: case EEARH: return eeprom_read(core, address);
    case SPCR: case SPSR: case SPDR: return spi_read(core, address);
    case MCUSR: return core->reset_status;
    case MCUCR: return interrupt_read_control(core);
    case SPMCSR: return self_programming_read(core);
    case SPL: return (uint8_t)core->stack_pointer;
    case SPH: return (uint8_t)(core->stack_pointer >> 8);
    case SREG: return cpu_status_register(core);
    case ACSR: return comparator_read(core);
    case WDTCSR: return watchdog_read(core);
    case ADCL: case ADCH: case ADCSRA: case ADCSRB: case ADMUX: return adc_read(core, address);
    case TWBR: case TWSR: case TWAR: case TWDR: case TWCR: case TWAMR: return twi_read(core, address);
    case UCSR0A: case UCSR0B: case UCSR0C: case UBRR0L: case UBRR0H: case UDR0: return usart_read(core, address);
    default: return core->data[address];
    }
}

uint8_t io_read(struct core *core, uint8_t address)
{
    catch_up(core);
    return peripheral_read(core, address);
}

static void write_port(struct core *core, uint8_t address, uint8_t value)
{
    enum port_index index = port_of(address);
    struct port *port = &core->port[index];
    const uint8_t existing = index == PORT_C ? 0x7F : 0xFF;
    value &= existing;
    if (address == PINB || address == PINC || address == PIND) /* writing ones toggles PORTx (14.2.2) */
        gpio_write(core, index, port->output ^ value, port->direction);
    else if (address == DDRB || address == DDRC || address == DDRD)
        gpio_write(core, index, port->output, value);
    else
        gpio_write(core, index, value, port->direction);
}

/* Stops for the host: GPIOR0 is a register like any other on the chip. */
static void write_mark(struct core *core, uint8_t value)
{
    core->data[GPIOR0] = value;
    core->mark_code = value;
    core->mark_argument = (uint16_t)(core->data[GPIOR2] << 8 | core->data[GPIOR1]);
    stop_raise(core, STOP_MARK);
}

/* The system clock stays at 16 MHz here; dividing it is a fault of the firmware under test. */
static void write_clock_prescaler(struct core *core, uint8_t value)
{
    if (!(value & 0x80) && value & 0x0F)
        cpu_fault(core, FAULT_CLOCK_PRESCALER, core->program_counter, value);
}

static void write_status(struct core *core, uint8_t value)
{
    bool enabled_before = core->flags.interrupt;
    cpu_set_status_register(core, value);
    if (core->flags.interrupt && !enabled_before) {
        core->enabled_cycle = core->now;
        core->deadline = 0;
    }
}

static void write_stack_pointer(struct core *core, uint8_t address, uint8_t value)
{
    if (address == SPH) {
        core->stack_pointer = (uint16_t)((core->stack_pointer & 0x00FF) | value << 8);
        return;
    }
    core->stack_pointer = (uint16_t)((core->stack_pointer & 0xFF00) | value);
    if (core->stack_pointer < core->stack_mark)
        cpu_stack_moved(core, core->program_counter);
}

static void peripheral_write(struct core *core, uint8_t address, uint8_t value)
{
    if (power_reduction_hides(core, address))
        return;
    if (timer_owns(address)) {
        timer_write(core, address, value);
        return;
    }
    switch (address) {
    case PINB: case PINC: case PIND: case DDRB: case DDRC: case DDRD: case PORTB: case PORTC: case PORTD:
        write_port(core, address, value);
        break;
    case PCIFR: core->pin_change_flags &= (uint8_t)~value; external_interrupt_refresh(core); break;
    case EIFR: core->external_flags &= (uint8_t)~value; external_interrupt_refresh(core); break;
    case EIMSK: core->data[EIMSK] = value & 3; external_interrupt_refresh(core); break;
    case EICRA: core->data[EICRA] = value & 15; external_interrupt_refresh(core); break;
    case PCICR: core->data[PCICR] = value & 7; external_interrupt_refresh(core); break;
    case PCMSK0: case PCMSK2: core->data[address] = value; break;
    case PCMSK1: core->data[address] = value & 0x7F; break;
    case GPIOR0: write_mark(core, value); break;
    case GPIOR1: case GPIOR2: case OSCCAL: case DIDR0: case DIDR1: core->data[address] = value; break;
    case EECR: case EEDR: case EEARL: case EEARH: eeprom_write(core, address, value); break;
    case SPCR: case SPSR: case SPDR: spi_write(core, address, value); break;
    case ACSR: comparator_write(core, value); break;
    case SMCR: core->data[SMCR] = value & 15; break;
    case MCUSR: core->reset_status &= value; break;
    case MCUCR: interrupt_write_control(core, value); gpio_refresh(core); break;
    case SPMCSR: self_programming_write(core, value); break;
    case SPL: case SPH: write_stack_pointer(core, address, value); break;
    case SREG: write_status(core, value); break;
    case WDTCSR: watchdog_write(core, value); break;
    case CLKPR: write_clock_prescaler(core, value); break;
    case PRR: power_reduction_write(core, value); break;
    case ADCSRA: case ADCSRB: case ADMUX: adc_write(core, address, value); break;
    case TWBR: case TWSR: case TWAR: case TWDR: case TWCR: case TWAMR: twi_write(core, address, value); break;
    case UCSR0A: case UCSR0B: case UCSR0C: case UBRR0L: case UBRR0H: case UDR0:
        usart_write(core, address, value);
        break;
    default: break; /* reserved */
    }
}

void io_write(struct core *core, uint8_t address, uint8_t value)
{
    catch_up(core);
    peripheral_write(core, address, value);
}

/* Registers where writing a one acts (flags to clear, PINx to toggle): SBI writes that one alone, CBI nothing. */
static bool ones_act(uint8_t address)
{
    switch (address) {
    case PINB: case PINC: case PIND: case TIFR0: case TIFR1: case TIFR2: case PCIFR: case EIFR: return true;
    default: return false;
    }
}

void io_set_bit(struct core *core, uint8_t address, uint8_t bit)
{
    catch_up(core);
    uint8_t others = ones_act(address) ? 0 : peripheral_read(core, address);
    peripheral_write(core, address, (uint8_t)(others | 1 << bit));
}

void io_clear_bit(struct core *core, uint8_t address, uint8_t bit)
{
    catch_up(core);
    if (!ones_act(address))
        peripheral_write(core, address, (uint8_t)(peripheral_read(core, address) & ~(1 << bit)));
}
