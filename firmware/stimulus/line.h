/* Frames over the serial line, 115200 8N1: COBS (Cheshire and Baker, 1999) between zero bytes, over a content that ends
 * with its CRC-16 (firmware/lib/crc16.h), low byte first.
 *
 * The host asks, the Uno answers. What comes while a request is being answered is thrown away, and so is a frame that
 * is damaged: the host asks again. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { LINE_REQUEST_BYTES = 128, LINE_ANSWER_BYTES = 96 }; /* contents without CRC */

void line_begin(void);

/* Whether a request may have come. Call with interrupts off before sleeping. */
bool line_waiting(void);

/* Looks for a whole request: its content and length, or NULL. It stays until line_answer() or line_discard(). */
const uint8_t *line_request(uint8_t *length);

/* Tick at which the request's last byte had come. */
uint32_t line_request_tick(void);

/* Sends an answer while the caller waits, and listens again. */
void line_answer(const uint8_t *content, uint8_t length);

/* Listens again without an answer. */
void line_discard(void);

/* Sends a text as it is, for a person who watches. */
void line_text(const char *text_in_flash);

#ifdef __cplusplus
}
#endif
