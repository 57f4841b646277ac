/* Parameter: EECR with EEPM and EEMPE. Mark 1: one cycle before EEPE is set; mark 2: at the end of the next
 * instruction, an OUT; mark 3: from the handler of EE_READY. */
    handler_at EE_READY_vect_num, done
begin
    load_parameters
    ldi r17, 0x5a
    out EEDR, r17
    mov r17, r2
    ori r17, 1 << EEPE
    select_sleep 0
    out EECR, r2
    mark
    out EECR, r17
    mark
    sbi EECR, EERIE
    sei
rest:
    sleep
    rjmp rest
done:
    mark
    cbi EECR, EERIE
    reti
