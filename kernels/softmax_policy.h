/* What stands between attention logits and weights, as data. A policy is host code that fills an rs_softmax; kernels read the
 * struct and never know a policy's name. One row of softmax_policy.c adds a policy. */
#ifndef RS_KERNELS_SOFTMAX_POLICY_H
#define RS_KERNELS_SOFTMAX_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/param.h"
#include "base/status.h"

enum { RS_MAX_THETA = 16 };

typedef enum rs_normalizer {
    RS_NORMALIZE_EXP,       /* softmax, one online pass */
    RS_NORMALIZE_TOP_K,     /* softmax over the k largest (ties at the k-th: the earlier key wins) */
    RS_NORMALIZE_ENTMAX     /* [(alpha-1) z - tau]_+^(1/(alpha-1)); alpha 2 is sparsemax; tau by iteration */
} rs_normalizer;

/* For a row of N visible keys with scaled logits z (q.k/sqrt(head_dim), position bias included):
 *   z <- cap * tanh(z / cap)                         if cap > 0
 *   z <- z * max(scale_floor, scale_const + scale_log_n * ln N)
 *   beta from the entropy of softmax(z), z <- beta * z if n_theta > 0 (adaptive temperature, arXiv 2410.01104)
 *   weights by `normalizer`; with has_sink one more logit `sink` takes part and its weight is dropped. */
typedef struct rs_softmax {
    rs_normalizer normalizer;
    double scale_const, scale_log_n, scale_floor; /* plain softmax: 1, 0, 0 */
    double cap;                                   /* 0: none */
    bool has_sink;
    double sink;
    int n_theta;                                  /* 0: not adaptive */
    double theta[RS_MAX_THETA];                   /* polynomial of the entropy, highest power first */
    double entropy_threshold;                     /* beta = max(P(H), 1) above it (0.5), else 1 */
    int64_t k;
    double alpha;
} rs_softmax;

typedef struct rs_softmax_policy {
    const char *name;    /* type */
    const char *summary;
    const char *source;
    const rs_param_spec *params;
    rs_status (*build)(const rs_params *params, rs_softmax *out); /* *out comes as plain softmax */
} rs_softmax_policy;

extern const rs_softmax_policy *const rs_softmax_policies[]; /* NULL-terminated */
const rs_softmax_policy *rs_softmax_policy_find(const char *name);
/* Softmax as it is: what a policy's build starts from. */
void rs_softmax_init_plain(rs_softmax *softmax);
rs_status rs_softmax_build(const rs_softmax_policy *policy, const rs_params *params, rs_softmax *out);
rs_digest rs_softmax_digest(const rs_softmax *softmax);

/* max(scale_floor, scale_const + scale_log_n ln N): the one place where it is computed, fp64 rounded to fp32. */
float rs_softmax_row_scale(const rs_softmax *softmax, int64_t n_visible);
/* beta of the adaptive policy for an entropy in nats. fp32 in, fp64 inside (Horner), fp32 out. */
float rs_softmax_beta(const rs_softmax *softmax, float entropy);

/* Reference: weights of one row in fp64 throughout (row scale and beta are not rounded to fp32). z: [n] in, weights: [n] out
 * (may be z). The oracle of every kernel. */
void rs_softmax_row(const rs_softmax *softmax, const double *z, int64_t n, double *weights);

#endif
