/* Parameters: UBRR0H, UBRR0L, UCSR0A, UCSR0C, UCSR0B (interrupt enables included), bytes to send (1 or 2).
 * Mark 1: one cycle (one byte) or three (two bytes) after the first byte was written. Mark 2: from the handler. */
    handler_at USART_UDRE_vect_num, buffer_empty
    handler_at USART_TX_vect_num, done
begin
    load_parameters
    sts UCSR0A, r4
    sts UCSR0C, r5
    sts UBRR0H, r2
    sts UBRR0L, r3
    mov r17, r6
    andi r17, ~(1 << UDRIE0)
    sts UCSR0B, r17
    select_sleep 0
    ldi r18, 2
    cp r7, r18
    breq two
    sts UDR0, r2
    mark
    sei
    rjmp rest
two:
    sts UDR0, r2
    sts UDR0, r2
    mark
    sts UCSR0B, r6
    sei
rest:
    sleep
    rjmp rest
buffer_empty:
done:
    mark
    cli
halt:
    rjmp halt
