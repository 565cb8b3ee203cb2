#include "kernels/diagnostics.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

const rs_diagnostic_kind rs_diagnostic_kinds[RS_N_DIAGNOSTICS] = {
    [RS_SHOW_ENTROPY] = {"attention_entropy", "entropy, effective n, participation, largest coefficient, by position too; adaptive share"},
    [RS_SHOW_SPREAD] = {"logit_spread", "max less min logit of a row, and the dispersion bound that follows from it"},
    [RS_SHOW_POSITIONAL] = {"positional_heads", "mean distance; mass on the first key, the diagonal, the previous token, other offsets"},
    [RS_SHOW_NORMS] = {"frequency_norms", "norm of each frequency's pair of query, key and value elements"},
    [RS_SHOW_INDUCTION] = {"induction", "mass on the token after the earlier copy, on samples of the task induction"},
};

void rs_diagnostics_init(rs_diagnostics *d, int64_t rows)
{
    d->n_buckets = rs_diagnostics_bucket(rows > 0 ? rows : 1) + 1;
    d->sums = rs_alloc(rs_diagnostics_count(d), sizeof *d->sums);
    for (int layer = 0; layer < d->n_layers; layer++)
        for (int head = 0; head < d->heads; head++) {
            rs_diagnostics_head(d, layer, head)[RS_HEAD_SPREAD_MIN] = INFINITY;
            rs_diagnostics_head(d, layer, head)[RS_HEAD_SPREAD_MAX] = -INFINITY;
        }
}

void rs_diagnostics_free(rs_diagnostics *d)
{
    free(d->sums);
    d->sums = NULL;
}

int rs_diagnostics_head_width(const rs_diagnostics *d)
{
    return RS_HEAD_FIXED + d->n_offsets + 2 * d->n_buckets;
}

static size_t heads_width(const rs_diagnostics *d)
{
    return (size_t)d->heads * (size_t)rs_diagnostics_head_width(d);
}

static size_t layer_width(const rs_diagnostics *d)
{
    return heads_width(d) + (size_t)(d->heads + 2 * d->kv_heads) * (size_t)d->pairs;
}

size_t rs_diagnostics_count(const rs_diagnostics *d)
{
    return (size_t)d->n_layers * layer_width(d);
}

double *rs_diagnostics_head(const rs_diagnostics *d, int layer, int head)
{
    return d->sums + (size_t)layer * layer_width(d) + (size_t)head * (size_t)rs_diagnostics_head_width(d);
}

double *rs_diagnostics_norms(const rs_diagnostics *d, int layer, int part)
{
    return d->sums + (size_t)layer * layer_width(d) + heads_width(d) + (size_t)part * (size_t)d->pairs;
}

void rs_diagnostics_add_row(const rs_diagnostics *d, double *head, const float *row, int64_t visible)
{
    double spread = (double)row[RS_HEAD_SPREAD];
    double *offsets = head + RS_HEAD_FIXED, *entropy = offsets + d->n_offsets, *most = entropy + d->n_buckets;
    for (int k = 0; k < RS_ROW_FIXED; k++)
        head[k] += (double)row[k];
    head[RS_HEAD_SPREAD_SQUARED] += spread * spread;
    head[RS_HEAD_SPREAD_MIN] = fmin(head[RS_HEAD_SPREAD_MIN], spread);
    head[RS_HEAD_SPREAD_MAX] = fmax(head[RS_HEAD_SPREAD_MAX], spread);
    for (int k = 0; k < d->n_offsets; k++)
        offsets[k] += (double)row[RS_ROW_FIXED + k];
    entropy[rs_diagnostics_bucket(visible)] += (double)row[RS_HEAD_ENTROPY];
    most[rs_diagnostics_bucket(visible)] += (double)row[RS_HEAD_MAX];
}

static void merge_head(const rs_diagnostics *into, const rs_diagnostics *from, double *a, const double *b)
{
    double least = fmin(a[RS_HEAD_SPREAD_MIN], b[RS_HEAD_SPREAD_MIN]), most = fmax(a[RS_HEAD_SPREAD_MAX], b[RS_HEAD_SPREAD_MAX]);
    int sums = RS_HEAD_FIXED + into->n_offsets;
    for (int k = 0; k < sums + from->n_buckets; k++)
        a[k] += b[k];
    for (int k = 0; k < from->n_buckets; k++)
        a[sums + into->n_buckets + k] += b[sums + from->n_buckets + k];
    a[RS_HEAD_SPREAD_MIN] = least;
    a[RS_HEAD_SPREAD_MAX] = most;
}

void rs_diagnostics_merge(rs_diagnostics *into, const rs_diagnostics *from)
{
    for (int layer = 0; layer < into->n_layers; layer++) {
        for (int head = 0; head < into->heads; head++)
            merge_head(into, from, rs_diagnostics_head(into, layer, head), rs_diagnostics_head(from, layer, head));
        double *a = rs_diagnostics_norms(into, layer, 0);
        const double *b = rs_diagnostics_norms(from, layer, 0);
        for (int k = 0; k < (into->heads + 2 * into->kv_heads) * into->pairs; k++)
            a[k] += b[k];
    }
    into->rows += from->rows;
}

void rs_diagnostics_place(rs_diagnostics *whole, const rs_diagnostics *part, int first_head, int first_kv_head)
{
    size_t pairs = (size_t)part->pairs, kv_bytes = (size_t)part->kv_heads * pairs * sizeof(double);
    for (int layer = 0; layer < part->n_layers; layer++) {
        memcpy(rs_diagnostics_head(whole, layer, first_head), rs_diagnostics_head(part, layer, 0), heads_width(part) * sizeof(double));
        memcpy(rs_diagnostics_norms(whole, layer, first_head), rs_diagnostics_norms(part, layer, 0),
               (size_t)part->heads * pairs * sizeof(double));
        for (int kind = 0; kind < 2; kind++) /* keys, values */
            memcpy(rs_diagnostics_norms(whole, layer, whole->heads + kind * whole->kv_heads + first_kv_head),
                   rs_diagnostics_norms(part, layer, part->heads + kind * part->kv_heads), kv_bytes);
    }
    whole->rows = part->rows;
}
