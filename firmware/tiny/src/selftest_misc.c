#include "tiny.h"
void selftest_misc(void) {}
