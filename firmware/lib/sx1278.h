/* Register driver of the Semtech SX1276/77/78 in LoRa mode (datasheet rev. 7).
 *
 * Wiring: NSS D10, MOSI D11, MISO D12, SCK D13, RESET D9, DIO0 D2 (INT0). The chip's DIO0 ends every wait: TxDone while
 * sending, RxDone while listening. Nothing polls over SPI. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct sx1278_settings {
  uint32_t frequency_hz;
  uint8_t spreading_factor; /* 7..12 */
  uint8_t bandwidth;        /* register code, 0 = 7.8 kHz .. 7 = 125, 8 = 250, 9 = 500 kHz */
  uint8_t coding_rate;      /* 1..4 = 4/5..4/8 */
  int8_t power_dbm;         /* 2..17 on PA_BOOST */
  uint8_t sync_word;
};

/* Resets and sets up the chip and leaves it asleep; false when no SX1278 answers. */
bool sx1278_begin(const struct sx1278_settings *settings);

/* Starts sending header and body as one packet; sx1278_event() tells when it is out. */
void sx1278_send(const uint8_t *header, uint8_t header_length, const uint8_t *body, uint8_t body_length);

/* Opens the receiver until sx1278_sleep(); sx1278_event() tells of packets. */
void sx1278_listen(void);

/* Fetches the packet an event told of: its length, or 0 when its CRC failed or it is longer than the buffer. */
uint8_t sx1278_receive(uint8_t *buffer, uint8_t capacity);

void sx1278_sleep(void);

/* Whether DIO0 rose since the last call. */
bool sx1278_event(void);

#ifdef __cplusplus
}
#endif
