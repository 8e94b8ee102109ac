/*
 * Loaded into the processes of one region by LD_PRELOAD: their clock can be made
 * to stand still while they run on, or to be wrong, and their Postgres' disk to
 * be slow.
 *
 * A tool of the tests, driven by a file of five numbers that the harness writes
 * (see mod.rs).  Whoever has no such file is told the truth.  A wait in the
 * kernel (poll, sleep) goes by the kernel's own clock, and ends in time.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND INT64_C(1000000000)

struct lies
{
	/*
	 * What each clock shows from the moment on when it gets there; 0 while it goes
	 * on.  A moment to come, so that no clock ever goes back.
	 */
	int64_t		real_stands_at_ns;
	int64_t		monotonic_stands_at_ns;
	int64_t		boot_stands_at_ns;
	/* How long each fdatasync of a Postgres takes longer. */
	int64_t		flush_takes_ns;
	/* How far the wall clock is ahead of the true one. */
	int64_t		real_ahead_ns;
};

static const struct lies *lies = NULL;
static int	is_postgres = 0;

__attribute__((constructor)) static void
begin(void)
{
	const char *path = getenv("CHAOS_SHIM");
	void	   *mapped;
	int			fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);

	is_postgres = strcmp(program_invocation_short_name, "postgres") == 0;
	if (fd < 0)
		return;
	mapped = mmap(NULL, sizeof(struct lies), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (mapped != MAP_FAILED)
		lies = mapped;
}

/* Where that clock stands still, or 0. */
static int64_t
stands_at_ns(clockid_t clock)
{
	if (lies == NULL)
		return 0;
	switch (clock)
	{
		case CLOCK_REALTIME:
		case CLOCK_REALTIME_COARSE:
			return __atomic_load_n(&lies->real_stands_at_ns, __ATOMIC_ACQUIRE);
		case CLOCK_MONOTONIC:
		case CLOCK_MONOTONIC_COARSE:
			return __atomic_load_n(&lies->monotonic_stands_at_ns, __ATOMIC_ACQUIRE);
		case CLOCK_BOOTTIME:
			return __atomic_load_n(&lies->boot_stands_at_ns, __ATOMIC_ACQUIRE);
		default:
			return 0;
	}
}

int
clock_gettime(clockid_t clock, struct timespec *time)
{
	int64_t		stands_at = stands_at_ns(clock);
	int			failed = (int) syscall(SYS_clock_gettime, clock, time);

	if (failed == 0 && stands_at != 0 && time->tv_sec * SECOND + time->tv_nsec > stands_at)
	{
		time->tv_sec = stands_at / SECOND;
		time->tv_nsec = stands_at % SECOND;
	}
	if (failed == 0 && lies != NULL && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
	{
		int64_t		shown = time->tv_sec * SECOND + time->tv_nsec +
			__atomic_load_n(&lies->real_ahead_ns, __ATOMIC_ACQUIRE);

		time->tv_sec = shown / SECOND;
		time->tv_nsec = shown % SECOND;
	}
	return failed;
}

int
gettimeofday(struct timeval *restrict time, void *restrict zone)
{
	struct timespec now;

	(void) zone;
	if (clock_gettime(CLOCK_REALTIME, &now) != 0)
		return -1;
	time->tv_sec = now.tv_sec;
	time->tv_usec = now.tv_nsec / 1000;
	return 0;
}

time_t
time(time_t *seconds)
{
	struct timespec now;

	if (clock_gettime(CLOCK_REALTIME, &now) != 0)
		return (time_t) -1;
	if (seconds != NULL)
		*seconds = now.tv_sec;
	return now.tv_sec;
}

int
fdatasync(int fd)
{
	int64_t		longer = lies == NULL ? 0 : __atomic_load_n(&lies->flush_takes_ns, __ATOMIC_ACQUIRE);

	if (is_postgres && longer > 0)
	{
		struct timespec left = {.tv_sec = longer / SECOND, .tv_nsec = longer % SECOND};

		while (nanosleep(&left, &left) != 0 && errno == EINTR)
			;
	}
	return (int) syscall(SYS_fdatasync, fd);
}
