/* CRC-16/CCITT-FALSE: polynomial 0x1021, initial value 0xffff, not reflected, no final XOR. */
#pragma once
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { CRC16_INITIAL = 0xffff };

uint16_t crc16_update(uint16_t crc, uint8_t byte);
uint16_t crc16(const void *data, uint8_t length);

#ifdef __cplusplus
}
#endif
