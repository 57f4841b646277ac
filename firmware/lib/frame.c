#include "frame.h"

#include <string.h>

#include "ascon.h"

uint8_t *frame_put16(uint8_t *to, uint16_t value) {
  *to++ = value >> 8;
  *to++ = value;
  return to;
}

uint8_t *frame_put32(uint8_t *to, uint32_t value) {
  return frame_put16(frame_put16(to, value >> 16), value);
}

void frame_header(uint8_t header[FRAME_HEADER_BYTES], uint8_t kind, uint16_t uno_id, uint32_t boot_epoch,
                  uint32_t counter) {
  *header++ = kind;
  header = frame_put16(header, uno_id);
  header = frame_put32(header, boot_epoch);
  frame_put32(header, counter);
}

void frame_seal(const uint8_t header[FRAME_HEADER_BYTES], const uint8_t key[16], uint8_t *text, uint8_t length) {
  uint8_t nonce[ASCON_NONCE_BYTES] = {0};
  memcpy(nonce, header, FRAME_HEADER_BYTES);
  ascon_seal(text, length, header, FRAME_HEADER_BYTES, nonce, key, text + length);
}

bool frame_acknowledges(const uint8_t packet[FRAME_ACK_BYTES], const uint8_t data_header[FRAME_HEADER_BYTES],
                        const uint8_t key[16]) {
  uint8_t header[FRAME_HEADER_BYTES], tag[FRAME_TAG_BYTES];
  memcpy(header, data_header, FRAME_HEADER_BYTES);
  header[0] = FRAME_ACK;
  if (memcmp(packet, header, FRAME_HEADER_BYTES) != 0) return false; /* public bytes: no secret in the timing */
  frame_seal(header, key, tag, 0);
  return ascon_equal(packet + FRAME_HEADER_BYTES, tag, FRAME_ACK_BYTES - FRAME_HEADER_BYTES);
}
