/* Interrupts: datasheet 7.7 "Reset and interrupt handling" and 12 "Interrupts". */
#include "core.h"

enum { ENTRY_CYCLES = 4, VECTOR_WORDS = 2, CHANGE_WINDOW = 4 };

void interrupt_request(struct core *core, enum vector vector, bool requested)
{
    if (requested) {
        core->pending |= 1u << vector;
        if (core->flags.interrupt)
            core->deadline = 0;
    } else {
        core->pending &= ~(1u << vector);
    }
}

/* Executing the vector clears the flag of those interrupts that have one cleared by hardware. */
static void acknowledge(struct core *core, enum vector vector)
{
    switch (vector) {
    case VECTOR_INT0: case VECTOR_INT1: case VECTOR_PCINT0: case VECTOR_PCINT1: case VECTOR_PCINT2:
        external_interrupt_acknowledge(core, vector);
        break;
    case VECTOR_WDT: watchdog_acknowledge(core); break;
    case VECTOR_TIMER2_COMPA: case VECTOR_TIMER2_COMPB: case VECTOR_TIMER2_OVF:
    case VECTOR_TIMER1_CAPT: case VECTOR_TIMER1_COMPA: case VECTOR_TIMER1_COMPB: case VECTOR_TIMER1_OVF:
    case VECTOR_TIMER0_COMPA: case VECTOR_TIMER0_COMPB: case VECTOR_TIMER0_OVF:
        timer_acknowledge(core, vector);
        break;
    case VECTOR_SPI_STC: spi_acknowledge(core); break;
    case VECTOR_USART_TX: usart_acknowledge(core); break;
    case VECTOR_ADC: adc_acknowledge(core); break;
    case VECTOR_ANALOG_COMP: comparator_acknowledge(core); break;
    default: break; /* level interrupts: the flag goes when its cause goes */
    }
}

static void push(struct core *core, uint8_t value)
{
    uint16_t address = core->stack_pointer--;
    if (address >= SRAM_START && address <= RAMEND)
        core->data[address] = value;
    else
        cpu_fault(core, FAULT_STACK_OVERFLOW, core->program_counter, address);
}

/* Serves the pending interrupt of the lowest vector. */
void interrupt_enter(struct core *core)
{
    enum vector vector = (enum vector)__builtin_ctz(core->pending);
    core->now = core->cycle;
    push(core, (uint8_t)core->program_counter);
    push(core, (uint8_t)(core->program_counter >> 8));
    if (core->stack_pointer < core->stack_mark)
        cpu_stack_moved(core, core->program_counter);
    core->flags.interrupt = 0;
    acknowledge(core, vector);
    core->program_counter = (core->data[MCUCR] & MCUCR_IVSEL ? BOOT_START : 0) + vector * VECTOR_WORDS;
    core->cycle += ENTRY_CYCLES;
}

uint8_t interrupt_read_control(const struct core *core)
{
    return (uint8_t)(core->data[MCUCR] | (core->now < core->vector_change_until ? MCUCR_IVCE : 0));
}

/* MCUCR: IVSEL changes in the four cycles after IVCE was set, for which no interrupt is served, nor after the change
 * before the next instruction (12.5.1). */
void interrupt_write_control(struct core *core, uint8_t value)
{
    uint8_t kept = core->data[MCUCR] & MCUCR_IVSEL;
    if (value & MCUCR_IVCE) {
        core->vector_change_until = core->now + CHANGE_WINDOW;
    } else if (core->now <= core->vector_change_until) {
        kept = value & MCUCR_IVSEL;
        core->vector_change_until = 0;
        core->enabled_cycle = core->now;
    }
    core->data[MCUCR] = kept | (value & MCUCR_PUD);
}
