/* The tensors a model has: their names, shapes and number, checked against a checkpoint; the digest of both. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"
#include "model/model.h"

enum { MAX_NAMED = 5 /* tensors in one message */ };

const char *rs_model_layer_tensor(int layer, const char *part, char buffer[128])
{
    snprintf(buffer, 128, "model.layers.%d.%s.weight", layer, part);
    return buffer;
}

/* One tensor of the model; cols 0: a vector. */
typedef struct spec {
    const char *name; /* of a layer: the part between "model.layers.N." and ".weight" */
    int64_t rows, cols;
} spec;

enum { N_LAYER_SPECS = 9, MAX_GLOBAL_SPECS = 3 };

static void layer_specs(const rs_model *m, spec out[N_LAYER_SPECS])
{
    int64_t q = (int64_t)m->heads * m->head_dim, kv = (int64_t)m->kv_heads * m->head_dim;
    const spec specs[N_LAYER_SPECS] = {
        {"self_attn.q_proj", q, m->hidden},  {"self_attn.k_proj", kv, m->hidden}, {"self_attn.v_proj", kv, m->hidden},
        {"self_attn.o_proj", m->hidden, q},  {"mlp.gate_proj", m->ff, m->hidden}, {"mlp.up_proj", m->ff, m->hidden},
        {"mlp.down_proj", m->hidden, m->ff}, {"input_layernorm", m->hidden, 0},   {"post_attention_layernorm", m->hidden, 0},
    };
    memcpy(out, specs, sizeof specs);
}

static int global_specs(const rs_model *m, spec out[MAX_GLOBAL_SPECS])
{
    out[0] = (spec){"model.embed_tokens.weight", m->vocab, m->hidden};
    out[1] = (spec){"model.norm.weight", m->hidden, 0};
    out[2] = (spec){"lm_head.weight", m->vocab, m->hidden};
    return m->tied ? 2 : 3;
}

static int64_t elements(const spec *specs, int n)
{
    int64_t sum = 0;
    for (int i = 0; i < n; i++)
        sum += specs[i].rows * (specs[i].cols ? specs[i].cols : 1);
    return sum;
}

int64_t rs_model_parameters(const rs_model *model)
{
    spec global[MAX_GLOBAL_SPECS], layer[N_LAYER_SPECS];
    int n = global_specs(model, global);
    layer_specs(model, layer);
    return elements(global, n) + model->layers * elements(layer, N_LAYER_SPECS);
}

/* What is wrong with the tensors so far, and which of the store's were asked for. */
typedef struct audit {
    const rs_tensor_store *store;
    bool *used; /* [count of the store] */
    rs_text problems;
    int n_problems;
} audit;

static void put_shape(rs_text *text, const int64_t *shape, int n_dims)
{
    rs_text_puts(text, "[");
    for (int i = 0; i < n_dims && i < RS_TENSOR_MAX_DIMS; i++)
        rs_text_printf(text, "%s%" PRId64, i ? ", " : "", shape[i]);
    rs_text_puts(text, n_dims > RS_TENSOR_MAX_DIMS ? ", ...]" : "]");
}

/* Appends what is wrong with a tensor that should be as `want`; nothing if all is well. */
static void describe(rs_text *text, const rs_tensor *tensor, const char *name, const spec *want)
{
    int64_t shape[2] = {want->rows, want->cols};
    int n_dims = want->cols ? 2 : 1;
    if (tensor == NULL) {
        rs_text_printf(text, "%s is missing", name);
    } else if (tensor->n_dims != n_dims || memcmp(tensor->shape, shape, (size_t)n_dims * sizeof *shape) != 0) {
        rs_text_printf(text, "%s has shape ", name);
        put_shape(text, tensor->shape, tensor->n_dims);
        rs_text_puts(text, ", not ");
        put_shape(text, shape, n_dims);
        rs_text_printf(text, " in %s", tensor->file);
    } else if (tensor->dtype == RS_TENSOR_OTHER) {
        rs_text_printf(text, "%s has dtype %.50s in %s (F32, F16 and BF16 are read)", name, tensor->dtype_name, tensor->file);
    }
}

static void audit_tensor(audit *a, const char *name, const spec *want)
{
    const rs_tensor *tensor = rs_tensor_store_find(a->store, name);
    if (tensor)
        a->used[tensor - rs_tensor_store_at(a->store, 0)] = true;
    rs_text problem = {0};
    describe(&problem, tensor, name, want);
    if (problem.n > 0 && a->n_problems++ < MAX_NAMED)
        rs_text_printf(&a->problems, "%s%s", a->problems.n ? "; " : "", problem.data);
    rs_text_free(&problem);
}

static bool ends_with(const char *text, const char *suffix)
{
    size_t n = strlen(text), m = strlen(suffix);
    return n >= m && strcmp(text + n - m, suffix) == 0;
}

/* Old writers stored what follows from the config, and a tied head twice. */
static bool is_redundant(const rs_model *model, const char *name)
{
    return ends_with(name, ".rotary_emb.inv_freq") || (model->tied && strcmp(name, "lm_head.weight") == 0);
}

static void warn_of_extras(const rs_model *model, const audit *a)
{
    rs_text names = {0};
    int n = 0;
    for (size_t i = 0; i < rs_tensor_store_count(a->store); i++) {
        const char *name = rs_tensor_store_at(a->store, i)->name;
        if (!a->used[i] && !is_redundant(model, name) && n++ < MAX_NAMED)
            rs_text_printf(&names, "%s%.200s", names.n ? ", " : "", name);
    }
    if (n > MAX_NAMED)
        rs_text_printf(&names, " and %d more", n - MAX_NAMED);
    if (n > 0)
        rs_warn("%s: %s not part of the model, ignored: %s", model->folder, n == 1 ? "a tensor that is" : "tensors that are", names.data);
    rs_text_free(&names);
}

rs_status rs_model_check(const rs_model *model, const rs_tensor_store *store)
{
    audit a = {.store = store, .used = rs_alloc(rs_tensor_store_count(store), sizeof(bool))};
    spec global[MAX_GLOBAL_SPECS], layer[N_LAYER_SPECS];
    char name[128];
    int n = global_specs(model, global);
    layer_specs(model, layer);
    for (int i = 0; i < n; i++)
        audit_tensor(&a, global[i].name, &global[i]);
    for (int l = 0; l < model->layers; l++)
        for (int i = 0; i < N_LAYER_SPECS; i++)
            audit_tensor(&a, rs_model_layer_tensor(l, layer[i].name, name), &layer[i]);
    rs_status status = RS_OK;
    if (a.n_problems > MAX_NAMED)
        rs_text_printf(&a.problems, "; and %d more", a.n_problems - MAX_NAMED);
    if (a.n_problems > 0)
        status = rs_fail(RS_INVALID, "%s: the tensors do not fit config.json: %s", model->folder, a.problems.data);
    else
        warn_of_extras(model, &a);
    rs_text_free(&a.problems);
    free(a.used);
    return status;
}

/* Everything of the model that a forward pass or its prompts depend on, as text. The longest context is not part of it: it is a default of
 * variants, which are digested by themselves. */
static void put_arithmetic(rs_text *text, const rs_model *m)
{
    rs_text_printf(text, "%s %" PRId64 " %" PRId64 " %" PRId64 " %d %d %d %d ", m->architecture, m->vocab, m->hidden, m->ff, m->layers,
                   m->heads, m->kv_heads, m->head_dim);
    const double numbers[] = {m->rope_theta, m->norm_eps, m->attention_scale, m->final_cap};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        rs_text_double(text, numbers[i]);
        rs_text_puts(text, " ");
    }
    rs_text_printf(text, "%d %d %d %d %d bos %" PRId32 " eos", m->norm_plus_one, m->norm_cast_first, m->embed_scale, (int)m->activation,
                   m->tied, m->bos);
    for (int i = 0; i < m->n_eos; i++)
        rs_text_printf(text, " %" PRId32, m->eos[i]);
}

/* Of the file's bytes; zero if there is no such file. */
static rs_status digest_file(const char *folder, const char *name, rs_digest *out)
{
    char *path = rs_path_join(folder, name);
    rs_mapping file = {0};
    rs_status status = RS_OK;
    *out = (rs_digest){0};
    if (access(path, F_OK) == 0)
        status = rs_file_map(path, &file);
    if (file.data)
        *out = rs_digest_of(file.data, file.n);
    rs_file_unmap(&file);
    free(path);
    return status;
}

rs_status rs_model_digest(const rs_model *model, const rs_tensor_store *store, rs_digest *out, bool *full)
{
    rs_digest parts[3] = {0};
    rs_text text = {0};
    put_arithmetic(&text, model);
    parts[0] = rs_digest_of(text.data, text.n);
    rs_text_free(&text);
    *full = false;
    if (store)
        parts[1] = rs_tensor_store_digest(store, full);
    RS_TRY(digest_file(model->folder, "tokenizer.json", &parts[2]));
    *out = rs_digest_of(parts, sizeof parts);
    return RS_OK;
}
