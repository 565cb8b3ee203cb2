#include "engine/stop.h"

#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

enum { EXIT_RESUMABLE = 75 };

static volatile sig_atomic_t requested;
static atomic_uint deadline; /* 0: none */

static void on_signal(int number)
{
    (void)number;
    if (!requested && atomic_load(&deadline) > 0)
        alarm(atomic_load(&deadline));
    requested = 1;
}

static void on_deadline(int number)
{
    (void)number;
    static const char line[] = "ropesweep: did not come to an end in time after a signal; what the journal has is kept\n";
    (void)!write(STDERR_FILENO, line, sizeof line - 1);
    _exit(EXIT_RESUMABLE);
}

void rs_stop_install(unsigned seconds)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, late = {.sa_handler = on_deadline};
    sigemptyset(&action.sa_mask);
    sigemptyset(&late.sa_mask);
    atomic_store(&deadline, seconds);
    sigaction(SIGALRM, &late, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGINT, &action, NULL);
}

bool rs_stop_requested(void)
{
    return requested != 0;
}

void rs_stop_request(void)
{
    requested = 1;
}

void rs_stop_done(void)
{
    atomic_store(&deadline, 0);
    alarm(0);
}
