/* Mark 1: just before the SBI that sets EERE; mark 2: the end of the instruction after it, an OUT. */
begin
    mark
    sbi EECR, EERE
    mark
halt:
    rjmp halt
