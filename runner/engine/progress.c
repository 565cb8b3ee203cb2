#include "engine/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"

struct rs_progress {
    int64_t samples, samples_done, tokens;
    double flops, flops_done, started, shown;
    int terminal;
};

rs_progress *rs_progress_open(int64_t samples, double flops)
{
    rs_progress *p = rs_alloc(1, sizeof *p);
    p->samples = samples;
    p->flops = flops;
    p->started = p->shown = rs_clock();
    p->terminal = isatty(STDERR_FILENO);
    return p;
}

void rs_progress_grow(rs_progress *p, int64_t samples, double flops)
{
    p->samples += samples;
    p->flops += flops;
}

void rs_progress_add(rs_progress *p, int64_t samples, int64_t tokens, double flops)
{
    p->samples_done += samples;
    p->tokens += tokens;
    p->flops_done += flops;
}

static void duration(double seconds, char text[32])
{
    int64_t s = (int64_t)(seconds + 0.5);
    if (s < 60)
        snprintf(text, 32, "%" PRId64 " s", s);
    else if (s < 3600)
        snprintf(text, 32, "%" PRId64 ":%02" PRId64 " min", s / 60, s % 60);
    else
        snprintf(text, 32, "%" PRId64 ":%02" PRId64 " h", s / 3600, s / 60 % 60);
}

void rs_progress_show(rs_progress *p, int last)
{
    double t = rs_clock(), interval = p->terminal ? 0.2 : 30.0;
    if (rs_log_get_level() < RS_LOG_NORMAL || (!last && t - p->shown < interval))
        return;
    p->shown = t;
    double elapsed = t - p->started, share = p->flops > 0 ? p->flops_done / p->flops : 1;
    char spent[32], left[32] = "unknown";
    duration(elapsed, spent);
    if (share > 0)
        duration(elapsed * (1 - share) / share, left);
    fprintf(stderr, "%s%" PRId64 "/%" PRId64 " samples, %.0f%% of the work, %.0f tokens/s, %s, %s left%s", p->terminal ? "\r\x1b[K" : "",
            p->samples_done, p->samples, 100 * share, elapsed > 0 ? (double)p->tokens / elapsed : 0, spent, left,
            p->terminal && !last ? "" : "\n");
    fflush(stderr);
}

void rs_progress_close(rs_progress *p)
{
    free(p);
}
