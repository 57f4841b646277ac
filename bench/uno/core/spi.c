/* SPI master: datasheet 19. The slave's byte comes from the host. */
#include "core.h"

enum { SLAVE_SELECT = PIN(PORT_B, 2), MASTER_OUT = PIN(PORT_B, 3), MASTER_IN = PIN(PORT_B, 4), CLOCK = PIN(PORT_B, 5) };

/* Table 19-5: SCK frequency by SPI2X, SPR1, SPR0. */
static uint32_t sck_divider(const struct spi *spi)
{
    static const uint8_t divider[4] = {4, 16, 64, 128};
    uint32_t normal = divider[spi->control & SPCR_SPR];
    return spi->status & SPSR_SPI2X ? ((spi->control & SPCR_SPR) == 3 ? 64 : normal / 2) : normal;
}

static void refresh_request(struct core *core)
{
    interrupt_request(core, VECTOR_SPI_STC, core->spi.status & SPSR_SPIF && core->spi.control & SPCR_SPIE);
}

/* Reading SPSR with SPIF set and then accessing SPDR clears SPIF and WCOL (19.5.2). */
static void data_accessed(struct core *core)
{
    if (core->spi.status_read)
        core->spi.status &= (uint8_t)~(SPSR_SPIF | SPSR_WCOL);
    core->spi.status_read = false;
    refresh_request(core);
}

/* The bits of a byte in the order they go over the line, the first lowest. */
static uint32_t in_line_order(const struct spi *spi, uint8_t value)
{
    if (spi->control & SPCR_DORD)
        return value;
    uint32_t reversed = 0;
    for (int bit = 0; bit < 8; bit++)
        reversed |= (uint32_t)(value >> bit & 1) << (7 - bit);
    return reversed;
}

/* Puts the finished byte on the lines for whoever inspects the pins (figures 19-3 and 19-4). */
static void show_transfer(struct core *core)
{
    const struct spi *spi = &core->spi;
    uint32_t divider = sck_divider(spi);
    uint64_t from = core->now - 8 * divider;
    bool idle = spi->control & SPCR_CPOL, late = spi->control & SPCR_CPHA;
    uint32_t clock = (late ? 0x5555u : 0xAAAAu) ^ (idle ? 0xFFFFu : 0);
    inspection_line(core, CLOCK, from, clock | (uint32_t)idle << 16, 17, divider / 2);
    inspection_line(core, MASTER_OUT, from, in_line_order(spi, spi->mosi), 8, divider);
    inspection_line(core, MASTER_IN, from, in_line_order(spi, spi->miso), 8, divider);
}

static void write_data(struct core *core, uint8_t value)
{
    struct spi *spi = &core->spi;
    data_accessed(core);
    if (spi->busy) {
        spi->status |= SPSR_WCOL;
        return;
    }
    if (!(spi->control & SPCR_SPE) || !(spi->control & SPCR_MSTR))
        return;
    spi->busy = true;
    spi->mosi = value;
    spi->miso = 0xFF;
    event_at(core, EVENT_SPI, core->now + 8 * sck_divider(spi));
    stop_raise(core, STOP_SPI);
}

void spi_event(struct core *core)
{
    struct spi *spi = &core->spi;
    spi->busy = false;
    spi->data = spi->miso;
    spi->status |= SPSR_SPIF;
    spi->status_read = false;
    show_transfer(core);
    refresh_request(core);
}

void spi_acknowledge(struct core *core)
{
    core->spi.status &= (uint8_t)~SPSR_SPIF;
    refresh_request(core);
}

/* SS as input and low: another master has the bus, and this one becomes a slave (19.3.2). */
void spi_slave_select_check(struct core *core)
{
    struct spi *spi = &core->spi;
    bool is_master = spi->control & SPCR_SPE && spi->control & SPCR_MSTR;
    bool is_output = core->port[PORT_B].direction >> SLAVE_SELECT % 8 & 1;
    if (!is_master || is_output || gpio_level(core, SLAVE_SELECT) || core->data[PRR] & PRR_PRSPI)
        return;
    spi->control &= (uint8_t)~SPCR_MSTR;
    spi->busy = false;
    event_at(core, EVENT_SPI, NEVER);
    spi->status |= SPSR_SPIF;
    refresh_request(core);
}

uint8_t spi_read(struct core *core, uint8_t address)
{
    struct spi *spi = &core->spi;
    switch (address) {
    case SPCR: return spi->control;
    case SPSR:
        spi->status_read = spi->status & (SPSR_SPIF | SPSR_WCOL);
        return spi->status;
    default: data_accessed(core); return spi->data;
    }
}

void spi_write(struct core *core, uint8_t address, uint8_t value)
{
    struct spi *spi = &core->spi;
    switch (address) {
    case SPCR:
        spi->control = value;
        if (!(value & SPCR_SPE)) {
            spi->busy = false;
            event_at(core, EVENT_SPI, NEVER);
        }
        refresh_request(core);
        spi_slave_select_check(core);
        break;
    case SPSR: spi->status = (uint8_t)((spi->status & ~SPSR_SPI2X) | (value & SPSR_SPI2X)); break;
    default: write_data(core, value); break;
    }
}

void spi_reset(struct core *core)
{
    core->spi = (struct spi){.control = 0, .miso = 0xFF};
}
