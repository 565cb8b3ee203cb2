#include "base/pulse.h"

#include <pthread.h>
#include <stddef.h>
#include <time.h>

static _Thread_local rs_pulse *mine;

/* The thread is the only writer, so that no locked instruction is needed. */
static void move(rs_pulse *pulse)
{
    atomic_store_explicit(&pulse->moves, atomic_load_explicit(&pulse->moves, memory_order_relaxed) + 1, memory_order_release);
}

static void set(const char *phase, const char *wait, int among)
{
    atomic_store_explicit(&mine->phase, phase, memory_order_relaxed);
    atomic_store_explicit(&mine->wait, wait, memory_order_relaxed);
    atomic_store_explicit(&mine->among, among, memory_order_relaxed);
    move(mine);
}

void rs_pulse_attach(rs_pulse *pulse)
{
    clockid_t clock;
    mine = pulse;
    if (pulse && pthread_getcpuclockid(pthread_self(), &clock) == 0)
        atomic_store(&pulse->clock, clock);
}

void rs_pulse_work(const char *phase)
{
    if (mine == NULL)
        return;
    mine->among_before = 0;
    set(phase, NULL, 0);
}

void rs_pulse_guarded(const char *phase)
{
    if (mine == NULL)
        return;
    mine->among_before = RS_PULSE_GUARDED;
    set(phase, NULL, RS_PULSE_GUARDED);
}

void rs_pulse_tick(void)
{
    if (mine)
        move(mine);
}

void rs_pulse_wait(const char *what, int among)
{
    if (mine && atomic_load_explicit(&mine->wait, memory_order_relaxed) != what)
        set(atomic_load_explicit(&mine->phase, memory_order_relaxed), what, among);
}

void rs_pulse_resume(void)
{
    if (mine && atomic_load_explicit(&mine->wait, memory_order_relaxed))
        set(atomic_load_explicit(&mine->phase, memory_order_relaxed), NULL, mine->among_before);
}
