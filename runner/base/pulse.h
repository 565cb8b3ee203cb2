/* What a thread is doing, for another thread that watches it (engine/watch.h). The functions below change the pulse of the thread that
 * calls them; on a thread without one they do nothing, so that code need not know whether it is watched. A store or two each. */
#ifndef RS_BASE_PULSE_H
#define RS_BASE_PULSE_H

#include <stdatomic.h>

/* `among`: 0 while the thread works; n while it waits for other ranks of its aligned block of n (the group of `tensor` ranks, or all); or:
 */
enum { RS_PULSE_GUARDED = -1 }; /* it works where somebody else finds out that it stands still */

typedef struct rs_pulse {
    _Atomic(const char *) phase; /* what it works on; static texts */
    _Atomic(const char *) wait;  /* what it waits for in that; NULL: it works */
    atomic_int among;
    atomic_ullong moves; /* changes whenever the thread gets on */
    atomic_int clock;    /* of its processor time: a thread that waits still turns, one that was stopped does not */
    int among_before;    /* the thread's own: of the phase, without the wait */
} rs_pulse;

/* Makes this pulse, zeroed before, the calling thread's until it ends or attaches NULL. */
void rs_pulse_attach(rs_pulse *pulse);

/* "loading weights": from now on, until the next. */
void rs_pulse_work(const char *phase);
void rs_pulse_guarded(const char *phase);
/* One more piece is done: often enough that seconds pass between two, wherever something takes long. */
void rs_pulse_tick(void);
/* "a sum": until resumed. The same again changes nothing: a thread that looks for messages in vain does not get on. */
void rs_pulse_wait(const char *what, int among);
void rs_pulse_resume(void);

#endif
