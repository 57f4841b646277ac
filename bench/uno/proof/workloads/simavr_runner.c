/* Runs one image on Debian's libsimavr, tuned for speed, for `bench uno speed`.
 *
 * libsimavr is under the GPL, version 3, so this is a program of its own, built where it runs, and speaks only
 * through its pipes. Numbers are little-endian.
 *
 *     request = flash_size u32 | result_address u16 | result_size u16 | flash | eeprom 1024
 *     answer  = cycles u64 | cpu_ns u64 | result
 *
 * Both figures are from the write of 1 to GPIOR0 to the write of 2; the result is what lies at its address then. */
#include <simavr/avr_eeprom.h>
#include <simavr/sim_avr.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { FLASH_BYTES = 0x8000, EEPROM_BYTES = 0x400, DATA_BYTES = 0x900, GPIOR0 = 0x3E, BEGIN = 1, END = 2 };

/* At the default of 1, simavr looks for due timers after each instruction; at 1000 it is twice as fast, and no faster
 * at 16000. */
enum { RUN_CYCLE_LIMIT = 1000 };

static struct {
    uint32_t flash_size;
    uint16_t result_address, result_size;
} request;
static struct {
    uint64_t cycles, cpu_ns;
} answer;
static uint8_t result[DATA_BYTES];
static bool ended;

static void say_nothing(avr_t *avr, const int level, const char *format, va_list arguments)
{
    (void)avr, (void)level, (void)format, (void)arguments;
}

static void do_not_wait(avr_t *avr, avr_cycle_count_t how_long) { (void)avr, (void)how_long; }

static uint64_t cpu_ns(void)
{
    struct timespec spent;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &spent);
    return (uint64_t)spent.tv_sec * 1000000000u + (uint64_t)spent.tv_nsec;
}

static void take_mark(avr_t *avr, avr_io_addr_t address, uint8_t value, void *param)
{
    (void)param;
    avr->data[address] = value;
    if (value == BEGIN) {
        answer.cycles = avr->cycle;
        answer.cpu_ns = cpu_ns();
    } else if (value == END && !ended) {
        answer.cpu_ns = cpu_ns() - answer.cpu_ns;
        answer.cycles = avr->cycle - answer.cycles;
        memcpy(result, avr->data + request.result_address, request.result_size);
        ended = true;
    }
}

int main(void)
{
    static uint8_t flash[FLASH_BYTES], eeprom_cells[EEPROM_BYTES];
    if (fread(&request, sizeof request, 1, stdin) != 1 || !request.flash_size || request.flash_size > FLASH_BYTES
        || request.result_address + request.result_size > DATA_BYTES
        || fread(flash, request.flash_size, 1, stdin) != 1 || fread(eeprom_cells, EEPROM_BYTES, 1, stdin) != 1)
        return EXIT_FAILURE;
    avr_global_logger_set(say_nothing);
    avr_t *avr = avr_make_mcu_by_name("atmega328p");
    if (!avr || avr_init(avr))
        return EXIT_FAILURE;
    avr->frequency = 16000000;
    avr->log = LOG_NONE;
    avr->run_cycle_limit = RUN_CYCLE_LIMIT;
    avr->sleep = do_not_wait;
    avr_loadcode(avr, flash, request.flash_size, 0);
    avr->codeend = avr->flashend;
    avr_eeprom_desc_t eeprom = {.ee = eeprom_cells, .offset = 0, .size = EEPROM_BYTES};
    avr_ioctl(avr, AVR_IOCTL_EEPROM_SET, &eeprom);
    avr_register_io_write(avr, GPIOR0, take_mark, NULL);
    while (!ended) {
        int state = avr_run(avr);
        if (!ended && (state == cpu_Done || state == cpu_Crashed))
            return EXIT_FAILURE;
    }
    fwrite(&answer, sizeof answer, 1, stdout);
    fwrite(result, request.result_size, 1, stdout);
    return EXIT_SUCCESS;
}
