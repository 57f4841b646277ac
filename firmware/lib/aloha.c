#include "aloha.h"

#include "frame.h"
#include "marker.h"
#include "random.h"
#include "ring.h"
#include "timebase.h"

/* SF12 at 125 kHz takes 4.6 s for the longest frame; narrower bands take longer. */
enum { STUCK_AFTER_S = 60 };

static enum { IDLE, WAITING, SENDING, LISTENING } state;
static const struct aloha_identity *identity;
static const struct sx1278_settings *radio;
static bool radio_ready;
static uint32_t interval, ack_timeout;
static uint32_t deadline, window;
static uint32_t oldest_counter; /* of the ring's oldest frame */
static uint32_t sent_counter;              /* of the frame under way */
static uint8_t header[FRAME_HEADER_BYTES]; /* of the same */

static void wait(uint32_t from, uint32_t ticks) {
  state = WAITING;
  deadline = from + ticks;
}

static void ready_radio(void) {
  radio_ready = sx1278_begin(radio);
  if (!radio_ready) marker(MARKER_FAULT, FAULT_RADIO_ABSENT);
}

static void back_off(uint32_t now) {
  wait(now, window / 2 + random_below(window));
  window = window < interval / 2 ? window * 2 : interval;
}

static void send(uint32_t now) {
  if (!radio_ready) ready_radio();
  if (!radio_ready) {
    back_off(now);
    return;
  }
  sent_counter = oldest_counter;
  frame_header(header, FRAME_DATA, identity->uno_id, identity->boot_epoch, sent_counter);
  marker(MARKER_SENT, (uint16_t)oldest_counter);
  sx1278_send(header, sizeof header, ring_oldest(), ring_entry_bytes);
  state = SENDING;
  deadline = now + STUCK_AFTER_S * TICKS_PER_SECOND;
}

/* Whether the packet just received acknowledges the frame under way, and that still is the ring's oldest. */
static bool acknowledged(void) {
  uint8_t packet[FRAME_ACK_BYTES];
  if (sx1278_receive(packet, sizeof packet) != sizeof packet) return false;
  /* The frame under way may have been dropped from the ring meanwhile: only the oldest can be removed. */
  return sent_counter == oldest_counter && frame_acknowledges(packet, header, identity->key);
}

static void remove_acknowledged(uint32_t now) {
  ring_remove_oldest();
  marker(MARKER_ACKED, (uint16_t)oldest_counter++);
  sx1278_sleep();
  window = 2 * ack_timeout;
  if (ring_count)
    wait(now, 0);
  else
    state = IDLE;
}

void aloha_begin(const struct aloha_identity *self, const struct sx1278_settings *settings, uint16_t interval_s,
                 uint16_t ack_timeout_ms) {
  identity = self;
  radio = settings;
  interval = interval_s * TICKS_PER_SECOND;
  ack_timeout = TICKS_FROM_MS(ack_timeout_ms);
  window = 2 * ack_timeout;
  random_begin(self->uno_id, self->boot_epoch);
  ready_radio();
}

void aloha_offer(uint32_t now, uint32_t counter) {
  oldest_counter = counter;
  if (state == IDLE) wait(now, random_below(interval / 4 * 3)); /* the last quarter is for repeats */
}

void aloha_step(uint32_t now) {
  bool event = sx1278_event();
  bool due = state != IDLE && timebase_reached(now, deadline);
  switch (state) {
    case WAITING:
      if (due) send(now);
      break;
    case SENDING:
      if (event) {
        sx1278_listen();
        state = LISTENING;
        deadline = now + ack_timeout;
      } else if (due) {
        marker(MARKER_FAULT, FAULT_RADIO_STUCK);
        radio_ready = false;
        back_off(now);
      }
      break;
    case LISTENING:
      if (event && acknowledged()) {
        remove_acknowledged(now);
      } else if (due) {
        sx1278_sleep();
        back_off(now);
      }
      break;
    case IDLE:
      break;
  }
}

bool aloha_deadline(uint32_t *at) {
  *at = deadline;
  return state != IDLE;
}
