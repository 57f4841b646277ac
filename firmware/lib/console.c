#include "console.h"

#include <avr/io.h>
#include <stdlib.h>

void console_begin(void) {
  PRR &= (uint8_t)~_BV(PRUSART0);
  UCSR0A = _BV(U2X0);
  UBRR0 = 16; /* 16 MHz / 8 / 17 = 117647 baud, 2.1 % fast, as Arduino's Serial */
  UCSR0C = _BV(UCSZ01) | _BV(UCSZ00);
  UCSR0B = _BV(TXEN0);
}

void console_listen(void) {
  console_begin();
  UCSR0B = _BV(RXEN0) | _BV(TXEN0);
}

int16_t console_take(void) {
  if (!(UCSR0A & _BV(RXC0))) return -1;
  return UDR0;
}

static void put(char character) {
  while (!(UCSR0A & _BV(UDRE0))) {
  }
  UCSR0A = _BV(U2X0) | _BV(TXC0);
  UDR0 = character;
}

void console_text(PGM_P text) {
  for (char character; (character = pgm_read_byte(text)); text++) put(character);
}

void console_number(uint32_t value) {
  char digits[11];
  ultoa(value, digits, 10);
  for (const char *digit = digits; *digit; digit++) put(*digit);
}

void console_line_end(void) {
  put('\r');
  put('\n');
  while (!(UCSR0A & _BV(TXC0))) {
  }
}
