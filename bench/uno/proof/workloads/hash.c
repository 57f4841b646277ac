/* Compute-bound: hashes 32 zero bytes with BLAKE2s-256 (RFC 7693), the hash again, and so on.
 * EEPROM: how often, u32. GPIOR0: 1 at the beginning, 2 at the end, when the last hash lies at `result`. */
#include <avr/eeprom.h>
#include <avr/io.h>
#include <avr/pgmspace.h>
#include <avr/sleep.h>
#include <string.h>

enum { WORDS = 8, BLOCK_WORDS = 16, ROUNDS = 10, HASH_BYTES = 32 };

static const uint32_t initial[WORDS] PROGMEM = {
  0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19
};
static const uint8_t schedule[ROUNDS][BLOCK_WORDS] PROGMEM = {
  {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
  {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4}, {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
  {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13}, {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
  {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11}, {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
  {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5}, {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}
};

uint32_t result[WORDS];

static uint32_t rotated(uint32_t word, uint8_t right) { return word >> right | word << (32 - right); }

static void mix(uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d, uint32_t x, uint32_t y)
{
  *a += *b + x;
  *d = rotated(*d ^ *a, 16);
  *c += *d;
  *b = rotated(*b ^ *c, 12);
  *a += *b + y;
  *d = rotated(*d ^ *a, 8);
  *c += *d;
  *b = rotated(*b ^ *c, 7);
}

/* The hash of a message of HASH_BYTES, which is one block and the last. */
static void hash(uint32_t message[WORDS])
{
  uint32_t block[BLOCK_WORDS] = {0}, v[BLOCK_WORDS], chain[WORDS];
  memcpy(block, message, HASH_BYTES);
  memcpy_P(chain, initial, sizeof chain);
  chain[0] ^= 0x01010000 ^ HASH_BYTES;
  memcpy(v, chain, sizeof chain);
  memcpy_P(v + WORDS, initial, sizeof chain);
  v[12] ^= HASH_BYTES;
  v[14] = ~v[14];
  for (uint8_t round = 0; round < ROUNDS; round++)
    for (uint8_t step = 0; step < 8; step++) {
      uint8_t column = step & 3, turn = step >> 2;
      const uint8_t *pair = &schedule[round][2 * step];
      mix(&v[column], &v[4 + ((column + turn) & 3)], &v[8 + ((column + 2 * turn) & 3)],
          &v[12 + ((column + 3 * turn) & 3)], block[pgm_read_byte(pair)], block[pgm_read_byte(pair + 1)]);
    }
  for (uint8_t i = 0; i < WORDS; i++)
    message[i] = chain[i] ^ v[i] ^ v[i + WORDS];
}

int main(void)
{
  uint32_t count = eeprom_read_dword(0);
  GPIOR0 = 1;
  while (count--)
    hash(result);
  GPIOR0 = 2;
  sleep_enable();
  sleep_cpu();
}
