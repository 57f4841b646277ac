/* Ascon-AEAD128 (NIST SP 800-232, August 2025): 128-bit key, nonce and tag, rate 128 bits.
 *
 * Runs in constant time for given lengths. The permutation is AVR assembly (ascon_permutation.S). */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { ASCON_KEY_BYTES = 16, ASCON_NONCE_BYTES = 16, ASCON_TAG_BYTES = 16 };

/* Encrypts `length` bytes at `text` in place and writes the tag over text and associated data. */
void ascon_seal(uint8_t *text, uint8_t length, const uint8_t *associated, uint8_t associated_length,
                const uint8_t nonce[ASCON_NONCE_BYTES], const uint8_t key[ASCON_KEY_BYTES],
                uint8_t tag[ASCON_TAG_BYTES]);

/* Whether two byte strings are equal, in time that depends on `length` alone. */
bool ascon_equal(const uint8_t *a, const uint8_t *b, uint8_t length);

/* The Ascon-p permutation on five little-endian 64-bit words; 0xf0 starts twelve rounds, 0xb4 eight. */
enum { ASCON_TWELVE_ROUNDS = 0xf0, ASCON_EIGHT_ROUNDS = 0xb4 };
void ascon_permute(uint8_t state[40], uint8_t first_constant);

#ifdef __cplusplus
}
#endif
