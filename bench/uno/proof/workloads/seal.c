/* Compute-bound, half of it in assembly: seals 32 zero bytes with the firmware's Ascon-AEAD128, then the ciphertext
 * with the tag as nonce, and so on. Key, first nonce and associated data are zero.
 * EEPROM: how often, u32. GPIOR0: 1 at the beginning, 2 at the end, when the last ciphertext and tag lie at `result`. */
#include <avr/eeprom.h>
#include <avr/io.h>
#include <avr/sleep.h>
#include <string.h>

#include "ascon.h"

enum { TEXT_BYTES = 32, ASSOCIATED_BYTES = 8 };

uint8_t result[TEXT_BYTES + ASCON_TAG_BYTES];

int main(void)
{
  static const uint8_t key[ASCON_KEY_BYTES], associated[ASSOCIATED_BYTES];
  uint8_t nonce[ASCON_NONCE_BYTES];
  uint32_t count = eeprom_read_dword(0);
  GPIOR0 = 1;
  while (count--) {
    memcpy(nonce, result + TEXT_BYTES, sizeof nonce);
    ascon_seal(result, TEXT_BYTES, associated, ASSOCIATED_BYTES, nonce, key, result + TEXT_BYTES);
  }
  GPIOR0 = 2;
  sleep_enable();
  sleep_cpu();
}
