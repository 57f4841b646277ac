#include "crc16.h"

/* Byte-wise without a table: the eight shifts of the polynomial folded into three XORs
 * (x = t ^ t >> 4 gathers what the bit loop would feed back). */
uint16_t crc16_update(uint16_t crc, uint8_t byte) {
  uint8_t x = (uint8_t)(crc >> 8) ^ byte;
  x ^= x >> 4;
  return (uint16_t)(crc << 8) ^ ((uint16_t)x << 12) ^ ((uint16_t)x << 5) ^ x;
}

uint16_t crc16(const void *data, uint8_t length) {
  const uint8_t *byte = data;
  uint16_t crc = CRC16_INITIAL;
  while (length--) crc = crc16_update(crc, *byte++);
  return crc;
}
