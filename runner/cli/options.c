#include "cli/options.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

const char rs_help_text[] = "usage: ropesweep CONFIG.yaml [options]            run a sweep (alone, or under mpirun or srun)\n"
                            "       ropesweep plan CONFIG.yaml [--ranks N]     points, memory, FLOPs; reads no weights\n"
                            "       ropesweep check CONFIG.yaml                validate the config and the checkpoint's headers\n"
                            "       ropesweep report DIR [--format lm-eval]    rebuild the reports of an output folder; DIR/lm-eval too\n"
                            "       ropesweep compare A B [--gate 'TASK[@CONTEXT] METRIC >= X']... [-o FILE.yaml|FILE.json]\n"
                            "       ropesweep trend DIR... [-o FILE.html]      one metric after the other over nights\n"
                            "       ropesweep merge DIR... -o DIR              join the shards of a job array\n"
                            "       ropesweep list rope|softmax|tasks|diagnostics|config   what there is, with every key\n"
                            "       ropesweep tokenize MODEL_DIR < text        token ids\n"
                            "\n"
                            "  -o, --output DIR   output folder            --set KEY=VALUE   override, e.g. model.dtype=fp32\n"
                            "  --fresh            move old results aside   --limit N         at most N samples a point\n"
                            "  --shard I/N        part I of N, from 0      --backend NAME    cpu or cuda; default: a GPU if any\n"
                            "  --grace SECONDS    to stop in; default 20   -q, -v            less, more; also: --version, --help\n"
                            "\n"
                            "The same command again finishes what is missing. Exit codes: 0 all points done, 1 internal error,\n"
                            "2 something to correct, 3 finished with failed points, 4 a gate failed, 75 stopped, can be resumed.\n";

typedef struct cursor {
    int argc, next;
    char **argv;
    rs_options *o;
    bool only_positional; /* after "--" */
} cursor;

/* Commands by name, with the number of positional arguments they take. */
static const struct {
    const char *name;
    rs_command command;
    int least, most;
    const char *wants;
} commands[] = {
    {"plan", RS_COMMAND_PLAN, 1, 1, "one config file"},
    {"check", RS_COMMAND_CHECK, 1, 1, "one config file"},
    {"trend", RS_COMMAND_TREND, 1, INT_MAX, "output folders, the oldest first"},
    {"report", RS_COMMAND_REPORT, 1, 1, "one output folder"},
    {"compare", RS_COMMAND_COMPARE, 2, 2, "two output folders"},
    {"merge", RS_COMMAND_MERGE, 1, INT_MAX, "the folders of shards, and -o"},
    {"list", RS_COMMAND_LIST, 1, 1, "rope, softmax, tasks or config"},
    {"tokenize", RS_COMMAND_TOKENIZE, 1, 1, "one model folder"},
    {"help", RS_COMMAND_HELP, 0, INT_MAX, ""},
};

/* Options by name. `in`: letters of the commands that take it (r run, p plan, c check, m merge, C compare, T trend, R report, * all). */
static const struct {
    const char *name, *in;
    bool has_value;
} known[] = {
    {"--output", "rmCT", true}, {"-o", "rmCT", true},      {"--set", "rpc", true},    {"--fresh", "r", false}, {"--limit", "rpc", true},
    {"--shard", "rp", true},    {"--backend", "rp", true}, {"--gate", "C", true},     {"--ranks", "p", true},  {"--format", "R", true},
    {"--grace", "r", true},     {"-q", "*", false},        {"-v", "*", false},        {"--quiet", "*", false}, {"--verbose", "*", false},
    {"--help", "*", false},     {"-h", "*", false},        {"--version", "*", false},
};
/* Slurm's default wait between SIGTERM and SIGKILL is 30 s. */
enum { GRACE_SECONDS = 20 };
enum { N_COMMANDS = sizeof commands / sizeof *commands, N_KNOWN = sizeof known / sizeof *known };

static char letter(rs_command command)
{
    switch (command) {
    case RS_COMMAND_RUN:
        return 'r';
    case RS_COMMAND_PLAN:
        return 'p';
    case RS_COMMAND_CHECK:
        return 'c';
    case RS_COMMAND_MERGE:
        return 'm';
    case RS_COMMAND_COMPARE:
        return 'C';
    case RS_COMMAND_TREND:
        return 'T';
    case RS_COMMAND_REPORT:
        return 'R';
    default:
        return '-';
    }
}

static rs_status whole_number(const char *option, const char *text, long least, long most, long *out)
{
    char *end;
    errno = 0;
    *out = strtol(text, &end, 10);
    if (*text == '\0' || *end != '\0' || errno != 0 || *out < least || *out > most)
        return rs_fail(RS_INVALID, "%s: '%s' is not a whole number of at least %ld", option, text, least);
    return RS_OK;
}

static rs_status set_shard(rs_options *o, const char *text)
{
    char *slash = strchr(text, '/'), first[16];
    long i, n;
    size_t length = slash ? (size_t)(slash - text) : sizeof first;
    if (length >= sizeof first)
        return rs_fail(RS_INVALID, "--shard: '%s' is not of the form I/N, as in 0/4", text);
    memcpy(first, text, length);
    first[length] = '\0';
    RS_TRY(whole_number("--shard", slash + 1, 1, 1000000, &n));
    RS_TRY(whole_number("--shard", first, 0, 1000000, &i));
    if (i >= n)
        return rs_fail(RS_INVALID, "--shard: '%s': I goes from 0 to %ld", text, n - 1);
    o->run.shard = (int)i;
    o->run.n_shards = (int)n;
    return RS_OK;
}

static rs_status add_override(rs_options *o, const char *text)
{
    const char *equals = strchr(text, '=');
    if (equals == NULL || equals == text)
        return rs_fail(RS_INVALID, "--set: '%s' is not of the form KEY=VALUE, as in model.dtype=fp32", text);
    char *key = rs_strndup(text, (size_t)(equals - text));
    o->owned[o->n_owned++] = key;
    o->overrides[o->run.n_overrides++] = (rs_override){.key = key, .value = equals + 1};
    return RS_OK;
}

static rs_status apply(rs_options *o, const char *name, char *value)
{
    long n;
    if (strcmp(name, "--output") == 0 || strcmp(name, "-o") == 0) {
        o->run.output = value;
        return *value ? RS_OK : rs_fail(RS_INVALID, "%s: the folder's name is empty", name);
    }
    if (strcmp(name, "--set") == 0)
        return add_override(o, value);
    if (strcmp(name, "--shard") == 0)
        return set_shard(o, value);
    if (strcmp(name, "--limit") == 0) {
        RS_TRY(whole_number(name, value, 1, LONG_MAX, &n));
        o->run.limit = n;
    } else if (strcmp(name, "--grace") == 0) {
        RS_TRY(whole_number(name, value, 0, 86400, &n));
        o->run.grace = (int)n;
    } else if (strcmp(name, "--ranks") == 0) {
        RS_TRY(whole_number(name, value, 1, 1000000, &n));
        o->ranks = (int)n;
    } else if (strcmp(name, "--backend") == 0) {
        if (strcmp(value, "cpu") != 0 && strcmp(value, "cuda") != 0)
            return rs_fail(RS_INVALID, "--backend: '%s'; backends: cpu, cuda", value);
        o->run.backend = value;
    } else if (strcmp(name, "--format") == 0) {
        if (strcmp(value, "lm-eval") != 0)
            return rs_fail(RS_INVALID, "--format: '%s'; formats: lm-eval", value);
        o->format = value;
    } else if (strcmp(name, "--gate") == 0) {
        o->gates[o->n_gates++] = value;
    } else if (strcmp(name, "--fresh") == 0) {
        o->run.fresh = true;
    } else if (strcmp(name, "-q") == 0 || strcmp(name, "--quiet") == 0) {
        o->log_level = RS_LOG_QUIET;
    } else if (strcmp(name, "-v") == 0 || strcmp(name, "--verbose") == 0) {
        o->log_level = RS_LOG_VERBOSE;
    } else if (strcmp(name, "--version") == 0) {
        o->command = RS_COMMAND_VERSION;
    } else {
        o->command = RS_COMMAND_HELP;
    }
    return RS_OK;
}

/* argv[next] is "--name", "--name=value" or "-x". */
static rs_status parse_option(cursor *c)
{
    char *argument = c->argv[c->next++], *equals = strncmp(argument, "--", 2) == 0 ? strchr(argument, '=') : NULL;
    size_t length = equals ? (size_t)(equals - argument) : strlen(argument);
    const char *names[N_KNOWN];
    for (size_t i = 0; i < N_KNOWN; i++) {
        names[i] = known[i].name;
        if (strlen(known[i].name) != length || memcmp(known[i].name, argument, length) != 0)
            continue;
        if (strchr(known[i].in, '*') == NULL && strchr(known[i].in, letter(c->o->command)) == NULL)
            return rs_fail(RS_INVALID, "%s is no option of this command; ropesweep --help lists them", known[i].name);
        if (!known[i].has_value)
            return equals ? rs_fail(RS_INVALID, "%s takes no value", known[i].name) : apply(c->o, known[i].name, NULL);
        if (equals == NULL && c->next == c->argc)
            return rs_fail(RS_INVALID, "%s needs a value", known[i].name);
        return apply(c->o, known[i].name, equals ? equals + 1 : c->argv[c->next++]);
    }
    const char *nearest = rs_nearest(argument, names, N_KNOWN);
    return rs_fail(RS_INVALID, "unknown option '%s'%s%s%s", argument, nearest ? "; did you mean " : "", nearest ? nearest : "",
                   nearest ? "?" : "");
}

static rs_status check_positional(const rs_options *o)
{
    if (o->command == RS_COMMAND_RUN) {
        if (o->n_positional == 1)
            return RS_OK;
        const char *names[N_COMMANDS];
        for (size_t i = 0; i < N_COMMANDS; i++)
            names[i] = commands[i].name;
        const char *nearest = rs_nearest(o->positional[0], names, N_COMMANDS);
        return rs_fail(RS_INVALID, "one config file at a time: '%s' is one too many%s%s%s", o->positional[1],
                       nearest ? "; or did you mean the command " : "", nearest ? nearest : "", nearest ? "?" : "");
    }
    for (size_t i = 0; i < N_COMMANDS; i++)
        if (commands[i].command == o->command && (o->n_positional < commands[i].least || o->n_positional > commands[i].most))
            return rs_fail(RS_INVALID, "%s takes %s", commands[i].name, commands[i].wants);
    if (o->command == RS_COMMAND_MERGE && o->run.output == NULL)
        return rs_fail(RS_INVALID, "merge needs -o DIR, the folder to write");
    return RS_OK;
}

rs_status rs_options_parse(int argc, char **argv, rs_options *o)
{
    *o = (rs_options){.command = RS_COMMAND_RUN, .log_level = RS_LOG_NORMAL, .run = {.n_shards = 1, .grace = GRACE_SECONDS}};
    o->positional = rs_alloc((size_t)argc, sizeof *o->positional);
    o->overrides = rs_alloc((size_t)argc, sizeof *o->overrides);
    o->owned = rs_alloc((size_t)argc, sizeof *o->owned);
    o->gates = rs_alloc((size_t)argc, sizeof *o->gates);
    cursor c = {.argc = argc, .next = 1, .argv = argv, .o = o};
    for (size_t i = 0; argc > 1 && i < N_COMMANDS; i++)
        if (strcmp(argv[1], commands[i].name) == 0) {
            o->command = commands[i].command;
            c.next = 2;
        }
    while (c.next < argc) {
        const char *argument = argv[c.next];
        if (!c.only_positional && strcmp(argument, "--") == 0) {
            c.only_positional = true;
            c.next++;
        } else if (!c.only_positional && argument[0] == '-' && argument[1] != '\0') {
            RS_TRY(parse_option(&c));
        } else {
            o->positional[o->n_positional++] = argument;
            c.next++;
        }
    }
    if (o->command == RS_COMMAND_RUN && o->n_positional == 0)
        o->command = RS_COMMAND_HELP;
    if (o->command == RS_COMMAND_HELP || o->command == RS_COMMAND_VERSION)
        return RS_OK;
    RS_TRY(check_positional(o));
    o->run.config_path = o->positional[0];
    o->run.overrides = o->overrides;
    return RS_OK;
}

void rs_options_free(rs_options *o)
{
    for (int i = 0; i < o->n_owned; i++)
        free(o->owned[i]);
    free(o->owned);
    free(o->positional);
    free(o->overrides);
    free(o->gates);
}
