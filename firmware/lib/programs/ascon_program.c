/* Seals one text from EEPROM between two markers and leaves ciphertext and tag at `output`.
 * EEPROM: key 16, nonce 16, text length, associated length, text, associated data. */
#include <avr/interrupt.h>
#include <avr/sleep.h>

#include "ascon.h"
#include "eeprom.h"
#include "marker.h"

uint8_t output[128];
uint8_t associated[128];

int main(void) {
  uint8_t key[16], nonce[16], lengths[2];
  eeprom_load(key, 0, 16);
  eeprom_load(nonce, 16, 16);
  eeprom_load(lengths, 32, 2);
  eeprom_load(output, 34, lengths[0]);
  eeprom_load(associated, 34 + lengths[0], lengths[1]);
  marker(MARKER_SEAL_BEGIN, 0);
  ascon_seal(output, lengths[0], associated, lengths[1], nonce, key, output + lengths[0]);
  marker(MARKER_SEAL_END, 0);
  sleep_enable();
  cli();
  sleep_cpu();
}
