/*
 * bound.c - what was acknowledged when, as far as a bound asks for it: the highest end of
 * a commit in each slot of time that may still be young, and of all before.  The
 * arithmetic is that of coordinator/core/src/bound.rs.  A bound is divided into
 * SLOTS; the ring holds all that can be young at a time, and more.
 */
#include "postgres.h"

#include "storage/lwlock.h"
#include "storage/shmem.h"

#include "gate.h"

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

static Bound *bound = NULL;

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
bool
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
void
acknowledge_unnoted(void)
{
	if (bound->rpo_ns == 0)
		return;
	LWLockAcquire(bound->lock, LW_EXCLUSIVE);
	bound->rpo_ns = 0;
	LWLockRelease(bound->lock);
}

/* ---------- start ---------- */

Size
bound_size(void)
{
	return sizeof(Bound);
}

void
bound_startup(void)
{
	bool		found;

	bound = ShmemInitStruct("regent_gate_bound", sizeof(Bound), &found);
	if (!found)
	{
		memset(bound, 0, sizeof(Bound));
		bound->lock = &GetNamedLWLockTranche("regent_gate")->lock;
	}
}
