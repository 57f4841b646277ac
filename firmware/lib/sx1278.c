#include "sx1278.h"

#include <avr/interrupt.h>
#include <avr/io.h>
#include <avr/pgmspace.h>
#include <util/delay.h>

#include "timebase.h"

enum reg {
  REG_FIFO = 0x00,
  REG_OP_MODE = 0x01,
  REG_FRF_MSB = 0x06,
  REG_PA_CONFIG = 0x09,
  REG_LNA = 0x0c,
  REG_FIFO_ADDR_PTR = 0x0d,
  REG_FIFO_TX_BASE = 0x0e,
  REG_FIFO_RX_BASE = 0x0f,
  REG_FIFO_RX_CURRENT = 0x10,
  REG_IRQ_FLAGS = 0x12,
  REG_RX_NB_BYTES = 0x13,
  REG_MODEM_CONFIG_1 = 0x1d,
  REG_MODEM_CONFIG_2 = 0x1e,
  REG_PREAMBLE_MSB = 0x20,
  REG_PREAMBLE_LSB = 0x21,
  REG_PAYLOAD_LENGTH = 0x22,
  REG_MODEM_CONFIG_3 = 0x26,
  REG_SYNC_WORD = 0x39,
  REG_DIO_MAPPING_1 = 0x40,
  REG_VERSION = 0x42
};

enum { WRITE = 0x80, VERSION = 0x12 };
enum { LORA_SLEEP = 0x80, LORA_STANDBY = 0x81, LORA_TX = 0x83, LORA_RX = 0x85 };
enum { DIO0_RX_DONE = 0x00, DIO0_TX_DONE = 0x40 };
enum { IRQ_CRC_ERROR = 0x20, IRQ_RX_DONE = 0x40, IRQ_ALL = 0xff };
enum { PIN_RESET = PORTB1, PIN_SELECT = PORTB2, PIN_MOSI = PORTB3, PIN_CLOCK = PORTB5 };

static volatile bool dio0_rose;

ISR(INT0_vect) {
  dio0_rose = true;
  timebase_wake();
}

static uint8_t transfer(uint8_t byte) {
  SPDR = byte;
  while (!(SPSR & _BV(SPIF))) {
  }
  return SPDR;
}

static void select(uint8_t first) {
  PORTB &= (uint8_t)~_BV(PIN_SELECT);
  transfer(first);
}

static void deselect(void) {
  PORTB |= _BV(PIN_SELECT);
}

static void write_register(uint8_t address, uint8_t value) {
  select(address | WRITE);
  transfer(value);
  deselect();
}

static uint8_t read_register(uint8_t address) {
  select(address);
  uint8_t value = transfer(0);
  deselect();
  return value;
}

/* Symbols longer than 16 ms need LowDataRateOptimize (datasheet 4.1.1.6): 2^SF / BW > 16 ms. */
static bool slow_symbols(const struct sx1278_settings *settings) {
  static const uint32_t bandwidth_hz[] PROGMEM = {7800,  10400, 15600,  20800,  31250,
                                                  41700, 62500, 125000, 250000, 500000};
  return (1UL << settings->spreading_factor) * 1000 > pgm_read_dword(&bandwidth_hz[settings->bandwidth]) * 16;
}

static void write_frequency(uint32_t frequency_hz) {
  /* Frf = frequency / (32 MHz / 2^19), to the nearest step of 61 Hz. */
  uint32_t frf = (uint32_t)((((uint64_t)frequency_hz << 19) + 16000000UL) / 32000000UL);
  select(REG_FRF_MSB | WRITE);
  transfer(frf >> 16);
  transfer(frf >> 8);
  transfer(frf);
  deselect();
}

bool sx1278_begin(const struct sx1278_settings *settings) {
  PORTB |= _BV(PIN_SELECT) | _BV(PIN_RESET);
  DDRB |= _BV(PIN_SELECT) | _BV(PIN_RESET) | _BV(PIN_MOSI) | _BV(PIN_CLOCK);
  SPCR = _BV(SPE) | _BV(MSTR); /* mode 0, 8 MHz with SPI2X: the chip takes 10 MHz */
  SPSR = _BV(SPI2X);
  PORTB &= (uint8_t)~_BV(PIN_RESET);
  _delay_us(100); /* datasheet 7.2.2: low for 100 us, then 5 ms */
  PORTB |= _BV(PIN_RESET);
  _delay_ms(5);
  if (read_register(REG_VERSION) != VERSION) return false;

  write_register(REG_OP_MODE, LORA_SLEEP & 0x7f); /* the LongRange bit is taken in sleep mode only */
  write_register(REG_OP_MODE, LORA_SLEEP);
  write_frequency(settings->frequency_hz);
  write_register(REG_PA_CONFIG, 0x80 | (uint8_t)(settings->power_dbm - 2)); /* PA_BOOST: 2 + OutputPower dBm */
  write_register(REG_LNA, 0x23);                                            /* highest gain, boost on */
  write_register(REG_FIFO_TX_BASE, 0);
  write_register(REG_FIFO_RX_BASE, 0);
  write_register(REG_MODEM_CONFIG_1, settings->bandwidth << 4 | settings->coding_rate << 1);
  write_register(REG_MODEM_CONFIG_2, settings->spreading_factor << 4 | 0x04); /* payload CRC on */
  write_register(REG_MODEM_CONFIG_3, (slow_symbols(settings) ? 0x08 : 0) | 0x04); /* automatic gain */
  write_register(REG_PREAMBLE_MSB, 0);
  write_register(REG_PREAMBLE_LSB, 8);
  write_register(REG_SYNC_WORD, settings->sync_word);

  EICRA = _BV(ISC01) | _BV(ISC00); /* DIO0 rising */
  EIFR = _BV(INTF0);
  EIMSK = _BV(INT0);
  dio0_rose = false;
  return true;
}

static void prepare(uint8_t dio0) {
  write_register(REG_OP_MODE, LORA_STANDBY);
  write_register(REG_IRQ_FLAGS, IRQ_ALL);
  write_register(REG_DIO_MAPPING_1, dio0);
  write_register(REG_FIFO_ADDR_PTR, 0);
  dio0_rose = false;
}

void sx1278_send(const uint8_t *header, uint8_t header_length, const uint8_t *body, uint8_t body_length) {
  prepare(DIO0_TX_DONE);
  write_register(REG_PAYLOAD_LENGTH, header_length + body_length);
  select(REG_FIFO | WRITE);
  while (header_length--) transfer(*header++);
  while (body_length--) transfer(*body++);
  deselect();
  write_register(REG_OP_MODE, LORA_TX);
}

void sx1278_listen(void) {
  prepare(DIO0_RX_DONE);
  write_register(REG_OP_MODE, LORA_RX);
}

uint8_t sx1278_receive(uint8_t *buffer, uint8_t capacity) {
  uint8_t flags = read_register(REG_IRQ_FLAGS);
  write_register(REG_IRQ_FLAGS, IRQ_ALL);
  if (!(flags & IRQ_RX_DONE) || (flags & IRQ_CRC_ERROR)) return 0;
  uint8_t length = read_register(REG_RX_NB_BYTES);
  if (length > capacity) return 0;
  write_register(REG_FIFO_ADDR_PTR, read_register(REG_FIFO_RX_CURRENT));
  select(REG_FIFO);
  for (uint8_t left = length; left; left--) *buffer++ = transfer(0);
  deselect();
  return length;
}

void sx1278_sleep(void) {
  write_register(REG_OP_MODE, LORA_SLEEP);
  write_register(REG_IRQ_FLAGS, IRQ_ALL);
  dio0_rose = false;
}

bool sx1278_event(void) {
  if (!dio0_rose) return false;
  dio0_rose = false;
  return true;
}
