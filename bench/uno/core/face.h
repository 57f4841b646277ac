/* The C face of the ATmega328P core: what Python sees. Parsed by cffi, so declarations only. */

enum stop { STOP_LIMIT, STOP_SPI, STOP_PIN, STOP_MARK, STOP_UART, STOP_FAULT, STOP_HALT };

enum fault_kind {
    FAULT_NONE, FAULT_ILLEGAL_OPCODE, FAULT_READ_OUTSIDE, FAULT_WRITE_OUTSIDE, FAULT_STACK_IN_DATA,
    FAULT_STACK_OVERFLOW, FAULT_SELF_PROGRAMMING, FAULT_CLOCK_PRESCALER,
};

enum reset_cause { RESET_POWER_ON, RESET_EXTERNAL, RESET_BROWN_OUT, RESET_WATCHDOG };

struct program;
struct core;

struct fault { uint32_t kind; uint32_t program_counter; uint64_t cycle; uint32_t detail; };

struct analog_segment {
    uint64_t from_cycle; int64_t offset_uv; int64_t amplitude_uv; uint64_t phase; uint64_t phase_step;
};

struct restart { uint64_t count; uint64_t cycle; uint32_t program_counter; };
struct pin_change { uint64_t cycle; uint8_t pin; bool high; };

/* One decoded instruction: operation is an enum operation, the rest its operands. */
struct instruction { uint8_t operation; uint8_t d; uint8_t r; uint8_t b; uint16_t k; uint16_t opcode; };

struct program *program_create(const uint8_t *flash, uint32_t size);
void program_destroy(struct program *program);
uint64_t core_interface(void);
uint64_t program_checksum(const struct program *program);
struct instruction program_instruction(const struct program *program, uint32_t word_address);
const char *operation_name(uint8_t operation);
bool program_translate(struct program *program, const void *translation);

struct core *core_create(const struct program *program, const uint8_t *eeprom, bool starts_boot_loader);
void core_destroy(struct core *core);
void core_reset(struct core *core, enum reset_cause cause);
enum stop core_run(struct core *core, uint64_t until_cycle);

uint64_t core_cycle(const struct core *core);
uint64_t core_wake_cycle(const struct core *core);
uint64_t core_sleep_cycles(const struct core *core, uint8_t mode);
uint64_t core_reset_cycles(const struct core *core);
uint16_t core_lowest_stack(const struct core *core);
uint16_t core_stack_pointer(const struct core *core);
uint32_t core_program_counter(const struct core *core);
uint8_t core_status_register(const struct core *core);
void core_set_program_counter(struct core *core, uint32_t byte_address);
void core_set_status_register(struct core *core, uint8_t value);
void core_set_stack_floor(struct core *core, uint16_t address);
struct fault core_fault(const struct core *core);

uint8_t core_spi_mosi(const struct core *core);
void core_spi_reply(struct core *core, uint8_t miso);
void core_watch(struct core *core, uint8_t pin);
uint8_t core_pin_changed(const struct core *core);
bool core_pin_level(const struct core *core);
bool core_pin_high(const struct core *core, uint8_t pin);
void core_set_pin(struct core *core, uint8_t pin, bool high);
bool core_schedule_edges(struct core *core, uint8_t pin, const uint64_t *cycles, size_t count, bool first_high);
uint64_t core_last_edge(const struct core *core, uint8_t pin);
bool core_set_analog(struct core *core, uint8_t channel, const struct analog_segment *segments, size_t count);
uint8_t core_mark_code(const struct core *core);
uint16_t core_mark_argument(const struct core *core);
uint8_t core_uart_byte(const struct core *core);
bool core_uart_send(struct core *core, const uint8_t *data, size_t count);

void core_peek(const struct core *core, uint16_t address, uint8_t *data, size_t count);
void core_poke(struct core *core, uint16_t address, const uint8_t *data, size_t count);
const uint8_t *core_eeprom(const struct core *core);
const uint8_t *core_flash(const struct core *core);

bool core_inspect(struct core *core);
enum stop core_run_inspected(struct core *core, uint64_t until);
bool core_step(struct core *core, uint64_t until, enum stop *stop);
void core_set_breakpoint(struct core *core, uint32_t address, bool set);
bool core_at_breakpoint(const struct core *core);
bool core_watch_data(struct core *core, uint16_t address);
void core_unwatch_data(struct core *core, uint16_t address);
bool core_at_change(const struct core *core);
uint16_t core_changed_address(const struct core *core);
struct restart core_watchdog_resets(const struct core *core);
struct restart core_jumps_to_reset(const struct core *core);
void core_log_pins(struct core *core, bool wanted);
bool core_pins_lost(const struct core *core);
size_t core_pin_change_count(const struct core *core);
const struct pin_change *core_pin_changes(const struct core *core);
void core_forget_pin_changes(struct core *core);
bool core_profile(struct core *core);
void core_profile_close(struct core *core);
const uint64_t *core_profile_own(const struct core *core);
const uint64_t *core_profile_whole(const struct core *core);
const uint64_t *core_profile_calls(const struct core *core);
void core_poke_eeprom(struct core *core, uint16_t address, const uint8_t *data, size_t count);
void core_set_stack_pointer(struct core *core, uint16_t address);

size_t core_state_size(const struct core *core);
void core_save(const struct core *core, uint8_t *state);
bool core_restore(struct core *core, const uint8_t *state, size_t size);
