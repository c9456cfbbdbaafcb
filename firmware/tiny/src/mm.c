/* mm.c: the memory map, page frames and page tables.
 *
 * All RAM is identity mapped with 2 MiB pages, the first 2 MiB with 4 KiB pages
 * (page 0 absent, code and constants read-only). Frames come from a bump pointer
 * over the memory map, so that untouched RAM stays untouched, and from a list of
 * freed ones threaded through the frames themselves. */
#include "pvh.h"

enum { MAX_RANGES = 64, MAX_REGIONS = 80, MAX_RESERVED = 10 };
#define MAX_PA (512ul << 30) /* what one PDPT can map */
#define FREE_MAGIC 0xf4eef4a3ef4eef4aul

extern char __image_start[], __ro_end[], __image_end[];
extern u64 id_pml4[], id_pdpt[], id_pd[], id_pt0[];

struct region {
	u64 start, end;
};

static struct pvh_range ranges[MAX_RANGES];
static u32 nranges;
static struct region regions[MAX_REGIONS], reserved[MAX_RESERVED];
static u32 nregions, nreserved;
static u32 bump_region;
static u64 bump; /* next never used frame of regions[bump_region] */
static u64 free_head, free_count, total, used;
static u64 nx; /* PTE_NX or 0 */
static u64 demand_pages, demand_mapped;

static const char *range_type(u32 t)
{
	static const char *const names[] = { "?", "ram", "reserved", "acpi", "nvs", "bad", "disabled", "pmem" };
	return t < ARRAY_LEN(names) ? names[t] : "?";
}

bool have_nx(void) { return nx != 0; }

/* add_region adds a..b less reserved[r...] to the regions. */
static void add_region(u64 a, u64 b, u32 r)
{
	if (a >= b || nregions == MAX_REGIONS)
		return;
	if (r == nreserved) {
		regions[nregions++] = (struct region){ a, b };
		total += (b - a) / PAGE;
		return;
	}
	u64 s = reserved[r].start, e = reserved[r].end;
	if (b <= s || a >= e) {
		add_region(a, b, r + 1);
		return;
	}
	if (a < s)
		add_region(a, s, r + 1);
	if (b > e)
		add_region(e, b, r + 1);
}

static void reserve(u64 a, u64 size)
{
	if (nreserved < MAX_RESERVED)
		reserved[nreserved++] = (struct region){ a & ~(PAGE - 1), (a + size + PAGE - 1) & ~(PAGE - 1) };
}

static void copy_map(const struct start_info *si)
{
	const struct pvh_range *r = (const struct pvh_range *)si->memmap;
	nranges = si->memmap_entries < MAX_RANGES ? si->memmap_entries : MAX_RANGES;
	for (u32 i = 0; i < nranges; i++) {
		ranges[i] = r[i];
		if (ranges[i].type != PVH_RAM)
			continue;
		if (ranges[i].addr > MAX_PA)
			ranges[i].addr = MAX_PA;
		if (ranges[i].size > MAX_PA - ranges[i].addr)
			ranges[i].size = MAX_PA - ranges[i].addr;
	}
}

static bool is_ram(u64 a, u64 b)
{
	for (u32 i = 0; i < nranges; i++)
		if (ranges[i].type == PVH_RAM && ranges[i].addr < b && ranges[i].addr + ranges[i].size > a)
			return true;
	return false;
}

/* protect_low maps the first 2 MiB with 4 KiB pages. */
static void protect_low(void)
{
	for (u64 i = 1; i < 512; i++) {
		u64 pa = i * PAGE, flags = PTE_P | PTE_W | nx;
		if (pa >= (u64)__image_start && pa < (u64)__ro_end)
			flags = PTE_P;
		if (pa >= 0xa0000 && pa < 0xc0000)
			flags |= PTE_PCD | PTE_PWT;
		id_pt0[i] = pa | flags;
	}
	id_pd[0] = (u64)id_pt0 | PTE_P | PTE_W;
}

static void enable_nx(void)
{
	u32 r[4];
	cpuid(0x80000000, r);
	if (r[0] < 0x80000001)
		return;
	cpuid(0x80000001, r);
	if (!(r[3] >> 20 & 1))
		return;
	wrmsr(0xc0000080, rdmsr(0xc0000080) | 1 << 11); /* EFER.NXE */
	nx = PTE_NX;
}

static void flush_all(void)
{
	asm volatile("mov %0, %%cr3" : : "r"(id_pml4) : "memory");
}

/* map_identity refines boot.S's map of the first 4 GiB and adds RAM above. */
static void map_identity(void)
{
	const u64 step = 2ul << 20;
	protect_low();
	for (u64 i = 1; i < 2048; i++)
		id_pd[i] |= nx | (is_ram(i * step, (i + 1) * step) ? 0 : PTE_PCD | PTE_PWT);
	flush_all();
	for (u64 pa = 4ul << 30; pa < MAX_PA; pa += step) {
		if (pa % (1ul << 30) == 0 && !is_ram(pa, pa + (1ul << 30))) {
			pa += (1ul << 30) - step;
			continue;
		}
		if (!is_ram(pa, pa + step))
			continue;
		u64 *e = &id_pdpt[pa >> 30];
		if (!*e) {
			u64 pd = frame_alloc();
			if (!pd)
				return;
			memset((void *)pd, 0, PAGE);
			*e = pd | PTE_P | PTE_W;
		}
		((u64 *)(*e & PTE_ADDR))[pa >> 21 & 511] = pa | PTE_P | PTE_W | PTE_PS | nx;
	}
	flush_all();
}

bool mm_init(const struct start_info *si)
{
	if (si->version < 1 || !si->memmap || !si->memmap_entries)
		return false;
	copy_map(si);
	reserve(0, 1 << 20);
	reserve((u64)__image_start, (u64)(__image_end - __image_start));
	const struct pvh_module *m = (const struct pvh_module *)si->modlist;
	for (u32 i = 0; m && i < si->nr_modules && i < MAX_RESERVED; i++)
		reserve(m[i].pa, m[i].size);
	for (u32 i = 0; i < nranges; i++) {
		u64 a = (ranges[i].addr + PAGE - 1) & ~(PAGE - 1);
		u64 b = (ranges[i].addr + ranges[i].size) & ~(PAGE - 1);
		if (ranges[i].type == PVH_RAM)
			add_region(a, b, 0);
	}
	bump = nregions ? regions[0].start : 0;
	enable_nx();
	map_identity();
	return total > 0;
}

u64 mm_ram_bytes(void)
{
	u64 n = 0;
	for (u32 i = 0; i < nranges; i++)
		if (ranges[i].type == PVH_RAM)
			n += ranges[i].size;
	return n;
}

void mm_print(void)
{
	for (u32 i = 0; i < nranges; i++)
		printf("%016lx-%016lx %s\n", ranges[i].addr, ranges[i].addr + ranges[i].size,
		       range_type(ranges[i].type));
	printf("pages: %lu free, %lu used, %lu in hog\n", frames_free(), used, demand_mapped);
}

u64 frames_free(void) { return total - used; }

/* frame_alloc returns the address of a frame with any content, 0 if none. */
u64 frame_alloc(void)
{
	u64 pa;
	if (free_head) {
		pa = free_head;
		free_head = *(u64 *)pa;
		free_count--;
	} else {
		while (bump_region < nregions && bump >= regions[bump_region].end) {
			bump_region++;
			bump = bump_region < nregions ? regions[bump_region].start : 0;
		}
		if (bump_region >= nregions)
			return 0;
		pa = bump;
		bump += PAGE;
	}
	used++;
	return pa;
}

void frame_free(u64 pa)
{
	u64 *f = (u64 *)pa;
	f[0] = free_head;
	f[1] = FREE_MAGIC ^ pa;
	free_head = pa;
	free_count++;
	used--;
}

/* walk returns the 4 KiB entry for va, building tables if make is set; null if
 * there is none. */
static u64 *walk(u64 va, bool make)
{
	u64 *t = id_pml4;
	for (int shift = 39; shift > 12; shift -= 9) {
		u64 *e = &t[va >> shift & 511];
		if (!(*e & PTE_P)) {
			u64 pa = make ? frame_alloc() : 0;
			if (!pa)
				return NULL;
			memset((void *)pa, 0, PAGE);
			*e = pa | PTE_P | PTE_W;
		}
		if (*e & PTE_PS)
			return NULL;
		t = (u64 *)(*e & PTE_ADDR);
	}
	return &t[va >> 12 & 511];
}

u64 *find_pte(u64 va) { return walk(va, false); }

bool map_page(u64 va, u64 pa, u64 flags)
{
	u64 *e = walk(va, true);
	if (!e)
		return false;
	*e = pa | flags | PTE_P;
	return true;
}

/* unmap_page returns the frame that was mapped at va, or 0. */
u64 unmap_page(u64 va)
{
	u64 *e = walk(va, false);
	if (!e || !(*e & PTE_P))
		return 0;
	u64 pa = *e & PTE_ADDR;
	*e = 0;
	invlpg(va);
	return pa;
}

/* demand_area sets the size of the area at HOG_BASE. Shrinking unmaps. */
void demand_area(u64 pages)
{
	for (u64 p = pages; p < demand_pages; p++) {
		u64 pa = unmap_page(HOG_BASE + p * PAGE);
		if (pa) {
			frame_free(pa);
			demand_mapped--;
		}
	}
	demand_pages = pages;
}

/* demand_fault maps a zeroed frame under an absent page of the area. */
bool demand_fault(u64 va, u64 err)
{
	if ((err & PTE_P) || va < HOG_BASE || (va - HOG_BASE) / PAGE >= demand_pages)
		return false;
	u64 pa = frame_alloc();
	if (!pa)
		return false;
	memset((void *)pa, 0, PAGE);
	if (!map_page(va & ~(PAGE - 1), pa, PTE_W | nx)) {
		frame_free(pa);
		return false;
	}
	demand_mapped++;
	return true;
}

/* text_hash covers the note, the code and the constants. */
u64 text_hash(void)
{
	u64 h = 0;
	const u64 *end = (const u64 *)((u64)__ro_end & ~7ul);
	for (const u64 *p = (const u64 *)__image_start; p < end; p++)
		h = hash_fold(h, *p);
	return h;
}

static bool is_frame(u64 pa)
{
	for (u32 i = 0; i < nregions; i++)
		if (pa >= regions[i].start && pa < regions[i].end)
			return true;
	return false;
}

static bool check_free_list(void)
{
	u64 n = 0;
	for (u64 pa = free_head; pa; pa = *(u64 *)pa, n++) {
		if (!is_frame(pa) || n >= free_count || ((u64 *)pa)[1] != (FREE_MAGIC ^ pa)) {
			printf("check: BAD free frame %lx\n", pa);
			return false;
		}
	}
	if (n != free_count)
		printf("check: BAD free list of %lu, want %lu\n", n, free_count);
	return n == free_count;
}

static bool check_mapped(void)
{
	u64 n = 0;
	for (u64 p = 0; p < demand_pages; p++) {
		u64 *e = walk(HOG_BASE + p * PAGE, false);
		if (!e || !(*e & PTE_P))
			continue;
		n++;
		if (!is_frame(*e & PTE_ADDR) || (*e & (PTE_W | PTE_NX | 4 | PTE_PS)) != (PTE_W | nx)) {
			printf("check: BAD entry %lx of page %lu\n", *e, p);
			return false;
		}
	}
	if (n != demand_mapped)
		printf("check: BAD %lu pages mapped, want %lu\n", n, demand_mapped);
	return n == demand_mapped;
}

/* mm_check verifies the allocator and the page tables of the hog area. */
bool mm_check(u64 *h)
{
	*h = hash_fold(*h, demand_mapped);
	return check_free_list() && check_mapped();
}
