/*
 * gate_port.h - the connection of a session.
 *
 * Only Port.sock and Port.application_name are wanted from here, which come
 * before whatever depends on these two.  With them defined the header wants Kerberos' and OpenSSL's headers on every build machine.
 */
#undef ENABLE_GSS
#undef USE_OPENSSL
#include "libpq/libpq-be.h"
#include "libpq/auth.h"
