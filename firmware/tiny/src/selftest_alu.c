#include "tiny.h"
void selftest_alu(void) {}
