/* Begins a boot epoch; marks BOOT with it, or FAULT with the result. */
#include <avr/interrupt.h>
#include <avr/sleep.h>

#include "epoch.h"
#include "marker.h"

uint32_t epoch;

int main(void) {
  sei();
  enum epoch_result result = epoch_begin(&epoch);
  marker(result == EPOCH_READY ? MARKER_BOOT : MARKER_FAULT, result);
  sleep_enable();
  cli();
  sleep_cpu();
}
