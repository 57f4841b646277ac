#include "ascon.h"

#include <string.h>

enum { RATE = 16, WORD1 = 8, WORD2 = 16, WORD3 = 24, LAST = 39 };

static void mix(uint8_t *into, const uint8_t *from, uint8_t count) {
  while (count--) *into++ ^= *from++;
}

void ascon_seal(uint8_t *text, uint8_t length, const uint8_t *associated, uint8_t associated_length,
                const uint8_t nonce[ASCON_NONCE_BYTES], const uint8_t key[ASCON_KEY_BYTES],
                uint8_t tag[ASCON_TAG_BYTES]) {
  uint8_t state[40] = {0x01, 0x00, 0x8c, 0x80, 0x00, 0x10, 0x00, 0x00}; /* IV, SP 800-232 table 14 */
  memcpy(state + WORD1, key, 16);
  memcpy(state + WORD3, nonce, 16);
  ascon_permute(state, ASCON_TWELVE_ROUNDS);
  mix(state + WORD3, key, 16);

  if (associated_length) {
    for (; associated_length >= RATE; associated_length -= RATE, associated += RATE) {
      mix(state, associated, RATE);
      ascon_permute(state, ASCON_EIGHT_ROUNDS);
    }
    mix(state, associated, associated_length);
    state[associated_length] ^= 0x01;
    ascon_permute(state, ASCON_EIGHT_ROUNDS);
  }
  state[LAST] ^= 0x80; /* end of associated data */

  for (; length >= RATE; length -= RATE, text += RATE) {
    mix(state, text, RATE);
    memcpy(text, state, RATE);
    ascon_permute(state, ASCON_EIGHT_ROUNDS);
  }
  mix(state, text, length);
  memcpy(text, state, length);
  state[length] ^= 0x01;

  mix(state + WORD2, key, 16);
  ascon_permute(state, ASCON_TWELVE_ROUNDS);
  mix(state + WORD3, key, 16);
  memcpy(tag, state + WORD3, ASCON_TAG_BYTES);
}

bool ascon_equal(const uint8_t *a, const uint8_t *b, uint8_t length) {
  uint8_t difference = 0;
  while (length--) difference |= *a++ ^ *b++;
  return difference == 0;
}
