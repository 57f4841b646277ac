/* Timer0, or Timer2 with TIMER=2. Parameters: TCCRnA, TCCRnB, OCRnA, TIMSKn. A mark for each interrupt. */
#if TIMER == 0
#define CONTROL_A DATA(TCCR0A)
#define CONTROL_B DATA(TCCR0B)
#define COMPARE_A DATA(OCR0A)
#define MASK TIMSK0
    handler_at TIMER0_COMPA_vect_num, seen
    handler_at TIMER0_OVF_vect_num, seen
#else
#define CONTROL_A TCCR2A
#define CONTROL_B TCCR2B
#define COMPARE_A OCR2A
#define MASK TIMSK2
    handler_at TIMER2_COMPA_vect_num, seen
    handler_at TIMER2_OVF_vect_num, seen
#endif
begin
    load_parameters
    select_sleep 0
    sts COMPARE_A, r4
    sts CONTROL_A, r2
    sts MASK, r5
    sei
    sts CONTROL_B, r3
rest:
    sleep
    rjmp rest
seen:
    mark
    reti
