/* The command line as a struct. */
#ifndef RS_CLI_OPTIONS_H
#define RS_CLI_OPTIONS_H

#include <stdbool.h>

#include "base/log.h"
#include "base/status.h"
#include "engine/run.h"

typedef enum rs_command {
    RS_COMMAND_HELP,
    RS_COMMAND_VERSION,
    RS_COMMAND_RUN,
    RS_COMMAND_PLAN,
    RS_COMMAND_CHECK,
    RS_COMMAND_REPORT,
    RS_COMMAND_COMPARE,
    RS_COMMAND_TREND,
    RS_COMMAND_MERGE,
    RS_COMMAND_LIST,
    RS_COMMAND_TOKENIZE
} rs_command;

typedef struct rs_options {
    rs_command command;
    const char **positional; /* arguments that are no options, without the command's own name */
    int n_positional;
    rs_run_options run; /* run, plan, check */
    rs_override *overrides;
    char **owned;       /* texts made from arguments */
    int n_owned, ranks; /* ranks: `plan --ranks N` */
    char **gates;       /* compare --gate; borrowed from argv */
    int n_gates;
    const char *format; /* report --format: "lm-eval", NULL for none */
    rs_log_level log_level;
} rs_options;

/* Borrows argv. RS_INVALID: the message names the option and the nearest valid one. */
rs_status rs_options_parse(int argc, char **argv, rs_options *out);
void rs_options_free(rs_options *options);

/* Fits a screen of 24 lines. */
extern const char rs_help_text[];

#endif
