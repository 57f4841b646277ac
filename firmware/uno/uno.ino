/* Meter node, profile "collect": counts S0 pulses and measures AC channels, seals one reading per interval with
 * Ascon-AEAD128 and sends it to its gateway until that acknowledges it. See firmware/README.md. */
#include <Arduino.h>
#include <avr/power.h>
#include <avr/sleep.h>
#include <avr/wdt.h>

#include "aloha.h"
#include "console.h"
#include "epoch.h"
#include "frame.h"
#include "journal.h"
#include "mains.h"
#include "marker.h"
#include "provisioning.h"
#include "provisioning_port.h"
#include "ring.h"
#include "s0.h"
#include "timebase.h"

/* The reading as it was before sealing, for the bench, which looks here at MARKER_SNAPSHOT. */
extern "C" {
uint8_t frame_plaintext[FRAME_MAX_PLAINTEXT_BYTES];
uint8_t frame_plaintext_length;
}

static struct provisioning provisioning;
static struct aloha_identity identity;
static struct sx1278_settings radio;
static uint8_t composition;
static uint8_t status;
static uint8_t intervals_until_journal;
static uint16_t dropped;
static uint32_t counter;
static uint32_t interval;
static uint32_t next_snapshot;

static_assert(sizeof provisioning.scale[0] == sizeof(mains_scale), "scales are read in place");

/* Says what is wrong and sleeps until a reset: only someone who provisions it or changes the chip can mend it. */
static void __attribute__((noreturn)) stop(uint8_t fault) {
  console_begin();
  console_text(PSTR("uno stopped: "));
  switch (fault) {
    case FAULT_PROVISIONING_MAGIC: console_text(PSTR("EEPROM holds no provisioning record")); break;
    case FAULT_PROVISIONING_VERSION: console_text(PSTR("provisioning record is of another version")); break;
    case FAULT_PROVISIONING_CRC: console_text(PSTR("provisioning record is damaged (CRC)")); break;
    case FAULT_PROVISIONING_VALUE: console_text(PSTR("provisioning record has a value out of range")); break;
    case FAULT_EPOCH_LOST: console_text(PSTR("both boot epoch slots are unreadable, provision with a new key")); break;
    case FAULT_EPOCH_WRITE: console_text(PSTR("EEPROM does not keep the boot epoch, replace the chip")); break;
    default: console_text(PSTR("all frame counters of this boot are used, reset"));
  }
  console_line_end();
  marker(MARKER_FAULT, fault);
  wdt_disable();
  cli();
  set_sleep_mode(SLEEP_MODE_PWR_DOWN);
  sleep_enable();
  for (;;) sleep_cpu();
}

/* Registers in journal order: AC energies, then S0 pulses. Not inlined, so that the array is on the stack only here. */
static void __attribute__((noinline)) save_registers() {
  uint32_t registers[JOURNAL_REGISTERS] = {0};
  uint32_t *next = registers;
  for (uint8_t i = 0; i < provisioning.ac_count; i++) *next++ = mains_readings[i].energy_dwh;
  for (uint8_t i = 0; i < provisioning.s0_count; i++) *next++ = s0_pulses(i);
  marker(MARKER_JOURNAL, (uint16_t)journal_save(composition, registers));
}

static bool __attribute__((noinline)) restore_registers() {
  uint32_t registers[JOURNAL_REGISTERS];
  if (!journal_begin(composition, registers)) return false;
  const uint32_t *next = registers;
  for (uint8_t i = 0; i < provisioning.ac_count; i++) mains_readings[i].energy_dwh = *next++;
  for (uint8_t i = 0; i < provisioning.s0_count; i++) s0_set_pulses(i, *next++);
  return true;
}

static void write_plaintext() {
  uint8_t *at = frame_plaintext;
  *at++ = status;
  *at++ = composition;
  at = frame_put16(at, dropped);
  *at++ = ring_count;
  for (uint8_t i = 0; i < provisioning.ac_count; i++) {
    const mains_reading *reading = &mains_readings[i];
    at = frame_put32(at, reading->energy_dwh);
    at = frame_put16(at, reading->voltage_cv);
    at = frame_put16(at, reading->current_ca);
    at = frame_put32(at, (uint32_t)reading->power_dw);
  }
  for (uint8_t i = 0; i < provisioning.s0_count; i++) at = frame_put32(at, s0_pulses(i));
}

static void snapshot(uint32_t now) {
  if (counter == UINT32_MAX) stop(FAULT_COUNTER_SPENT);
  if (ring_count == ring_capacity) {
    marker(MARKER_DROPPED, (uint16_t)(counter - ring_count));
    ring_remove_oldest();
    if (dropped != UINT16_MAX) dropped++;
  }
  write_plaintext();
  status &= (uint8_t)~FRAME_STATUS_FIRST;
  marker(MARKER_SNAPSHOT, (uint16_t)counter);

  uint8_t header[FRAME_HEADER_BYTES];
  frame_header(header, FRAME_DATA, provisioning.uno_id, identity.boot_epoch, counter);
  uint8_t *entry = ring_append();
  memcpy(entry, frame_plaintext, frame_plaintext_length);
  marker(MARKER_SEAL_BEGIN, (uint16_t)counter);
  frame_seal(header, provisioning.key, entry, frame_plaintext_length);
  marker(MARKER_SEAL_END, (uint16_t)counter);
  counter++;
  aloha_offer(now, counter - ring_count);

  if (!--intervals_until_journal) {
    intervals_until_journal = provisioning.journal_intervals;
    save_registers();
  }
}

static void greet() {
  console_begin();
  console_text(PSTR("uno "));
  console_number(provisioning.uno_id);
  console_text(PSTR(" collect, epoch "));
  console_number(identity.boot_epoch);
  console_text(PSTR(", "));
  console_number(provisioning.s0_count);
  console_text(PSTR(" S0, "));
  console_number(provisioning.ac_count);
  console_text(PSTR(" AC, every "));
  console_number(provisioning.interval_s);
  console_text(PSTR(" s, ring "));
  console_number(ring_capacity);
  console_text(status & FRAME_STATUS_RESTORED ? PSTR(", registers restored") : PSTR(", registers new"));
  console_line_end();
}

static uint8_t reset_cause() {
  uint8_t flags = MCUSR;
  MCUSR = 0;
  wdt_disable(); /* stays on with its shortest period after a watchdog reset */
  return (flags & _BV(BORF) ? FRAME_STATUS_BROWN_OUT : 0) | (flags & _BV(WDRF) ? FRAME_STATUS_WATCHDOG : 0) |
         (flags & _BV(EXTRF) ? FRAME_STATUS_EXTERNAL : 0) | (flags & _BV(PORF) ? FRAME_STATUS_POWER_ON : 0);
}

/* Someone may be there to provision it after a reset by pin, which a boot loader hides as it hides all causes. */
static bool may_be_provisioned() {
  return status & FRAME_STATUS_EXTERNAL ||
         !(status & (FRAME_STATUS_POWER_ON | FRAME_STATUS_BROWN_OUT | FRAME_STATUS_WATCHDOG));
}

/* Counts pulses as soon as it is known where: they come also while a message is awaited or the EEPROM is written. */
static uint8_t load_provisioning() {
  uint8_t fault = provisioning_load(&provisioning);
  if (!fault) s0_begin(provisioning.s0_count, provisioning.ac_count);
  return fault;
}

void setup() {
  status = FRAME_STATUS_FIRST | reset_cause();
  timebase_begin();
  uint8_t fault = load_provisioning();
  if (may_be_provisioned() && provisioning_offer(ring_storage)) fault = load_provisioning();
  if (fault) stop(fault);
  composition = provisioning.ac_count << 4 | provisioning.s0_count;

  switch (epoch_begin(&identity.boot_epoch)) {
    case EPOCH_LOST: stop(FAULT_EPOCH_LOST);
    case EPOCH_NOT_WRITTEN: stop(FAULT_EPOCH_WRITE);
    case EPOCH_READY: break;
  }
  if (restore_registers()) status |= FRAME_STATUS_RESTORED;
  intervals_until_journal = provisioning.journal_intervals;

  frame_plaintext_length =
      FRAME_PREFIX_BYTES + FRAME_AC_BYTES * provisioning.ac_count + FRAME_S0_BYTES * provisioning.s0_count;
  ring_begin(frame_plaintext_length + FRAME_TAG_BYTES);
  greet();
  power_twi_disable();
  power_timer0_disable();
  power_timer2_disable();
  power_usart0_disable();

  identity.uno_id = provisioning.uno_id;
  identity.key = provisioning.key;
  radio.frequency_hz = provisioning.frequency_hz;
  radio.spreading_factor = provisioning.spreading_factor;
  radio.bandwidth = provisioning.bandwidth;
  radio.coding_rate = provisioning.coding_rate;
  radio.power_dbm = provisioning.power_dbm;
  radio.sync_word = provisioning.sync_word;
  aloha_begin(&identity, &radio, provisioning.interval_s, provisioning.ack_timeout_ms);
  mains_begin(provisioning.ac_count, (const mains_scale *)provisioning.scale, timebase_ticks());

  interval = provisioning.interval_s * TICKS_PER_SECOND;
  next_snapshot = interval; /* time began with timebase_begin() */
  wdt_enable(WDTO_8S);
  marker(MARKER_BOOT, (uint16_t)identity.boot_epoch);
}

void loop() {
  wdt_reset(); /* the sleep below ends at every Timer1 overflow, 4.2 s at most */
  s0_settle();
  uint32_t now = timebase_ticks();
  if (timebase_reached(now, next_snapshot)) {
    next_snapshot += interval;
    snapshot(now);
  }
  mains_step(now);
  aloha_step(now);

  uint32_t deadline = next_snapshot, other;
  if (provisioning.ac_count && timebase_reached(deadline, other = mains_deadline())) deadline = other;
  if (aloha_deadline(&other) && timebase_reached(deadline, other)) deadline = other;
  timebase_sleep_until(deadline);
}
