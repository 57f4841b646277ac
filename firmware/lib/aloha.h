/* Medium access "aloha-ack": send at a random moment of the interval, wait for the ACK, repeat after a random back-off
 * that doubles up to the interval. After an ACK the next frame of a backlog follows at once. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#include "sx1278.h"

#ifdef __cplusplus
extern "C" {
#endif

struct aloha_identity {
  uint16_t uno_id;
  uint32_t boot_epoch;
  const uint8_t *key;
};

void aloha_begin(const struct aloha_identity *identity, const struct sx1278_settings *radio, uint16_t interval_s,
                 uint16_t ack_timeout_ms);

/* Tells that the ring holds a new frame; `oldest_counter` is that of the ring's oldest. */
void aloha_offer(uint32_t now, uint32_t oldest_counter);

/* Handles radio events and deadlines. */
void aloha_step(uint32_t now);

/* Whether something is planned, and when, in ticks. */
bool aloha_deadline(uint32_t *deadline);

#ifdef __cplusplus
}
#endif
