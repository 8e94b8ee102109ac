/*
 * hooks.c - where the looks are taken: at the events of a transaction, at the
 * commands that end one elsewhere, and at the end of a read.
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "tcop/utility.h"

#include "gate.h"

bool		gate_reads = false;

static ExecutorRun_hook_type prev_ExecutorRun = NULL;
static ProcessUtility_hook_type prev_ProcessUtility = NULL;

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

void
look_hooks(void)
{
	prev_ExecutorRun = ExecutorRun_hook;
	ExecutorRun_hook = gate_ExecutorRun;
	prev_ProcessUtility = ProcessUtility_hook;
	ProcessUtility_hook = gate_ProcessUtility;
	RegisterXactCallback(at_transaction_event, NULL);
}
