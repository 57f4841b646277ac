/* True RMS voltage and current, real power and imported energy of up to two AC channels.
 *
 * Voltage and current transducers, biased at half the supply, on A0/A1 and A2/A3. In every second each channel gets one
 * burst of ten mains cycles: the ADC runs freely at 125 kHz and takes voltage and current in turn, 208 us per pair,
 * while the processor sleeps between conversions. A burst runs from a rising zero crossing of the voltage to the tenth
 * after it, both placed between samples by interpolation, so sums cover whole cycles at any mains frequency. Energy is
 * the measured power times the real time since the channel's burst before. All arithmetic is on integers.
 *
 * Current is sampled midway between two voltages; their mean stands for the voltage at that moment. This shortens
 * a 50 Hz phasor by cos(2 pi 50 Hz 104 us) = 0.999466, which the power is corrected for. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { MAINS_CHANNELS = 2, MAINS_BURST_CYCLES = 10 };

struct mains_scale {
  uint16_t microvolts_per_volt;  /* at the pin */
  uint16_t microvolts_per_ampere;
};

struct mains_reading {
  uint32_t energy_dwh; /* 0.1 Wh, import only, cumulative */
  uint16_t voltage_cv; /* 0.01 V */
  uint16_t current_ca; /* 0.01 A */
  int32_t power_dw;    /* 0.1 W, negative when exporting */
};

extern struct mains_reading mains_readings[MAINS_CHANNELS];

/* Plans the bursts so that the last of every second from now ends shortly before the next begins: a snapshot on that
 * grid finds a fresh reading. scales[i] belong to channel i and must stay where they are. */
void mains_begin(uint8_t channels, const struct mains_scale *scales, uint32_t now);

/* Starts and evaluates bursts that are due. */
void mains_step(uint32_t now);

/* When mains_step() has something to do next, in ticks; a finished burst ends the sleep by itself. */
uint32_t mains_deadline(void);

#ifdef __cplusplus
}
#endif
