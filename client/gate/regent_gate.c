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
 *
 * Here are the settings, the shared memory, regent_gate() and the start; gate.h
 * says where the rest is.
 */
#include "postgres.h"

#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "utils/guc.h"

#include "gate.h"

#if PG_VERSION_NUM < 130000
#error "regent_gate needs PostgreSQL 13 or later"
#endif

PG_MODULE_MAGIC;

static shmem_startup_hook_type prev_shmem_startup = NULL;
#if PG_VERSION_NUM >= 150000
static shmem_request_hook_type prev_shmem_request = NULL;
#endif

void		_PG_init(void);

PG_FUNCTION_INFO_V1(regent_gate);

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

	nulls[0] = !lease_is_mapped();
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
	RequestAddinShmemSpace(add_size(MAXALIGN(sizeof(Counters)), MAXALIGN(bound_size())));
	RequestAddinShmemSpace(callers_size());
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
	callers_startup();
	bound_startup();
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
	callers_hook();
	look_hooks();
}
