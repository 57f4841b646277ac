#include "s0.h"

#include <avr/interrupt.h>
#include <avr/io.h>
#include <string.h>
#include <util/atomic.h>

#include "timebase.h"

/* A port's lines sit side by side in its pin register and in the line order. */
struct port {
  uint8_t lines;   /* mask of the counted pins */
  uint8_t level;   /* last level seen */
  uint8_t settled; /* last level believed */
};

enum { PORT_D_FIRST_LINE = 0, PORT_B_FIRST_LINE = 5, PORT_C_FIRST_LINE = 6 };
enum { PORT_D_FIRST_PIN = 3 };
enum { PORT_D_PINS = 0xf8, PORT_B_PINS = 0x01, PORT_C_PINS = 0x3f };

static struct port port_d, port_b, port_c;
static uint16_t since[S0_LINES];
static volatile uint32_t pulses[S0_LINES];
static uint8_t analog_lines_taken;

static inline __attribute__((always_inline)) void judge(struct port *port, uint8_t bit, uint8_t line,
                                                        uint16_t now) {
  if ((uint16_t)(now - since[line]) < S0_DEBOUNCE) return;
  if (!((port->level ^ port->settled) & bit)) return;
  port->settled ^= bit;
  if (!(port->settled & bit)) pulses[line]++;
}

static inline __attribute__((always_inline)) void edges(struct port *port, uint8_t pins, uint8_t line) {
  uint8_t changed = (pins ^ port->level) & port->lines;
  uint16_t now = timebase_stamp();
  for (uint8_t bit = 1; changed; bit <<= 1, line++) {
    if (!(changed & bit)) continue;
    changed ^= bit;
    judge(port, bit, line, now);
    since[line] = now;
    port->level ^= bit;
  }
}

static inline __attribute__((always_inline)) void settle(struct port *port, uint8_t line) {
  uint16_t now = timebase_stamp();
  for (uint8_t bit = 1; bit && bit <= port->lines; bit <<= 1, line++)
    if (port->lines & bit) judge(port, bit, line, now);
}

ISR(PCINT2_vect) {
  edges(&port_d, PIND >> PORT_D_FIRST_PIN, PORT_D_FIRST_LINE);
}

ISR(PCINT0_vect) {
  edges(&port_b, PINB, PORT_B_FIRST_LINE);
}

ISR(PCINT1_vect) {
  edges(&port_c, PINC, PORT_C_FIRST_LINE);
}

static uint8_t line_of(uint8_t channel) {
  return channel < PORT_C_FIRST_LINE ? channel : channel + analog_lines_taken;
}

void s0_begin(uint8_t count, uint8_t ac_count) {
  analog_lines_taken = 2 * ac_count;
  uint16_t lines = 0;
  PCICR = 0;
  for (uint8_t channel = 0; channel < count; channel++) lines |= 1u << line_of(channel);
  port_d.lines = lines & 0x1f;
  port_b.lines = lines >> PORT_B_FIRST_LINE & 1;
  port_c.lines = lines >> PORT_C_FIRST_LINE;

  memset((void *)pulses, 0, sizeof pulses);
  PORTD = (PORTD & ~PORT_D_PINS) | port_d.lines << PORT_D_FIRST_PIN; /* pull-ups */
  PORTB = (PORTB & ~PORT_B_PINS) | port_b.lines;
  PORTC = (PORTC & ~PORT_C_PINS) | port_c.lines;
  DIDR0 = (1 << analog_lines_taken) - 1; /* analog pins need no digital input */
  __asm__ volatile("nop\n\tnop\n\tnop\n\tnop"); /* pins settle through the synchroniser */
  ATOMIC_BLOCK(ATOMIC_RESTORESTATE) {
    PCMSK2 = port_d.lines << PORT_D_FIRST_PIN;
    PCMSK0 = port_b.lines;
    PCMSK1 = port_c.lines;
    PCIFR = _BV(PCIF0) | _BV(PCIF1) | _BV(PCIF2);
    PCICR = _BV(PCIE0) | _BV(PCIE1) | _BV(PCIE2);
    port_d.settled = port_d.level = PIND >> PORT_D_FIRST_PIN;
    port_b.settled = port_b.level = PINB;
    port_c.settled = port_c.level = PINC;
  }
}

void s0_settle(void) {
  ATOMIC_BLOCK(ATOMIC_RESTORESTATE) {
    settle(&port_d, PORT_D_FIRST_LINE);
  }
  ATOMIC_BLOCK(ATOMIC_RESTORESTATE) {
    settle(&port_b, PORT_B_FIRST_LINE);
  }
  ATOMIC_BLOCK(ATOMIC_RESTORESTATE) {
    settle(&port_c, PORT_C_FIRST_LINE);
  }
}

uint32_t s0_pulses(uint8_t channel) {
  uint32_t value;
  ATOMIC_BLOCK(ATOMIC_RESTORESTATE) {
    value = pulses[line_of(channel)];
  }
  return value;
}

void s0_set_pulses(uint8_t channel, uint32_t value) {
  ATOMIC_BLOCK(ATOMIC_RESTORESTATE) {
    pulses[line_of(channel)] = value;
  }
}
