#include "engine/place.h"

#include <hwloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"

enum { WORDS = RS_PLACE_CORES / 64 };

/* --- this process --- */

void rs_place_cores(struct hwloc_topology *topology, const struct hwloc_bitmap_s *bound, rs_rank_place *out)
{
    hwloc_const_bitmap_t allowed = hwloc_topology_get_allowed_cpuset(topology);
    hwloc_obj_type_t type = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE) > 0 ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
    for (hwloc_obj_t core = NULL; (core = hwloc_get_next_obj_by_type(topology, type, core));) {
        out->host_cores += hwloc_bitmap_intersects(core->cpuset, allowed);
        if (core->logical_index < RS_PLACE_CORES && hwloc_bitmap_intersects(core->cpuset, bound))
            out->cores[core->logical_index / 64] |= UINT64_C(1) << core->logical_index % 64;
    }
}

/* The whole machine, so that all of its processes count cores alike, whatever control group each of them is in. */
static rs_status find_cores(hwloc_topology_t topology, rs_rank_place *out)
{
    hwloc_bitmap_t bound = hwloc_bitmap_alloc();
    rs_status status = RS_OK;
    if (bound == NULL || hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED) != 0 ||
        hwloc_topology_load(topology) != 0 || hwloc_get_cpubind(topology, bound, HWLOC_CPUBIND_PROCESS) != 0)
        status = rs_fail(RS_INTERNAL, "hwloc cannot say which cores this process may use");
    else
        rs_place_cores(topology, bound, out);
    hwloc_bitmap_free(bound);
    return status;
}

rs_status rs_place_find(rs_rank_place *out)
{
    hwloc_topology_t topology;
    *out = (rs_rank_place){0};
    gethostname(out->host, sizeof out->host - 1);
    out->host[strcspn(out->host, ".")] = '\0';
    if (hwloc_topology_init(&topology) != 0)
        return rs_fail(RS_INTERNAL, "hwloc cannot be started");
    rs_status status = find_cores(topology, out);
    hwloc_topology_destroy(topology);
    return status;
}

/* --- among the others --- */

static bool same_host(const rs_rank_place *a, const rs_rank_place *b)
{
    return strcmp(a->host, b->host) == 0;
}

static bool has_core(const rs_rank_place *place, int core)
{
    return place->cores[core / 64] >> core % 64 & 1;
}

static int count_cores(const uint64_t cores[WORDS])
{
    int n = 0;
    for (int w = 0; w < WORDS; w++)
        n += __builtin_popcountll(cores[w]);
    return n;
}

/* Ranks of this one's host that may use a core. */
static int count_users(const rs_rank_place *all, int n, int rank, int core)
{
    int users = 0;
    for (int i = 0; i < n; i++)
        users += same_host(&all[i], &all[rank]) && has_core(&all[i], core);
    return users;
}

int rs_place_threads(const rs_rank_place *all, int n, int rank)
{
    double share = 1e-9; /* three thirds are one */
    if (all[rank].asked > 0)
        return all[rank].asked;
    for (int core = 0; core < RS_PLACE_CORES; core++)
        if (has_core(&all[rank], core))
            share += 1.0 / count_users(all, n, rank, core);
    return share < 1 ? 1 : (int)share;
}

int rs_place_sharers(const rs_rank_place *all, int n, int rank)
{
    int sharers = 0;
    for (int i = 0; i < n; i++)
        sharers += same_host(&all[i], &all[rank]) && memcmp(all[i].device_id, all[rank].device_id, RS_PLACE_ID) == 0;
    return sharers;
}

/* --- notes --- */

/* The ranks of one host together. */
typedef struct host {
    const rs_rank_place *first;
    int ranks, threads, cores, gpu_sharers; /* gpu_sharers: on the device that most of them share */
    bool alike;                             /* all may use the same cores */
} host;

static host find_host(const rs_rank_place *all, int n, int first)
{
    static const unsigned char none[RS_PLACE_ID];
    uint64_t cores[WORDS] = {0};
    host h = {.first = &all[first], .alike = true};
    for (int i = first; i < n; i++) {
        if (!same_host(&all[i], h.first))
            continue;
        int sharers = memcmp(all[i].device_id, none, RS_PLACE_ID) != 0 ? rs_place_sharers(all, n, i) : 1;
        h.ranks++;
        h.threads += rs_place_threads(all, n, i);
        h.gpu_sharers = sharers > h.gpu_sharers ? sharers : h.gpu_sharers;
        h.alike = h.alike && memcmp(all[i].cores, h.first->cores, sizeof h.first->cores) == 0;
        for (int w = 0; w < WORDS; w++)
            cores[w] |= all[i].cores[w];
    }
    h.cores = count_cores(cores);
    return h;
}

static bool is(const char *launcher, const char *name)
{
    return launcher && strcmp(launcher, name) == 0;
}

static bool note_crowd(const host *h, const char *launcher, rs_text *out)
{
    (void)launcher;
    bool applies = h->threads > h->cores;
    if (applies)
        rs_text_printf(out, "%d rank%s with %d threads on %d core%s wait for each other: parallel.threads, or fewer ranks", h->ranks,
                       h->ranks == 1 ? "" : "s", h->threads, h->cores, h->cores == 1 ? "" : "s");
    return applies;
}

static bool note_gpu(const host *h, const char *launcher, rs_text *out)
{
    (void)launcher;
    if (h->gpu_sharers > 1)
        rs_text_printf(out, "%d ranks share one GPU: they wait for each other", h->gpu_sharers);
    return h->gpu_sharers > 1;
}

static bool note_idle(const host *h, const char *launcher, rs_text *out)
{
    bool applies = is(launcher, "mpirun") && h->first->asked == 0 && 2 * h->cores <= h->first->host_cores;
    if (applies)
        rs_text_printf(out, "mpirun bound %d ranks to %d of %d cores: if the others are free, `--map-by slot:PE=%d` gives each its share",
                       h->ranks, h->cores, h->first->host_cores, h->first->host_cores / h->ranks);
    return applies;
}

static bool note_unbound(const host *h, const char *launcher, rs_text *out)
{
    bool applies = is(launcher, "srun") && h->ranks > 1 && h->alike && h->threads <= h->cores;
    if (applies)
        rs_text_printf(out, "srun bound none of %d ranks: `--cpu-bind=cores --cpus-per-task=%d` gives each its own cores", h->ranks,
                       h->cores / h->ranks);
    return applies;
}

typedef bool note(const host *h, const char *launcher, rs_text *out);

/* Hosts are mostly alike: one line names the first of those that a note is true of. */
static void put_note(note *applies, const host *hosts, int n_hosts, const char *launcher, rs_text *out)
{
    const host *first = NULL;
    int more = -1;
    rs_text text = {0}, unused = {0};
    for (int i = 0; i < n_hosts; i++)
        if (applies(&hosts[i], launcher, first ? &unused : &text)) {
            first = first ? first : &hosts[i];
            more++;
        }
    if (more == 0)
        rs_text_printf(out, "%s: %s\n", first->first->host, text.data);
    else if (more > 0)
        rs_text_printf(out, "%s and %d more host%s: %s\n", first->first->host, more, more == 1 ? "" : "s", text.data);
    rs_text_free(&text);
    rs_text_free(&unused);
}

void rs_place_notes(const rs_rank_place *all, int n, const char *launcher, rs_text *out)
{
    host *hosts = rs_alloc((size_t)n, sizeof *hosts);
    int n_hosts = 0;
    for (int i = 0; i < n; i++) {
        bool known = false;
        for (int j = 0; j < n_hosts && !known; j++)
            known = same_host(hosts[j].first, &all[i]);
        if (!known)
            hosts[n_hosts++] = find_host(all, n, i);
    }
    put_note(note_crowd, hosts, n_hosts, launcher, out);
    put_note(note_gpu, hosts, n_hosts, launcher, out);
    put_note(note_idle, hosts, n_hosts, launcher, out);
    put_note(note_unbound, hosts, n_hosts, launcher, out);
    free(hosts);
}
