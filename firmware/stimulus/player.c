/* Speed before size: the reckoning after one edge delays the next. */
#pragma GCC optimize("O2")
#include "player.h"

#include <avr/interrupt.h>
#include <util/atomic.h>

enum { RELEASES = 16 /* a power of two above PLAYER_LINES */ };

/* Nearer than this the compare unit might miss its tick while it is being set up: it is waited for. */
enum { NEAR_TICKS = 4 };

volatile uint16_t player_overflows;

/* The next moment at which a line changes, made ready beforehand. The interrupt handler puts `direction` into the
 * ports first and does all reckoning afterwards, so that an edge does not wait for it. */
struct moment {
  uint32_t at;
  uint8_t pulses, releases; /* how many begin and end then; both 0: nothing is to come */
};

static struct pulse queue[PLAYER_CAPACITY]; /* `width` gives way to the outcome once it is known */
static uint16_t appended, played, acknowledged;

/* Lines that are low and when they are let go, in the order of time. */
static struct {
  uint32_t at;
  uint16_t line_bit;
} releases[RELEASES];
static uint8_t first_release, next_release;

static uint16_t low; /* lines pulled low now, a bit each */
static struct moment next;
volatile uint8_t player_direction_d, player_direction_b, player_direction_c;
volatile uint16_t player_driven_tick; /* low half of the tick at which the compare interrupt drove the lines */

static struct pulse *place_of(uint16_t number) {
  return &queue[number & (PLAYER_CAPACITY - 1)];
}

static const uint16_t line_bits[PLAYER_LINES] = {1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4,  1 << 5,
                                                 1 << 6, 1 << 7, 1 << 8, 1 << 9, 1 << 10, 1 << 11};

/* From here to player_begin() everything runs with interrupts off. */

static void direct(uint16_t lines) {
  player_direction_d = (uint8_t)(lines << 3) & 0xf8;
  player_direction_b = lines >> 5 & 0x01;
  player_direction_c = (uint8_t)(lines >> 6) & 0x3f;
}

static void drive(void) {
  DDRD = player_direction_d;
  DDRB = player_direction_b;
  DDRC = player_direction_c;
}

static void end_with(uint16_t outcome) {
  place_of(played++)->width = outcome;
}

/* Finds what comes next and makes its levels ready. */
static void prepare(void) {
  uint32_t now = player_ticks_with_interrupts_off();
  while (played != appended && (int32_t)(now - place_of(played)->start) > PLAYER_LATEST_TICKS)
    end_with(OUTCOME_MISSED);

  bool begins = played != appended, ends = first_release != next_release;
  next.pulses = next.releases = 0;
  if (!begins && !ends) return;
  next.at = begins ? place_of(played)->start : releases[first_release].at;
  if (ends && (int32_t)(releases[first_release].at - next.at) < 0) next.at = releases[first_release].at;

  uint16_t lines = low;
  for (uint8_t i = first_release; i != next_release && releases[i].at == next.at; i = (i + 1) & (RELEASES - 1)) {
    lines &= ~releases[i].line_bit;
    next.releases++;
  }
  for (uint16_t number = played; number != appended && place_of(number)->start == next.at; number++) {
    lines |= line_bits[place_of(number)->line] & ~low; /* a line let go now must be seen to be high first */
    next.pulses++;
  }
  direct(lines);
}

static void release_at(uint32_t at, uint16_t line_bit) {
  uint8_t i = next_release;
  next_release = (next_release + 1) & (RELEASES - 1);
  while (i != first_release) {
    uint8_t before = (i - 1) & (RELEASES - 1);
    if ((int32_t)(at - releases[before].at) >= 0) break;
    releases[i] = releases[before];
    i = before;
  }
  releases[i].at = at;
  releases[i].line_bit = line_bit;
}

/* Enters into the books what was done to the lines at `tick`. */
static void account(uint16_t tick) {
  uint16_t late = tick - (uint16_t)next.at;
  for (; next.pulses; next.pulses--) {
    const struct pulse *pulse = place_of(played);
    uint16_t line_bit = line_bits[pulse->line];
    if (low & line_bit) {
      end_with(OUTCOME_OVERLAP);
      continue;
    }
    low |= line_bit;
    release_at(pulse->start + pulse->width, line_bit);
    end_with(late);
  }
  for (; next.releases; next.releases--) {
    low &= ~releases[first_release].line_bit;
    first_release = (first_release + 1) & (RELEASES - 1);
  }
}

/* Sets the compare unit for the next moment. False: that is now, or was. */
static bool arm(void) {
  TIMSK1 = _BV(TOIE1);
  uint32_t left = next.at - player_ticks_with_interrupts_off();
  if ((int32_t)left < NEAR_TICKS) return false;
  if (left > 0xffff) return true; /* the overflow before it will set it */
  OCR1A = (uint16_t)next.at - 1;  /* the flag rises when the next tick begins */
  TIFR1 = _BV(OCF1A);
  TIMSK1 = _BV(TOIE1) | _BV(OCIE1A);
  return true;
}

/* Plays all that is due, and sets the compare unit for what is not. */
static void go_on(void) {
  for (;;) {
    if (!next.pulses && !next.releases) {
      TIMSK1 = _BV(TOIE1);
      return;
    }
    if (arm()) return;
    while ((int32_t)(player_ticks_with_interrupts_off() - next.at) < 0) {
    }
    drive();
    account(TCNT1);
    prepare();
  }
}

/* The second half of the compare interrupt: `signal` makes the compiler save what it uses, and return by RETI. */
void __vector_player_compare(void) __attribute__((signal, used));
void __vector_player_compare(void) {
  account(player_driven_tick);
  prepare();
  go_on();
}

/* The first half drives the lines before anything else, always after the same number of cycles. None of its
 * instructions touches a flag. */
ISR(TIMER1_COMPA_vect, ISR_NAKED) {
  __asm__ volatile(
      "push r24\n\t"
      "lds r24, player_direction_d\n\t"
      "out %[d], r24\n\t"
      "lds r24, player_direction_b\n\t"
      "out %[b], r24\n\t"
      "lds r24, player_direction_c\n\t"
      "out %[c], r24\n\t"
      "lds r24, %[tick]\n\t"
      "sts player_driven_tick, r24\n\t"
      "lds r24, %[tick] + 1\n\t"
      "sts player_driven_tick + 1, r24\n\t"
      "pop r24\n\t"
      "jmp __vector_player_compare\n\t" ::[d] "I"(_SFR_IO_ADDR(DDRD)),
      [b] "I"(_SFR_IO_ADDR(DDRB)), [c] "I"(_SFR_IO_ADDR(DDRC)), [tick] "i"(_SFR_MEM_ADDR(TCNT1)));
}

ISR(TIMER1_OVF_vect) {
  player_overflows++;
  if (!(TIMSK1 & _BV(OCIE1A))) go_on();
}

/* ---- for the main loop ---- */

static void forget(void) {
  first_release = next_release = 0;
  low = 0;
  next.pulses = next.releases = 0;
  direct(0);
  drive();
  TIMSK1 = _BV(TOIE1);
}

void player_begin(void) {
  ATOMIC_BLOCK(ATOMIC_RESTORESTATE) {
    TIMSK0 = 0;
    TCCR0B = 0;
    PORTD &= 0x07; /* no pull-ups: a line let go floats */
    PORTB &= 0xfe;
    PORTC &= 0xc0;
    TCCR1A = 0;
    TCCR1B = _BV(CS11) | _BV(CS10); /* clk / 64 */
    TCNT1 = 0;
    player_overflows = 0;
    TIFR1 = _BV(TOV1);
    forget();
  }
}

uint32_t player_ticks(void) {
  uint32_t ticks;
  ATOMIC_BLOCK(ATOMIC_RESTORESTATE) {
    ticks = player_ticks_with_interrupts_off();
  }
  return ticks;
}

static uint16_t whole(const uint16_t *number) {
  uint16_t value;
  ATOMIC_BLOCK(ATOMIC_RESTORESTATE) {
    value = *(volatile const uint16_t *)number;
  }
  return value;
}

bool player_append(const struct pulse *pulse) {
  if (pulse->line >= PLAYER_LINES || !pulse->width) return false;
  if ((uint16_t)(appended - acknowledged) == PLAYER_CAPACITY) return false;
  if (appended != whole(&played) && (int32_t)(pulse->start - place_of(appended - 1)->start) < 0) return false;
  *place_of(appended) = *pulse;
  ATOMIC_BLOCK(ATOMIC_RESTORESTATE) {
    bool first = appended++ == played;
    if (first || pulse->start == next.at) { /* it comes before what was made ready, or together with it */
      prepare();
      go_on();
    }
  }
  return true;
}

uint16_t player_appended(void) {
  return appended;
}

uint16_t player_played(void) {
  return whole(&played);
}

uint16_t player_acknowledged(void) {
  return acknowledged;
}

uint16_t player_outcome(uint16_t number) {
  return place_of(number)->width;
}

void player_acknowledge(uint16_t number) {
  if ((uint16_t)(number - acknowledged) <= (uint16_t)(whole(&played) - acknowledged)) acknowledged = number;
}

void player_halt(void) {
  ATOMIC_BLOCK(ATOMIC_RESTORESTATE) {
    forget();
    while (played != appended) end_with(OUTCOME_HALTED);
  }
}

void player_forget(void) {
  ATOMIC_BLOCK(ATOMIC_RESTORESTATE) {
    forget();
    appended = played = acknowledged = 0;
  }
}
