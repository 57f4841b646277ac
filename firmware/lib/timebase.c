#include "timebase.h"

#include <avr/sleep.h>
#include <util/atomic.h>

volatile uint16_t timebase_overflows;
volatile uint8_t timebase_woken;

ISR(TIMER1_OVF_vect) {
  timebase_overflows++;
  timebase_woken = 1;
}

ISR(TIMER1_COMPA_vect) {
  timebase_woken = 1;
}

void timebase_begin(void) {
  TIMSK0 = 0;
  TCCR0B = 0;
  TCCR2B = 0;
  TIMSK1 = 0;
  TCCR1A = 0;
  TCCR1B = _BV(CS12) | _BV(CS10); /* clk / 1024 */
  TCNT1 = 0;
  timebase_overflows = 0;
  TIFR1 = _BV(TOV1);
  TIMSK1 = _BV(TOIE1);
}

static uint32_t ticks_with_interrupts_off(void) {
  uint16_t count = TCNT1;
  uint16_t overflows = timebase_overflows;
  if ((TIFR1 & _BV(TOV1)) && !(count & 0x8000)) overflows++;
  return (uint32_t)overflows << 16 | count;
}

uint32_t timebase_ticks(void) {
  uint32_t ticks;
  ATOMIC_BLOCK(ATOMIC_RESTORESTATE) {
    ticks = ticks_with_interrupts_off();
  }
  return ticks;
}

void timebase_doze(void) {
  set_sleep_mode(SLEEP_MODE_IDLE);
  sleep_enable();
  sei(); /* the instruction after SEI runs before any interrupt: none can slip in before the sleep */
  sleep_cpu();
  sleep_disable();
}

void timebase_sleep_until(uint32_t deadline) {
  cli();
  uint32_t left = deadline - ticks_with_interrupts_off();
  if ((int32_t)left <= 0) {
    timebase_woken = 0;
    sei();
    return;
  }
  if (left <= 0xffff) {
    OCR1A = (uint16_t)deadline;
    TIFR1 = _BV(OCF1A);
    TIMSK1 = _BV(TOIE1) | _BV(OCIE1A);
    /* The tick may have come between reading the counter and arming: the compare would be a whole turn late. */
    if (timebase_reached(ticks_with_interrupts_off(), deadline)) timebase_woken = 1;
  }
  while (!timebase_woken) {
    timebase_doze();
    cli();
  }
  timebase_woken = 0;
  TIMSK1 = _BV(TOIE1);
  sei();
}
