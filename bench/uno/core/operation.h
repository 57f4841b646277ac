/* The operations a flash word decodes into. Mnemonics as in the AVR instruction set manual; where one mnemonic
 * needs different work it carries a suffix (LD_X_INC is LD Rd,X+; IN_SREG is IN of 0x3F). ENTER is no instruction:
 * it stands where translated code takes over. */
#ifndef BENCH_UNO_OPERATION_H
#define BENCH_UNO_OPERATION_H

#define OPERATIONS(X) \
    X(ILLEGAL) X(WRAP) X(ENTER) X(NOP) X(ADD) X(ADC) X(SUB) X(SBC) X(AND) X(OR) X(EOR) X(MOV) X(CP) X(CPC) X(CPSE) \
    X(SUBI) X(SBCI) X(ANDI) X(ORI) X(CPI) X(LDI) X(MOVW) X(ADIW) X(SBIW) \
    X(COM) X(NEG) X(INC) X(DEC) X(SWAP) X(ASR) X(LSR) X(ROR) \
    X(MUL) X(MULS) X(MULSU) X(FMUL) X(FMULS) X(FMULSU) \
    X(LDS) X(STS) X(LD_X) X(LD_X_INC) X(LD_DEC_X) X(LDD_Y) X(LD_Y_INC) X(LD_DEC_Y) X(LDD_Z) X(LD_Z_INC) \
    X(LD_DEC_Z) X(ST_X) X(ST_X_INC) X(ST_DEC_X) X(STD_Y) X(ST_Y_INC) X(ST_DEC_Y) X(STD_Z) X(ST_Z_INC) \
    X(ST_DEC_Z) X(LPM_R0) X(LPM) X(LPM_INC) X(SPM) X(PUSH) X(POP) \
    X(IN) X(OUT) X(IN_SREG) X(OUT_SREG) X(IN_SPL) X(IN_SPH) X(OUT_SPL) X(OUT_SPH) \
    X(SBI) X(CBI) X(SBIC) X(SBIS) X(SBRC) X(SBRS) X(BST) X(BLD) \
    X(RJMP) X(JMP) X(IJMP) X(RCALL) X(CALL) X(ICALL) X(RET) X(RETI) \
    X(BRCS) X(BREQ) X(BRMI) X(BRVS) X(BRLT) X(BRHS) X(BRTS) X(BRIE) \
    X(BRCC) X(BRNE) X(BRPL) X(BRVC) X(BRGE) X(BRHC) X(BRTC) X(BRID) \
    X(BSET) X(BCLR) X(SLEEP) X(WDR)

#define ENUMERATE(name) OPERATION_##name,
enum operation { OPERATIONS(ENUMERATE) OPERATION_COUNT };
#undef ENUMERATE

#endif
