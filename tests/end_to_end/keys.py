"""What a terminal sends for the keys that the tests press."""

ENTER, ESCAPE, UP = "\r", "\x1b", "\x1b[A"
CTRL_E, CTRL_F, CTRL_N, CTRL_P, CTRL_Q, CTRL_T = "\x05", "\x06", "\x0e", "\x10", "\x11", "\x14"
CTRL_C, CTRL_D = "\x03", "\x04"
