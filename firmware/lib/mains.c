#include "mains.h"

#include <avr/interrupt.h>
#include <avr/io.h>

#include "timebase.h"

enum { MIDDLE = 512 };           /* nominal bias in ADC counts; the true one comes out of the sums */
enum { ARMED_BELOW = -16 };      /* a crossing counts only after the voltage was this low: 17 V, above the noise */
enum { SEARCH_SAMPLES = 240 };   /* 50 ms without a crossing: there is no voltage, measure all the same */
enum { LONGEST_SAMPLES = 1200 }; /* 250 ms: ten cycles of 40 Hz */
enum { REFERENCE_AVCC = _BV(REFS0) };
enum { ADC_RUN = _BV(ADEN) | _BV(ADATE) | _BV(ADIE) | 7 }; /* free running, clk / 128 */

enum phase { OFF, DISCARD, SEARCH, MEASURE, FINISHED };

struct mains_reading mains_readings[MAINS_CHANNELS];

/* One burst, written by the ADC interrupt until FINISHED. Index k counts pairs of a voltage and the current after it. */
static struct {
  volatile uint8_t phase;
  bool expect_current;
  bool armed;
  bool synchronous;      /* begun at a crossing */
  uint8_t crossings;
  uint16_t samples;
  int16_t voltage, current;
  int16_t start_before, start_after, end_before, end_after;
  int32_t sum_voltage, sum_current;
  uint32_t sum_voltage_squared, sum_current_squared;
  int32_t sum_power;     /* twice: the mean of two voltages is taken at the end */
} burst;

static uint8_t channel_count, channel;
static const struct mains_scale *scale_of;
static uint32_t next_burst;
static uint32_t measured_at[MAINS_CHANNELS];
static uint32_t energy_rest[MAINS_CHANNELS]; /* 0.1 W ticks short of the next 0.1 Wh */

#define ENERGY_UNIT (3600UL * TICKS_PER_SECOND) /* 0.1 W ticks in 0.1 Wh */

static void finish(void) {
  ADCSRA = 0;
  burst.phase = FINISHED;
  timebase_wake();
}

static inline void take_current(int16_t current) {
  burst.current = current;
  if (burst.phase != MEASURE) return;
  burst.sum_current += current;
  burst.sum_current_squared += (int32_t)current * current;
}

static inline void take_voltage(int16_t voltage) {
  int16_t before = burst.voltage;
  burst.voltage = voltage;
  bool crossing = burst.armed && voltage >= 0;
  if (crossing) burst.armed = false;
  if (voltage < ARMED_BELOW) burst.armed = true;
  burst.samples++;

  if (burst.phase == MEASURE) {
    burst.sum_voltage += before;
    burst.sum_voltage_squared += (int32_t)before * before;
    burst.sum_power += (int32_t)(int16_t)(before + voltage) * burst.current;
    if (crossing && ++burst.crossings == MAINS_BURST_CYCLES) {
      burst.end_before = before;
      burst.end_after = voltage;
      finish();
    } else if (burst.samples == LONGEST_SAMPLES) {
      burst.synchronous = false;
      finish();
    }
  } else if (crossing || burst.samples == SEARCH_SAMPLES) {
    burst.synchronous = crossing;
    burst.start_before = before;
    burst.start_after = voltage;
    burst.samples = 0;
    burst.phase = MEASURE;
  }
}

ISR(ADC_vect) {
  int16_t sample = (int16_t)ADC - MIDDLE;
  if (burst.phase == DISCARD) {
    /* The second conversion was started on the voltage, too, before this handler could choose the current. */
    ADMUX++;
    burst.phase = SEARCH;
    return;
  }
  /* The next conversion is already under way on the other input; what is chosen now is for the one after it. */
  if (burst.expect_current) {
    burst.expect_current = false;
    ADMUX |= 1;
    take_current(sample);
  } else {
    burst.expect_current = true;
    ADMUX &= (uint8_t)~1;
    take_voltage(sample);
  }
}

static void start(void) {
  burst = (typeof(burst)){.phase = DISCARD};
  ADMUX = REFERENCE_AVCC | (channel << 1);
  ADCSRA = ADC_RUN | _BV(ADSC);
}

static uint32_t square_root(uint32_t square) {
  uint32_t root = 0;
  for (uint32_t bit = 1UL << 30; bit; bit >>= 2) {
    if (square >= root + bit) {
      square -= root + bit;
      root = (root >> 1) + bit;
    } else {
      root >>= 1;
    }
  }
  return root;
}

/* Part of a sample, in 1/256, that lies between a rising crossing and the sample after it. */
static int16_t after_crossing(int16_t before, int16_t after) {
  return (int16_t)(((uint32_t)(uint16_t)after << 8) / (uint16_t)(after - before));
}

/* Root of (mean of squares - square of mean), in 1/128 counts. */
static uint32_t effective_q7(uint32_t sum_squared, int32_t mean_q8, uint32_t samples_q8) {
  int64_t variance_q14 = ((uint64_t)sum_squared << 22) / samples_q8 - (((int64_t)mean_q8 * mean_q8) >> 2);
  return variance_q14 > 0 ? square_root(variance_q14) : 0;
}

/* 1/128 counts to hundredths of volt or ampere: a count is 5 V / 1024. */
static uint16_t hundredths(uint32_t effective, uint16_t microvolts_per_unit) {
  uint64_t value = (((uint64_t)effective * 500000000UL >> 16) + microvolts_per_unit) / (2UL * microvolts_per_unit);
  return value > 0xffff ? 0xffff : (uint16_t)value;
}

/* Mean product in 1/256 counts squared to 0.1 W: 10 (5e6 / 1024)^2 / 256 = 5^15 / 2^15, and 1874 / 1873 undoes the
 * shortening by interpolation. */
static int32_t deciwatts(int64_t product_q8, const struct mains_scale *scale) {
  int64_t scaled = (product_q8 * 30517578125LL >> 15) / 1873 * 1874;
  uint32_t divisor = (uint32_t)scale->microvolts_per_volt * scale->microvolts_per_ampere;
  return (int32_t)((scaled + (scaled < 0 ? -(int64_t)(divisor / 2) : (int64_t)(divisor / 2))) / divisor);
}

static void evaluate(uint32_t now) {
  struct mains_reading *reading = &mains_readings[channel];
  const struct mains_scale *scale = &scale_of[channel];
  uint32_t samples_q8 = (uint32_t)burst.samples << 8;
  if (burst.synchronous)
    samples_q8 += after_crossing(burst.start_before, burst.start_after) - after_crossing(burst.end_before, burst.end_after);

  int32_t voltage_mean_q8 = ((int64_t)burst.sum_voltage << 16) / (int32_t)samples_q8;
  int32_t current_mean_q8 = ((int64_t)burst.sum_current << 16) / (int32_t)samples_q8;
  int64_t product_q8 = ((int64_t)burst.sum_power << 15) / (int32_t)samples_q8;
  product_q8 -= ((int64_t)voltage_mean_q8 * current_mean_q8) >> 8;
  reading->voltage_cv = hundredths(effective_q7(burst.sum_voltage_squared, voltage_mean_q8, samples_q8),
                                   scale->microvolts_per_volt);
  reading->current_ca = hundredths(effective_q7(burst.sum_current_squared, current_mean_q8, samples_q8),
                                   scale->microvolts_per_ampere);
  reading->power_dw = deciwatts(product_q8, scale);

  uint32_t elapsed = now - measured_at[channel];
  measured_at[channel] = now;
  if (reading->power_dw > 0) {
    uint64_t energy = (uint64_t)(uint32_t)reading->power_dw * elapsed + energy_rest[channel];
    reading->energy_dwh += (uint32_t)(energy / ENERGY_UNIT);
    energy_rest[channel] = energy % ENERGY_UNIT;
  }
}

void mains_begin(uint8_t channels, const struct mains_scale *scales, uint32_t now) {
  channel_count = channels;
  scale_of = scales;
  next_burst = now + (channels == 2 ? TICKS_FROM_MS(200) : TICKS_FROM_MS(700)); /* the last of a second ends at 0.93 */
  measured_at[0] = measured_at[1] = now;
  ADCSRA = 0;
  if (!channels) PRR |= _BV(PRADC); /* in this order: an ADC that is on keeps drawing current */
}

void mains_step(uint32_t now) {
  if (!channel_count) return;
  if (burst.phase == FINISHED) {
    evaluate(now);
    burst.phase = OFF;
    if (++channel == channel_count) channel = 0;
  }
  if (burst.phase == OFF && timebase_reached(now, next_burst)) {
    next_burst += TICKS_PER_SECOND / channel_count;
    start();
  }
}

uint32_t mains_deadline(void) {
  return next_burst;
}
