/* Restores the registers, marks BOOT with 1 when there were any, then adds 0x01010101 to each and saves, for ever. */
#include <avr/interrupt.h>
#include <avr/sleep.h>

#include "journal.h"
#include "marker.h"

enum { COMPOSITION = 0x0c };
uint32_t registers[JOURNAL_REGISTERS];

int main(void) {
  sei();
  marker(MARKER_BOOT, journal_begin(COMPOSITION, registers));
  for (;;) {
    for (uint8_t i = 0; i < JOURNAL_REGISTERS; i++) registers[i] += 0x01010101;
    marker(MARKER_JOURNAL, (uint16_t)journal_save(COMPOSITION, registers));
  }
}
