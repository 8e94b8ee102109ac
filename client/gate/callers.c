/*
 * callers.c - who streams: by which name each WAL sender was called when it was connected.
 *
 * WalSnd has the process and how far it is, but no name; and its place in
 * synchronous_standby_names is the same for all in a list of "any".  So every
 * WAL sender writes itself down here before it has a WalSnd, and is struck off
 * after it has none.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "replication/walsender.h"
#include "replication/walsender_private.h"
#include "storage/ipc.h"
#include "storage/shmem.h"

#include "gate.h"
#include "gate_port.h"

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
int
place_of(pid_t pid)
{
	for (int i = 0; i < max_wal_senders; i++)
	{
		int			place;

		if (pg_atomic_read_u64(&callers[i].pid) != (uint64) pid)
			continue;
		pg_read_barrier();
		place = lease_place_of(pg_atomic_read_u64(&callers[i].name));
		if (place < MOST_PLACES)
			return place;
	}
	return MOST_PLACES;
}

/* ---------- start ---------- */

Size
callers_size(void)
{
	return mul_size(max_wal_senders, sizeof(Caller));
}

void
callers_startup(void)
{
	bool		found;

	callers = ShmemInitStruct("regent_gate callers", callers_size(), &found);
	for (int i = 0; !found && i < max_wal_senders; i++)
	{
		pg_atomic_init_u64(&callers[i].pid, 0);
		pg_atomic_init_u64(&callers[i].name, 0);
	}
}

void
callers_hook(void)
{
	prev_ClientAuthentication = ClientAuthentication_hook;
	ClientAuthentication_hook = gate_ClientAuthentication;
}
