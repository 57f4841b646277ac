#include "eeprom.h"

#include <avr/interrupt.h>
#include <avr/io.h>

#include "timebase.h"

ISR(EE_READY_vect) {
  EECR &= (uint8_t)~_BV(EERIE); /* level-triggered: it would come again for ever */
}

static uint8_t load_byte(uint16_t address) {
  while (EECR & _BV(EEPE)) { /* only after a reset in the midst of a write, which goes on through it */
  }
  EEAR = address;
  EECR |= _BV(EERE);
  return EEDR;
}

static void wait_asleep(void) {
  cli();
  while (EECR & _BV(EEPE)) {
    EECR |= _BV(EERIE);
    timebase_doze();
    cli();
  }
  sei();
}

void eeprom_load(void *to, uint16_t address, uint8_t count) {
  uint8_t *byte = to;
  while (count--) *byte++ = load_byte(address++);
}

bool eeprom_store(uint16_t address, const void *from, uint8_t count) {
  bool same = true;
  for (const uint8_t *byte = from; count--; byte++, address++) {
    if (load_byte(address) == *byte) continue;
    EEDR = *byte;
    cli(); /* EEPE must follow EEMPE within four cycles */
    EECR |= _BV(EEMPE);
    EECR |= _BV(EEPE);
    sei();
    wait_asleep();
    same &= load_byte(address) == *byte;
  }
  return same;
}
