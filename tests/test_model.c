/* config.json of both generations of transformers, and every setting that is refused; a model against a checkpoint's tensors; digests. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <math.h>

#include "base/text.h"
#include "model/model.h"
#include "model_files.h"

#define COUNT(a) (sizeof(a) / sizeof *(a))

static const char gemma_7b[] =
    "{\"architectures\":[\"GemmaForCausalLM\"],\"attention_bias\":false,\"bos_token_id\":2,\"eos_token_id\":1,\"head_dim\":256,"
    "\"hidden_act\":\"gelu\",\"hidden_size\":3072,\"intermediate_size\":24576,\"max_position_embeddings\":8192,"
    "\"model_type\":\"gemma\",\"num_attention_heads\":16,\"num_hidden_layers\":28,\"num_key_value_heads\":16,"
    "\"pad_token_id\":0,\"rms_norm_eps\":1e-06,\"rope_scaling\":null,\"rope_theta\":10000.0,\"vocab_size\":256000}";

static const char gemma_2b[] =
    "{\"bos_token_id\":2,\"eos_token_id\":1,\"hidden_act\":\"gelu\",\"hidden_activation\":null,\"hidden_size\":2048,"
    "\"intermediate_size\":16384,\"model_type\":\"gemma\",\"num_attention_heads\":8,\"num_hidden_layers\":18,"
    "\"num_key_value_heads\":1,\"vocab_size\":256000}";

static const char smollm2[] = "{\"model_type\":\"llama\",\"bos_token_id\":0,\"eos_token_id\":0,\"hidden_act\":\"silu\",\"hidden_size\":576,"
                              "\"intermediate_size\":1536,\"max_position_embeddings\":8192,\"mlp_bias\":false,\"num_attention_heads\":9,"
                              "\"num_hidden_layers\":30,\"num_key_value_heads\":3,\"rms_norm_eps\":1e-05,\"rope_theta\":100000,"
                              "\"tie_word_embeddings\":true,\"vocab_size\":49152}";

/* A small Llama with more keys put in front. */
#define LLAMA(more)                                                                                                                        \
    "{" more "\"model_type\":\"llama\",\"hidden_size\":8,\"intermediate_size\":16,\"num_hidden_layers\":2,\"num_attention_heads\":2,"      \
    "\"vocab_size\":32}"
#define GEMMA(more)                                                                                                                        \
    "{" more "\"model_type\":\"gemma\",\"hidden_size\":8,\"intermediate_size\":16,\"num_hidden_layers\":2,\"num_attention_heads\":2,"      \
    "\"vocab_size\":32}"

static rs_model load(const test_folder *folder, const char *config)
{
    rs_model model;
    file_text(folder, "config.json", config);
    if (rs_model_load(folder->path, &model) != RS_OK)
        fail_msg("%s", rs_error_message());
    return model;
}

static void test_gemma(void **state)
{
    (void)state;
    test_folder folder = folder_make();
    rs_model m = load(&folder, gemma_7b);
    assert_string_equal(m.architecture, "gemma");
    assert_string_equal(m.folder, folder.path);
    assert_true(m.vocab == 256000 && m.hidden == 3072 && m.ff == 24576 && m.layers == 28 && m.heads == 16 && m.kv_heads == 16);
    assert_int_equal(m.head_dim, 256);
    assert_int_equal(m.max_positions, 8192);
    assert_true(m.rope_theta == 10000 && m.rope_note == NULL && m.norm_eps == 1e-6f && m.attention_scale == 0.0625f && m.final_cap == 0);
    assert_true(m.norm_plus_one && !m.norm_cast_first && m.embed_scale && m.tied && m.activation == RS_GELU_TANH);
    assert_true(m.bos == 2 && m.n_eos == 1 && m.eos[0] == 1);
    assert_int_equal(rs_model_parameters(&m), INT64_C(8537680896));
    rs_model_facts facts = rs_model_get_facts(&m);
    assert_true(facts.rope_theta == 10000 && facts.max_position_embeddings == 8192);
    rs_model_free(&m);
    m = load(&folder, gemma_2b); /* silent about what transformers has defaults for */
    assert_true(m.head_dim == 256 && m.kv_heads == 1 && m.max_positions == 8192 && m.tied && m.norm_eps == 1e-6f && m.rope_theta == 10000);
    assert_int_equal(rs_model_parameters(&m), INT64_C(2506172416));
    rs_model_free(&m);
    folder_remove(&folder);
}

static void test_llama(void **state)
{
    (void)state;
    test_folder folder = folder_make();
    rs_model m = load(&folder, smollm2);
    assert_string_equal(m.architecture, "llama");
    assert_true(m.head_dim == 64 && m.kv_heads == 3 && m.rope_theta == 1e5 && m.norm_eps == 1e-5f && m.attention_scale == 0.125f);
    assert_true(!m.norm_plus_one && m.norm_cast_first && !m.embed_scale && m.tied && m.activation == RS_SILU && m.bos == 0);
    assert_int_equal(rs_model_parameters(&m), 134515008);
    rs_model_free(&m);
    m = load(&folder, LLAMA(""));
    assert_true(m.head_dim == 4 && m.kv_heads == 2 && m.max_positions == 2048 && !m.tied && m.rope_theta == 10000);
    assert_true(m.bos == -1 && m.n_eos == 0 && m.attention_scale == 0.5f);
    assert_int_equal(rs_model_parameters(&m), 2 * 32 * 8 + 8 + 2 * (4 * 8 * 8 + 3 * 8 * 16 + 2 * 8));
    rs_model_free(&m);
    folder_remove(&folder);
}

/* Where the rotation's settings stand in files of v4 and v5, and what is told of scalings of the checkpoint's own. */
static void test_rope_keys(void **state)
{
    (void)state;
    static const struct {
        const char *config;
        double theta;
        const char *note;
    } cases[] = {
        {LLAMA("\"rope_theta\":5e5,"), 5e5, NULL},
        {LLAMA("\"rope_theta\":500000,\"rope_scaling\":null,"), 5e5, NULL},
        {LLAMA("\"rope_theta\":5e5,\"rope_scaling\":{\"rope_type\":\"default\"},"), 5e5, NULL},
        {LLAMA("\"rope_scaling\":{\"type\":\"linear\",\"factor\":4.0},"), 1e4, "linear, factor 4"},
        {LLAMA("\"rope_theta\":5e5,\"rope_scaling\":{\"factor\":8.0,\"high_freq_factor\":4.0,\"low_freq_factor\":1.0,"
               "\"original_max_position_embeddings\":8192,\"rope_type\":\"llama3\"},"),
         5e5, "llama3, factor 8"},
        {LLAMA("\"rope_scaling\":{\"type\":\"su\",\"rope_type\":\"longrope\"},"), 1e4, "longrope"},
        {LLAMA("\"rope_parameters\":{\"rope_theta\":100000.0,\"rope_type\":\"default\"},"), 1e5, NULL},
        {LLAMA("\"rope_theta\":7.0,\"rope_parameters\":{\"rope_theta\":100000.0},"), 1e5, NULL},
        {LLAMA("\"rope_theta\":7.0,\"rope_parameters\":{\"rope_type\":\"yarn\",\"factor\":2.5},"), 7, "yarn, factor 2.5"},
        {LLAMA("\"partial_rotary_factor\":1.0,"), 1e4, NULL},
        {LLAMA("\"partial_rotary_factor\":0.5,"), 1e4, "partial_rotary_factor 0.5"},
        {LLAMA("\"rope_parameters\":{\"rope_type\":\"linear\",\"factor\":2,\"partial_rotary_factor\":0.25},"), 1e4,
         "linear, factor 2; partial_rotary_factor 0.25"},
    };
    test_folder folder = folder_make();
    for (size_t i = 0; i < COUNT(cases); i++) {
        rs_model m = load(&folder, cases[i].config);
        assert_true(m.rope_theta == cases[i].theta);
        if (cases[i].note)
            assert_string_equal(m.rope_note, cases[i].note);
        else
            assert_null(m.rope_note);
        rs_model_free(&m);
    }
    folder_remove(&folder);
}

static void test_activations(void **state)
{
    (void)state;
    static const char *const accepted[] = {
        GEMMA("\"hidden_act\":\"gelu\","),
        GEMMA("\"hidden_act\":\"gelu_pytorch_tanh\","),
        GEMMA("\"hidden_act\":\"gelu\",\"hidden_activation\":null,"),
        GEMMA("\"hidden_act\":\"gelu\",\"hidden_activation\":\"gelu_pytorch_tanh\","),
        GEMMA("\"hidden_activation\":\"gelu_pytorch_tanh\","),
    };
    test_folder folder = folder_make();
    for (size_t i = 0; i < COUNT(accepted); i++) {
        rs_model m = load(&folder, accepted[i]);
        assert_int_equal(m.activation, RS_GELU_TANH);
        rs_model_free(&m);
    }
    folder_remove(&folder);
}

static void test_tokens(void **state)
{
    (void)state;
    test_folder folder = folder_make();
    rs_model m = load(&folder, LLAMA("\"bos_token_id\":1,\"eos_token_id\":[2,5],"));
    assert_true(m.bos == 1 && m.n_eos == 2 && m.eos[0] == 2 && m.eos[1] == 5);
    rs_model_free(&m);
    file_text(&folder, "generation_config.json", "{\"bos_token_id\":3,\"eos_token_id\":[5,7],\"do_sample\":true}");
    m = load(&folder, LLAMA("\"bos_token_id\":1,\"eos_token_id\":[2,5],"));
    assert_true(m.bos == 1 && m.n_eos == 3 && m.eos[2] == 7);
    rs_model_free(&m);
    m = load(&folder, LLAMA("\"bos_token_id\":null,"));
    assert_true(m.bos == 3 && m.n_eos == 2 && m.eos[0] == 5);
    rs_model_free(&m);
    folder_remove(&folder);
}

static void refuse(const test_folder *folder, const char *file, const char *word)
{
    rs_model model;
    rs_status status = rs_model_load(folder->path, &model);
    if (status != RS_INVALID)
        fail_msg("status %d, expected a message with \"%s\"", (int)status, word);
    assert_null(model.folder);
    expect_message(file, word);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *config, *word;
    } cases[] = {
        {"", ":1:"},
        {"{\n\"model_type\": \"llama\",\n}", ":3:"},
        {"[]", "not a JSON map"},
        {"{}", "model_type is missing"},
        {"{\"model_type\":5}", "model_type is not a string"},
        {"{\"model_type\":\"mistral\"}", "\"mistral\" is not supported"},
        {"{\"model_type\":\"gemma2\"}", "\"gemma2\" is not supported"},
        {"{\"model_type\":\"gemma3_text\"}", "\"gemma3_text\" is not supported"},
        {"{\"model_type\":\"gemma4\"}", "gemma (the first Gemma) and llama"},
        {"{\"model_type\":\"llama\",\"intermediate_size\":16,\"num_hidden_layers\":2,\"num_attention_heads\":2,\"vocab_size\":32}",
         "hidden_size is missing"},
        {"{\"model_type\":\"llama\",\"hidden_size\":8,\"num_hidden_layers\":2,\"num_attention_heads\":2,\"vocab_size\":32}",
         "intermediate_size is missing"},
        {"{\"model_type\":\"llama\",\"hidden_size\":8,\"intermediate_size\":16,\"num_attention_heads\":2,\"vocab_size\":32}",
         "num_hidden_layers is missing"},
        {"{\"model_type\":\"llama\",\"hidden_size\":8,\"intermediate_size\":16,\"num_hidden_layers\":2,\"vocab_size\":32}",
         "num_attention_heads is missing"},
        {"{\"model_type\":\"llama\",\"hidden_size\":8,\"intermediate_size\":16,\"num_hidden_layers\":2,\"num_attention_heads\":2}",
         "vocab_size is missing"},
        {"{\"model_type\":\"llama\",\"vocab_size\":null}", "vocab_size is missing"},
        {"{\"model_type\":\"llama\",\"vocab_size\":\"32\"}", "vocab_size is not an integer"},
        {"{\"model_type\":\"llama\",\"vocab_size\":32.0}", "vocab_size is not an integer"},
        {"{\"model_type\":\"llama\",\"vocab_size\":0}", "vocab_size is 0"},
        {"{\"model_type\":\"llama\",\"vocab_size\":-5}", "vocab_size is -5"},
        {"{\"model_type\":\"llama\",\"vocab_size\":9223372036854775807}", "vocab_size is 9223372036854775807"},
        {"{\"model_type\":\"llama\",\"vocab_size\":99999999999999999999}", ":1:"},
        {"{\"model_type\":\"llama\",\"vocab_size\":32,\"vocab_size\":33}", "duplicate"},
        {LLAMA("\"num_key_value_heads\":3,"), "num_key_value_heads is 3"},
        {"{\"model_type\":\"llama\",\"hidden_size\":24,\"intermediate_size\":16,\"num_hidden_layers\":2,\"num_attention_heads\":6,\"num_"
         "key_value_heads\":4,"
         "\"vocab_size\":32}",
         "num_key_value_heads 4 does not divide"},
        {"{\"model_type\":\"llama\",\"hidden_size\":9,\"intermediate_size\":16,\"num_hidden_layers\":2,\"num_attention_heads\":2,\"vocab_"
         "size\":32}",
         "does not divide hidden_size 9"},
        {"{\"model_type\":\"llama\",\"hidden_size\":2,\"intermediate_size\":16,\"num_hidden_layers\":2,\"num_attention_heads\":2,\"vocab_"
         "size\":32}",
         "head_dim is 1"},
        {LLAMA("\"head_dim\":5,"), "head_dim is 5"},
        {LLAMA("\"head_dim\":1000000,"), "head_dim is 1000000"},
        {LLAMA("\"max_position_embeddings\":0,"), "max_position_embeddings"},
        {LLAMA("\"max_position_embeddings\":1e300,"), "max_position_embeddings"},
        {LLAMA("\"rope_theta\":0,"), "rope_theta"},
        {LLAMA("\"rope_theta\":-1e4,"), "rope_theta"},
        {LLAMA("\"rope_theta\":\"1e4\","), "rope_theta"},
        {LLAMA("\"rope_scaling\":\"yarn\","), "rope_scaling is not a map"},
        {LLAMA("\"rope_scaling\":{\"factor\":2.0},"), "rope_scaling: rope_type is missing"},
        {LLAMA("\"rope_scaling\":{\"type\":3},"), "rope_scaling: type"},
        {LLAMA("\"rope_scaling\":{\"type\":\"linear\",\"factor\":0},"), "rope_scaling: factor"},
        {LLAMA("\"rope_parameters\":{\"rope_theta\":0},"), "rope_parameters: rope_theta"},
        {LLAMA("\"partial_rotary_factor\":1.5,"), "partial_rotary_factor"},
        {LLAMA("\"rms_norm_eps\":0,"), "rms_norm_eps"},
        {LLAMA("\"attention_bias\":true,"), "attention_bias is true"},
        {LLAMA("\"mlp_bias\":true,"), "mlp_bias is true"},
        {LLAMA("\"attention_bias\":\"no\","), "attention_bias"},
        {LLAMA("\"tie_word_embeddings\":1,"), "tie_word_embeddings"},
        {LLAMA("\"hidden_act\":\"relu\","), "hidden_act \"relu\""},
        {LLAMA("\"hidden_act\":\"gelu\","), "hidden_act \"gelu\""},
        {GEMMA("\"hidden_act\":\"silu\","), "hidden_act \"silu\""},
        {GEMMA("\"hidden_act\":\"gelu\",\"hidden_activation\":\"gelu\","), "hidden_activation \"gelu\""},
        {LLAMA("\"quantization_config\":{\"quant_method\":\"gptq\",\"bits\":4},"), "quantization_config (gptq)"},
        {LLAMA("\"quantization_config\":{},"), "quantization_config"},
        {LLAMA("\"bos_token_id\":32,"), "bos_token_id is 32"},
        {LLAMA("\"bos_token_id\":-1,"), "bos_token_id"},
        {LLAMA("\"eos_token_id\":\"</s>\","), "eos_token_id"},
        {LLAMA("\"eos_token_id\":[1,null],"), "eos_token_id"},
        {LLAMA("\"eos_token_id\":[-1],"), "eos_token_id"},
    };
    test_folder folder = folder_make();
    for (size_t i = 0; i < COUNT(cases); i++) {
        file_text(&folder, "config.json", cases[i].config);
        refuse(&folder, "config.json", cases[i].word);
    }
    file_text(&folder, "config.json", LLAMA(""));
    file_text(&folder, "generation_config.json", "{");
    refuse(&folder, "generation_config.json", ":1:");
    file_text(&folder, "generation_config.json", "{\"eos_token_id\":{}}");
    refuse(&folder, "generation_config.json", "eos_token_id");
    folder_remove(&folder);
    refuse(&folder, folder.path, "No such file");
}

static void test_no_config(void **state)
{
    (void)state;
    test_folder folder = folder_make();
    refuse(&folder, "config.json", "No such file");
    folder_remove(&folder);
}

/* Writes the header of a checkpoint for LLAMA(...) or GEMMA(...). from is replaced by to (NULL: nothing is). data: zeros follow. */
static void write_checkpoint(const test_folder *folder, bool gemma, bool head, const char *from, const char *to, bool data)
{
    static const struct {
        const char *name;
        int rows, cols;
    } parts[] = {{"self_attn.q_proj", 8, 8}, {"self_attn.k_proj", 8, 8}, {"self_attn.v_proj", 8, 8},
                 {"self_attn.o_proj", 8, 8}, {"mlp.gate_proj", 16, 8},   {"mlp.up_proj", 16, 8},
                 {"mlp.down_proj", 8, 16},   {"input_layernorm", 8, 0},  {"post_attention_layernorm", 8, 0}};
    rs_text text = {0};
    size_t at = 0;
    rs_text_puts(&text, "{");
    for (int i = -3; i < 2 * (int)COUNT(parts); i++) {
        char name[128];
        int rows = 32, cols = 8;
        if (i >= 0) {
            rs_model_layer_tensor(i / (int)COUNT(parts), parts[i % (int)COUNT(parts)].name, name);
            rows = parts[i % (int)COUNT(parts)].rows, cols = parts[i % (int)COUNT(parts)].cols;
            rows = gemma && strstr(name, "_proj") && strstr(name, "attn") && !strstr(name, "o_proj") ? 512 : rows;
            cols = gemma && strstr(name, "o_proj") ? 512 : cols;
        } else if (i == -3 && !head) {
            continue;
        } else {
            strcpy(name, i == -3 ? "lm_head.weight" : i == -2 ? "model.embed_tokens.weight" : "model.norm.weight");
            rows = i == -1 ? 8 : 32, cols = i == -1 ? 0 : 8;
        }
        size_t bytes = (size_t)rows * (size_t)(cols ? cols : 1) * 2;
        rs_text_printf(&text, "%s\"%s\":{\"dtype\":\"BF16\",\"shape\":[%d", at ? "," : "", name, rows);
        if (cols)
            rs_text_printf(&text, ",%d", cols);
        rs_text_printf(&text, "],\"data_offsets\":[%zu,%zu]}", at, at + bytes);
        at += bytes;
    }
    rs_text_puts(&text, "}");
    char *changed = NULL, *found = from ? strstr(text.data, from) : NULL;
    assert_true(from == NULL || found != NULL);
    if (found)
        changed = rs_format("%.*s%s%s", (int)(found - text.data), text.data, to, found + strlen(from));
    file_safetensors(folder, "model.safetensors", changed ? changed : text.data, data ? at : 0);
    free(changed);
    rs_text_free(&text);
}

static rs_status check(const test_folder *folder, const char *config)
{
    rs_model model = load(folder, config);
    rs_tensor_store *store = NULL;
    if (rs_tensor_store_open(folder->path, true, &store) != RS_OK)
        fail_msg("%s", rs_error_message());
    rs_status status = rs_model_check(&model, store);
    rs_tensor_store_close(store);
    rs_model_free(&model);
    return status;
}

static void test_check(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *word;
    } cases[] = {
        {"model.embed_tokens", "model.embed", "model.embed_tokens.weight is missing"},
        {"lm_head", "head", "lm_head.weight is missing"},
        {"model.norm", "norm", "model.norm.weight is missing"},
        {"layers.1.mlp.up", "layers.2.mlp.up", "model.layers.1.mlp.up_proj.weight is missing"},
        {"layers.0.mlp.down_proj.weight\":{\"dtype\":\"BF16\",\"shape\":[8,16]",
         "layers.0.mlp.down_proj.weight\":{\"dtype\":\"BF16\",\"shape\":[16,8]",
         "model.layers.0.mlp.down_proj.weight has shape [16, 8], not [8, 16] in"},
        {"\"shape\":[8]", "\"shape\":[8,1]", "has shape [8, 1], not [8]"},
        {"\"shape\":[32,8]", "\"shape\":[2,2,2,2,16]", "has shape [2, 2, 2, 2, ...], not [32, 8]"},
        {"\"dtype\":\"BF16\"", "\"dtype\":\"I16\"", "lm_head.weight has dtype I16 in"},
    };
    test_folder folder = folder_make();
    write_checkpoint(&folder, false, true, NULL, NULL, false);
    assert_int_equal(check(&folder, LLAMA("")), RS_OK);
    assert_int_equal(check(&folder, LLAMA("\"tie_word_embeddings\":true,")), RS_OK);
    write_checkpoint(&folder, true, false, NULL, NULL, false);
    assert_int_equal(check(&folder, GEMMA("")), RS_OK);
    for (size_t i = 0; i < COUNT(cases); i++) {
        write_checkpoint(&folder, false, true, cases[i].from, cases[i].to, false);
        assert_int_equal(check(&folder, LLAMA("")), RS_INVALID);
        expect_message(folder.path, cases[i].word);
    }
    /* Of many, five are named and the rest counted. */
    write_checkpoint(&folder, false, true, NULL, NULL, false);
    assert_int_equal(check(&folder, LLAMA("\"head_dim\":6,")), RS_INVALID);
    expect_message("model.layers.1.self_attn.q_proj.weight has shape", "and 3 more");
    folder_remove(&folder);
}

/* What rs_model_check writes to stderr. */
static void check_warns(const test_folder *folder, const char *config, char out[1024])
{
    char *path = rs_format("%s/stderr", folder->path);
    fflush(stderr);
    int saved = dup(2), file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(saved >= 0 && file >= 0 && dup2(file, 2) == 2);
    rs_status status = check(folder, config);
    fflush(stderr);
    dup2(saved, 2);
    ssize_t n = pread(file, out, 1023, 0);
    out[n > 0 ? n : 0] = '\0';
    close(saved);
    close(file);
    free(path);
    assert_int_equal(status, RS_OK);
}

static void test_extra_tensors(void **state)
{
    (void)state;
    test_folder folder = folder_make();
    char text[1024];
    static const char extra[] =
        "{\"model.layers.0.self_attn.rotary_emb.inv_freq\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]},";
    write_checkpoint(&folder, false, true, "{", extra, false);
    check_warns(&folder, LLAMA(""), text);
    assert_string_equal(text, "");
    check_warns(&folder, LLAMA("\"tie_word_embeddings\":true,"), text);
    assert_string_equal(text, "");
    write_checkpoint(&folder, false, true, "{", "{\"model.vision.weight\":{\"dtype\":\"I4\",\"shape\":[0],\"data_offsets\":[0,0]},", false);
    check_warns(&folder, LLAMA(""), text);
    assert_non_null(strstr(text, "warning: "));
    assert_non_null(strstr(text, "model.vision.weight"));
    folder_remove(&folder);
}

static rs_digest digest_of(const test_folder *folder, const char *config)
{
    rs_model model = load(folder, config);
    rs_tensor_store *store = NULL;
    rs_digest digest;
    bool full = false;
    assert_int_equal(rs_tensor_store_open(folder->path, false, &store), RS_OK);
    assert_int_equal(rs_model_digest(&model, store, &digest, &full), RS_OK);
    assert_true(full);
    rs_tensor_store_close(store);
    rs_model_free(&model);
    return digest;
}

static bool same(rs_digest a, rs_digest b)
{
    return a.high == b.high && a.low == b.low;
}

static void test_digest(void **state)
{
    (void)state;
    test_folder folder = folder_make();
    write_checkpoint(&folder, false, true, NULL, NULL, true);
    file_text(&folder, "tokenizer.json", "{}");
    rs_digest first = digest_of(&folder, LLAMA(""));
    /* How config.json is written does not matter, nor what does not enter the arithmetic. */
    assert_true(same(first, digest_of(&folder, LLAMA("\"torch_dtype\":\"bfloat16\",\"rope_theta\":1e4,\"num_key_value_heads\":2,"))));
    assert_true(same(first, digest_of(&folder, LLAMA("\"max_position_embeddings\":64,"))));
    static const char *const others[] = {LLAMA("\"rope_theta\":1e5,"), LLAMA("\"rms_norm_eps\":1e-5,"),
                                         LLAMA("\"tie_word_embeddings\":true,"), LLAMA("\"bos_token_id\":1,"),
                                         LLAMA("\"eos_token_id\":1,")};
    for (size_t i = 0; i < COUNT(others); i++)
        assert_false(same(first, digest_of(&folder, others[i])));
    file_text(&folder, "tokenizer.json", "{ }");
    assert_false(same(first, digest_of(&folder, LLAMA(""))));
    file_text(&folder, "tokenizer.json", "{}");
    assert_true(same(first, digest_of(&folder, LLAMA(""))));
    write_checkpoint(&folder, false, true, "BF16", "F16", true);
    assert_false(same(first, digest_of(&folder, LLAMA(""))));
    folder_remove(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gemma),       cmocka_unit_test(test_llama),  cmocka_unit_test(test_rope_keys),
        cmocka_unit_test(test_activations), cmocka_unit_test(test_tokens), cmocka_unit_test(test_refused),
        cmocka_unit_test(test_no_config),   cmocka_unit_test(test_check),  cmocka_unit_test(test_extra_tensors),
        cmocka_unit_test(test_digest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
