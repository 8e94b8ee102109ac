/*
 * gate.h - what the rooms of the gate know of each other.
 *
 *	lease.c			the lease file: until when, for which epoch, who has to confirm
 *	callers.c		by which name each WAL sender was called
 *	confirm.c		up to where the standbys have flushed that are asked for
 *	bound.c			what was acknowledged when, and what a bound allows of it
 *	wait.c			waiting for a lease and confirmation, refusing, severing
 *	hooks.c			where Postgres is made to look
 *	regent_gate.c	the settings, the shared memory, regent_gate(), the start
 *
 * Include postgres.h first, as everywhere in Postgres.
 */
#ifndef REGENT_GATE_H
#define REGENT_GATE_H

#include "access/xlogdefs.h"
#include "port/atomics.h"

/* PostgreSQL 16 and later define it. */
#ifndef NS_PER_MS
#define NS_PER_MS UINT64CONST(1000000)
#endif

/* Postgres makes every extension's symbols visible to all others: these are not. */
#pragma GCC visibility push(hidden)

/* ---------- lease.c ---------- */

#define MOST_PLACES 55
#define COUNT_SHIFT 56

/* Whom the agent asks for. Bit n: the standby at place n; from COUNT_SHIFT on how many, 0 = all. Both words have to be satisfied. */
typedef struct Asked
{
	uint64		first;
	uint64		second;
} Asked;

extern char *lease_file;

extern uint64 boottime_ns(void);
extern void refresh_mapping(void);
extern bool lease_is_mapped(void);
extern uint64 lease_deadline(void);
extern bool lease_is_open(void);
extern uint64 lease_epoch(void);
extern uint64 lease_rpo_ns(void);
extern Asked lease_asked(void);
extern bool still_asks(Asked before);
extern int	lease_place_of(uint64 name);

/* ---------- callers.c ---------- */

extern Size callers_size(void);
extern void callers_startup(void);
extern void callers_hook(void);
extern int	place_of(pid_t pid);

/* ---------- confirm.c ---------- */

extern XLogRecPtr confirmed_by(Asked asked);
extern XLogRecPtr flushed_here(void);

/* ---------- bound.c ---------- */

extern Size bound_size(void);
extern void bound_startup(void);
extern bool acknowledge_within_bound(XLogRecPtr end);
extern void acknowledge_unnoted(void);

/* ---------- wait.c ---------- */

typedef struct Counters
{
	pg_atomic_uint64 waits;
	pg_atomic_uint64 refused;
	pg_atomic_uint64 severed;
} Counters;

extern int	commit_wait_ms;
extern Counters *counters;

extern void wait_instead_of_postgres(void);
extern void wait_no_longer(void);
extern void require_lease(const char *what);
extern void require_lease_to_acknowledge(const char *what, XLogRecPtr end);

/* ---------- hooks.c ---------- */

extern bool gate_reads;

extern void look_hooks(void);

#pragma GCC visibility pop

#endif							/* REGENT_GATE_H */
