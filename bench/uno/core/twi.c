/* Two-wire interface as master on a bus with no slave: datasheet 22. Every address goes unacknowledged. */
#include "core.h"

enum {
    STATUS_START = 0x08, STATUS_REPEATED_START = 0x10, STATUS_WRITE_REFUSED = 0x20, STATUS_DATA_REFUSED = 0x30,
    STATUS_READ_REFUSED = 0x48, STATUS_IDLE = 0xF8, BYTE_CLOCKS = 9,
};

/* SCL period: 16 + 2 * TWBR * 4^TWPS cycles (22.5.2). */
static uint32_t scl_cycles(const struct twi *twi)
{
    return 16 + 2u * twi->bit_rate * (1u << 2 * (twi->status & TWSR_TWPS));
}

static void refresh_request(struct core *core)
{
    const uint8_t both = TWCR_TWINT | TWCR_TWIE;
    interrupt_request(core, VECTOR_TWI, (core->twi.control & both) == both);
}

static void set_status(struct twi *twi, uint8_t status) { twi->status = status | (twi->status & TWSR_TWPS); }

/* The step that TWCR asked for is over. */
void twi_event(struct core *core)
{
    struct twi *twi = &core->twi;
    uint8_t before = twi->status & 0xF8;
    if (twi->control & TWCR_TWSTA)
        set_status(twi, twi->owned ? STATUS_REPEATED_START : STATUS_START);
    else if (before == STATUS_START || before == STATUS_REPEATED_START)
        set_status(twi, twi->data & 1 ? STATUS_READ_REFUSED : STATUS_WRITE_REFUSED);
    else
        set_status(twi, STATUS_DATA_REFUSED);
    twi->owned = true;
    twi->control |= TWCR_TWINT;
    refresh_request(core);
}

static void write_control(struct core *core, uint8_t value)
{
    struct twi *twi = &core->twi;
    bool proceeds = value & TWCR_TWINT && value & TWCR_TWEN;
    uint8_t flag = value & TWCR_TWINT ? 0 : twi->control & TWCR_TWINT;
    twi->control = (uint8_t)((value & (TWCR_TWIE | TWCR_TWEN | TWCR_TWSTO | TWCR_TWSTA | TWCR_TWEA)) | flag);
    if (!(value & TWCR_TWEN)) {
        twi->owned = false;
        event_at(core, EVENT_TWI, NEVER);
    } else if (proceeds && value & TWCR_TWSTO) {
        twi->owned = false;
        twi->control &= (uint8_t)~TWCR_TWSTO;
        set_status(twi, STATUS_IDLE);
    }
    if (proceeds && value & TWCR_TWSTA)
        event_at(core, EVENT_TWI, core->now + scl_cycles(twi));
    else if (proceeds && twi->owned)
        event_at(core, EVENT_TWI, core->now + BYTE_CLOCKS * scl_cycles(twi));
    refresh_request(core);
}

uint8_t twi_read(struct core *core, uint8_t address)
{
    const struct twi *twi = &core->twi;
    switch (address) {
    case TWBR: return twi->bit_rate;
    case TWSR: return twi->status;
    case TWAR: return twi->address;
    case TWDR: return twi->data;
    case TWAMR: return twi->address_mask;
    default: return twi->control;
    }
}

void twi_write(struct core *core, uint8_t address, uint8_t value)
{
    struct twi *twi = &core->twi;
    switch (address) {
    case TWBR: twi->bit_rate = value; break;
    case TWSR: twi->status = (uint8_t)((twi->status & 0xF8) | (value & TWSR_TWPS)); break;
    case TWAR: twi->address = value; break;
    case TWDR:
        if (twi->control & TWCR_TWINT) {
            twi->data = value;
            twi->control &= (uint8_t)~TWCR_TWWC;
        } else {
            twi->control |= TWCR_TWWC;
        }
        break;
    case TWAMR: twi->address_mask = value & 0xFE; break;
    default: write_control(core, value); break;
    }
}

void twi_reset(struct core *core)
{
    core->twi = (struct twi){.status = STATUS_IDLE, .address = 0xFE, .data = 0xFF};
}
