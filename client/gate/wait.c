/*
 * wait.c - a session waits for a lease, and for the standbys; what does not get
 * them in time is refused while it can be, and severed from its client after.
 */
#include "postgres.h"

#include <sys/socket.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/latch.h"
#include "storage/pmsignal.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"

#include "gate.h"
#include "gate_port.h"

/*
 * How often a waiting backend looks again.  Short against a promotion's tens
 * of milliseconds, long enough that a thousand waiting backends cost little.
 */
#define POLL_MS 5

int			commit_wait_ms = 1000;

Counters   *counters = NULL;

/* This session's own synchronous_commit while its commit has another; else NO_LEVEL. */
#define NO_LEVEL (-1)
static int	own_level = NO_LEVEL;

/* ---------- waiting in the place of Postgres ---------- */

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
void
wait_instead_of_postgres(void)
{
	if (own_level == NO_LEVEL && lease_rpo_ns() != 0 &&
		synchronous_commit > SYNCHRONOUS_COMMIT_LOCAL_FLUSH && synchronous_commit < SYNCHRONOUS_COMMIT_REMOTE_APPLY)
	{
		own_level = synchronous_commit;
		synchronous_commit = SYNCHRONOUS_COMMIT_LOCAL_FLUSH;
	}
}

void
wait_no_longer(void)
{
	if (own_level != NO_LEVEL)
		synchronous_commit = own_level;
	own_level = NO_LEVEL;
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
	if (!lease_is_mapped())
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
void
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
void
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
