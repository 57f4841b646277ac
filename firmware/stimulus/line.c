#include "line.h"

#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/pgmspace.h>
#include <stddef.h>

#include "crc16.h"
#include "player.h"

enum { CRC_BYTES = 2, COBS_BYTES = 1 };

static uint8_t heard[LINE_REQUEST_BYTES + CRC_BYTES + COBS_BYTES];
static volatile uint8_t heard_length;
static volatile bool spoiled, whole;
static uint32_t whole_tick;

void line_begin(void) {
  UCSR0A = _BV(U2X0);
  UBRR0 = 16; /* 16 MHz / 8 / 17 = 117647 baud, 2.1 % fast, as Arduino's Serial */
  UCSR0C = _BV(UCSZ01) | _BV(UCSZ00);
  UCSR0B = _BV(RXCIE0) | _BV(RXEN0) | _BV(TXEN0);
}

ISR(USART_RX_vect) {
  uint8_t errors = UCSR0A & (_BV(FE0) | _BV(DOR0));
  uint8_t byte = UDR0;
  if (whole) return;
  if (byte) {
    if (errors || heard_length == sizeof heard)
      spoiled = true;
    else
      heard[heard_length++] = byte;
    return;
  }
  if (heard_length && !spoiled && !errors) {
    whole_tick = player_ticks_with_interrupts_off();
    whole = true;
    return;
  }
  heard_length = 0;
  spoiled = false;
}

bool line_waiting(void) {
  return whole;
}

void line_discard(void) {
  heard_length = 0;
  spoiled = false;
  whole = false;
}

/* Decodes in place; the content is never longer than its code. 0xff: this is no COBS. */
static uint8_t decode(uint8_t *bytes, uint8_t length) {
  uint8_t from = 0, to = 0;
  while (from < length) {
    uint8_t run = bytes[from++] - 1;
    if (run > length - from) return 0xff;
    while (run--) bytes[to++] = bytes[from++];
    if (from < length) bytes[to++] = 0;
  }
  return to;
}

const uint8_t *line_request(uint8_t *length) {
  if (!whole) return NULL;
  uint8_t decoded = decode(heard, heard_length);
  if (decoded > CRC_BYTES && decoded != 0xff) {
    *length = decoded - CRC_BYTES;
    uint16_t crc = heard[*length] | (uint16_t)heard[*length + 1] << 8;
    if (crc == crc16(heard, *length)) return heard;
  }
  line_discard();
  return NULL;
}

uint32_t line_request_tick(void) {
  return whole_tick;
}

static void put(uint8_t byte) {
  while (!(UCSR0A & _BV(UDRE0))) {
  }
  UDR0 = byte;
}

void line_answer(const uint8_t *content, uint8_t length) {
  static uint8_t bytes[LINE_ANSWER_BYTES + CRC_BYTES];
  for (uint8_t i = 0; i < length; i++) bytes[i] = content[i];
  uint16_t crc = crc16(bytes, length);
  bytes[length++] = (uint8_t)crc;
  bytes[length++] = (uint8_t)(crc >> 8);
  line_discard(); /* the next request may come as soon as the host has this answer */
  put(0);
  for (uint8_t from = 0; from <= length;) {
    uint8_t end = from;
    while (end < length && bytes[end]) end++;
    put(end - from + 1);
    while (from < end) put(bytes[from++]);
    from++; /* past the zero, which the next run's length stands for */
  }
  put(0);
}

void line_text(const char *text_in_flash) {
  for (char character; (character = pgm_read_byte(text_in_flash)); text_in_flash++) put(character);
}
