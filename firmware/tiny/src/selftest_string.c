#include "tiny.h"
void selftest_string(void) {}
