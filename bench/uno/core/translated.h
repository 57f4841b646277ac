/* An image's flash translated to native code (bench/uno/translation/): what the core and such a library show each
 * other. The library is compiled against core.h of the very core it is attached to. */
#ifndef BENCH_UNO_TRANSLATED_H
#define BENCH_UNO_TRANSLATED_H

#include "core.h"

/* What translated code asks of the core; all act at core->now. */
struct translation_services {
    uint8_t (*io_read)(struct core *core, uint8_t address);
    void (*io_write)(struct core *core, uint8_t address, uint8_t value);
    void (*io_set_bit)(struct core *core, uint8_t address, uint8_t bit);
    void (*io_clear_bit)(struct core *core, uint8_t address, uint8_t bit);
    void (*watchdog_restart)(struct core *core);
    void (*sleep_enter)(struct core *core);
};

struct translation {
    uint64_t core_interface, program_checksum;
    uint32_t longest_block;              /* in cycles */
    const uint16_t *entries;             /* word addresses at which `run` can begin */
    uint32_t entry_count;
    /* Runs from an entry while cycle < deadline, and leaves between two instructions: where the deadline falls within
     * the next block, or before an instruction that is the interpreter's. */
    void (*run)(struct core *core, const struct translation_services *services);
};

/* As cpu_execute, by translated code where there is some; it may leave earlier. */
void translated_execute(struct core *core);

#endif
