#include "tiny.h"
void selftest_muldiv(void) {}
