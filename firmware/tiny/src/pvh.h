/* pvh.h: what the loader leaves in memory [PVH]. */
#ifndef PVH_H
#define PVH_H
#include "tiny.h"

#define PVH_MAGIC 0x336ec578u

struct start_info {
	u32 magic, version, flags, nr_modules;
	u64 modlist, cmdline, rsdp, memmap;
	u32 memmap_entries, reserved;
};
struct pvh_module {
	u64 pa, size, cmdline, reserved;
};
struct pvh_range {
	u64 addr, size;
	u32 type, reserved;
};
enum { PVH_RAM = 1 };
#endif
