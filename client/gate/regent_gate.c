/*
 * regent_gate.c - no commit is acknowledged without a lease.
 *
 * Regent's agent maps a 4 KiB file on tmpfs and writes into it until when this
 * server may acknowledge commits.  Every backend maps the same file and looks
 * at it twice:
 *
 * 1. before a transaction that has an xid writes its commit (or prepare)
 *    record: without a lease it waits up to regent.commit_wait, then raises
 *    25006, and nothing has happened;
 *
 * 2. after that record is flushed and before the client hears: without a lease,
 *    or without the confirmation of every standby that the agent names, it waits
 *    likewise, and then ends the session without a word.  The record is durable, so an error would
 *    lie, and an acknowledgement would be late: only "outcome unknown" is true.
 *    Under a bound those standbys need not have this commit, but everything that
 *    was acknowledged longer ago than the bound.
 *
 * The second look is what makes the fence hold against stopped processes: a
 * backend may sleep for an hour between the two, and still its commit is only
 * acknowledged if it was durable before the end of a lease.
 *
 * Nothing here decides anything, and nothing here needs the agent to be alive:
 * a lease ends by the clock alone.  docs/gate.md has the argument and the limits.
 */
#include "postgres.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "access/parallel.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lwlock.h"
#include "storage/pmsignal.h"
#include "storage/shmem.h"
#include "storage/spin.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "tcop/utility.h"
#include "utils/guc.h"

/*
 * Only Port.sock and Port.application_name are wanted from here, which come
 * before whatever depends on these two.  With them defined the header wants Kerberos' and OpenSSL's headers on every build machine.
 */
#undef ENABLE_GSS
#undef USE_OPENSSL
#include "libpq/libpq-be.h"
#include "libpq/auth.h"

#if PG_VERSION_NUM < 130000
#error "regent_gate needs PostgreSQL 13 or later"
#endif

PG_MODULE_MAGIC;

/*
 * The lease file.  The other side is client/src/gate.rs; both assert the
 * layout.  Writer and readers share a machine, so numbers are in its order.
 */
#define LEASE_FILE_SIZE 4096
#define LEASE_MAGIC UINT64CONST(0x31544147544e4752) /* "RGNTGAT1" */

#define MOST_PLACES 55
#define COUNT_SHIFT 56

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

/*
 * How often a waiting backend looks again.  Short against a promotion's tens
 * of milliseconds, long enough that a thousand waiting backends cost little.
 */
#define POLL_MS 5

/* PostgreSQL 16 and later define it. */
#ifndef NS_PER_MS
#define NS_PER_MS UINT64CONST(1000000)
#endif

typedef struct Counters
{
	pg_atomic_uint64 waits;
	pg_atomic_uint64 refused;
	pg_atomic_uint64 severed;
} Counters;

/*
 * What was acknowledged when, as far as a bound asks for it: the highest end of
 * a commit in each slot of time that may still be young, and of all before.  The
 * arithmetic is that of coordinator/core/src/bound.rs.  A bound is divided into
 * SLOTS; the ring holds all that can be young at a time, and more.
 */
#define SLOTS 64
#define RING 128

typedef struct Bound
{
	LWLock	   *lock;
	uint64		epoch;			/* what the rest is about: another epoch or */
	uint64		rpo_ns;			/* another bound makes all before old */
	uint64		first;			/* all slots before this one are counted into old */
	XLogRecPtr	old;
	XLogRecPtr	recent[RING];
} Bound;

static char *lease_file = NULL;
static int	commit_wait_ms = 1000;
static bool gate_reads = false;

static Counters *counters = NULL;
static Bound *bound = NULL;

/* This session's own synchronous_commit while its commit has another; else NO_LEVEL. */
#define NO_LEVEL (-1)
static int	own_level = NO_LEVEL;

/* This process's mapping of the lease file, and which file that is. */
static volatile const Lease *lease = NULL;
static dev_t lease_dev;
static ino_t lease_ino;

static ExecutorRun_hook_type prev_ExecutorRun = NULL;
static ProcessUtility_hook_type prev_ProcessUtility = NULL;
static shmem_startup_hook_type prev_shmem_startup = NULL;
#if PG_VERSION_NUM >= 150000
static shmem_request_hook_type prev_shmem_request = NULL;
#endif

void		_PG_init(void);

PG_FUNCTION_INFO_V1(regent_gate);

/* ---------- the lease ---------- */

/* Nanoseconds since boot, suspend included; a clock that fails is past every deadline. */
static uint64
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
static void
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

static uint64
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
static bool
lease_is_open(void)
{
	uint64		deadline;

	if (lease == NULL)
		refresh_mapping();
	deadline = lease_deadline();
	return boottime_ns() < deadline && PostmasterIsAlive();
}

static uint64
lease_epoch(void)
{
	return lease == NULL ? 0 : __atomic_load_n(&lease->epoch, __ATOMIC_ACQUIRE);
}

/* ---------- the standbys' confirmation ---------- */

typedef struct Asked
{
	uint64		first;
	uint64		second;
} Asked;

/*
 * The second word is read first: the agent copies it to the first before it
 * clears it, so that whatever is read was asked for at some moment meanwhile.
 */
static Asked
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

static bool
still_asks(Asked before)
{
	Asked		now = lease_asked();

	return now.first == before.first && now.second == before.second;
}

/* The bound, or 0 where a commit must be confirmed itself. No agent asks for one below a millisecond. */
static uint64
lease_rpo_ns(void)
{
	uint64		rpo = lease == NULL ? 0 : __atomic_load_n(&lease->rpo_ns, __ATOMIC_ACQUIRE);

	return rpo == PG_UINT64_MAX || rpo < NS_PER_MS ? 0 : rpo;
}

/*
 * Who streams: by which name each WAL sender was called when it was connected.
 *
 * WalSnd has the process and how far it is, but no name; and its place in
 * synchronous_standby_names is the same for all in a list of "any".  So every
 * WAL sender writes itself down here before it has a WalSnd, and is struck off
 * after it has none.
 */
typedef struct Caller
{
	pg_atomic_uint64 pid;			/* 0 = free; written after the name */
	pg_atomic_uint64 name;			/* FNV-1a */
} Caller;

static Caller *callers = NULL;
static Caller *own_call = NULL;
static ClientAuthentication_hook_type prev_ClientAuthentication = NULL;

/* Not a process; taken, but its name is not there yet. */
#define BEING_WRITTEN PG_UINT64_MAX

static uint64
fnv1a(const char *text)
{
	uint64		hash = UINT64CONST(0xcbf29ce484222325);

	for (; *text != '\0'; text++)
		hash = (hash ^ (unsigned char) *text) * UINT64CONST(0x00000100000001b3);
	return hash;
}

static void
strike_off(int code, Datum arg)
{
	if (own_call != NULL)
		pg_atomic_write_u64(&own_call->pid, 0);
	own_call = NULL;
}

/* Who cannot be written down is never seen to confirm: that is on the safe side. */
static void
gate_ClientAuthentication(Port *port, int status)
{
	if (prev_ClientAuthentication)
		prev_ClientAuthentication(port, status);
	if (!am_walsender || status != STATUS_OK || port->application_name == NULL || own_call != NULL)
		return;
	for (int i = 0; i < max_wal_senders; i++)
	{
		uint64		nobody = 0;

		if (!pg_atomic_compare_exchange_u64(&callers[i].pid, &nobody, BEING_WRITTEN))
			continue;
		own_call = &callers[i];
		on_shmem_exit(strike_off, (Datum) 0);
		pg_atomic_write_u64(&own_call->name, fnv1a(port->application_name));
		pg_write_barrier();
		pg_atomic_write_u64(&own_call->pid, (uint64) MyProcPid);
		return;
	}
}

/* The place of the standby that this WAL sender serves; MOST_PLACES if it has none. */
static int
place_of(pid_t pid)
{
	for (int i = 0; i < max_wal_senders; i++)
	{
		uint64		name;

		if (pg_atomic_read_u64(&callers[i].pid) != (uint64) pid)
			continue;
		pg_read_barrier();
		name = pg_atomic_read_u64(&callers[i].name);
		for (int place = 0; place < MOST_PLACES; place++)
			if (__atomic_load_n(&lease->places[place], __ATOMIC_ACQUIRE) == name)
				return place;
	}
	return MOST_PLACES;
}

/*
 * Up to where is the WAL flushed at all that a word asks for, or at as many of
 * them?  As far as it goes when it asks for nobody.
 */
static XLogRecPtr
reached(uint64 word, const XLogRecPtr *by)
{
	uint64		asked = word & ((UINT64CONST(1) << COUNT_SHIFT) - 1);
	uint64		needed = word >> COUNT_SHIFT;
	XLogRecPtr	best = InvalidXLogRecPtr;

	if (word == 0)
		return PG_UINT64_MAX;
	/* The furthest place that as many have passed is where one of them is. */
	for (int place = 0; place <= MOST_PLACES; place++)
	{
		uint64		there = 0;
		uint64		all = 0;

		if ((asked & (UINT64CONST(1) << place)) == 0)
			continue;
		for (int other = 0; other <= MOST_PLACES; other++)
		{
			if ((asked & (UINT64CONST(1) << other)) == 0)
				continue;
			all++;
			there += by[other] >= by[place] ? 1 : 0;
		}
		if (there >= (needed == 0 ? all : needed))
			best = Max(best, by[place]);
	}
	return best;
}

/*
 * Up to where have those flushed the WAL for whose confirmation the agent asks?
 *
 * Postgres has waited for about as many already, by synchronous_standby_names.
 * This does not rely on that: the wait may have been cancelled, which Postgres
 * takes for an acknowledgement; a process may go by a list of before the last
 * reload; and a standby that has WAL of another timeline says, in the moment
 * before it learns so, that it has flushed more than was ever sent to it.
 */
static XLogRecPtr
confirmed_by(Asked asked)
{
	/* The last is for the place that nobody has. */
	XLogRecPtr	by[MOST_PLACES + 1] = {InvalidXLogRecPtr};
	XLogRecPtr	first;
	XLogRecPtr	second;

	if (asked.first == 0 && asked.second == 0)
		return PG_UINT64_MAX;
	for (int i = 0; i < max_wal_senders; i++)
	{
		WalSnd	   *sender = &WalSndCtl->walsnds[i];
		XLogRecPtr	flushed = InvalidXLogRecPtr;
		XLogRecPtr	sent = InvalidXLogRecPtr;
		pid_t		pid = 0;
		int			place;

		SpinLockAcquire(&sender->mutex);
		if (sender->pid != 0)
		{
			flushed = sender->flush;
			sent = sender->sentPtr;
			pid = sender->pid;
		}
		SpinLockRelease(&sender->mutex);
		place = pid == 0 || flushed > sent ? MOST_PLACES : place_of(pid);
		if (place < MOST_PLACES)
			by[place] = Max(by[place], flushed);
	}
	first = reached(asked.first, by);
	second = reached(asked.second, by);
	return Min(first, second);
}

/* What the session asked for, whatever its commit was given instead. */
static int
session_level(void)
{
	return own_level == NO_LEVEL ? synchronous_commit : own_level;
}

/*
 * Under a bound Postgres need not wait for each commit to reach the standbys, so
 * it is kept from it, for this commit only.  Not by the configuration: what it
 * says reaches each process when that is ready, and then the gate could not tell
 * a session that waives the wait from one that has not read the change yet.
 *
 * remote_apply is more than anybody has without asking for it: who does, waits.
 */
static void
wait_instead_of_postgres(void)
{
	if (own_level == NO_LEVEL && lease_rpo_ns() != 0 &&
		synchronous_commit > SYNCHRONOUS_COMMIT_LOCAL_FLUSH && synchronous_commit < SYNCHRONOUS_COMMIT_REMOTE_APPLY)
	{
		own_level = synchronous_commit;
		synchronous_commit = SYNCHRONOUS_COMMIT_LOCAL_FLUSH;
	}
}

static void
wait_no_longer(void)
{
	if (own_level != NO_LEVEL)
		synchronous_commit = own_level;
	own_level = NO_LEVEL;
}

/* What a two-phase command wrote ends no later than this. */
static XLogRecPtr
flushed_here(void)
{
#if PG_VERSION_NUM >= 150000
	return GetFlushRecPtr(NULL);
#else
	return GetFlushRecPtr();
#endif
}

/* ---------- the bound ---------- */

/*
 * Up to where everything was acknowledged that may be older than the bound.  The
 * caller holds the lock and read the clock under it, so time does not go back here.
 */
static XLogRecPtr
acknowledged_before_bound(uint64 epoch, uint64 rpo, uint64 now)
{
	uint64		width = rpo / SLOTS;
	uint64		first_young = now > rpo ? (now - rpo + width - 1) / width : 0;

	if (bound->epoch != epoch || bound->rpo_ns != rpo)
	{
		/*
		 * A start, another primary's office before this one's, another bound:
		 * what was acknowledged before is not in the ring, or not in these slots.
		 */
		for (int i = 0; i < RING; i++)
			bound->old = Max(bound->old, bound->recent[i]);
		bound->old = Max(bound->old, flushed_here());
		memset(bound->recent, 0, sizeof(bound->recent));
		bound->epoch = epoch;
		bound->rpo_ns = rpo;
		bound->first = now / width;
	}
	/* A slot is old as soon as its beginning is: too early by its width, never too late. */
	for (uint64 slot = bound->first; slot < first_young && slot < bound->first + RING; slot++)
	{
		bound->old = Max(bound->old, bound->recent[slot % RING]);
		bound->recent[slot % RING] = InvalidXLogRecPtr;
	}
	bound->first = Max(bound->first, first_young);
	return bound->old;
}

/*
 * Acknowledge what ends at `end`, if the bound allows it now.
 *
 * The clock is read, the condition looked at and the commit noted under one
 * lock, so an acknowledgement is never missing from what a later one is judged
 * by, however long a process is stopped between.  What the agent asks for is
 * read after the clock: who is stopped before that goes by what it asks then.
 */
static bool
acknowledge_within_bound(XLogRecPtr end)
{
	for (;;)
	{
		Asked		asked = lease_asked();
		XLogRecPtr	confirmed = confirmed_by(asked);
		bool		still_asked;
		bool		allowed = false;
		uint64		now;
		uint64		rpo;

		LWLockAcquire(bound->lock, LW_EXCLUSIVE);
		now = boottime_ns();
		rpo = lease_rpo_ns();
		still_asked = still_asks(asked);
		if (still_asked && rpo != 0 && now != PG_UINT64_MAX)
		{
			allowed = confirmed >= acknowledged_before_bound(lease_epoch(), rpo, now);
			if (allowed)
			{
				XLogRecPtr *slot = &bound->recent[(now / (rpo / SLOTS)) % RING];

				*slot = Max(*slot, end);
			}
		}
		LWLockRelease(bound->lock);
		if (still_asked)
			return allowed;
	}
}

/*
 * Something is acknowledged without a bound, and not noted: what is noted does not
 * tell all any more, so the next bound, be it the same, begins anew.
 */
static void
acknowledge_unnoted(void)
{
	if (bound->rpo_ns == 0)
		return;
	LWLockAcquire(bound->lock, LW_EXCLUSIVE);
	bound->rpo_ns = 0;
	LWLockRelease(bound->lock);
}

/*
 * Do the standbys have what they must have before a commit that ends at `end` is
 * acknowledged?  If so under a bound, it counts as acknowledged.
 *
 * A session may waive that its own commit is confirmed, but not that others' are.
 */
static bool
is_confirmed(XLogRecPtr end)
{
	if (XLogRecPtrIsInvalid(end))
		return true;
	if (lease_rpo_ns() != 0)
		return acknowledge_within_bound(end);
	acknowledge_unnoted();
	return session_level() < SYNCHRONOUS_COMMIT_REMOTE_FLUSH || confirmed_by(lease_asked()) >= end;
}

/* ---------- waiting, refusing, severing ---------- */

/* Why there is no lease, as the detail of a message. */
static int
errdetail_no_lease(bool confirmed)
{
	uint64		deadline = lease_deadline();
	uint64		now = boottime_ns();

	if (lease_file == NULL || lease_file[0] == '\0')
		return errdetail("The setting regent.lease_file is empty, so no lease can ever be seen.");
	if (lease == NULL)
		return errdetail("There is no lease file at \"%s\" (it must be on tmpfs and written by Regent's agent).",
						 lease_file);
	if (deadline == 0)
		return errdetail("The gate was closed by the agent; the last epoch was " UINT64_FORMAT ".", lease_epoch());
	if (now < deadline && !confirmed && lease_rpo_ns() != 0)
		return errdetail("Commits that were acknowledged more than " UINT64_FORMAT " ms ago are not confirmed by every standby that may take over from this server.",
						 lease_rpo_ns() / NS_PER_MS);
	if (now < deadline && !confirmed)
		return errdetail("Not every standby has confirmed it that has to, or not as many as have to.");
	if (now < deadline)
		return errdetail("A lease of epoch " UINT64_FORMAT " is there now.", lease_epoch());
	return errdetail("The lease of epoch " UINT64_FORMAT " ended " UINT64_FORMAT " ms ago.",
					 lease_epoch(), (now - deadline) / NS_PER_MS);
}

/*
 * True as soon as there is a lease and what ends at `end` is confirmed, false
 * when that has not come within regent.commit_wait.
 *
 * Before the commit record a user may cancel or terminate the wait.  After it
 * (`durable`) neither an error nor FATAL is possible any more: the caller holds
 * interrupts, a cancel is ignored (the wait is bounded), and a termination ends
 * the wait at once, with the answer "no lease".
 *
 * Under a bound the gate waits instead of Postgres, and as that does: under a
 * lease, for as long as it takes the standbys, until it is cancelled.
 *
 * `confirmed` is told what the last look has found of them.
 */
static bool
wait_for_lease(const char *what, bool durable, XLogRecPtr end, bool *confirmed)
{
	uint64		patience = (uint64) commit_wait_ms * NS_PER_MS;
	uint64		began;
	uint64		give_up;
	bool		said = false;

	*confirmed = is_confirmed(end);
	if (*confirmed && lease_is_open())
		return true;

	pg_atomic_fetch_add_u64(&counters->waits, 1);
	began = boottime_ns();
	give_up = began + patience;
	for (;;)
	{
		bool		open = lease_is_open();
		bool		instead = durable && !*confirmed && open && lease_rpo_ns() != 0 && !QueryCancelPending;

		/* Where the bound is shorter than the way to a standby, short waits are the rule. */
		if (!said && (!instead || boottime_ns() >= began + patience))
		{
			said = true;
			ereport(LOG_SERVER_ONLY,
					(errmsg("regent gate: %s waits for %s", what, instead ? "standbys" : "a lease"),
					 errdetail_no_lease(*confirmed)));
		}
		if (!durable)
			CHECK_FOR_INTERRUPTS();

		refresh_mapping();
		*confirmed = is_confirmed(end);
		if (*confirmed && lease_is_open())
			return true;
		if (instead)
			give_up = boottime_ns() + patience;
		if (boottime_ns() >= give_up)
			return false;
		if (durable && (ProcDiePending || ClientConnectionLost || !PostmasterIsAlive()))
			return false;

		(void) WaitLatch(MyLatch,
						 WL_LATCH_SET | WL_TIMEOUT | (durable ? WL_POSTMASTER_DEATH : WL_EXIT_ON_PM_DEATH),
						 POLL_MS, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
}

/* The first look: a lease, or an error. */
static void
require_lease(const char *what)
{
	bool		confirmed;

	if (wait_for_lease(what, false, InvalidXLogRecPtr, &confirmed))
		return;
	pg_atomic_fetch_add_u64(&counters->refused, 1);
	ereport(ERROR,
			(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
			 errmsg("%s refused: this server holds no lease to be primary", what),
			 errdetail_no_lease(confirmed),
			 errhint("The transaction was not committed here. Connect to the current primary and run it again.")));
}

/*
 * End this session without acknowledging anything.
 *
 * We are in the middle of a commit that is already durable: ERROR, FATAL and
 * proc_exit() all lead into AbortTransaction(), which rightly panics on a
 * committed xid, and _exit() would make the postmaster restart every session
 * and leave our locks to it.  So the commit is finished in the ordinary way
 * (locks released, caches told), and what is taken away is the client:
 * - the socket is shut down, so that whatever is put into the output buffer
 *   afterwards, or is in it already, cannot leave this machine;
 * - output goes nowhere from here on, as in core when a synchronous commit's
 *   wait is ended by a shutdown (syncrep.c);
 * - the connection counts as lost, so that the next CHECK_FOR_INTERRUPTS(), at
 *   the latest before the next command is read, ends this process, and only it.
 *
 * No notice is sent: it would flush the buffer, in which the extended protocol
 * already has the statement's CommandComplete.
 */
static void
sever(const char *what, bool confirmed)
{
	pg_atomic_fetch_add_u64(&counters->severed, 1);
	if (MyProcPort != NULL)
		(void) shutdown(MyProcPort->sock, SHUT_RDWR);
	whereToSendOutput = DestNone;
	ClientConnectionLost = true;
	InterruptPending = true;
	ereport(LOG_SERVER_ONLY,
			(errmsg("regent gate: session ended: %s is durable but came without a lease to acknowledge it", what),
			 errdetail_no_lease(confirmed)));
}

/* The second look: a lease and confirmation, or silence.  The caller holds interrupts. */
static void
require_lease_to_acknowledge(const char *what, XLogRecPtr end)
{
	bool		confirmed;

#ifdef REGENT_GATE_MUTANT_ONE_CHECK
	/* Only the tests build this, to show that they notice a gate that looks once. */
	(void) sever;
	(void) confirmed;
	return;
#endif
	Assert(InterruptHoldoffCount > 0);
	if (!wait_for_lease(what, true, end, &confirmed))
		sever(what, confirmed);
}

/* ---------- where the looks are taken ---------- */

/*
 * Whose commits are gated: everybody's who may have told, or will tell, the
 * world about them.  That is clients, walsenders running SQL, and background
 * workers (a logical replication worker confirms to its publisher what it
 * committed; a job scheduler's worker acts for a user).
 *
 * Autovacuum reports to nobody and changes nothing that a client wrote.
 * Without a postmaster (single-user mode, initdb, pg_rewind's recovery) and in
 * pg_upgrade there is no agent and nobody else can connect.
 */
static bool
commits_are_gated(void)
{
	return IsUnderPostmaster && !IsBinaryUpgrade &&
		MyBackendType != B_AUTOVAC_WORKER && MyBackendType != B_AUTOVAC_LAUNCHER;
}

/*
 * An xid is the mark of a write, as it is for core, which neither flushes nor
 * waits for standbys when a transaction without one ends.  Parallel workers
 * have events of their own and cannot write.
 *
 * PREPARE always has an xid.  Its xid is gone by XACT_EVENT_PREPARE.
 */
static void
at_transaction_event(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			if (TransactionIdIsValid(GetTopTransactionIdIfAny()) && commits_are_gated())
				require_lease("commit");
			if (commits_are_gated())
				wait_instead_of_postgres();
			break;
		case XACT_EVENT_PRE_PREPARE:
			if (commits_are_gated())
			{
				require_lease("prepare");
				wait_instead_of_postgres();
			}
			break;
		case XACT_EVENT_COMMIT:
			if (TransactionIdIsValid(GetTopTransactionIdIfAny()) && commits_are_gated())
				require_lease_to_acknowledge("commit", XactLastCommitEnd);
			wait_no_longer();
			break;
		case XACT_EVENT_PREPARE:
			if (commits_are_gated())
				require_lease_to_acknowledge("prepare", flushed_here());
			wait_no_longer();
			break;
		case XACT_EVENT_ABORT:
			wait_no_longer();
			break;
		default:
			break;
	}
}

/*
 * Whose reads are gated: clients' of a primary.  A standby's reader did not ask
 * for the newest state, and a parallel worker's leader is checked itself.
 */
static bool
reads_are_gated(void)
{
	return gate_reads && MyProcPort != NULL && !IsParallelWorker() && commits_are_gated() && !RecoveryInProgress();
}

static bool
is_commit_prepared(Node *stmt)
{
	return IsA(stmt, TransactionStmt) && ((TransactionStmt *) stmt)->kind == TRANS_STMT_COMMIT_PREPARED;
}

/* Utility statements that give data to the client without the executor. */
static bool
reads_beside_executor(Node *stmt)
{
	return IsA(stmt, CallStmt) || (IsA(stmt, CopyStmt) && !((CopyStmt *) stmt)->is_from);
}

static void
gate_ProcessUtility(PlannedStmt *pstmt, const char *queryString,
#if PG_VERSION_NUM >= 140000
					bool readOnlyTree,
#endif
					ProcessUtilityContext context, ParamListInfo params,
					QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc)
{
	/* The statement may be freed by what it does (a procedure that commits). */
	bool		commit_prepared = is_commit_prepared(pstmt->utilityStmt);
	bool		reads = reads_beside_executor(pstmt->utilityStmt);
	ProcessUtility_hook_type next = prev_ProcessUtility ? prev_ProcessUtility : standard_ProcessUtility;

	/* COMMIT PREPARED commits a transaction that no callback tells us about. */
	if (commit_prepared && commits_are_gated())
	{
		require_lease("commit prepared");
		wait_instead_of_postgres();
	}

	next(pstmt, queryString,
#if PG_VERSION_NUM >= 140000
		 readOnlyTree,
#endif
		 context, params, queryEnv, dest, qc);

	if (commit_prepared && commits_are_gated())
	{
		/* A cancel must not turn a durable commit into an error. */
		HOLD_INTERRUPTS();
		require_lease_to_acknowledge("commit prepared", flushed_here());
		wait_no_longer();
		RESUME_INTERRUPTS();
		CHECK_FOR_INTERRUPTS();
	}
	if (reads && reads_are_gated())
		require_lease("read");
}

/*
 * A read is answered only under a lease that is seen after its snapshot was
 * taken: then nobody else can have acknowledged a write before that snapshot.
 * The rows may be under way; what is withheld is CommandComplete, and that is
 * why this is at the end of the run and not in ExecutorEnd, which the extended
 * protocol calls after it.  Nothing has to be checked again later: the read
 * took effect at its snapshot.
 */
static void
gate_ExecutorRun(QueryDesc *queryDesc, ScanDirection direction, uint64 count
#if PG_VERSION_NUM < 180000
				 ,bool execute_once
#endif
)
{
	ExecutorRun_hook_type next = prev_ExecutorRun ? prev_ExecutorRun : standard_ExecutorRun;

	next(queryDesc, direction, count
#if PG_VERSION_NUM < 180000
		 ,execute_once
#endif
		);
	if (reads_are_gated())
		require_lease("read");
}

/* ---------- what it has done: regent_gate() ---------- */

Datum
regent_gate(PG_FUNCTION_ARGS)
{
	TupleDesc	tupdesc;
	Datum		values[6];
	bool		nulls[6] = {false};
	uint64		deadline;
	uint64		now;

	if (get_call_result_type(fcinfo, NULL, &tupdesc) != TYPEFUNC_COMPOSITE || tupdesc->natts != lengthof(values))
		elog(ERROR, "regent_gate() must be declared with its %d columns", (int) lengthof(values));

	refresh_mapping();
	deadline = lease_deadline();
	now = boottime_ns();

	nulls[0] = lease == NULL;
	values[0] = Int64GetDatum((int64) lease_epoch());
	values[1] = BoolGetDatum(now < deadline);
	values[2] = Int64GetDatum(now < deadline ? (int64) ((deadline - now) / NS_PER_MS) : 0);
	values[3] = Int64GetDatum((int64) pg_atomic_read_u64(&counters->waits));
	values[4] = Int64GetDatum((int64) pg_atomic_read_u64(&counters->refused));
	values[5] = Int64GetDatum((int64) pg_atomic_read_u64(&counters->severed));

	PG_RETURN_DATUM(HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(tupdesc), values, nulls)));
}

/* ---------- start ---------- */

static void
request_shmem(void)
{
#if PG_VERSION_NUM >= 150000
	if (prev_shmem_request)
		prev_shmem_request();
#endif
	RequestAddinShmemSpace(add_size(MAXALIGN(sizeof(Counters)), MAXALIGN(sizeof(Bound))));
	RequestAddinShmemSpace(mul_size(max_wal_senders, sizeof(Caller)));
	RequestNamedLWLockTranche("regent_gate", 1);
}

static void
startup_shmem(void)
{
	bool		found;

	if (prev_shmem_startup)
		prev_shmem_startup();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	counters = ShmemInitStruct("regent_gate", sizeof(Counters), &found);
	if (!found)
	{
		pg_atomic_init_u64(&counters->waits, 0);
		pg_atomic_init_u64(&counters->refused, 0);
		pg_atomic_init_u64(&counters->severed, 0);
	}
	callers = ShmemInitStruct("regent_gate callers", mul_size(max_wal_senders, sizeof(Caller)), &found);
	for (int i = 0; !found && i < max_wal_senders; i++)
	{
		pg_atomic_init_u64(&callers[i].pid, 0);
		pg_atomic_init_u64(&callers[i].name, 0);
	}
	bound = ShmemInitStruct("regent_gate_bound", sizeof(Bound), &found);
	if (!found)
	{
		memset(bound, 0, sizeof(Bound));
		bound->lock = &GetNamedLWLockTranche("regent_gate")->lock;
	}
	LWLockRelease(AddinShmemInitLock);
}

/* Backends run in the data directory, which is no place for a lease. */
static bool
check_lease_file(char **newval, void **extra, GucSource source)
{
	if ((*newval)[0] == '\0' || is_absolute_path(*newval))
		return true;
	GUC_check_errdetail("The path must be absolute.");
	return false;
}

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("regent_gate must be loaded by shared_preload_libraries"),
				 errhint("A gate that only some sessions have is no fence.")));

	DefineCustomStringVariable("regent.lease_file",
							   "File on tmpfs in which Regent's agent writes how long commits may be acknowledged.",
							   "While it is empty or the file is missing, every commit of a write is refused.",
							   &lease_file, "", PGC_POSTMASTER, 0, check_lease_file, NULL, NULL);
	DefineCustomIntVariable("regent.commit_wait",
							"How long a commit waits for a lease before it is refused.",
							"A switchover shorter than this only delays writes.",
							&commit_wait_ms, 1000, 0, 3600 * 1000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomBoolVariable("regent.gate_reads",
							 "Answer reads, too, only under a lease.",
							 NULL, &gate_reads, false, PGC_SUSET, 0, NULL, NULL, NULL);
#if PG_VERSION_NUM >= 150000
	MarkGUCPrefixReserved("regent");
#else
	EmitWarningsOnPlaceholders("regent");
#endif

	if (IsPostmasterEnvironment && !IsUnderPostmaster && lease_file[0] == '\0')
		ereport(WARNING,
				(errmsg("regent gate: regent.lease_file is empty: every commit of a write will be refused"),
				 errhint("Set regent.lease_file to the file that Regent's agent writes, and restart.")));

#if PG_VERSION_NUM >= 150000
	prev_shmem_request = shmem_request_hook;
	shmem_request_hook = request_shmem;
#else
	request_shmem();
#endif
	prev_shmem_startup = shmem_startup_hook;
	shmem_startup_hook = startup_shmem;
	prev_ExecutorRun = ExecutorRun_hook;
	ExecutorRun_hook = gate_ExecutorRun;
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = gate_ProcessUtility;
	prev_ClientAuthentication = ClientAuthentication_hook;
	ClientAuthentication_hook = gate_ClientAuthentication;
	RegisterXactCallback(at_transaction_event, NULL);
}
