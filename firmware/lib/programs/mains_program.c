/* Measures AC channels and marks SNAPSHOT every second; EEPROM holds the number of channels, then their scales. */
#include <avr/interrupt.h>

#include "eeprom.h"
#include "mains.h"
#include "marker.h"
#include "timebase.h"

struct mains_scale scales[MAINS_CHANNELS];

int main(void) {
  uint8_t channels;
  eeprom_load(&channels, 0, 1);
  eeprom_load(scales, 1, sizeof scales);
  timebase_begin();
  sei();
  mains_begin(channels, scales, timebase_ticks());
  marker(MARKER_BOOT, 0);
  uint32_t snapshot = TICKS_PER_SECOND;
  for (;;) {
    uint32_t now = timebase_ticks();
    mains_step(now);
    if (timebase_reached(now, snapshot)) {
      marker(MARKER_SNAPSHOT, (uint16_t)(snapshot / TICKS_PER_SECOND));
      snapshot += TICKS_PER_SECOND;
    }
    timebase_sleep_until(timebase_reached(snapshot, mains_deadline()) ? mains_deadline() : snapshot);
  }
}
