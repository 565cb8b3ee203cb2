#include "plan/memory.h"

#include <inttypes.h>
#include <string.h>

#include "model/transformer.h"

/* Caches that a CPU holds at once, in batches' worth of tokens: more would only cost memory. A device gives all it has: the more sequences
 * decode together, the fewer steps read the weights. */
enum { HOST_BATCHES = 4 };

static int most_key_sets(const rs_plan *plan)
{
    int most = 1;
    for (int r = 0; r < plan->config->n_ropes * plan->config->n_contexts; r++)
        most = plan->ropes[r].map.n_key_sets > most ? plan->ropes[r].map.n_key_sets : most;
    return most;
}

/* One point's longest sample in `room` bytes beside weights and buffers. */
static rs_status fit(const rs_plan *plan, const rs_point *point, double room, double available, rs_memory_plan *m)
{
    const rs_task_entry *task = rs_plan_task(plan, point);
    const char *metrics[RS_MAX_METRICS + 1];
    int64_t context = rs_plan_context(plan, point);
    bool scored = rs_plan_metrics(plan, point, metrics) == 0; /* by nll: nothing is generated, so no cache need be kept */
    bool whole = (double)context * m->kv_bytes_per_token <= room;
    double per_token = whole || !scored ? m->kv_bytes_per_token : m->pass_bytes_per_token;
    double need = m->weight_bytes + m->step_bytes + (double)context * per_token;
    if (need - m->weight_bytes - m->step_bytes > room) {
        char sum[32], weights[32], buffers[32], tokens[32], have[32];
        return rs_fail(RS_INVALID,
                       "%s at context %" PRId64 " needs %s on each rank (weights %s, buffers %s, %s %s), and there is %s: use more ranks a "
                       "model (parallel.tensor), a smaller parallel.batch_tokens, or shorter contexts",
                       rs_plan_label(task), context, rs_bytes_text(need, sum), rs_bytes_text(m->weight_bytes, weights),
                       rs_bytes_text(m->step_bytes, buffers),
                       scored ? "one layer's keys and values and the residual stream" : "keys and values",
                       rs_bytes_text((double)context * per_token, tokens), rs_bytes_text(available, have));
    }
    if (need > m->need_bytes) {
        m->need_bytes = need;
        m->passes = !whole && scored;
    }
    m->longest = context > m->longest ? context : m->longest;
    return RS_OK;
}

rs_status rs_memory_plan_make(const rs_plan *plan, const rs_backend_kind *kind, double available, rs_memory_plan *m)
{
    const rs_params *parallel = &plan->config->parallel;
    int tensor = (int)rs_param_number(parallel, "tensor"), key_sets = most_key_sets(plan);
    int64_t batch = (int64_t)rs_param_number(parallel, "batch_tokens");
    rs_dtype dtype = strcmp(rs_param_string(&plan->config->model, "dtype"), "bf16") == 0 ? RS_BF16 : RS_F32;
    rs_memory_estimate estimate =
        rs_transformer_estimate(plan->model, kind, dtype, tensor, batch, rs_param_number(parallel, "deterministic") != 0);
    *m = (rs_memory_plan){
        .weight_bytes = estimate.weight_bytes,
        .step_bytes = estimate.step_bytes,
        .kv_bytes_per_token = estimate.kv_bytes_per_token * (1 + key_sets) / 2, /* half of it keys, once a set */
        .pass_bytes_per_token = estimate.pass_bytes_per_token + estimate.kv_bytes_per_token / plan->model->layers * (key_sets - 1) / 2,
    };
    m->arena_bytes = (size_t)available;
    double room = available > 0 ? available - m->weight_bytes - m->step_bytes : 1e18;
    for (int64_t i = 0; i < plan->n_points; i++)
        RS_TRY(fit(plan, &plan->points[i], room, available, m));
    m->longest_kv = (int64_t)(room / m->kv_bytes_per_token);
    m->kv_tokens = HOST_BATCHES * batch;
    if (m->kv_tokens > m->longest_kv || (!kind->host_memory && available > 0))
        m->kv_tokens = m->longest_kv;
    return RS_OK;
}
