/* Tickless time on Timer1: 16 MHz / 1024 = 15625 ticks per second exactly, so whole seconds have no drift.
 *
 * The 16-bit counter runs freely; its overflow (every 4.19 s) is the only interrupt that comes by itself. The compare
 * unit fires only for a deadline nearer than that. Arduino's 976 Hz Timer0 tick is switched off: millis(), micros()
 * and delay() stand still in this firmware. The chip sleeps in idle mode, since its deeper modes stop Timer1 (a
 * Uno has no 32 kHz crystal for Timer2). Ticks wrap after 76 h: compare them by signed difference. */
#pragma once
#include <avr/interrupt.h>
#include <avr/io.h>
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TICKS_PER_SECOND 15625UL
#define TICKS_FROM_MS(ms) ((uint32_t)(ms) * 125 / 8)

void timebase_begin(void);

/* Ticks since timebase_begin(). */
uint32_t timebase_ticks(void);

/* The same in units of 16 ticks (1.024 ms), 16 bits, for interrupt handlers: call with interrupts off. */
static inline uint16_t timebase_stamp(void) {
  extern volatile uint16_t timebase_overflows;
  uint16_t count = TCNT1;
  uint16_t overflows = timebase_overflows;
  if ((TIFR1 & _BV(TOV1)) && !(count & 0x8000)) overflows++; /* overflowed with interrupts off */
  return (uint16_t)(overflows << 12) | (count >> 4);
}

static inline bool timebase_reached(uint32_t now, uint32_t deadline) {
  return (int32_t)(now - deadline) >= 0;
}

/* Sleeps until the deadline, a call of timebase_wake(), or the next overflow, whichever is first. Interrupt handlers
 * that do not call timebase_wake() run without ending the sleep. */
void timebase_sleep_until(uint32_t deadline);

/* Ends the sleep; for interrupt handlers whose event the main loop must see. */
static inline void timebase_wake(void) {
  extern volatile uint8_t timebase_woken;
  timebase_woken = 1;
}

/* Sleeps in idle mode until any interrupt. Call with interrupts off, returns with interrupts on. */
void timebase_doze(void);

#ifdef __cplusplus
}
#endif
