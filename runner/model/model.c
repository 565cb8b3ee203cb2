/* config.json and generation_config.json into rs_model. */
#include "model/model.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/memory.h"

/* Bounds far above any model of the family, low enough that no product of shapes leaves 64 bits. */
enum {
    MAX_CONFIG_BYTES = 16 << 20,
    MAX_VOCAB = 1 << 24,
    MAX_WIDTH = 1 << 22,
    MAX_LAYERS = 4096,
    MAX_HEADS = 4096,
    MAX_HEAD_DIM = 4096,
    MAX_EOS = 64
};

/* What transformers takes where config.json is silent, and what the model type's arithmetic is. */
typedef struct family {
    const char *model_type;
    int64_t head_dim; /* 0: hidden_size / num_attention_heads */
    int64_t max_positions;
    bool tied;
    bool gemma; /* norms by 1 + w, scaled embedding, GELU */
} family;

static const family families[] = {
    {.model_type = "gemma", .head_dim = 256, .max_positions = 8192, .tied = true, .gemma = true},
    {.model_type = "llama", .head_dim = 0, .max_positions = 2048, .tied = false, .gemma = false},
};

/* A JSON map being read and how messages name it: "config.json: rope_parameters: ". */
typedef struct reader {
    const char *where;
    const json_t *map;
} reader;

/* NULL where the key is absent or null: transformers writes null for "not set". */
static const json_t *get(const reader *r, const char *key)
{
    const json_t *value = json_object_get(r->map, key);
    return json_is_null(value) ? NULL : value;
}

/* Stores an integer within [min, max]; `out` keeps what it has where the key is absent. */
static rs_status read_int(const reader *r, const char *key, int64_t min, int64_t max, int64_t *out)
{
    const json_t *value = get(r, key);
    if (value == NULL)
        return RS_OK;
    if (!json_is_integer(value))
        return rs_fail(RS_INVALID, "%s: %s is not an integer", r->where, key);
    long long number = json_integer_value(value);
    if (number < min || number > max)
        return rs_fail(RS_INVALID, "%s: %s is %lld, must be from %lld to %lld", r->where, key, number, (long long)min, (long long)max);
    *out = number;
    return RS_OK;
}

static rs_status need_int(const reader *r, const char *key, int64_t max, int64_t *out)
{
    if (get(r, key) == NULL)
        return rs_fail(RS_INVALID, "%s: %s is missing", r->where, key);
    return read_int(r, key, 1, max, out);
}

/* A number above 0 and at most max. */
static rs_status read_number(const reader *r, const char *key, double max, double *out)
{
    const json_t *value = get(r, key);
    if (value == NULL)
        return RS_OK;
    if (!json_is_number(value))
        return rs_fail(RS_INVALID, "%s: %s is not a number", r->where, key);
    double number = json_number_value(value);
    if (!(number > 0 && number <= max))
        return rs_fail(RS_INVALID, "%s: %s is %g, must be above 0 and at most %g", r->where, key, number, max);
    *out = number;
    return RS_OK;
}

static rs_status read_bool(const reader *r, const char *key, bool *out)
{
    const json_t *value = get(r, key);
    if (value == NULL)
        return RS_OK;
    if (!json_is_boolean(value))
        return rs_fail(RS_INVALID, "%s: %s is not true or false", r->where, key);
    *out = json_is_true(value);
    return RS_OK;
}

static rs_status read_string(const reader *r, const char *key, const char **out)
{
    const json_t *value = get(r, key);
    if (value == NULL)
        return RS_OK;
    if (!json_is_string(value))
        return rs_fail(RS_INVALID, "%s: %s is not a string", r->where, key);
    *out = json_string_value(value);
    return RS_OK;
}

static rs_status read_map(const reader *r, const char *key, const json_t **out)
{
    *out = get(r, key);
    if (*out && !json_is_object(*out))
        return rs_fail(RS_INVALID, "%s: %s is not a map", r->where, key);
    return RS_OK;
}

static rs_status read_family(const reader *r, const family **out)
{
    const char *type = NULL;
    RS_TRY(read_string(r, "model_type", &type));
    if (type == NULL)
        return rs_fail(RS_INVALID, "%s: model_type is missing", r->where);
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (strcmp(type, families[i].model_type) == 0) {
            *out = &families[i];
            return RS_OK;
        }
    return rs_fail(RS_INVALID, "%s: model_type \"%.100s\" is not supported; supported are gemma (the first Gemma) and llama", r->where,
                   type);
}

static rs_status read_shapes(const reader *r, const family *f, rs_model *m)
{
    int64_t layers = 0, heads = 0, kv_heads, head_dim;
    RS_TRY(need_int(r, "vocab_size", MAX_VOCAB, &m->vocab));
    RS_TRY(need_int(r, "hidden_size", MAX_WIDTH, &m->hidden));
    RS_TRY(need_int(r, "intermediate_size", MAX_WIDTH, &m->ff));
    RS_TRY(need_int(r, "num_hidden_layers", MAX_LAYERS, &layers));
    RS_TRY(need_int(r, "num_attention_heads", MAX_HEADS, &heads));
    kv_heads = heads;
    RS_TRY(read_int(r, "num_key_value_heads", 1, heads, &kv_heads));
    if (heads % kv_heads != 0)
        return rs_fail(RS_INVALID, "%s: num_key_value_heads %lld does not divide num_attention_heads %lld", r->where, (long long)kv_heads,
                       (long long)heads);
    head_dim = f->head_dim ? f->head_dim : m->hidden / heads;
    if (f->head_dim == 0 && get(r, "head_dim") == NULL && m->hidden % heads != 0)
        return rs_fail(RS_INVALID, "%s: num_attention_heads %lld does not divide hidden_size %lld, and head_dim is missing", r->where,
                       (long long)heads, (long long)m->hidden);
    RS_TRY(read_int(r, "head_dim", 2, MAX_HEAD_DIM, &head_dim));
    if (head_dim < 2 || head_dim > MAX_HEAD_DIM || head_dim % 2 != 0)
        return rs_fail(RS_INVALID, "%s: head_dim is %lld, must be even and from 2 to %d", r->where, (long long)head_dim, MAX_HEAD_DIM);
    m->layers = (int)layers;
    m->heads = (int)heads;
    m->kv_heads = (int)kv_heads;
    m->head_dim = (int)head_dim;
    m->attention_scale = (float)(1.0 / sqrt((double)head_dim));
    m->max_positions = f->max_positions;
    return read_int(r, "max_position_embeddings", 1, INT32_MAX, &m->max_positions);
}

static rs_status check_activation(const reader *r, const family *f)
{
    const char *act = f->gemma ? "gelu_pytorch_tanh" : "silu", *activation = NULL;
    RS_TRY(read_string(r, "hidden_act", &act));
    RS_TRY(read_string(r, "hidden_activation", &activation));
    /* Gemma's first files say "gelu" where the model was trained with, and is run by transformers with, the tanh form. */
    bool known = f->gemma ? strcmp(act, "gelu") == 0 || strcmp(act, "gelu_pytorch_tanh") == 0 : strcmp(act, "silu") == 0;
    if (!known)
        return rs_fail(RS_INVALID, "%s: hidden_act \"%.100s\" is not supported for %s (%s)", r->where, act, f->model_type,
                       f->gemma ? "gelu_pytorch_tanh" : "silu");
    if (f->gemma && activation && strcmp(activation, "gelu_pytorch_tanh") != 0)
        return rs_fail(RS_INVALID, "%s: hidden_activation \"%.100s\" is not supported for %s (gelu_pytorch_tanh)", r->where, activation,
                       f->model_type);
    return RS_OK;
}

static rs_status check_unsupported(const reader *r)
{
    static const char *const biases[] = {"attention_bias", "mlp_bias"};
    for (size_t i = 0; i < sizeof biases / sizeof *biases; i++) {
        bool bias = false;
        RS_TRY(read_bool(r, biases[i], &bias));
        if (bias)
            return rs_fail(RS_INVALID, "%s: %s is true; models with biases are not supported", r->where, biases[i]);
    }
    const json_t *quantization = get(r, "quantization_config");
    const char *method = json_string_value(json_object_get(quantization, "quant_method"));
    if (quantization)
        return rs_fail(RS_INVALID, "%s: quantization_config (%.100s): quantized checkpoints are not supported", r->where,
                       method ? method : "unnamed");
    return RS_OK;
}

/* Adds "llama3, factor 8" for a block whose type is not the default one. key: "rope_parameters" (v5) or "rope_scaling" (v4). */
static rs_status read_rope_block(const reader *config, const char *key, double *theta, double *partial, rs_text *note)
{
    const json_t *map = NULL;
    RS_TRY(read_map(config, key, &map));
    if (map == NULL)
        return RS_OK;
    char *where = rs_format("%s: %s", config->where, key), number[32];
    reader r = {.where = where, .map = map};
    const char *type = NULL;
    double factor = 0;
    rs_status status;
    RS_TRY_OUT(read_string(&r, "type", &type));
    RS_TRY_OUT(read_string(&r, "rope_type", &type));
    RS_TRY_OUT(read_number(&r, "rope_theta", 1e30, theta));
    RS_TRY_OUT(read_number(&r, "partial_rotary_factor", 1, partial));
    RS_TRY_OUT(read_number(&r, "factor", 1e30, &factor));
    if (type == NULL && factor > 0)
        RS_TRY_OUT(rs_fail(RS_INVALID, "%s: rope_type is missing", where));
    if (type && strcmp(type, "default") != 0) {
        rs_text_printf(note, "%s%.100s", note->n ? "; " : "", type);
        if (factor > 0)
            rs_text_printf(note, ", factor %s", rs_double_text(factor, number));
    }
out:
    free(where);
    return status;
}

/* A block's own keys win over those beside it, as in transformers v5, whose writers leave old keys behind. */
static rs_status read_rope(const reader *r, rs_model *m)
{
    double partial = 1;
    rs_text note = {0};
    rs_status status;
    m->rope_theta = 10000;
    RS_TRY_OUT(read_number(r, "rope_theta", 1e30, &m->rope_theta));
    RS_TRY_OUT(read_number(r, "partial_rotary_factor", 1, &partial));
    const char *block = get(r, "rope_parameters") ? "rope_parameters" : "rope_scaling";
    RS_TRY_OUT(read_rope_block(r, block, &m->rope_theta, &partial, &note));
    if (partial < 1) {
        char number[32];
        rs_text_printf(&note, "%spartial_rotary_factor %s", note.n ? "; " : "", rs_double_text(partial, number));
    }
    if (note.n)
        m->rope_note = rs_strdup(note.data);
out:
    rs_text_free(&note);
    return status;
}

static rs_status add_eos(const reader *r, const json_t *value, rs_model *m)
{
    if (!json_is_integer(value) || json_integer_value(value) < 0 || json_integer_value(value) > INT32_MAX)
        return rs_fail(RS_INVALID, "%s: eos_token_id is neither a token id nor a list of them", r->where);
    int32_t id = (int32_t)json_integer_value(value);
    for (int i = 0; i < m->n_eos; i++)
        if (m->eos[i] == id)
            return RS_OK;
    if (m->n_eos == MAX_EOS)
        return rs_fail(RS_INVALID, "%s: eos_token_id has more than %d ids", r->where, MAX_EOS);
    m->eos[m->n_eos++] = id;
    return RS_OK;
}

/* bos: the first file that names one; eos: all that either file names. */
static rs_status read_tokens(const reader *r, rs_model *m)
{
    int64_t bos = m->bos;
    if (bos < 0)
        RS_TRY(read_int(r, "bos_token_id", 0, m->vocab - 1, &bos));
    m->bos = (int32_t)bos;
    const json_t *eos = get(r, "eos_token_id");
    if (eos && !json_is_array(eos))
        return add_eos(r, eos, m);
    for (size_t i = 0; i < json_array_size(eos); i++)
        RS_TRY(add_eos(r, json_array_get(eos, i), m));
    return RS_OK;
}

static rs_status read_config(const reader *r, rs_model *m)
{
    const family *f = NULL;
    double eps = 1e-6;
    RS_TRY(read_family(r, &f));
    m->architecture = rs_strdup(f->model_type);
    RS_TRY(read_shapes(r, f, m));
    RS_TRY(check_activation(r, f));
    RS_TRY(check_unsupported(r));
    RS_TRY(read_rope(r, m));
    RS_TRY(read_number(r, "rms_norm_eps", 1, &eps));
    m->tied = f->tied;
    RS_TRY(read_bool(r, "tie_word_embeddings", &m->tied));
    m->norm_eps = (float)eps;
    m->norm_plus_one = m->embed_scale = f->gemma;
    m->norm_cast_first = !f->gemma;
    m->activation = f->gemma ? RS_GELU_TANH : RS_SILU;
    m->eos = rs_alloc(MAX_EOS, sizeof *m->eos);
    m->bos = -1;
    return read_tokens(r, m);
}

static rs_status read_json(const char *path, json_t **out)
{
    rs_text text = {0};
    json_error_t error = {0};
    rs_status status = rs_file_read(path, MAX_CONFIG_BYTES, &text);
    *out = NULL;
    if (status == RS_OK && (*out = json_loadb(text.data, text.n, JSON_REJECT_DUPLICATES, &error)) == NULL)
        status = rs_fail(RS_INVALID, "%s:%d: %s", path, error.line, error.text);
    if (status == RS_OK && !json_is_object(*out)) {
        json_decref(*out);
        *out = NULL;
        status = rs_fail(RS_INVALID, "%s: not a JSON map", path);
    }
    rs_text_free(&text);
    return status;
}

rs_status rs_model_load(const char *folder, rs_model *out)
{
    struct stat info;
    char *config_path = rs_path_join(folder, "config.json"), *generation_path = rs_path_join(folder, "generation_config.json");
    json_t *config = NULL, *generation = NULL;
    rs_status status;
    *out = (rs_model){.folder = rs_strdup(folder)};
    if (stat(folder, &info) != 0)
        RS_TRY_OUT(rs_fail(RS_INVALID, "%s: %s", folder, strerror(errno)));
    RS_TRY_OUT(read_json(config_path, &config));
    RS_TRY_OUT(read_config(&(reader){.where = config_path, .map = config}, out));
    if (stat(generation_path, &info) == 0) {
        RS_TRY_OUT(read_json(generation_path, &generation));
        RS_TRY_OUT(read_tokens(&(reader){.where = generation_path, .map = generation}, out));
    }
out:
    json_decref(config);
    json_decref(generation);
    free(config_path);
    free(generation_path);
    if (status != RS_OK)
        rs_model_free(out);
    return status;
}

void rs_model_free(rs_model *model)
{
    free(model->folder);
    free(model->architecture);
    free(model->rope_note);
    free(model->eos);
    *model = (rs_model){0};
}

rs_model_facts rs_model_get_facts(const rs_model *model)
{
    return (rs_model_facts){.rope_theta = model->rope_theta, .max_position_embeddings = (double)model->max_positions};
}
