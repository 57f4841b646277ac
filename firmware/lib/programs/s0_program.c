/* Counts on all twelve lines, or fewer with AC channels: EEPROM holds count and ac_count. Never leaves its sleep but
 * to settle at every overflow of the time base. */
#include <avr/interrupt.h>

#include "eeprom.h"
#include "marker.h"
#include "s0.h"
#include "timebase.h"

uint32_t counted[S0_LINES];

int main(void) {
  uint8_t counts[2];
  eeprom_load(counts, 0, 2);
  timebase_begin();
  s0_begin(counts[0], counts[1]);
  marker(MARKER_BOOT, 0);
  sei();
  for (uint32_t deadline = TICKS_PER_SECOND;; deadline += TICKS_PER_SECOND) {
    while (!timebase_reached(timebase_ticks(), deadline)) timebase_sleep_until(deadline);
    s0_settle();
    for (uint8_t i = 0; i < counts[0]; i++) counted[i] = s0_pulses(i);
    marker(MARKER_SNAPSHOT, (uint16_t)(deadline / TICKS_PER_SECOND));
  }
}
