/* Parameters: TWBR, TWSR. A mark for the START, one for the address byte, one for the data byte that follow it. */
    handler_at TWI_vect_num, seen
begin
    load_parameters
    select_sleep 0
    sts TWBR, r2
    sts TWSR, r3
    ldi r17, (1 << TWINT) | (1 << TWSTA) | (1 << TWEN) | (1 << TWIE)
    sei
    sts TWCR, r17
    mark
    ldi r17, (1 << TWINT) | (1 << TWEN) | (1 << TWIE)
rest:
    sleep
    rjmp rest
seen:
    mark
    sts TWDR, r14
    sts TWCR, r17
    reti
