/*
 * lease.c - the lease file, as Regent's agent writes it: until when this server
 * may acknowledge commits, for which epoch, and who has to confirm them.
 */
#include "postgres.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "storage/pmsignal.h"

#include "gate.h"

/*
 * The lease file.  The other side is client/src/gate.rs; both assert the
 * layout.  Writer and readers share a machine, so numbers are in its order.
 */
#define LEASE_FILE_SIZE 4096
#define LEASE_MAGIC UINT64CONST(0x31544147544e4752) /* "RGNTGAT1" */

typedef struct Lease
{
	uint64		magic;
	uint64		epoch;
	uint64		deadline_ns;	/* CLOCK_BOOTTIME; 0 = closed */
	uint64		rpo_ns;			/* 0 or UINT64_MAX: a commit must be confirmed itself */
	uint64		opened_by;		/* incarnation of the agent */
	uint64		confirm;		/* bit n: the standby at place n counts; from COUNT_SHIFT on how many, 0 = all */
	uint64		confirm_too;	/* likewise; both have to be satisfied, 0 = nobody */
	uint64		unused;
	uint64		places[MOST_PLACES];	/* FNV-1a of the name of whose the place is; 0 = nobody's yet */
	char		reserved[LEASE_FILE_SIZE - 64 - 8 * MOST_PLACES];
} Lease;

StaticAssertDecl(offsetof(Lease, epoch) == 8, "lease layout: epoch");
StaticAssertDecl(offsetof(Lease, deadline_ns) == 16, "lease layout: deadline");
StaticAssertDecl(offsetof(Lease, rpo_ns) == 24, "lease layout: rpo");
StaticAssertDecl(offsetof(Lease, opened_by) == 32, "lease layout: opened by");
StaticAssertDecl(offsetof(Lease, confirm) == 40, "lease layout: confirm");
StaticAssertDecl(offsetof(Lease, confirm_too) == 48, "lease layout: confirm, too");
StaticAssertDecl(offsetof(Lease, places) == 64, "lease layout: places");
StaticAssertDecl(sizeof(Lease) == LEASE_FILE_SIZE, "lease layout: size");

char	   *lease_file = NULL;

/* This process's mapping of the lease file, and which file that is. */
static volatile const Lease *lease = NULL;
static dev_t lease_dev;
static ino_t lease_ino;

/* Nanoseconds since boot, suspend included; a clock that fails is past every deadline. */
uint64
boottime_ns(void)
{
	struct timespec ts;

	if (clock_gettime(CLOCK_BOOTTIME, &ts) != 0)
		return PG_UINT64_MAX;
	return (uint64) ts.tv_sec * UINT64CONST(1000000000) + (uint64) ts.tv_nsec;
}

/*
 * Map the file if it is a lease file, else NULL.
 *
 * Only tmpfs will do: a file that outlives a boot would carry a deadline of the
 * last boot's clock into this one's, and a disk can block.
 */
static volatile const Lease *
map_lease_file(struct stat *st)
{
	struct statfs fs;
	void	   *mapped = MAP_FAILED;
	int			fd = open(lease_file, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return NULL;
	if (fstat(fd, st) == 0 && S_ISREG(st->st_mode) && st->st_size >= LEASE_FILE_SIZE &&
		fstatfs(fd, &fs) == 0 && fs.f_type == TMPFS_MAGIC)
		mapped = mmap(NULL, LEASE_FILE_SIZE, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (mapped == MAP_FAILED)
		return NULL;
	/* the writer sets the magic last, once the rest is in place */
	if (__atomic_load_n(&((Lease *) mapped)->magic, __ATOMIC_ACQUIRE) != LEASE_MAGIC)
	{
		munmap(mapped, LEASE_FILE_SIZE);
		return NULL;
	}
	return mapped;
}

/*
 * Map the file when it has appeared, or when another one is in its place.
 * Called only while there is no lease, so the two looks at an open gate cost no
 * system call.
 */
void
refresh_mapping(void)
{
	volatile const Lease *fresh;
	struct stat st;

	if (lease_file == NULL || lease_file[0] == '\0')
		return;
	if (lease != NULL && stat(lease_file, &st) == 0 && st.st_dev == lease_dev && st.st_ino == lease_ino)
		return;
	fresh = map_lease_file(&st);
	if (fresh == NULL)
		return;
	if (lease != NULL)
		munmap((void *) lease, LEASE_FILE_SIZE);
	lease = fresh;
	lease_dev = st.st_dev;
	lease_ino = st.st_ino;
}

bool
lease_is_mapped(void)
{
	return lease != NULL;
}

uint64
lease_deadline(void)
{
	return lease == NULL ? 0 : __atomic_load_n(&lease->deadline_ns, __ATOMIC_ACQUIRE);
}

/*
 * Is there a lease now?
 *
 * The clock is read last: a process that is stopped in here wakes up with an
 * old deadline and a new time, never with the reverse.
 *
 * A backend that outlived its postmaster has no lease, whatever the file says:
 * the data directory may meanwhile have been rewound and started anew under a
 * lease that says nothing about this backend's commit.
 */
bool
lease_is_open(void)
{
	uint64		deadline;

	if (lease == NULL)
		refresh_mapping();
	deadline = lease_deadline();
	return boottime_ns() < deadline && PostmasterIsAlive();
}

uint64
lease_epoch(void)
{
	return lease == NULL ? 0 : __atomic_load_n(&lease->epoch, __ATOMIC_ACQUIRE);
}

/*
 * The second word is read first: the agent copies it to the first before it
 * clears it, so that whatever is read was asked for at some moment meanwhile.
 */
Asked
lease_asked(void)
{
	Asked		asked = {0, 0};

	if (lease != NULL)
	{
		asked.second = __atomic_load_n(&lease->confirm_too, __ATOMIC_SEQ_CST);
		asked.first = __atomic_load_n(&lease->confirm, __ATOMIC_SEQ_CST);
	}
	return asked;
}

bool
still_asks(Asked before)
{
	Asked		now = lease_asked();

	return now.first == before.first && now.second == before.second;
}

/* The bound, or 0 where a commit must be confirmed itself. No agent asks for one below a millisecond. */
uint64
lease_rpo_ns(void)
{
	uint64		rpo = lease == NULL ? 0 : __atomic_load_n(&lease->rpo_ns, __ATOMIC_ACQUIRE);

	return rpo == PG_UINT64_MAX || rpo < NS_PER_MS ? 0 : rpo;
}

/* The place of the standby with that name, an FNV-1a; MOST_PLACES if it has none. */
int
lease_place_of(uint64 name)
{
	for (int place = 0; place < MOST_PLACES; place++)
		if (__atomic_load_n(&lease->places[place], __ATOMIC_ACQUIRE) == name)
			return place;
	return MOST_PLACES;
}
