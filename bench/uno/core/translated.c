/* Running an image by its translation, with the interpreter for all that the translation leaves to it. */
#include "translated.h"

#include <stdlib.h>
#include <string.h>

#include "operation.h"

static const struct translation_services services = {
    io_read, io_write, io_set_bit, io_clear_bit, watchdog_restart, sleep_enter,
};

uint64_t core_interface(void) { return CORE_INTERFACE; }
uint64_t program_checksum(const struct program *program) { return program->checksum; }

struct instruction program_instruction(const struct program *program, uint32_t word_address)
{
    return program->code[word_address % FLASH_WORDS];
}

const char *operation_name(uint8_t operation)
{
#define NAME(name) #name,
    static const char *const names[OPERATION_COUNT] = {OPERATIONS(NAME)};
#undef NAME
    return operation < OPERATION_COUNT ? names[operation] : "";
}

/* From now on all cores of this program run by the translation. False: it is one of another image or core. */
bool program_translate(struct program *program, const void *attached)
{
    const struct translation *translation = attached;
    if (translation->core_interface != CORE_INTERFACE || translation->program_checksum != program->checksum)
        return false;
    struct instruction *marked = malloc(sizeof program->code);
    if (!marked)
        return false;
    memcpy(marked, program->code, sizeof program->code);
    for (uint32_t n = 0; n < translation->entry_count; n++)
        marked[translation->entries[n]].operation = OPERATION_ENTER;
    free(program->marked_code);
    program->marked_code = marked;
    program->translation = translation;
    return true;
}

void translated_execute(struct core *core)
{
    const struct program *program = core->program;
    const struct translation *translation = program->translation;
    if (program->marked_code[core->program_counter].operation != OPERATION_ENTER) {
        cpu_execute(core, program->marked_code);
        return;
    }
    if (core->cycle < core->deadline) {
        translation->run(core, &services);
        if (core->cycle >= core->deadline)
            return;
        if (core->deadline - core->cycle > translation->longest_block)
            core->deadline = core->cycle; /* one instruction, then back */
    }
    cpu_execute(core, program->code);
}
