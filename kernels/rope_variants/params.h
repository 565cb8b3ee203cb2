/* Rows that many variants' parameter tables share. */
#ifndef RS_KERNELS_ROPE_VARIANTS_PARAMS_H
#define RS_KERNELS_ROPE_VARIANTS_PARAMS_H

#include "base/param.h"

/* Base 1 would turn every pair at the same rate, and YaRN divides by its logarithm. */
#define RS_ROW_ROPE_THETA                                                                                                                  \
    {                                                                                                                                      \
        .name = "rope_theta", .kind = RS_PARAM_NUMBER, .min = 1, .min_open = true, .fallback = "model.rope_theta",                         \
        .help = "base of the frequencies"                                                                                                  \
    }

#define RS_ROW_FACTOR                                                                                                                      \
    {                                                                                                                                      \
        .name = "factor", .kind = RS_PARAM_NUMBER, .min_open = true, .fallback = "required",                                               \
        .help = "by how much the context is stretched"                                                                                     \
    }

#define RS_ROW_ORIGINAL_MAX                                                                                                                \
    {                                                                                                                                      \
        .name = "original_max_position_embeddings", .kind = RS_PARAM_INT, .min = 2, .fallback = "model.max_position_embeddings",           \
        .help = "context of pre-training, tokens"                                                                                          \
    }

#define RS_ROW_ATTENTION_FACTOR                                                                                                            \
    {                                                                                                                                      \
        .name = "attention_factor", .kind = RS_PARAM_NUMBER, .min_open = true,                                                             \
        .help = "multiplies cos and sin; absent: the variant's own formula"                                                                \
    }

#define RS_ROW_WINDOW                                                                                                                      \
    {                                                                                                                                      \
        .name = "window", .kind = RS_PARAM_INT, .min = 1, .fallback = "required", .help = "distances below it stay exact, tokens"          \
    }

#define RS_ROWS_END                                                                                                                        \
    {                                                                                                                                      \
        .name = NULL                                                                                                                       \
    }

#endif
