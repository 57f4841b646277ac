/* Flash words to instructions, once per image. Encodings: AVR Instruction Set Manual (DS40002198), chapter 5. */
#include <string.h>

#include "core.h"
#include "operation.h"

/* A pattern names the fixed bits of an opcode (mask, match) and how its operands are laid out. */
enum layout {
    NO_OPERAND, D5_R5, D4_K8, D4_R4, D3_R3, D_PAIRS, D2_K6, D5, R5_BIT, A6_D5, A5_BIT, DISPLACED, RELATIVE12,
    RELATIVE7, ABSOLUTE22, ADDRESS16, S3,
};

struct pattern { uint16_t mask, match; uint8_t operation, layout; };

#define OP(name) OPERATION_##name

/* First match wins, so the special cases stand before the general ones. */
static const struct pattern patterns[] = {
    {0xFFFF, 0x0000, OP(NOP), NO_OPERAND}, {0xFF00, 0x0100, OP(MOVW), D_PAIRS},
    {0xFF00, 0x0200, OP(MULS), D4_R4}, {0xFF88, 0x0300, OP(MULSU), D3_R3}, {0xFF88, 0x0308, OP(FMUL), D3_R3},
    {0xFF88, 0x0380, OP(FMULS), D3_R3}, {0xFF88, 0x0388, OP(FMULSU), D3_R3},
    {0xFC00, 0x0400, OP(CPC), D5_R5}, {0xFC00, 0x0800, OP(SBC), D5_R5}, {0xFC00, 0x0C00, OP(ADD), D5_R5},
    {0xFC00, 0x1000, OP(CPSE), D5_R5}, {0xFC00, 0x1400, OP(CP), D5_R5}, {0xFC00, 0x1800, OP(SUB), D5_R5},
    {0xFC00, 0x1C00, OP(ADC), D5_R5}, {0xFC00, 0x2000, OP(AND), D5_R5}, {0xFC00, 0x2400, OP(EOR), D5_R5},
    {0xFC00, 0x2800, OP(OR), D5_R5}, {0xFC00, 0x2C00, OP(MOV), D5_R5},
    {0xF000, 0x3000, OP(CPI), D4_K8}, {0xF000, 0x4000, OP(SBCI), D4_K8}, {0xF000, 0x5000, OP(SUBI), D4_K8},
    {0xF000, 0x6000, OP(ORI), D4_K8}, {0xF000, 0x7000, OP(ANDI), D4_K8}, {0xF000, 0xE000, OP(LDI), D4_K8},
    {0xD208, 0x8000, OP(LDD_Z), DISPLACED}, {0xD208, 0x8008, OP(LDD_Y), DISPLACED},
    {0xD208, 0x8200, OP(STD_Z), DISPLACED}, {0xD208, 0x8208, OP(STD_Y), DISPLACED},
    {0xFE0F, 0x9000, OP(LDS), ADDRESS16}, {0xFE0F, 0x9001, OP(LD_Z_INC), D5}, {0xFE0F, 0x9002, OP(LD_DEC_Z), D5},
    {0xFE0F, 0x9004, OP(LPM), D5}, {0xFE0F, 0x9005, OP(LPM_INC), D5},
    {0xFE0F, 0x9009, OP(LD_Y_INC), D5}, {0xFE0F, 0x900A, OP(LD_DEC_Y), D5}, {0xFE0F, 0x900C, OP(LD_X), D5},
    {0xFE0F, 0x900D, OP(LD_X_INC), D5}, {0xFE0F, 0x900E, OP(LD_DEC_X), D5}, {0xFE0F, 0x900F, OP(POP), D5},
    {0xFE0F, 0x9200, OP(STS), ADDRESS16}, {0xFE0F, 0x9201, OP(ST_Z_INC), D5}, {0xFE0F, 0x9202, OP(ST_DEC_Z), D5},
    {0xFE0F, 0x9209, OP(ST_Y_INC), D5}, {0xFE0F, 0x920A, OP(ST_DEC_Y), D5}, {0xFE0F, 0x920C, OP(ST_X), D5},
    {0xFE0F, 0x920D, OP(ST_X_INC), D5}, {0xFE0F, 0x920E, OP(ST_DEC_X), D5}, {0xFE0F, 0x920F, OP(PUSH), D5},
    {0xFE0F, 0x9400, OP(COM), D5}, {0xFE0F, 0x9401, OP(NEG), D5}, {0xFE0F, 0x9402, OP(SWAP), D5},
    {0xFE0F, 0x9403, OP(INC), D5}, {0xFE0F, 0x9405, OP(ASR), D5}, {0xFE0F, 0x9406, OP(LSR), D5},
    {0xFE0F, 0x9407, OP(ROR), D5}, {0xFE0F, 0x940A, OP(DEC), D5},
    {0xFF8F, 0x9408, OP(BSET), S3}, {0xFF8F, 0x9488, OP(BCLR), S3},
    {0xFFFF, 0x9409, OP(IJMP), NO_OPERAND}, {0xFFFF, 0x9509, OP(ICALL), NO_OPERAND},
    {0xFE0E, 0x940C, OP(JMP), ABSOLUTE22}, {0xFE0E, 0x940E, OP(CALL), ABSOLUTE22},
    {0xFFFF, 0x9508, OP(RET), NO_OPERAND}, {0xFFFF, 0x9518, OP(RETI), NO_OPERAND},
    {0xFFFF, 0x9588, OP(SLEEP), NO_OPERAND},
    {0xFFFF, 0x9598, OP(NOP), NO_OPERAND}, /* BREAK: a NOP while on-chip debug is off */
    {0xFFFF, 0x95A8, OP(WDR), NO_OPERAND}, {0xFFFF, 0x95C8, OP(LPM_R0), NO_OPERAND},
    {0xFFFF, 0x95E8, OP(SPM), NO_OPERAND},
    {0xFF00, 0x9600, OP(ADIW), D2_K6}, {0xFF00, 0x9700, OP(SBIW), D2_K6},
    {0xFF00, 0x9800, OP(CBI), A5_BIT}, {0xFF00, 0x9900, OP(SBIC), A5_BIT}, {0xFF00, 0x9A00, OP(SBI), A5_BIT},
    {0xFF00, 0x9B00, OP(SBIS), A5_BIT}, {0xFC00, 0x9C00, OP(MUL), D5_R5},
    {0xFE0F, 0xB60F, OP(IN_SREG), D5}, {0xFE0F, 0xBE0F, OP(OUT_SREG), D5},
    {0xFE0F, 0xB60D, OP(IN_SPL), D5}, {0xFE0F, 0xB60E, OP(IN_SPH), D5},
    {0xFE0F, 0xBE0D, OP(OUT_SPL), D5}, {0xFE0F, 0xBE0E, OP(OUT_SPH), D5},
    {0xF800, 0xB000, OP(IN), A6_D5}, {0xF800, 0xB800, OP(OUT), A6_D5},
    {0xF000, 0xC000, OP(RJMP), RELATIVE12}, {0xF000, 0xD000, OP(RCALL), RELATIVE12},
    {0xFC00, 0xF000, OP(BRCS), RELATIVE7}, {0xFC00, 0xF400, OP(BRCC), RELATIVE7},
    {0xFE08, 0xF800, OP(BLD), R5_BIT}, {0xFE08, 0xFA00, OP(BST), R5_BIT},
    {0xFE08, 0xFC00, OP(SBRC), R5_BIT}, {0xFE08, 0xFE00, OP(SBRS), R5_BIT},
};

static uint16_t word_at(const struct program *program, uint32_t address)
{
    address %= FLASH_WORDS;
    return (uint16_t)(program->flash[address * 2] | program->flash[address * 2 + 1] << 8);
}

static bool is_two_words(uint16_t word)
{
    return (word & 0xFC0F) == 0x9000 || (word & 0xFE0C) == 0x940C;
}

static bool is_skip(uint8_t operation)
{
    return operation == OP(CPSE) || operation == OP(SBRC) || operation == OP(SBRS) || operation == OP(SBIC)
        || operation == OP(SBIS);
}

static uint16_t relative(uint32_t address, int offset)
{
    return (uint16_t)((address + 1 + (uint32_t)offset) % FLASH_WORDS);
}

static int sign_extend(uint16_t value, int bits)
{
    int sign = 1 << (bits - 1);
    return (value ^ sign) - sign;
}

static void decode_operands(struct instruction *i, enum layout layout, uint16_t word, uint16_t next, uint32_t address)
{
    uint8_t d5 = word >> 4 & 31, r5 = (word & 15) | (word >> 5 & 16);
    switch (layout) {
    case NO_OPERAND: break;
    case D5: i->d = d5; break;
    case D5_R5: i->d = d5; i->r = r5; break;
    case D4_K8: i->d = 16 + (d5 & 15); i->k = (word & 15) | (word >> 4 & 0xF0); break;
    case D4_R4: i->d = 16 + (d5 & 15); i->r = 16 + (word & 15); break;
    case D3_R3: i->d = 16 + (d5 & 7); i->r = 16 + (word & 7); break;
    case D_PAIRS: i->d = (d5 & 15) * 2; i->r = (word & 15) * 2; break;
    case D2_K6: i->d = 24 + (d5 & 3) * 2; i->k = (word & 15) | (word >> 2 & 0x30); break;
    case R5_BIT: i->d = d5; i->b = word & 7; break;
    case A6_D5: i->d = d5; i->k = 0x20 + ((word & 15) | (word >> 5 & 0x30)); break;
    case A5_BIT: i->k = 0x20 + (word >> 3 & 31); i->b = word & 7; break;
    case DISPLACED: i->d = d5; i->k = (word & 7) | (word >> 7 & 0x18) | (word >> 8 & 0x20); break;
    case RELATIVE12: i->k = relative(address, sign_extend(word & 0xFFF, 12)); break;
    case RELATIVE7: i->operation += word & 7; i->k = relative(address, sign_extend(word >> 3 & 0x7F, 7)); break;
    case ABSOLUTE22: i->k = next % FLASH_WORDS; break;
    case ADDRESS16: i->d = d5; i->k = next; break;
    case S3: i->b = d5 & 7; break;
    }
}

static struct instruction decode(const struct program *program, uint32_t address)
{
    uint16_t word = word_at(program, address), next = word_at(program, address + 1);
    struct instruction i = {.operation = OP(ILLEGAL), .opcode = word};
    for (size_t n = 0; n < sizeof patterns / sizeof *patterns; n++) {
        if ((word & patterns[n].mask) == patterns[n].match) {
            i.operation = patterns[n].operation;
            decode_operands(&i, patterns[n].layout, word, next, address);
            break;
        }
    }
    if (is_skip(i.operation)) /* words to skip; r (CPSE) or b (the others) holds the operand, opcode is free */
        i.opcode = is_two_words(next) ? 2 : 1;
    return i;
}

void decode_words(struct program *program, uint32_t first, uint32_t count)
{
    for (uint32_t address = first; address < first + count; address++)
        program->code[address] = decode(program, address);
}

void decode_program(struct program *program)
{
    decode_words(program, 0, FLASH_WORDS);
    for (uint32_t beyond = 0; beyond < 2; beyond++) /* running or skipping off the end arrives at 0 and 1 */
        program->code[FLASH_WORDS + beyond] = (struct instruction){.operation = OP(WRAP), .k = (uint16_t)beyond};
}
