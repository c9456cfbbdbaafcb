#include "tiny.h"
void selftest_system(void) {}
