/* State of one ATmega328P and the faces its parts show each other.
 *
 * Time is `now`, in cycles of the 16 MHz clock since power-on. A data-space read happens at the start of the
 * instruction's last cycle, a write takes effect at its end. Peripherals that move by themselves (timers) are
 * brought up to `now` when looked at; whatever must be noticed by itself has an entry in `event_cycle`. */
#ifndef BENCH_UNO_CORE_H
#define BENCH_UNO_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "face.h"
#include "registers.h"

#define NEVER UINT64_MAX
#define CYCLES_PER_MILLISECOND 16000u

enum {
    FLASH_BYTES = 0x8000, FLASH_WORDS = FLASH_BYTES / 2, EEPROM_BYTES = 1024,
    PAGE_BYTES = 128, BOOT_START = 0x3F00, /* word address of the boot section, by the Uno's fuses */
    PORT_COUNT = 3, PIN_COUNT = PORT_COUNT * 8, SYNCHRONISER_DEPTH = 16,
    ADC_PINS = 8, ANALOG_AIN0 = ADC_PINS, ANALOG_AIN1, ANALOG_CHANNELS, /* channels of analog.c: the ADC's pins first */
    BANDGAP_UV = 1100000, SUPPLY_UV = 5000000,
};

/* A pin is port * 8 + bit, ports in the order B, C, D. */
enum port_index { PORT_B, PORT_C, PORT_D };
#define PIN(port, bit) ((port) * 8 + (bit))

enum event {
    EVENT_TIMER0, EVENT_TIMER1, EVENT_TIMER2, EVENT_USART_TRANSMIT, EVENT_USART_RECEIVE, EVENT_SPI, EVENT_ADC,
    EVENT_EEPROM, EVENT_WATCHDOG, EVENT_EDGE, EVENT_SYNCHRONISER, EVENT_TWI,
    EVENT_COMPARATOR, EVENT_SELF_PROGRAMMING, EVENT_COUNT,
};

enum sleep_mode {
    SLEEP_IDLE = 0, SLEEP_ADC_NOISE_REDUCTION = 1, SLEEP_POWER_DOWN = 2, SLEEP_POWER_SAVE = 3,
    SLEEP_STANDBY = 6, SLEEP_EXTENDED_STANDBY = 7, SLEEP_MODES = 8, AWAKE = 0xFF,
};

struct translation;

struct program {
    struct instruction code[FLASH_WORDS + 2];
    struct instruction *marked_code;     /* the same with OPERATION_ENTER where translated code can be entered */
    const struct translation *translation;
    uint8_t flash[FLASH_BYTES];
    uint64_t checksum;
};

/* SREG in the form the instructions leave it: C is 0 or 1; Z is set when zero == 0; N and V are bit 7 of negative
 * and overflow; H is bit 4 of half. S is N xor V, unless SREG was written otherwise: bit 15 of overflow says so, and
 * goes with the next result, which sets the low byte alone. */
struct flags { uint16_t overflow; uint8_t carry, zero, negative, half, transfer, interrupt; };

struct port {
    uint8_t output, direction;           /* PORTx, DDRx */
    uint8_t driven, external;            /* what the outside does to the pins */
    uint8_t override, override_level;    /* alternate functions that take the pin from PORTx */
    uint8_t forced_output;               /* ... and from DDRx */
    uint8_t level, level_before;         /* on the pins now, and before changed_cycle */
    uint8_t watched, watched_changed;
    uint64_t changed_cycle;
};

struct synchroniser_entry { uint64_t cycle; uint16_t signals; };

enum waveform { WAVEFORM_NORMAL, WAVEFORM_CTC, WAVEFORM_FAST_PWM, WAVEFORM_PHASE, WAVEFORM_PHASE_FREQUENCY };
enum top { TOP_MAX, TOP_0FF, TOP_1FF, TOP_3FF, TOP_COMPARE_A, TOP_CAPTURE };

struct timer {
    uint64_t synced;
    uint16_t count, compare[2], compare_buffer[2], capture;
    uint8_t control_a, control_b, mask, flags, temporary;
    uint8_t waveform, top;
    bool down, match_blocked, output[2];
};

struct usart {
    uint16_t transmit_shift, transmit_buffer, receive_fifo[3], receive_waiting;
    uint8_t control_a, control_b, control_c, receive_count;
    uint16_t baud;
    bool transmitting, receiving_spoilt, overrun;
};

struct spi { uint8_t control, status, mosi, miso, data; bool busy, status_read; };

enum adc_phase { ADC_IDLE, ADC_STARTING, ADC_SAMPLING, ADC_CONVERTING };
struct adc {
    uint64_t prescaler_origin, sample_cycle, complete_cycle;
    uint16_t result, sample;
    uint8_t multiplexer, control_a, control_b, latched, phase;
    bool locked, warm;
};

struct eeprom {
    uint64_t enable_until, started;
    uint16_t address, programming_address;
    uint8_t control, data, programming_data, programming_mode;
    uint8_t cells[EEPROM_BYTES];
};

struct watchdog { uint64_t change_until, origin; uint8_t control; };
struct twi { uint8_t bit_rate, status, address, address_mask, data, control; bool owned; };

struct comparator { uint8_t control; bool above, output; /* ACO, a little later */ };

/* operation: the bits of SPMCSR armed or under way; started: when, NEVER while none is. */
struct self_programming {
    uint64_t armed_until, row_until, started, filled; /* filled: one bit per word of the buffer */
    uint16_t page;
    uint8_t operation, lock, lock_wanted;
    bool interrupt_enabled, section_busy;
    uint8_t buffer[PAGE_BYTES];
};

struct edge_queue { uint64_t *cycles; size_t head, count, capacity; bool next_high; };
struct segment_queue { struct analog_segment *segments; size_t count, capacity; };
struct byte_queue { uint8_t *bytes; size_t head, count, capacity; };

struct inspection;

struct core {
    uint8_t data[DATA_SPACE_SIZE];       /* r0..r31, plain I/O registers, SRAM */
    uint64_t cycle, deadline, now, next_event;
    struct flags flags;
    uint16_t stack_pointer, stack_mark, lowest_stack, stack_floor;
    uint32_t program_counter;            /* in words */
    uint32_t pending;                    /* one bit per vector: flag set and enabled */
    uint64_t enabled_cycle;              /* end of the instruction that set I; none is served at this instant */
    uint64_t vector_change_until;        /* IVCE; no interrupt is served before */
    uint64_t halted_until;               /* the CPU, by programming of flash beside which none can be read */
    uint64_t event_cycle[EVENT_COUNT];
    uint32_t stall, stops;

    uint8_t sleep_mode;                  /* enum sleep_mode or AWAKE */
    bool io_clock_stopped, watchdog_bites;
    uint64_t io_clock_stop_cycle, wake_cycle, reset_until;
    uint64_t frozen_event[EVENT_COUNT];  /* by a stopped I/O clock; by PRR, as cycles still to go */
    uint64_t reduced_event[EVENT_COUNT], adc_stop_cycle;
    uint64_t sleep_cycles[SLEEP_MODES], reset_cycles;
    uint8_t reset_status;                /* MCUSR */

    struct port port[PORT_COUNT];
    struct synchroniser_entry synchroniser[SYNCHRONISER_DEPTH];
    uint8_t synchroniser_count;
    uint8_t external_flags, pin_change_flags;
    uint64_t capture_changed;            /* the noise canceler of the input capture, and its output before that */
    bool capture_output;
    uint8_t pin_changed; bool pin_level;

    struct timer timer[3];
    uint64_t prescaler_origin[2];        /* shared by Timer0 and Timer1; Timer2's own */
    uint8_t prescaler_hold;
    struct usart usart;
    struct spi spi;
    struct adc adc;
    struct eeprom eeprom;
    struct watchdog watchdog;
    struct twi twi;
    struct comparator comparator;
    struct self_programming self_programming;
    uint8_t mark_code, uart_byte; uint16_t mark_argument;
    struct fault fault;

    /* Everything above is plain data and is saved as it stands. */
    const struct program *program;       /* what is executed now */
    const struct program *image;         /* what the core was flashed with */
    struct program *own, *own_while_busy; /* flash programmed by the core itself, mostly NULL */
    bool starts_boot_loader;             /* fuse BOOTRST */
    struct edge_queue edges[PIN_COUNT];
    struct segment_queue analog[ANALOG_CHANNELS];
    struct byte_queue line;              /* bytes on their way to RXD */
    struct inspection *inspection;       /* of a developer's tools, mostly NULL */
};

/* decode.c */
void decode_program(struct program *program);
void decode_words(struct program *program, uint32_t first, uint32_t count);

/* cpu.c: runs instructions until cycle >= deadline, at least one; stops before an OPERATION_ENTER. */
void cpu_execute(struct core *core, const struct instruction *code);
uint8_t cpu_status_register(const struct core *core);
void cpu_set_status_register(struct core *core, uint8_t value);
void cpu_fault(struct core *core, enum fault_kind kind, uint32_t program_counter, uint32_t detail);
void cpu_stack_moved(struct core *core, uint32_t program_counter);

/* data_space.c: the I/O registers, 0x20 to 0xFF, at core->now. */
uint8_t io_read(struct core *core, uint8_t address);
void io_write(struct core *core, uint8_t address, uint8_t value);
void io_set_bit(struct core *core, uint8_t address, uint8_t bit);
void io_clear_bit(struct core *core, uint8_t address, uint8_t bit);

/* event.c */
void event_at(struct core *core, enum event event, uint64_t cycle);
void event_refresh(struct core *core);
void event_run_due(struct core *core, uint64_t cycle);
static inline void stop_raise(struct core *core, enum stop stop)
{
    core->stops |= 1u << stop;
    core->deadline = 0;
}

/* interrupt.c */
void interrupt_request(struct core *core, enum vector vector, bool requested);
void interrupt_enter(struct core *core);
uint8_t interrupt_read_control(const struct core *core);
void interrupt_write_control(struct core *core, uint8_t value);
static inline bool interrupt_may_enter(const struct core *core)
{
    return core->pending && core->flags.interrupt && core->cycle != core->enabled_cycle
        && core->cycle >= core->vector_change_until;
}

/* power_reduction.c */
bool power_reduction_hides(const struct core *core, uint8_t address);
void power_reduction_write(struct core *core, uint8_t value);

/* sleep.c */
void sleep_enter(struct core *core);
bool sleep_continue(struct core *core, uint64_t limit);
uint64_t sleep_wake_cycle(const struct core *core);

/* reset.c */
#define RESET_START_UP_CYCLES (14 + 65 * CYCLES_PER_MILLISECOND) /* CKSEL 1111, SUT 11: datasheet table 9-4 */
void reset_begin(struct core *core, enum reset_cause cause, uint64_t start_up_cycles);

/* gpio.c */
enum {
    SIGNAL_INT0 = 1, SIGNAL_INT1 = 2, SIGNAL_PCINT0 = 4, SIGNAL_PCINT1 = 8, SIGNAL_PCINT2 = 16,
    SIGNAL_CAPTURE = 32, SIGNAL_T0 = 64, SIGNAL_T1 = 128, SIGNAL_COMPARATOR_LOW = 256, SIGNAL_COMPARATOR_HIGH = 512,
};
void gpio_reset(struct core *core);
uint8_t gpio_read_pins(const struct core *core, enum port_index port);
void gpio_write(struct core *core, enum port_index port, uint8_t output, uint8_t direction);
void gpio_override(struct core *core, uint8_t pin, bool taken, bool level);
void gpio_force_output(struct core *core, uint8_t pin, bool forced);
void gpio_drive(struct core *core, uint8_t pin, bool high);
void gpio_refresh(struct core *core);
void gpio_edge_event(struct core *core);
void gpio_edges_rearm(struct core *core);
static inline bool gpio_level(const struct core *core, uint8_t pin)
{
    return core->port[pin / 8].level >> pin % 8 & 1;
}

/* external_interrupt.c */
void external_interrupt_pins_changed(struct core *core, enum port_index port, uint8_t before, uint8_t after);
void external_interrupt_synchronise(struct core *core, uint16_t signals, uint32_t delay);
void external_interrupt_capture_edge(struct core *core, bool high);
void external_interrupt_event(struct core *core);
void external_interrupt_refresh(struct core *core);
void external_interrupt_clock_stopped(struct core *core);
void external_interrupt_clock_resumed(struct core *core, uint64_t stopped_cycles);
void external_interrupt_acknowledge(struct core *core, enum vector vector);

/* timer.c */
void timer_reset(struct core *core);
uint8_t timer_read(struct core *core, uint8_t address);
bool timer_owns(uint8_t address);
uint8_t timer_reduction(uint8_t address);
void timer_write(struct core *core, uint8_t address, uint8_t value);
void timer_event(struct core *core, int index);
void timer_acknowledge(struct core *core, enum vector vector);
void timer_external_clock(struct core *core, int index);
void timer_capture(struct core *core);
void timer_synchronise_all(struct core *core);
void timer_clock_resumed(struct core *core, uint64_t stopped_cycles);
void timer_reschedule_all(struct core *core);
bool timer_holds_clock(const struct core *core);

/* usart.c */
void usart_reset(struct core *core);
uint8_t usart_read(struct core *core, uint8_t address);
void usart_write(struct core *core, uint8_t address, uint8_t value);
void usart_transmit_event(struct core *core);
void usart_receive_event(struct core *core);
void usart_acknowledge(struct core *core);
void usart_line_rearm(struct core *core);

/* spi.c */
void spi_reset(struct core *core);
uint8_t spi_read(struct core *core, uint8_t address);
void spi_write(struct core *core, uint8_t address, uint8_t value);
void spi_event(struct core *core);
void spi_acknowledge(struct core *core);
void spi_slave_select_check(struct core *core);

/* adc.c, analog.c */
enum adc_trigger {
    ADC_FREE_RUNNING, ADC_ANALOG_COMPARATOR, ADC_INT0, ADC_TIMER0_COMPARE_A, ADC_TIMER0_OVERFLOW,
    ADC_TIMER1_COMPARE_B, ADC_TIMER1_OVERFLOW, ADC_TIMER1_CAPTURE,
};
void adc_reset(struct core *core);
uint8_t adc_read(struct core *core, uint8_t address);
void adc_write(struct core *core, uint8_t address, uint8_t value);
void adc_event(struct core *core);
void adc_acknowledge(struct core *core);
void adc_trigger(struct core *core, enum adc_trigger source);
bool adc_listens(const struct core *core, enum adc_trigger source);
void adc_sleep_entered(struct core *core);
void adc_clock_resumed(struct core *core, uint64_t stopped_cycles);
int64_t analog_microvolts(const struct core *core, uint8_t channel, uint64_t cycle);
/* A voltage changes by no more than `fastest`, in 2^-64 uV per cycle, until the cycle `until`. */
struct analog_pace { unsigned __int128 fastest; uint64_t until; };
struct analog_pace analog_pace_of(const struct core *core, uint8_t channel, uint64_t cycle);
void analog_prepare(void);

/* comparator.c */
void comparator_reset(struct core *core);
uint8_t comparator_read(const struct core *core);
void comparator_write(struct core *core, uint8_t value);
void comparator_look(struct core *core);
void comparator_pins_changed(struct core *core, enum port_index port, uint8_t changed);
void comparator_output(struct core *core, bool high);
void comparator_acknowledge(struct core *core);

/* eeprom.c */
void eeprom_reset(struct core *core, enum reset_cause cause);
uint8_t eeprom_read(struct core *core, uint8_t address);
void eeprom_write(struct core *core, uint8_t address, uint8_t value);
void eeprom_event(struct core *core);

bool eeprom_is_programming(const struct core *core);

/* self_programming.c */
bool self_programming_own(struct core *core, const uint8_t *flash);
void self_programming_reset(struct core *core, enum reset_cause cause);
uint8_t self_programming_read(const struct core *core);
void self_programming_write(struct core *core, uint8_t value);
bool self_programming_execute(struct core *core, uint32_t program_counter, uint16_t address);
uint8_t self_programming_read_row(struct core *core, uint16_t address);
enum fault_kind self_programming_fault(const struct core *core, uint32_t program_counter);
bool self_programming_is_busy(const struct core *core);
void self_programming_lose_buffer(struct core *core);
void self_programming_event(struct core *core);

/* watchdog.c */
void watchdog_reset(struct core *core);
uint8_t watchdog_read(struct core *core);
void watchdog_write(struct core *core, uint8_t value);
void watchdog_restart(struct core *core);
void watchdog_event(struct core *core);
void watchdog_acknowledge(struct core *core);

/* inspection.c: each does nothing while no inspection is attached. */
void inspection_destroy(struct inspection *inspection);
void inspection_pins_changed(struct core *core, enum port_index port, uint8_t changed);
void inspection_line(struct core *core, uint8_t pin, uint64_t from, uint32_t levels, uint32_t count, uint32_t cycles);
void inspection_watchdog_bites(struct core *core);

/* twi.c */
void twi_reset(struct core *core);
uint8_t twi_read(struct core *core, uint8_t address);
void twi_write(struct core *core, uint8_t address, uint8_t value);
void twi_event(struct core *core);

#endif
