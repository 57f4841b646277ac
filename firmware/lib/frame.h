/* Frames on air, big-endian (the contract with ledger/frame.py; golden vectors in vectors/frames.json).
 *
 * DATA: header { kind 0x11, uno_id u16, boot_epoch u32, counter u32 } | Ascon-AEAD128 ciphertext | tag 16
 * ACK:  header with kind 0x12 | first 8 bytes of the Ascon-AEAD128 tag over empty text
 * Nonce = header | five zero bytes; associated data = header. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
  FRAME_DATA = 0x11,
  FRAME_ACK = 0x12,
  FRAME_HEADER_BYTES = 11,
  FRAME_TAG_BYTES = 16,
  FRAME_ACK_BYTES = 19,
  FRAME_PREFIX_BYTES = 5,      /* status, composition, dropped, pending */
  FRAME_AC_BYTES = 12,
  FRAME_S0_BYTES = 4,
  FRAME_MAX_PLAINTEXT_BYTES = 61 /* two AC channels and eight S0 */
};

enum frame_status {
  FRAME_STATUS_FIRST = 1 << 0,
  FRAME_STATUS_RESTORED = 1 << 1,
  FRAME_STATUS_BROWN_OUT = 1 << 2,
  FRAME_STATUS_WATCHDOG = 1 << 3,
  FRAME_STATUS_EXTERNAL = 1 << 4,
  FRAME_STATUS_POWER_ON = 1 << 5
};

void frame_header(uint8_t header[FRAME_HEADER_BYTES], uint8_t kind, uint16_t uno_id, uint32_t boot_epoch,
                  uint32_t counter);

/* Seals `length` bytes of text in place; the tag follows the text. */
void frame_seal(const uint8_t header[FRAME_HEADER_BYTES], const uint8_t key[16], uint8_t *text, uint8_t length);

/* Whether `packet` acknowledges the DATA frame with this header. */
bool frame_acknowledges(const uint8_t packet[FRAME_ACK_BYTES], const uint8_t data_header[FRAME_HEADER_BYTES],
                        const uint8_t key[16]);

/* Append a number; return where the next goes. */
uint8_t *frame_put16(uint8_t *to, uint16_t value);
uint8_t *frame_put32(uint8_t *to, uint32_t value);

#ifdef __cplusplus
}
#endif
