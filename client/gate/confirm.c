/*
 * confirm.c - up to where the log is flushed: at the standbys whose confirmation
 * the agent asks for, and here.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/spin.h"

#include "gate.h"

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
XLogRecPtr
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

/* What a two-phase command wrote ends no later than this. */
XLogRecPtr
flushed_here(void)
{
#if PG_VERSION_NUM >= 150000
	return GetFlushRecPtr(NULL);
#else
	return GetFlushRecPtr();
#endif
}
