/* Runs programs on Debian's libsimavr as an oracle for differential_test.py.
 *
 * libsimavr is under the GPL, version 3, so this is a program of its own, built where the tests run, and speaks
 * only through its pipes. Numbers are little-endian. Each request names a mode and brings a program for a fresh
 * ATmega328P at address 0:
 *
 *     request = mode u32 | count u32 | flash_size u32 | flash | registers 32 | status u8 | sram 2048 | eeprom 1024
 *
 * The answer is a list of records, an end record (step 2^32-1), and the 2048 bytes of SRAM:
 *
 *     record = step u32 | cycle u64 | program_counter u16 (bytes) | stack_pointer u16 | status u8 | registers 32
 *
 * FREE: `count` instructions without interrupts, a record after each.
 * GUIDED: behind the request come `count` steps of the core under test, each kind u8 | record. Before each step
 *     simavr has that core's state. It makes an instruction itself, and a record is answered only where it comes
 *     out otherwise; waiting and the entry of an interrupt are taken over, since peripherals decide on them.
 * MARKS: runs with interrupts and sleep until GPIOR0 has been written `count` times, a record for each write, in
 *     which the OUT's own cycle is counted; fewer when the chip stops or nothing comes for a long time. */
#include <simavr/avr_eeprom.h>
#include <simavr/sim_avr.h>
#include <simavr/sim_core.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FLASH_BYTES = 0x8000, SRAM_START = 0x100, SRAM_BYTES = 0x800, EEPROM_BYTES = 0x400, REGISTERS = 32,
    GPIOR0 = 0x3E, GPIOR1 = 0x4A, GPIOR2 = 0x4B, MOST_STEPS_TO_MARK = 400000,
    SLEEP_STRIDE = 1000,
};
enum mode { FREE, GUIDED, MARKS };
enum kind { INSTRUCTION, INTERRUPT_ENTRY, WAITING };

struct request {
    uint32_t mode, count, flash_size;
    uint8_t flash[FLASH_BYTES], registers[REGISTERS], status, sram[SRAM_BYTES], eeprom[EEPROM_BYTES];
};

struct __attribute__((packed)) record {
    uint32_t step;
    uint64_t cycle;
    uint16_t program_counter, stack_pointer;
    uint8_t status, registers[REGISTERS];
};

static uint32_t marks_made;

static void say_nothing(avr_t *avr, const int level, const char *format, va_list arguments)
{
    (void)avr, (void)level, (void)format, (void)arguments;
}

static void do_not_wait(avr_t *avr, avr_cycle_count_t how_long) { (void)avr, (void)how_long; }

static bool take(void *data, size_t size) { return fread(data, size, 1, stdin) == 1; }

static bool take_request(struct request *request)
{
    return take(&request->mode, 12) && request->flash_size && request->flash_size <= FLASH_BYTES
        && take(request->flash, request->flash_size) && take(request->registers, REGISTERS)
        && take(&request->status, 1) && take(request->sram, SRAM_BYTES) && take(request->eeprom, EEPROM_BYTES);
}

static struct record record_of(const avr_t *avr, uint32_t step)
{
    struct record record = {.step = step, .cycle = avr->cycle, .program_counter = (uint16_t)avr->pc};
    record.stack_pointer = (uint16_t)(avr->data[R_SPL] | avr->data[R_SPH] << 8);
    for (int bit = 0; bit < 8; bit++)
        record.status |= (uint8_t)((avr->sreg[bit] != 0) << bit);
    memcpy(record.registers, avr->data, REGISTERS);
    return record;
}

static void give(struct record record) { fwrite(&record, sizeof record, 1, stdout); }

static void set_status(avr_t *avr, uint8_t status)
{
    for (int bit = 0; bit < 8; bit++)
        avr->sreg[bit] = status >> bit & 1;
}

static void set_stack_pointer(avr_t *avr, uint16_t stack_pointer)
{
    avr->data[R_SPL] = (uint8_t)stack_pointer;
    avr->data[R_SPH] = (uint8_t)(stack_pointer >> 8);
}

static avr_t *fresh(const struct request *request)
{
    avr_t *avr = avr_make_mcu_by_name("atmega328p");
    if (!avr || avr_init(avr))
        return NULL;
    avr->frequency = 16000000;
    avr->log = LOG_NONE;
    avr->run_cycle_limit = 1;
    avr->sleep = do_not_wait;
    avr_loadcode(avr, (uint8_t *)request->flash, request->flash_size, 0);
    avr->codeend = avr->flashend;
    memcpy(avr->data, request->registers, REGISTERS);
    memcpy(avr->data + SRAM_START, request->sram, SRAM_BYTES);
    set_status(avr, request->status);
    avr_eeprom_desc_t eeprom = {.ee = (uint8_t *)request->eeprom, .offset = 0, .size = EEPROM_BYTES};
    avr_ioctl(avr, AVR_IOCTL_EEPROM_SET, &eeprom);
    return avr;
}

static void run_instruction(avr_t *avr)
{
    avr->state = cpu_Running;
    avr->run_cycle_count = 1;
    avr_flashaddr_t next = avr_run_one(avr);
    avr_cycle_timer_process(avr);
    avr->pc = next;
}

static void run_free(avr_t *avr, uint32_t count)
{
    for (uint32_t step = 0; step < count; step++) {
        run_instruction(avr);
        give(record_of(avr, step));
    }
}

static void take_over(avr_t *avr, const struct record *record)
{
    avr->cycle = record->cycle;
    avr->pc = record->program_counter;
    set_stack_pointer(avr, record->stack_pointer);
    set_status(avr, record->status);
    memcpy(avr->data, record->registers, REGISTERS);
}

/* simavr's own entry, for what it does to the flags; registers and stack stay as they are. */
static void acknowledge_interrupt(avr_t *avr)
{
    struct record before = record_of(avr, 0);
    uint8_t *top = avr->data + before.stack_pointer, low = top[0], high = top[-1];
    avr->sreg[S_I] = 1;
    avr->interrupt_state = 1;
    avr_service_interrupts(avr);
    top[0] = low;
    top[-1] = high;
    take_over(avr, &before);
}

static void push_return_address(avr_t *avr)
{
    uint8_t *top = avr->data + record_of(avr, 0).stack_pointer;
    top[0] = (uint8_t)(avr->pc >> 1);
    top[-1] = (uint8_t)(avr->pc >> 9);
}

static bool run_guided(avr_t *avr, uint32_t count)
{
    uint32_t unacknowledged = 0; /* entries for which simavr has not raised the interrupt yet */
    for (uint32_t step = 0; step < count; step++) {
        uint8_t kind;
        struct record wanted;
        if (!take(&kind, 1) || !take(&wanted, sizeof wanted))
            return false;
        if (kind == INTERRUPT_ENTRY) {
            push_return_address(avr);
            unacknowledged++;
        }
        if (kind == INSTRUCTION) {
            run_instruction(avr);
            struct record made = record_of(avr, wanted.step);
            if (memcmp(&made, &wanted, sizeof made))
                give(made);
        }
        take_over(avr, &wanted);
        if (unacknowledged && avr_has_pending_interrupts(avr)) {
            acknowledge_interrupt(avr);
            unacknowledged--;
        }
    }
    return true;
}

static void make_mark(avr_t *avr, avr_io_addr_t address, uint8_t value, void *param)
{
    (void)param;
    avr->data[address] = value;
    struct record record = record_of(avr, (uint32_t)(avr->data[GPIOR2] << 8 | avr->data[GPIOR1]));
    record.cycle++;
    give(record);
    marks_made++;
}

static void run_to_marks(avr_t *avr, uint32_t count)
{
    marks_made = 0;
    avr_register_io_write(avr, GPIOR0, make_mark, NULL);
    for (uint32_t steps = 0, before = 0; marks_made < count && steps < MOST_STEPS_TO_MARK; steps++) {
        avr->run_cycle_limit = avr->state == cpu_Sleeping ? SLEEP_STRIDE : 1;
        int state = avr_run(avr);
        if (state == cpu_Done || state == cpu_Crashed)
            break;
        if (marks_made != before) {
            before = marks_made;
            steps = 0;
        }
    }
}

static bool serve(const struct request *request)
{
    avr_t *avr = fresh(request);
    bool served = avr != NULL;
    if (served && request->mode == FREE)
        run_free(avr, request->count);
    else if (served && request->mode == GUIDED)
        served = run_guided(avr, request->count);
    else if (served)
        run_to_marks(avr, request->count);
    if (!served)
        return false;
    give(record_of(avr, UINT32_MAX));
    fwrite(avr->data + SRAM_START, SRAM_BYTES, 1, stdout);
    fflush(stdout);
    avr_terminate(avr);
    free(avr);
    return true;
}

int main(void)
{
    static struct request request;
    avr_global_logger_set(say_nothing);
    while (take_request(&request))
        if (!serve(&request))
            return EXIT_FAILURE;
    return EXIT_SUCCESS;
}
