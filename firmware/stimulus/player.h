/* Plays pulses on up to twelve lines, each at its tick of Timer1.
 *
 * Line order: D3..D7, D8, A0..A5, as the meter's S0 inputs (firmware/lib/s0.h). Outputs are open-drain: a line is pulled
 * low or let go, never driven high, since the input at its other end is pulled up.
 *
 * A tick is 64 cycles, 4 us. Ticks wrap after 4.8 h: compare them by signed difference. Pulses come in the order of
 * their starts and are numbered from 0 on, modulo 2^16. Each keeps its place in the queue until its outcome has been
 * acknowledged, so that no outcome is lost on the way to the host. */
#pragma once
#include <avr/io.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { PLAYER_LINES = 12, PLAYER_CAPACITY = 128, PLAYER_TICK_CYCLES = 64 };

/* A pulse that cannot begin within this many ticks (1 ms) of its start is not played. */
enum { PLAYER_LATEST_TICKS = 250 };

/* Outcomes: up to PLAYER_LATEST_TICKS, by how many ticks the pulse began late. Or not at all: */
enum {
  OUTCOME_HALTED = 0xfffd,  /* given up by player_halt() */
  OUTCOME_OVERLAP = 0xfffe, /* its line was still low, or let go at the very tick */
  OUTCOME_MISSED = 0xffff   /* it came after its time */
};

struct pulse {
  uint32_t start; /* tick */
  uint16_t width; /* ticks, 1 or more */
  uint8_t line;
} __attribute__((packed));

/* Lets go of all lines and starts the clock. Arduino's Timer0 tick goes off: millis() and delay() stand still. */
void player_begin(void);

/* Ticks since player_begin(). */
uint32_t player_ticks(void);

/* The same with interrupts off already, for interrupt handlers. */
static inline uint32_t player_ticks_with_interrupts_off(void) {
  extern volatile uint16_t player_overflows;
  uint16_t count = TCNT1;
  uint16_t overflows = player_overflows;
  if ((TIFR1 & _BV(TOV1)) && !(count & 0x8000)) overflows++; /* overflowed with interrupts off */
  return (uint32_t)overflows << 16 | count;
}

/* Takes over the pulse of the next number. False: no room, no such line, no width, or a start before that of the pulse
 * before. */
bool player_append(const struct pulse *pulse);

/* Number of the next pulse to be taken over; to be played; and of the first whose outcome is not acknowledged. */
uint16_t player_appended(void);
uint16_t player_played(void);
uint16_t player_acknowledged(void);

/* Outcome of a pulse between player_acknowledged() and player_played(). */
uint16_t player_outcome(uint16_t number);

/* Frees the places of all pulses before this number. Numbers not yet played are ignored. */
void player_acknowledge(uint16_t number);

/* Lets go of all lines and gives up all pulses not yet begun. */
void player_halt(void);

/* As after player_begin(), but time goes on. */
void player_forget(void);

#ifdef __cplusplus
}
#endif
