"""`bench uno run`: an Arduino image on the desk, with terminal, debugger, radio and signals around it."""
