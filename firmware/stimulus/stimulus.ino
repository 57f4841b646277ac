/* Stimulus Uno: plays the pulses that a host sends ahead of time into a metering Uno's S0 inputs. See README.md. */
#include <Arduino.h>
#include <avr/sleep.h>
#include <avr/wdt.h>

#include "line.h"
#include "player.h"

enum { PROTOCOL_VERSION = 1 };

enum request { HELLO = 1, SYNC = 2, PLAY = 3, HALT = 4 };
enum { ANSWER = 0x80 };

/* Why a pulse of the request was not taken over. */
enum refusal { REFUSED_PULSE = 1, REFUSED_ROOM = 2, REFUSED_GAP = 4 };

enum { HEADER_BYTES = 2, PLAY_BYTES = 8, PULSE_BYTES = 7, STATE_BYTES = 12 };
enum { OUTCOMES_AT_MOST = (LINE_ANSWER_BYTES - HEADER_BYTES - STATE_BYTES) / 2 };

static_assert(sizeof(struct pulse) == PULSE_BYTES, "pulses are taken over as they come");

static uint8_t answer[LINE_ANSWER_BYTES];
static bool horizon_known;
static uint32_t horizon;
static uint8_t underruns;

static uint16_t get16(const uint8_t *at) {
  return at[0] | (uint16_t)at[1] << 8;
}

static uint32_t get32(const uint8_t *at) {
  return get16(at) | (uint32_t)get16(at + 2) << 16;
}

static uint8_t *put16(uint8_t *at, uint16_t value) {
  *at++ = (uint8_t)value;
  *at++ = (uint8_t)(value >> 8);
  return at;
}

static uint8_t *put32(uint8_t *at, uint32_t value) {
  return put16(put16(at, (uint16_t)value), (uint16_t)(value >> 16));
}

static uint8_t *greeting(uint8_t *at) {
  player_forget();
  horizon_known = false;
  underruns = 0;
  memcpy_P(at, PSTR("STIM"), 4);
  at += 4;
  *at++ = PROTOCOL_VERSION;
  *at++ = PLAYER_LINES;
  *at++ = PLAYER_CAPACITY;
  *at++ = PLAYER_TICK_CYCLES;
  return at;
}

static uint8_t *state(uint8_t *at, uint8_t refusals) {
  uint16_t number = player_acknowledged(), played = player_played();
  *at++ = refusals;
  *at++ = underruns;
  at = put32(at, player_ticks());
  at = put16(at, player_appended());
  at = put16(at, played);
  at = put16(at, number);
  for (uint8_t i = 0; i < OUTCOMES_AT_MOST && number != played; i++) at = put16(at, player_outcome(number++));
  return at;
}

/* The horizon is the tick up to which the host has told all there is to play. Where time passed it, something may have
 * been missed, even if nothing was: the host was too slow. */
static void move_horizon(uint32_t tick) {
  if (horizon_known && (int32_t)(player_ticks() - horizon) > 0 && underruns != 0xff) underruns++;
  horizon_known = true;
  horizon = tick;
}

/* Pulses that were taken over before are passed over, so that a request may be repeated. */
static uint8_t take_over(uint16_t number, const uint8_t *from, const uint8_t *end) {
  uint16_t known = player_appended() - number;
  if (known > PLAYER_CAPACITY) return REFUSED_GAP;
  for (from += known * PULSE_BYTES; from < end; from += PULSE_BYTES) {
    const struct pulse *pulse = (const struct pulse *)from;
    if ((uint16_t)(player_appended() - player_acknowledged()) == PLAYER_CAPACITY) return REFUSED_ROOM;
    if (!player_append(pulse)) return REFUSED_PULSE;
  }
  return 0;
}

static uint8_t play(const uint8_t *body, uint8_t length) {
  player_acknowledge(get16(body));
  uint8_t refusals = take_over(get16(body + 6), body + PLAY_BYTES, body + length);
  move_horizon(get32(body + 2));
  return refusals;
}

/* The answer's end, or NULL to a request that is none. */
static uint8_t *answered(uint8_t kind, const uint8_t *body, uint8_t length, uint8_t *at) {
  switch (kind) {
    case HELLO: return greeting(at);
    case SYNC: return put32(put32(at, line_request_tick()), player_ticks());
    case PLAY:
      if (length < PLAY_BYTES || (length - PLAY_BYTES) % PULSE_BYTES) return NULL;
      return state(at, play(body, length));
    case HALT:
      player_halt();
      horizon_known = false;
      return state(at, 0);
    default: return NULL;
  }
}

void setup() {
  MCUSR = 0;
  wdt_disable(); /* stays on with its shortest period after a watchdog reset */
  player_begin();
  line_begin();
  line_text(PSTR("stimulus, protocol 1, 12 lines, room 128, tick 64 cycles\r\n"));
  set_sleep_mode(SLEEP_MODE_IDLE);
  wdt_enable(WDTO_2S); /* a Uno that hangs lets go of its lines */
}

/* Sleeps until any interrupt; Timer1 overflows every 0.26 s. */
static void doze() {
  cli();
  if (!line_waiting()) {
    sleep_enable();
    sei(); /* the instruction after SEI runs before any interrupt: none can slip in before the sleep */
    sleep_cpu();
    sleep_disable();
  }
  sei();
}

void loop() {
  wdt_reset();
  doze();
  uint8_t length;
  const uint8_t *request = line_request(&length);
  if (!request) return;
  uint8_t *end = NULL;
  if (length >= HEADER_BYTES) {
    answer[0] = request[0] | ANSWER;
    answer[1] = request[1];
    end = answered(request[0], request + HEADER_BYTES, length - HEADER_BYTES, answer + HEADER_BYTES);
  }
  if (end)
    line_answer(answer, end - answer);
  else
    line_discard();
}
