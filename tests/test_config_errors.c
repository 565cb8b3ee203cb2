/* Everything a config can get wrong: the message's place, its offending text, its nearest valid name. No input may crash. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/memory.h"
#include "base/rng.h"
#include "config/config.h"

#define MODEL "model: {path: m}\n"
#define SWEEP "sweep: {context: 512}\n"
#define TASKS "tasks: [{name: passkey}]\n"
#define ROPE(entry) MODEL "sweep:\n  context: 512\n  rope:\n    - " entry "\n" TASKS
#define SOFTMAX(entry) MODEL "sweep:\n  context: 512\n  softmax:\n    - " entry "\n" TASKS
#define CONTEXT(value) MODEL TASKS "sweep:\n  context: " value "\n"
#define TASK(entry) MODEL SWEEP "tasks:\n  - " entry "\n"

typedef struct wrong {
    const char *yaml;
    const char *place;   /* "LINE:COLUMN" */
    const char *says[3]; /* each stands in the message */
} wrong;

static const wrong structure[] = {
    {"", "1:1", {"empty"}},
    {"# only a comment\n", "1:1", {"empty"}},
    {"\xEF\xBB\xBF", "1:1", {"empty"}},
    {"- a\n- b\n", "1:1", {"not a list"}},
    {"hello\n", "1:1", {"('hello')", "map"}},
    {"---\n", "2:1", {"map"}},
    {MODEL SWEEP TASKS "---\nmodel: {path: n}\n", "4:1", {"second YAML document"}},
    {MODEL SWEEP TASKS "...\n" MODEL, "5:1", {"not valid YAML"}},
    {MODEL SWEEP TASKS "...\n---\n" MODEL, "5:1", {"second YAML document"}},
    {"model:\n\tpath: m\n", "2:1", {"a tab"}},
    {MODEL "sweep:\n  context: 512\n\trope: [default]\n", "4:1", {"a tab"}},
    {"model: {path: m\n" SWEEP, "2:6", {"not valid YAML", "(': {context: 512}')"}},
    {"model: [m\n", "2:1", {"not valid YAML"}},
    {"model: {path: \"m}\n", "2:1", {"not valid YAML", "end of stream"}},
    {MODEL " sweep: x\n", "2:2", {"not valid YAML", "sweep: x"}},
    {"model: @m\n", "1:8", {"not valid YAML", "@m"}},
    {MODEL "# \xff\n" SWEEP, "2:3", {"UTF-8", "0xFF"}},
    {"\xC3\xA9: 1\nm\xC3\xA9\xED\xA0\x80: 1\n", "2:3", {"UTF-8"}},
    {"\xFF\xFE"
     "m\0o\0",
     "1:1",
     {"UTF-8"}},
    {"model: a\x01z\n", "1:9", {"control characters", "U+0001"}},
    {"model: \"a\\0b\"\n", "1:8", {"NUL"}},
    {MODEL "model: {path: n}\n", "2:1", {"duplicate key, first at line 1", "('model')"}},
    {"model: {path: m, dtype: fp32, path: n}\n", "1:31", {"duplicate key", "('path')"}},
    {ROPE("{rope_type: yarn, factor: 2, factor: 4}"), "5:36", {"duplicate key", "('factor')"}},
    {"base: &b {path: m}\nmodel:\n  <<: *b\n", "3:3", {"merge keys", "('<<')"}},
    {"model: *nothing\n", "1:8", {"('*nothing')"}},
    {"model: &a {path: *a}\n", "1:18", {"inside its own anchor", "('*a')"}},
    {"model: &a [[*a]]\n", "1:13", {"inside its own anchor"}},
    {"model: {path: !!python/object m}\n", "1:15", {"tag", "python/object"}},
    {"model: !mine {path: m}\n", "1:8", {"tag", "('!mine')"}},
    {"model: !!seq {path: m}\n", "1:8", {"tag"}},
    {"? [a, b]\n: c\n", "1:3", {"key must be a name, not a list"}},
    {"? {a: b}\n: c\n", "1:3", {"key must be a name, not a map"}},
};

static const wrong sections[] = {
    {MODEL SWEEP TASKS "modle: {}\n", "4:1", {"unknown key ('modle'), did you mean 'model'?"}},
    {MODEL SWEEP TASKS "tensor: 2\n", "4:1", {"('tensor'), did you mean 'parallel.tensor'?"}},
    {MODEL SWEEP TASKS "context: 2\n", "4:1", {"('context'), did you mean 'sweep.context'?"}},
    {MODEL SWEEP TASKS "dtype: fp32\n", "4:1", {"did you mean 'model.dtype'?"}},
    {MODEL SWEEP TASKS "zzzzzzzzzzzz: 2\n", "4:1", {"('zzzzzzzzzzzz')", "valid: seed, output, length_threshold, diagnostics, diagnostic_offsets, model"}},
    {MODEL SWEEP TASKS "? \n: 1\n", "4:2", {"unknown key ('')"}},
    {SWEEP TASKS, "1:1", {"'model.path' is missing"}},
    {"model: {}\n" SWEEP TASKS, "1:8", {"model needs 'path'"}},
    {"model:\n" SWEEP TASKS, "1:7", {"model needs 'path'"}},
    {"model: m\n" SWEEP TASKS, "1:8", {"model must be a map ('m')"}},
    {"model: [m]\n" SWEEP TASKS, "1:8", {"model must be a map, not a list"}},
    {"model: {path: 5}\n" SWEEP TASKS, "1:15", {"path must be a text ('5')", "quotes"}},
    {"model: {path: }\n" SWEEP TASKS, "1:15", {"path must be a text"}},
    {"model: {path: [a]}\n" SWEEP TASKS, "1:15", {"path must be a text, not a list"}},
    {"model: {path: m, dtype: bf61}\n" SWEEP TASKS, "1:25", {"unknown dtype ('bf61'), did you mean 'bf16'?"}},
    {"model: {path: m, dtpye: bf16}\n" SWEEP TASKS, "1:18", {"unknown key in model ('dtpye'), did you mean 'dtype'?"}},
    {"model: {path: m, threads: 2}\n" SWEEP TASKS, "1:18", {"did you mean 'parallel.threads'?"}},
    {MODEL SWEEP TASKS "parallel: {tensor: 0}\n", "4:20", {"tensor must be between 1 and 4096, not 0"}},
    {MODEL SWEEP TASKS "parallel: {tensor: 2.0}\n", "4:20", {"whole number ('2.0')"}},
    {MODEL SWEEP TASKS "parallel: {tensor: '2'}\n", "4:20", {"whole number ('2')", "quotes"}},
    {MODEL SWEEP TASKS "parallel: {tensor: two}\n", "4:20", {"whole number ('two')"}},
    {MODEL SWEEP TASKS "parallel: {batch_tokens: -1}\n", "4:26", {"batch_tokens must be", "-1"}},
    {MODEL SWEEP TASKS "parallel: {deterministic: yes}\n", "4:27", {"true or false ('yes'), did you mean 'true'?"}},
    {MODEL SWEEP TASKS "parallel: {deterministic: Off}\n", "4:27", {"('Off'), did you mean 'false'?"}},
    {MODEL SWEEP TASKS "parallel: {deterministic: 'true'}\n", "4:27", {"true or false ('true')"}},
    {MODEL SWEEP TASKS "parallel: {scheduler_computes: no}\n", "4:32", {"true or false ('no'), did you mean 'false'?"}},
    {MODEL SWEEP TASKS "parallel: {comm: ncl}\n", "4:18", {"comm", "('ncl'), did you mean 'nccl'?"}},
    {MODEL SWEEP TASKS "parallel: {comm_timeout: 0}\n", "4:26", {"comm_timeout must be between 1 and 86400, not 0"}},
    {MODEL SWEEP TASKS "parallel: {heartbeat: 86401}\n", "4:23", {"heartbeat must be between 0 and 86400, not 86401"}},
    {MODEL SWEEP TASKS "parallel: {heartbeat: 0.5}\n", "4:23", {"heartbeat", "whole number"}},
    {MODEL SWEEP TASKS "parallel: {comm_timeout: .inf}\n", "4:26", {"comm_timeout"}},
    {MODEL SWEEP TASKS "parallel: {thread: 1}\n", "4:12", {"did you mean 'threads'?"}},
    {MODEL SWEEP TASKS "parallel: 4\n", "4:11", {"parallel must be a map ('4')"}},
    {MODEL SWEEP TASKS "seed: -1\n", "4:7", {"seed must be between 0", "-1"}},
    {MODEL SWEEP TASKS "seed: 1e3\n", "4:7", {"whole number ('1e3')"}},
    {MODEL SWEEP TASKS "seed: 0123\n", "4:7", {"whole number ('0123')"}},
    {MODEL SWEEP TASKS "seed: 99999999999999999999\n", "4:7", {"seed must be"}},
    {MODEL SWEEP TASKS "output: {a: b}\n", "4:9", {"output must be a text, not a map"}},
    {MODEL TASKS, "1:1", {"'sweep' is missing"}},
    {MODEL TASKS "sweep:\n", "3:7", {"'sweep.context' is missing"}},
    {MODEL TASKS "sweep: {rope: [default]}\n", "3:8", {"'sweep.context' is missing"}},
    {MODEL TASKS "sweep: 512\n", "3:8", {"sweep must be a map ('512')"}},
    {MODEL TASKS "sweep: [512]\n", "3:8", {"sweep must be a map, not a list"}},
    {MODEL TASKS "sweep: {contexts: 512}\n", "3:9", {"unknown key in sweep ('contexts'), did you mean 'context'?"}},
    {MODEL SWEEP, "1:1", {"'tasks' is missing"}},
};

static const wrong contexts[] = {
    {CONTEXT("1"), "4:12", {"context must be from 2", "('1')"}},
    {CONTEXT("0"), "4:12", {"('0')"}},
    {CONTEXT("-512"), "4:12", {"('-512')"}},
    {CONTEXT("512.5"), "4:12", {"whole number ('512.5')"}},
    {CONTEXT("8k"), "4:12", {"range like 4096-131072*2", "('8k')"}},
    {CONTEXT("99999999999999"), "4:12", {"context must be from 2"}},
    {CONTEXT("[]"), "4:12", {"empty list"}},
    {CONTEXT("[512, []]"), "4:18", {"not a list"}},
    {CONTEXT("{a: 1}"), "4:12", {"not a map"}},
    {CONTEXT("[512, 1024, 512]"), "4:24", {"context 512 stands twice"}},
    {CONTEXT("[1024, 512-2048*2]"), "4:19", {"context 1024 stands twice ('512-2048*2')"}},
    {CONTEXT("512-1024*1"), "4:12", {"without end", "('512-1024*1')"}},
    {CONTEXT("512-1024+0"), "4:12", {"without end"}},
    {CONTEXT("512-1024*0"), "4:12", {"without end"}},
    {CONTEXT("0-1024*2"), "4:12", {"context must be from 2"}},
    {CONTEXT("1024-512*2"), "4:12", {"ends before it begins"}},
    {CONTEXT("512-1024*"), "4:12", {"('512-1024*')"}},
    {CONTEXT("512-1024*2x"), "4:12", {"('512-1024*2x')"}},
    {CONTEXT("512-"), "4:12", {"('512-')"}},
    {CONTEXT("512 1024"), "4:12", {"('512 1024')"}},
    {CONTEXT("512,"), "4:12", {"range"}},
    {CONTEXT("2-999999999+1"), "4:12", {"more than 1000000 contexts"}},
    {CONTEXT("2-99999999999999999999+1"), "4:12", {"range"}},
    {CONTEXT("true"), "4:12", {"whole number ('true')"}},
    {CONTEXT(""), "4:11", {"whole number"}},
    {CONTEXT("2-600001+1\n  softmax: [1, 2]"), "3:1", {"1200000 points", "more than 1000000"}},
};

static const wrong ropes[] = {
    {MODEL "sweep: {context: 512, rope: []}\n" TASKS, "2:29", {"rope is an empty list"}},
    {ROPE("yran"), "5:7", {"unknown rope_type ('yran'), did you mean 'yarn'?"}},
    {ROPE("xxxxxxxxxxxxxxxx"), "5:7", {"unknown rope_type", "valid: default, linear"}},
    {ROPE("5"), "5:7", {"rope_type or a map ('5')"}},
    {ROPE("true"), "5:7", {"rope_type or a map ('true')"}},
    {ROPE("[default]"), "5:7", {"not a list"}},
    {ROPE("~"), "5:7", {"rope_type or a map ('~')"}},
    {ROPE("linear"), "5:7", {"rope_type 'linear' needs 'factor'"}},
    {ROPE("{factor: 2}"), "5:7", {"needs 'rope_type'"}},
    {ROPE("{rope_typ: yarn, factor: 2}"), "5:8", {"('rope_typ'), did you mean 'rope_type'?"}},
    {ROPE("{rope_type: yran, factor: 2}"), "5:19", {"('yran'), did you mean 'yarn'?"}},
    {ROPE("{rope_type: [yarn, ntkk], factor: 2}"), "5:26", {"('ntkk'), did you mean 'ntk'?"}},
    {ROPE("{rope_type: {a: b}}"), "5:19", {"rope_type must be a name, not a map"}},
    {ROPE("{rope_type: 3}"), "5:19", {"rope_type must be a name ('3')"}},
    {ROPE("{rope_type: yarn, type: linear, factor: 2}"), "5:25", {"old name", "('linear')"}},
    {ROPE("{type: yran}"), "5:14", {"did you mean 'yarn'?"}},
    {ROPE("{rope_type: ntk, factor: 2, beta_fast: 32}"),
     "5:35",
     {"'ntk' does not take this key ('beta_fast'); it takes rope_theta, factor"}},
    {ROPE("{rope_type: yarn, facter: 2}"), "5:25", {"unknown key of rope_type 'yarn' ('facter'), did you mean 'factor'?"}},
    {ROPE("{rope_type: [yarn, ntk], factor: 2, beta_fast: 32}"), "5:43", {"'ntk' does not take this key"}},
    {ROPE("{rope_type: yarn}"), "5:7", {"needs 'factor'"}},
    {ROPE("{rope_type: yarn, factor: null}"), "5:7", {"needs 'factor'"}},
    {ROPE("{rope_type: yarn, factor: }"), "5:33", {"factor must be a number, and has no value"}},
    {ROPE("{rope_type: yarn, factor: 0}"), "5:33", {"factor must be above 0, not 0"}},
    {ROPE("{rope_type: yarn, factor: [2, -1]}"), "5:37", {"factor must be above 0, not -1"}},
    {ROPE("{rope_type: yarn, factor: [2, [4]]}"), "5:37", {"factor must be a number, not a list"}},
    {ROPE("{rope_type: yarn, factor: []}"), "5:33", {"empty list"}},
    {ROPE("{rope_type: yarn, factor: .inf}"), "5:33", {"factor must be finite"}},
    {ROPE("{rope_type: yarn, factor: .nan}"), "5:33", {"factor must be a number ('.nan')"}},
    {ROPE("{rope_type: yarn, factor: 1e999}"), "5:33", {"factor must be finite"}},
    {ROPE("{rope_type: yarn, factor: '2'}"), "5:33", {"factor must be a number ('2'); the quotes"}},
    {ROPE("{rope_type: yarn, factor: 1__0}"), "5:33", {"number ('1__0')"}},
    {ROPE("{rope_type: yarn, factor: 2, truncate: no}"), "5:46", {"did you mean 'false'?"}},
    {ROPE("{rope_type: p_rope, p: 1.5}"), "5:30", {"p must be between 0 and 1, not 1.5"}},
    {ROPE("{rope_type: longrope, short_factor: 1, long_factor: [1]}"), "5:43", {"list of numbers ('1')"}},
    {ROPE("{rope_type: longrope, short_factor: [1, a], long_factor: [1]}"), "5:47", {"short_factor must be a number ('a')"}},
    {ROPE("{rope_type: longrope, short_factor: [1], long_factor: [[1], []]}"), "5:67", {"long_factor is an empty list"}},
    {ROPE("{rope_type: longrope, short_factor: [0], long_factor: [1]}"), "5:43", {"short_factor", "above 0, not 0"}},
    {ROPE("{rope_type: band, op: freze, band: {pairs: [0, 1]}}"), "5:29", {"unknown op ('freze'), did you mean 'freeze'?"}},
    {ROPE("{rope_type: band, op: freeze, band: {pair: [0, 1]}}"), "5:44", {"('pair'), did you mean 'pairs'?"}},
    {ROPE("{rope_type: band, op: freeze, band: {pairs: [0, 1], wavelength: [1, 2]}}"), "5:59", {"not both ('wavelength')"}},
    {ROPE("{rope_type: band, op: freeze, band: {pairs: [0]}}"), "5:51", {"list of two numbers"}},
    {ROPE("{rope_type: band, op: freeze, band: {pairs: [3, 1]}}"), "5:51", {"pairs must be", "[3, 1]"}},
    {ROPE("{rope_type: band, op: freeze, band: wide}"), "5:43", {"('wide')"}},
    {ROPE("{rope_type: yarn, factor: {log_uniform: [2, 16]}}"), "5:33", {"needs 'n'"}},
    {ROPE("{rope_type: yarn, factor: {log_uniform: [2, 16], n: 0}}"), "5:59", {"n must be from 1", "('0')"}},
    {ROPE("{rope_type: yarn, factor: {log_uniform: [0, 16], n: 2}}"), "5:47", {"above 0", "[0, 16]"}},
    {ROPE("{rope_type: yarn, factor: {uniform: [16, 2], n: 2}}"), "5:43", {"the smaller first"}},
    {ROPE("{rope_type: yarn, factor: {uniform: 3, n: 2}}"), "5:43", {"list of two numbers"}},
    {ROPE("{rope_type: yarn, factor: {uniform: [2, 3], m: 2}}"), "5:51", {"unknown key of a drawn number ('m')"}},
    {ROPE("{rope_type: yarn, factor: {uniform: [2, 3], log_uniform: [2, 3], n: 2}}"), "5:51", {"exclude"}},
    {ROPE("{rope_type: yarn, factor: {uniform: [-3, -2], n: 2}}"), "5:33", {"factor must be above 0"}},
    {ROPE("{rope_type: self_extend, window: 64, group: {uniform: [2, 4], n: 9}}"), "5:51", {"does not have 9 different values"}},
    {ROPE("{rope_type: yarn, factor: {a: 1}}"), "5:33", {"factor must be a number, not a map"}},
    {ROPE("default\n    - default"), "6:7", {"duplicate rope entry", "line 5, column 7", "('default')"}},
    {ROPE("{rope_type: linear, factor: [2, 4]}\n    - {rope_type: linear, factor: 4.0}"),
     "6:7",
     {"duplicate", "line 5", "linear factor=4"}},
    {ROPE("{rope_type: linear, factor: [2, 2.0]}"), "5:7", {"duplicate", "stand twice ('linear factor=2')"}},
    {ROPE("{rope_type: yarn, factor: [2, 3], beta_slow: [1, 2]}\n    - {rope_type: yarn, factor: 3}"), "6:7", {"duplicate", "line 5"}},
};

static const wrong softmaxes[] = {
    {MODEL "sweep: {context: 512, softmax: []}\n" TASKS, "2:32", {"softmax is an empty list"}},
    {SOFTMAX("0"), "5:7", {"temperature must be above 0, not 0"}},
    {SOFTMAX("-1.5"), "5:7", {"temperature must be above 0, not -1.5"}},
    {SOFTMAX(".inf"), "5:7", {"temperature must be finite"}},
    {SOFTMAX(".nan"), "5:7", {"('.nan')"}},
    {SOFTMAX("adaptiv"), "5:7", {"unknown type ('adaptiv'), did you mean 'adaptive'?"}},
    {SOFTMAX("'1.0'"), "5:7", {"unknown type ('1.0')"}},
    {SOFTMAX("{tempreature: 1}"), "5:7", {"needs 'type'"}},
    {SOFTMAX("{temperature: 1, cap: 5}"), "5:24", {"type 'temperature' does not take this key ('cap'); it takes temperature"}},
    {SOFTMAX("{type: softcap}"), "5:7", {"needs 'cap'"}},
    {SOFTMAX("{type: softcap, cap: 0}"), "5:28", {"cap must be above 0"}},
    {SOFTMAX("{type: softcap, k: 3}"), "5:23", {"does not take this key ('k'); it takes cap"}},
    {SOFTMAX("{type: log_n, temperature: 3}"), "5:21", {"does not take this key ('temperature')"}},
    {SOFTMAX("{type: top_k, k: 2.5}"), "5:24", {"whole number ('2.5')"}},
    {SOFTMAX("{type: adaptive, theta_coefficients: [a]}"), "5:45", {"('a')"}},
    {SOFTMAX("1\n    - 1.0"), "6:7", {"duplicate softmax entry", "line 5, column 7", "('T=1')"}},
    {SOFTMAX("1\n    - {temperature: [0.8, 1]}"), "6:7", {"duplicate softmax entry"}},
};

static const wrong tasks[] = {
    {MODEL SWEEP "tasks:\n", "3:7", {"tasks must be a list"}},
    {MODEL SWEEP "tasks: []\n", "3:8", {"empty list"}},
    {MODEL SWEEP "tasks: passkey\n", "3:8", {"tasks must be a list of maps with 'name' ('passkey')"}},
    {MODEL SWEEP "tasks: {name: passkey}\n", "3:8", {"not a map"}},
    {TASK("passkey"), "4:5", {"a task must be a map with 'name' ('passkey')"}},
    {TASK("[passkey]"), "4:5", {"not a list"}},
    {TASK("{samples: 3}"), "4:5", {"a task needs 'name'"}},
    {TASK("{nmae: passkey}"), "4:6", {"('nmae'), did you mean 'name'?"}},
    {TASK("{name: paskey}"), "4:12", {"unknown task ('paskey'), did you mean 'passkey'?"}},
    {TASK("{name: 7}"), "4:12", {"unknown task ('7')"}},
    {TASK("{name: [passkey]}"), "4:12", {"not a list"}},
    {TASK("{name: passkey, sample: 3}"), "4:21", {"unknown key of task 'passkey' ('sample'), did you mean 'samples'?"}},
    {TASK("{name: passkey, samples: 0}"), "4:30", {"samples must be between 1", "not 0"}},
    {TASK("{name: passkey, samples: 1.5}"), "4:30", {"whole number ('1.5')"}},
    {TASK("{name: passkey, samples: [1, 2]}"), "4:30", {"samples must be a whole number, not a list"}},
    {TASK("{name: passkey, stop_width: 0}"), "4:33", {"stop_width must be above 0", "not 0"}},
    {TASK("{name: passkey, stop_width: 2.5}"), "4:33", {"stop_width must be", "2.5"}},
    {TASK("{name: passkey, stop_min: 10}"), "4:31", {"stop_min says nothing without stop_width"}},
    {TASK("{name: perplexity, text: t.txt, stop_width: 0.1}"), "4:49", {"task 'perplexity' has no score that stop_width could judge"}},
    {TASK("{name: perplexity, text: t.txt, samples: auto}"), "4:46", {"task 'perplexity' has no score that samples: auto could judge"}},
    {TASK("{name: passkey, samples: aut}"), "4:30", {"samples", "aut"}},
    {TASK("{name: passkey, max_new_tokens: 0}"), "4:37", {"max_new_tokens must be", "not 0"}},
    {TASK("{name: passkey, label: ''}"), "4:28", {"label must not be empty"}},
    {TASK("{name: passkey, label: 4}"), "4:28", {"label must be a text ('4')"}},
    {TASK("{name: perplexity}"), "4:5", {"task 'perplexity' needs 'text'"}},
    {TASK("{name: perplexity, text: a, stride: 0}"), "4:41", {"stride must be", "not 0"}},
    {TASK("{name: perplexity, text: a, stride: 511}"), "4:41", {"stride must be", "511"}},
    {TASK("{name: jsonl, file: a, metric: exactt}"), "4:36", {"unknown metric ('exactt'), did you mean 'exact'?"}},
    {TASK("{name: passkey}\n  - {name: passkey}"), "5:12", {"called the same, first at line 4 ('passkey')", "label"}},
    {TASK("{name: passkey, label: a}\n  - {name: niah, label: a}"), "5:25", {"called the same"}},
};

static const wrong baselines[] = {
    {MODEL SWEEP TASKS "baseline: {rope: linear}\n", "4:18", {"needs 'factor'"}},
    {MODEL SWEEP TASKS "baseline: {rope: nope}\n", "4:18", {"baseline.rope is not an entry of sweep.rope ('nope')"}},
    {MODEL SWEEP TASKS "baseline: {softmax: 0.5}\n", "4:21", {"baseline.softmax is not an entry of sweep.softmax ('T=0.5')"}},
    {MODEL SWEEP TASKS "baseline: {softmax: [1, 2]}\n", "4:21", {"not a list"}},
    {MODEL SWEEP TASKS "baseline: {softmax: {temperature: [1, 2]}}\n", "4:21", {"one entry, not 2"}},
    {MODEL SWEEP TASKS "baseline: {softmx: 1}\n", "4:12", {"unknown key in baseline ('softmx'), did you mean 'softmax'?"}},
    {MODEL SWEEP TASKS "baseline: default\n", "4:11", {"baseline must be a map ('default')"}},
};

static char folder[] = "/tmp/ropesweep-config-XXXXXX";
static char *path;

static rs_status load_bytes(const char *bytes, size_t n, const rs_override *overrides, size_t n_overrides, rs_config **config)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
    rs_error_clear();
    return rs_config_load(path, overrides, n_overrides, config);
}

static int check_one(const wrong *w)
{
    rs_config *config = NULL;
    rs_status status = load_bytes(w->yaml, strlen(w->yaml), NULL, 0, &config);
    char *place = rs_format("%s:%s: ", path, w->place);
    const char *message = rs_error_message();
    bool good = status == RS_INVALID && strncmp(message, place, strlen(place)) == 0 && strchr(message, '\n') == NULL;
    for (int i = 0; i < 3 && w->says[i]; i++)
        good = good && strstr(message, w->says[i]);
    if (!good)
        print_error("--- expected %s'%s' '%s'\nstatus %d: %s\n%s\n", place, w->says[0], w->says[1] ? w->says[1] : "", status, message,
                    w->yaml);
    rs_config_free(config);
    free(place);
    return !good;
}

#define CHECK_TABLE(table)                                                                                                                 \
    static void test_##table(void **state)                                                                                                 \
    {                                                                                                                                      \
        (void)state;                                                                                                                       \
        int failed = 0;                                                                                                                    \
        for (size_t i = 0; i < sizeof table / sizeof *table; i++)                                                                          \
            failed += check_one(&table[i]);                                                                                                \
        assert_int_equal(failed, 0);                                                                                                       \
    }
CHECK_TABLE(structure)
CHECK_TABLE(sections)
CHECK_TABLE(contexts)
CHECK_TABLE(ropes)
CHECK_TABLE(softmaxes)
CHECK_TABLE(tasks)
CHECK_TABLE(baselines)

static void assert_refused(const char *bytes, size_t n, const char *says)
{
    rs_config *config;
    assert_int_equal(load_bytes(bytes, n, NULL, 0, &config), RS_INVALID);
    if (!strstr(rs_error_message(), says))
        fail_msg("'%s' does not say '%s'", rs_error_message(), says);
}

/* Nine levels of ten aliases each are 10^9 values; a thousand levels of brackets; a map of too many keys. */
static void test_bombs(void **state)
{
    (void)state;
    rs_text text = {0};
    rs_text_puts(&text, "a: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 9; i++) {
        rs_text_printf(&text, "a%d: &a%d [", i, i);
        for (int k = 0; k < 10; k++)
            rs_text_printf(&text, "%s*a%d", k ? ", " : "", i - 1);
        rs_text_puts(&text, "]\n");
    }
    assert_refused(text.data, text.n, "more than 100000 values");
    rs_text_clear(&text);
    for (int i = 0; i < 5000; i++)
        rs_text_puts(&text, "[");
    assert_refused(text.data, text.n, ":1:66: nested deeper than 64 levels");
    rs_text_clear(&text);
    rs_text_puts(&text, "a: &a0 [x]\n");
    for (int i = 1; i < 80; i++)
        rs_text_printf(&text, "a%d: &a%d [*a%d]\n", i, i, i - 1);
    assert_refused(text.data, text.n, "nested deeper than 64 levels");
    rs_text_clear(&text);
    for (int i = 0; i < 1001; i++)
        rs_text_printf(&text, "k%d: 1\n", i);
    assert_refused(text.data, text.n, ":1001:1: more than 1000 keys");
    rs_text_clear(&text);
    for (int i = 0; i < 1001; i++)
        rs_text_printf(&text, "- &a%d x\n", i);
    assert_refused(text.data, text.n, ":1001:3: more than 1000 anchors");
    rs_text_clear(&text);
    rs_text_puts(&text, MODEL TASKS "sweep:\n  context: 512\n  rope:\n    - rope_type: yarn\n      factor:\n");
    for (int i = 0; i < 11; i++)
        rs_text_puts(&text, "        - {uniform: [1, 2], n: 10000}\n");
    assert_refused(text.data, text.n, ":18:11: more than 100000 values of factor");
    rs_text_clear(&text);
    rs_text_puts(&text, MODEL TASKS "sweep:\n  context: 512\n  rope:\n    - {rope_type: yarn");
    const char *const keys[] = {"factor", "beta_fast", "mscale", "rope_theta"};
    for (int k = 0; k < 4; k++) {
        rs_text_printf(&text, ", %s: [2", keys[k]);
        for (int i = 3; i < 40; i++)
            rs_text_printf(&text, ", %d", i);
        rs_text_puts(&text, "]");
    }
    rs_text_puts(&text, "}\n");
    assert_refused(text.data, text.n, ":6:7: more than 100000 rope entries");
    rs_text_free(&text);
}

static void test_files(void **state)
{
    (void)state;
    rs_config *config;
    rs_error_clear();
    assert_int_equal(rs_config_load("/nonexistent/x.yaml", NULL, 0, &config), RS_INVALID);
    assert_string_equal(rs_error_message(), "/nonexistent/x.yaml: No such file or directory");
    rs_error_clear();
    assert_int_equal(rs_config_load(folder, NULL, 0, &config), RS_INVALID);
    assert_non_null(strstr(rs_error_message(), "not a regular file"));
    size_t n = (16u << 20) + 1;
    char *large = rs_alloc(n, 1);
    memset(large, ' ', n);
    assert_refused(large, n, "bytes, more than");
    free(large);
}

/* An override is held to the rules of the file; its messages name it instead of a place. */
static void test_overrides(void **state)
{
    (void)state;
    static const struct {
        const char *key, *value, *says;
    } cases[] = {
        {"model.dtpye", "fp32", "--set model.dtpye=fp32: unknown key in model ('dtpye'), did you mean 'dtype'?"},
        {"model.dtype", "fp31", "--set model.dtype=fp31: unknown dtype ('fp31'), did you mean 'fp32'?"},
        {"sweep.context", "1", "--set sweep.context=1: context must be from 2"},
        {"sweep.context", "[512", "--set sweep.context=[512: not valid YAML"},
        {"sweep.context", "", "--set sweep.context=: context must be a whole number"},
        {"tasks.1.samples", "3", "--set tasks.1.samples=3: a list of 1 is here: its elements are named 0 to 0 ('1')"},
        {"tasks.x.samples", "3", "elements are named 0 to 0 ('x')"},
        {"tasks.-1.samples", "3", "elements are named 0 to 0 ('-1')"},
        {"tasks.0.samples", "0", "--set tasks.0.samples=0: samples must be"},
        {"model.path.x", "3", "'x' is below a plain value ('m')"},
        {"model..path", "3", "joined by single dots"},
        {"", "3", "joined by single dots"},
        {"model.", "3", "joined by single dots"},
        {"modle", "{path: m}", "--set modle={path: m}: unknown key ('modle'), did you mean 'model'?"},
        {"sweep.rope", "[default, default]", "--set sweep.rope=[default, default]: duplicate rope entry"},
        {"sweep.rope", "{rope_type: a, rope_type: b}", "duplicate key ('rope_type')"},
        {"output", "*.txt", "a text that begins with * needs quotes"},
        {"output", "\xff", "--set output="},
        {"output", "a\n---\nb", "second YAML document"},
    };
    static const char yaml[] = MODEL SWEEP TASKS;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rs_override set = {cases[i].key, cases[i].value};
        rs_config *config;
        assert_int_equal(load_bytes(yaml, sizeof yaml - 1, &set, 1, &config), RS_INVALID);
        if (!strstr(rs_error_message(), cases[i].says))
            fail_msg("'%s' does not say '%s'", rs_error_message(), cases[i].says);
    }
}

static rs_config *load_good(const char *yaml)
{
    rs_config *config;
    if (load_bytes(yaml, strlen(yaml), NULL, 0, &config) != RS_OK)
        fail_msg("%s", rs_error_message());
    return config;
}

/* What the model's facts show: duplicates through defaults, impossible tables, a baseline that is not there after all. */
static void test_resolve(void **state)
{
    (void)state;
    static const wrong late[] = {
        {ROPE("default\n    - {rope_type: default, rope_theta: 10000}"), "6:7", {"duplicate rope entry", "line 5"}},
        {ROPE("{rope_type: band, op: freeze, band: {pairs: [0, 999]}}"), "5:7", {"pairs [0, 999]"}},
        {ROPE("{rope_type: band, op: slow, band: {pairs: [0, 1]}}"), "5:7", {"'by' is missing"}},
        {ROPE("{rope_type: longrope, short_factor: [1, 2], long_factor: [1, 2]}"), "5:7", {"short_factor", "not 2"}},
        {ROPE("default") "baseline: {rope: {rope_type: default, rope_theta: 5}}\n", "7:18", {"baseline.rope is not an entry"}},
        {SOFTMAX("log_n\n    - {type: log_n, original_max_position_embeddings: 8192}"), "6:7", {"duplicate softmax entry", "line 5"}},
    };
    const rs_model_facts facts = {.rope_theta = 10000, .max_position_embeddings = 8192};
    for (size_t i = 0; i < sizeof late / sizeof *late; i++) {
        rs_config *config = load_good(late[i].yaml);
        assert_int_equal(rs_config_resolve(config, &facts, 64), RS_INVALID);
        char *place = rs_format("%s:%s: ", path, late[i].place);
        for (int k = 0; k < 3 && late[i].says[k]; k++)
            if (strncmp(rs_error_message(), place, strlen(place)) != 0 || !strstr(rs_error_message(), late[i].says[k]))
                fail_msg("%s'%s' expected, not: %s", place, late[i].says[k], rs_error_message());
        free(place);
        rs_config_free(config);
    }
}

static void assert_failed_at(const rs_config *config, const char *key, const char *expected)
{
    rs_error_clear();
    assert_int_equal(rs_config_fail_at(config, key, "no %d", 3), RS_INVALID);
    const char *message = rs_error_message();
    assert_int_equal(strncmp(message, path, strlen(path)), 0);
    assert_string_equal(message + strlen(path), expected);
}

static void test_fail_at(void **state)
{
    (void)state;
    rs_config *config = load_good(MODEL SWEEP TASKS "parallel: {threads: 2}\n");
    assert_failed_at(config, "parallel.threads", ":4:21: no 3");
    assert_failed_at(config, "parallel.tensor", ":4:11: parallel.tensor (default): no 3");
    assert_failed_at(config, "tasks.0.name", ":3:16: no 3");
    assert_failed_at(config, "tasks.9", ":3:8: tasks.9 (default): no 3");
    assert_failed_at(config, "output", ": output (default): no 3");
    rs_error_clear();
    assert_int_equal(rs_config_fail_place(config, config->tasks[0].place, "bad"), RS_INVALID);
    assert_string_equal(rs_error_message() + strlen(path), ":3:9: bad");
    rs_config_free(config);
}

static const char rich[] =
    "# a config that uses everything\nmodel: {path: &p m, dtype: fp32}\nparallel: {tensor: 2, deterministic: true}\nseed: 7\noutput: "
    "../out\nsweep:\n"
    "  rope:\n    - default\n    - &y {rope_type: yarn, factor: 4.5, truncate: false}\n"
    "    - {type: longrope, short_factor: [[1, 2], [1, 3]], long_factor: [4, 5]}\n"
    "    - {rope_type: band, band: {wavelength: [8192, .inf]}, op: slow, by: 1.0e-3}\n"
    "    - {rope_type: [ntk, linear], factor: {log_uniform: [2, 16], n: 3}}\n  softmax: [1.0, {temperature: [0.8, 1.25]}, adaptive]\n"
    "  context: [512, 1024-4096*2, \"5000,6000-8000+1000\"]\ntasks:\n  - {name: passkey, samples: 3, prompt_prefix: *p, label: 'a''b'}\n"
    "  - name: jsonl\n    file: |\n      x\n    stop: [\"\\n\", \"\\u00e9\"]\nbaseline: {rope: *y, softmax: 1}\n";

/* Deletions, insertions and replacements of a valid config: refused or not, never a crash, a leak or a message of two lines. */
static void test_mutations(void **state)
{
    (void)state;
    static const char spice[] = "{}[]:,-#&*!|>'\"%@`~?\n\t \\<.0123456789einftru_\xff\xc3\xef";
    size_t n = sizeof rich - 1;
    char bytes[sizeof rich + 8];
    rs_rng rng;
    rs_rng_init(&rng, 1, "test/mutations", 0, 0);
    rs_config *config = load_good(rich);
    rs_config_free(config);
    for (int i = 0; i < 6000; i++) {
        size_t size = n, at = rs_rng_below(&rng, n), kind = rs_rng_below(&rng, 4);
        memcpy(bytes, rich, n);
        char c = spice[rs_rng_below(&rng, sizeof spice - 1)];
        if (kind == 0) {
            memmove(bytes + at, bytes + at + 1, --size - at);
        } else if (kind == 1) {
            memmove(bytes + at + 1, bytes + at, size++ - at);
            bytes[at] = c;
        } else if (kind == 2) {
            bytes[at] = c;
        } else {
            size = at;
        }
        rs_status status = load_bytes(bytes, size, NULL, 0, &config);
        assert_true(status == RS_OK || status == RS_INVALID);
        if (status != RS_OK && (strncmp(rs_error_message(), path, strlen(path)) != 0 || strchr(rs_error_message(), '\n')))
            fail_msg("%s", rs_error_message());
        rs_config_free(config);
    }
}

static int open_folder(void **state)
{
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    path = rs_format("%s/c.yaml", folder);
    return 0;
}

static int close_folder(void **state)
{
    (void)state;
    unlink(path);
    rmdir(folder);
    free(path);
    return 0;
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test(test_structure), cmocka_unit_test(test_sections),  cmocka_unit_test(test_contexts),
        cmocka_unit_test(test_ropes),     cmocka_unit_test(test_softmaxes), cmocka_unit_test(test_tasks),
        cmocka_unit_test(test_baselines), cmocka_unit_test(test_bombs),     cmocka_unit_test(test_files),
        cmocka_unit_test(test_overrides), cmocka_unit_test(test_resolve),   cmocka_unit_test(test_fail_at),
        cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(all, open_folder, close_folder);
}
